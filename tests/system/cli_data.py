"""Hits for the tests of the command line, recorded the way a sensor does it but with any bytes in them."""
import uuid

HIT = {"ago": "0 s", "client": "203.0.113.7", "client_port": 50000, "client_name": "host7.example", "helo": "helo.example",
       "sender": "a@sender.example", "recipients": "b@backup.example", "null_sender": False, "tls": False,
       "class": "backup", "domain": "backup.example", "primary_host": "mx1.backup.example", "primary_age_ms": 1500,
       "queue_id": "4XyZ", "mta_name": "mx2.example.org", "local": "192.0.2.1"}

SQL = """SELECT hunnypot.record_batch(%(sensor)s, %(spool)s::uuid, %(seq)s::bigint[],
    (SELECT array_agg(now() - a::interval ORDER BY n) FROM unnest(%(ago)s) WITH ORDINALITY x(a, n)), %(client)s::inet[],
    %(client_port)s::int[], %(client_name)s::text[], %(helo)s::text[], %(sender)s::text[], %(recipients)s::text[],
    %(recipients_total)s::int[], %(null_sender)s::bool[], %(tls)s::bool[], %(class)s::text[], %(domain)s::text[],
    %(primary_host)s::text[], %(primary_age_ms)s::int[], %(queue_id)s::text[], %(mta_name)s::text[], %(local)s::inet[])"""


class Sensor:
    def __init__(self, pg, name="trap1"):
        self.pg, self.name, self.spool, self.seq = pg, name, str(uuid.uuid4()), 0
        pg.query("SELECT hunnypot.sensor_hello(%s, %s, 1)", name, self.spool)

    def record(self, *hits):
        """Record HITS, dictionaries of what differs from HIT, as one batch."""
        hits = [{**HIT, **hit} for hit in hits]
        numbers = [self.seq + i + 1 for i in range(len(hits))]
        self.seq += len(hits)
        columns = {key: [hit[key] for hit in hits] for key in HIT}
        connection = self.pg.connect()
        with connection.cursor() as cursor:
            cursor.execute(SQL, {"sensor": self.name, "spool": self.spool, "seq": numbers,
                                 "recipients_total": [1] * len(hits), **columns})
            assert cursor.fetchone()[0] == len(hits)
        connection.close()

    def heartbeat(self, counters='{"hits": 3, "lost": 0}'):
        self.pg.query("SELECT hunnypot.sensor_heartbeat(%s, '1.0.0', 1, 2, 0, %s)", self.name, counters)
