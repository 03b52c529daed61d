"""Offences put into the database as a sensor's hits would be, at any time in the past."""
from datetime import timedelta

from testbed.base import let_pass

# A policy that lists as soon as a hit is recorded, and answers 550: for tests of all that comes after the list, or before it.
AT_ONCE = """UPDATE hunnypot.policy SET listed = class <> 'null-sender', ripens = '0', ripens_named = '0', waits = '0',
    counts_for = '10 years', named_hits = 1, named_days = 1, named_share = 0, min_days = 1, inferred_named = true,
    min_hits = CASE class WHEN 'trap' THEN 1 ELSE 2 END, min_domains = CASE class WHEN 'trap' THEN 1 ELSE 2 END,
    min_span = CASE class WHEN 'trap' THEN '0' ELSE '1 hour' END::interval, firm_after = '0', inferred_pause = '0',
    inferred_code = code, inferred_address = return_address"""

# For tests of very many at once that are not about the brake.
NO_BRAKE = "UPDATE hunnypot.setting SET value = '1000000000' WHERE name = 'brake_floor'"


def offend(pg, client, kind="trap", domain="trap.example", ago=timedelta(), null_sender=False):
    """Count one hit of CLIENT, AGO before now."""
    offend_all(pg, [(client, kind, domain, ago, null_sender)])


def offend_all(pg, hits):
    """Count HITS (client, class, domain, ago, null sender) together, as one step of tick() does."""
    clients, kinds, domains, agos, null_senders = zip(*hits)
    pg.query("""INSERT INTO hunnypot.waiting (hit_id, due, ripe, time, network, class, domain, owner, name_state, while_listed)
        SELECT gen_random_uuid(), now(), now(), now() - ago, hunnypot.client_network(client),
               hunnypot.counted_class(class, null_sender, 1), domain, domain, 'none', false
        FROM unnest(%s::inet[], %s::text[], %s::text[], %s::interval[], %s::boolean[])
             h (client, class, domain, ago, null_sender)""",
             list(clients), list(kinds), list(domains), list(agos), list(null_senders))
    pg.query("SELECT hunnypot.tick()")


def tick_on(pg):
    """As the sensors do: count and list until there is nothing left to do now."""
    while pg.query("SELECT hunnypot.tick()") == [(True,)]:
        pass


def list_networks(pg, networks, kind="trap", right=True):
    """Put NETWORKS (an SQL query of cidr) on the list as one hit each does; for very many, or such as no client has.  RIGHT: the
    operator says so to the brake."""
    pg.query("""INSERT INTO hunnypot.offence_day (network, class, domain, day, named, witnessed, while_listed, owner, hits,
                                      first_seen, last_seen, counted)
        SELECT network, %s, 'trap.example', (now() AT TIME ZONE 'UTC')::date, false, true, false, 'trap.example', 1, now(),
               now(), now()
        FROM (""" + networks.replace("%", "%%") + """) n (network)""", kind)
    pg.query("SELECT hunnypot.rebuild()")
    tick_on(pg)
    if right:
        pg.query("SELECT hunnypot.brake_release()")


def early_in_the_hour(pg):
    """Durations in exports change once an hour: in the last half minute of one, wait for the next."""
    [(left_s,)] = pg.query("SELECT extract(epoch FROM date_trunc('hour', now()) + interval '1 hour' - now())::float8")
    if left_s < 30:
        let_pass(left_s)


def listings(pg, client):
    """{class: days that its listing goes on} of CLIENT."""
    return dict(pg.query("SELECT class, round(extract(epoch FROM until - now()) / 86400, 1)::float8 "
                         "FROM hunnypot.listed(%s)", client))
