"""Offences put into the database as a sensor's hits would be, at any time in the past."""
from datetime import timedelta


def offend(pg, client, kind="trap", domain="trap.example", ago=timedelta(), null_sender=False):
    """Count one hit of CLIENT, AGO before now."""
    pg.query("SELECT hunnypot.count_offences(ARRAY[%s::inet], ARRAY[%s], ARRAY[%s], ARRAY[%s], ARRAY[now() - %s])",
             client, kind, domain, null_sender, ago)


def listings(pg, client):
    """{class: days that its listing goes on} of CLIENT."""
    return dict(pg.query("SELECT class, round(extract(epoch FROM until - now()) / 86400, 1)::float8 "
                         "FROM hunnypot.listed(%s)", client))
