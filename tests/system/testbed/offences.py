"""Offences put into the database as a sensor's hits would be, at any time in the past."""
from datetime import timedelta


def offend(pg, client, kind="trap", domain="trap.example", ago=timedelta(), null_sender=False):
    """Count one hit of CLIENT, AGO before now."""
    offend_all(pg, [(client, kind, domain, ago, null_sender)])


def offend_all(pg, hits):
    """Count HITS (client, class, domain, ago, null sender) together, as one step of tick() does."""
    clients, kinds, domains, agos, null_senders = zip(*hits)
    pg.query("""INSERT INTO hunnypot.waiting (hit_id, due, time, network, class, domain, owner)
        SELECT gen_random_uuid(), now(), now() - ago, hunnypot.client_network(client),
               hunnypot.counted_class(class, null_sender), domain, domain
        FROM unnest(%s::inet[], %s::text[], %s::text[], %s::interval[], %s::boolean[])
             h (client, class, domain, ago, null_sender)""",
             list(clients), list(kinds), list(domains), list(agos), list(null_senders))
    pg.query("SELECT hunnypot.tick()")


def list_networks(pg, networks, kind="trap"):
    """Put NETWORKS (an SQL query of cidr) on the list as one hit each does; for very many, or such as no client has."""
    pg.query("""INSERT INTO hunnypot.offence_day (network, class, domain, day, owner, hits, first_seen, last_seen, counted)
        SELECT network, %s, 'trap.example', (now() AT TIME ZONE 'UTC')::date, 'trap.example', 1, now(), now(), now()
        FROM (""" + networks.replace("%", "%%") + """) n (network)""", kind)
    pg.query("SELECT hunnypot.rebuild()")
    while pg.query("SELECT hunnypot.tick()") == [(True,)]:
        pass


def listings(pg, client):
    """{class: days that its listing goes on} of CLIENT."""
    return dict(pg.query("SELECT class, round(extract(epoch FROM until - now()) / 86400, 1)::float8 "
                         "FROM hunnypot.listed(%s)", client))
