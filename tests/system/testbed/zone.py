"""Questions to a DNS server about the addresses in a zone that is a list."""
import ipaddress

import dns.exception
import dns.message
import dns.query
import dns.rcode


class Zone:
    """Zone("bl.test", 5301).about("203.0.113.7") is ("NOERROR", ["127.0.0.2"]), or ("NXDOMAIN", [])."""

    def __init__(self, name, port, server="127.0.0.1"):
        self.name, self.port, self.server = name, port, server
        self.ports = [("udp", server, port)]

    def ask(self, name, kind="A"):
        reply = dns.query.udp(dns.message.make_query(name, kind), self.server, timeout=2, port=self.port)
        return dns.rcode.to_text(reply.rcode()), sorted(str(item) for rrset in reply.answer for item in rrset)

    def about(self, address, kind="A", sub_zone=""):
        name = ipaddress.ip_address(address).reverse_pointer
        return self.ask(name.replace("in-addr.arpa", sub_zone + self.name).replace("ip6.arpa", sub_zone + self.name), kind)

    def answers(self):
        try:
            return self.ask(self.name, "SOA")[0] == "NOERROR"
        except (OSError, dns.exception.DNSException):
            return False
