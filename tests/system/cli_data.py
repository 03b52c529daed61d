"""Hits for the tests of the command line, recorded the way a sensor does it but with any bytes in them."""
import json
import uuid

HIT = {"ago": "0 s", "client": "203.0.113.7", "client_port": 50000, "client_name": "host7.example", "helo": "helo.example",
       "sender": "a@sender.example", "recipients": "b@backup.example", "null_sender": False, "tls": False,
       "class": "backup", "domain": "backup.example", "primary_host": "mx1.backup.example", "primary_age_ms": 1500,
       "queue_id": "4XyZ", "name_state": "none", "mta_name": "mx2.example.org", "local": "192.0.2.1"}

# The columns of hunnypot.new_hit.
COLUMNS = """seq hit_id time client client_port client_name helo sender recipients recipients_total null_sender tls class domain
    primary_host primary_age_ms queue_id mta_name local owner name_state key_id envelope envelope_whole primaries""".split()
SQL = f"""SELECT hunnypot.record_batch(%(sensor)s, %(spool)s::uuid, %(mark)s::uuid, %(link)s::uuid, false, ARRAY(
    SELECT ({", ".join("now() - ago" if column == "time" else column for column in COLUMNS)})::hunnypot.new_hit
    FROM jsonb_to_recordset(%(hits)s) h (seq bigint, hit_id uuid, ago interval, client inet, client_port int, client_name text,
        helo text, sender text, recipients text[], recipients_total int, null_sender boolean, tls boolean, class text,
        domain text, primary_host text, primary_age_ms int, queue_id text, mta_name text, local inet, owner text,
        name_state text, key_id text, envelope bytea, envelope_whole boolean, primaries text[])
    ORDER BY seq))"""


class Sensor:
    def __init__(self, pg, name="trap1"):
        self.pg, self.name, self.spool, self.seq, self.mark = pg, name, str(uuid.uuid4()), 0, None
        pg.query("SELECT hunnypot.sensor_hello(%s, %s, '{}', 1)", name, self.spool)

    def batch(self, *hits):
        """The statement and values that record HITS, dictionaries of what differs from HIT, as the next batch."""
        hits = [{**HIT, **hit, "seq": self.seq + i + 1} for i, hit in enumerate(hits)]
        for hit in hits:
            hit.update(recipients=hit["recipients"].split("\n"), recipients_total=hit["recipients"].count("\n") + 1)
        return SQL, {"sensor": self.name, "spool": self.spool, "mark": self.mark, "link": str(uuid.uuid4()), "hits": json.dumps(hits)}

    def record(self, *hits):
        """Record HITS, as batch() has them."""
        sql, values = self.batch(*hits)
        connection = self.pg.connect()
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
            assert cursor.fetchone()[0] == values["link"]
        connection.close()
        self.seq += len(hits)
        self.mark = values["link"]

    def heartbeat(self, counters='{"hits": 3, "lost": 0}'):
        self.pg.query("SELECT hunnypot.sensor_heartbeat(%s, '1.0.0', 1, 2, 0, %s)", self.name, counters)
