"""From hits to listings with the policy as it is shipped: hits ripen, letters that arrive redeem, doubt is held against nobody."""
import contextlib
import json
import random
import uuid
from datetime import datetime, timedelta, timezone

import pytest

from cli_data import Sensor

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CLIENT, MX, KEY = "203.0.113.7", "mx1.backup.example", "0123456789abcdef"


class Ripening:
    """A database in which time goes by when a test says so."""

    def __init__(self, pg):
        self.pg = pg
        self.sensor = Sensor(pg)

    def hit(self, letter=None, **what):
        """Record one hit, now; its number.  LETTER: a try of a letter that has that number."""
        number = str(uuid.uuid4())
        envelope = "\\x" + "00" * 16 + uuid.UUID(letter or number).hex * 2
        self.sensor.record({"hit_id": number, "key_id": KEY, "envelope": envelope, "envelope_whole": True, "primaries": [MX], **what})
        return number

    def later(self, by):
        """Time goes by, and the sensors' ticks."""
        with contextlib.closing(self.pg.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("BEGIN; SET LOCAL session_replication_role = replica")
            for table, columns in {
                    "hit": "recorded time", "probe": "time", "witness_probe": "time", "waiting": "due ripe recorded time", "offence_day": "first_seen last_seen counted counted_again",
                    "listed_network": "since until soft_until worse_until removed last_seen due", "allow": "expires",
                    "envelope": "recorded time", "trap_letter": "first_seen", "witness_found": "time", "pardoned": "hit_time told",
                    "witness_stretch": "since until", "brake": "since", "request": "asked checked decided",
                    "request_token": "expires"}.items():
                cursor.execute(f"UPDATE hunnypot.{table} SET " + ", ".join(f"{column} = {column} - %(by)s" for column in columns.split()), {"by": by})
            # Whatever the hour is, what has become one day is one row.
            cursor.execute("""
                WITH row AS (DELETE FROM hunnypot.offence_day RETURNING *)
                INSERT INTO hunnypot.offence_day (network, class, domain, day, named, witnessed, while_listed, owner, hits, first_seen,
                                                  last_seen, counted, counted_again, letter)
                SELECT network, class, domain, (first_seen AT TIME ZONE 'UTC')::date AS on_day, named, witnessed, while_listed, max(owner),
                       sum(hits), min(first_seen), max(last_seen), min(counted),
                       (SELECT time FROM unnest(array_agg(counted) || array_agg(counted_again)) AS time ORDER BY 1 LIMIT 1 OFFSET 1),
                       CASE WHEN count(DISTINCT letter) = 1 AND bool_and(letter IS NOT NULL) THEN (array_agg(letter))[1] END
                FROM row GROUP BY network, class, domain, on_day, named, witnessed, while_listed""")
            cursor.execute("COMMIT")
            while True:
                cursor.execute("SELECT hunnypot.tick()")
                if cursor.fetchone() != (True,):
                    break

    def enable(self):
        self.pg.query("UPDATE hunnypot.policy SET listed = class <> 'null-sender'")

    def listing(self, client=CLIENT):
        """(class, proof, code, hours left) of each listing."""
        return [(*row[:3], round(row[3])) for row in self.pg.query(
            "SELECT class, proof, left(code, 3), extract(epoch FROM until - now()) / 3600 FROM hunnypot.listed(%s) ORDER BY rank", client)]

    def states(self):
        return self.pg.query("SELECT ripening, redeemed, excused, counted FROM hunnypot.offence")

    def witness(self, *, mx=MX, machine="one", since=2 * DAY, until=timedelta(), match="envelope"):
        """A witness that watched from SINCE ago until UNTIL from now."""
        now = datetime.now(timezone.utc)
        self.pg.query("SELECT * FROM hunnypot.witness_hello(%s, %s, '1', ARRAY[%s], %s)", mx, machine, KEY, match)
        self.tell("watched", {"since": micros(now - since), "until": micros(now + until), "keys": KEY}, mx=mx, machine=machine)

    def watch_on(self, **words):
        self.witness(since=timedelta(days=30), **words)

    def watch_for_good(self, **words):
        """A witness that goes on watching, whatever time goes by."""
        self.watch_on(**words)
        self.pg.query("UPDATE hunnypot.witness_stretch SET until = now() + interval '60 days'")

    def tell(self, function, *report, mx=MX, machine="one"):
        self.pg.query(f"SELECT hunnypot.witness_{function}(%s, %s, %s)", mx, machine, json.dumps(report))

    def found(self, hit, what="accepted", after=timedelta(seconds=3), **who):
        [(time,)] = self.pg.query("SELECT time FROM hunnypot.envelope WHERE hit_id = %s", hit)
        self.tell("found", {"hit": hit, "what": what, "time": micros(time + after)}, **who)


def micros(moment):
    return int(moment.timestamp() * 1000000)


@pytest.fixture
def ripening(pg_plain):
    made = Ripening(pg_plain)
    made.enable()
    return made


def test_a_new_installation_lists_nobody(pg_plain):
    fresh = Ripening(pg_plain)
    for _ in range(3):
        fresh.hit(**{"class": "trap"})
        fresh.later(DAY)
    assert pg_plain.query("SELECT * FROM hunnypot.listing") == []
    assert pg_plain.query("SELECT result, hits FROM hunnypot.policy_test('trap')") == [("listed, witnessed", 3)]
    assert pg_plain.query("SELECT hunnypot.policy_enable('trap')") == [(1,)]
    assert fresh.listing()[0][:3] == ("trap", "witnessed", "550")


@pytest.mark.parametrize("name_state, wait", [("none", 4), ("confirmed", 24), ("unknown", 24)])
def test_a_hit_counts_when_it_had_its_time(ripening, name_state, wait):
    ripening.hit(name_state=name_state)
    assert ripening.states() == [(1, None, None, None)]
    ripening.later((wait - 0.1) * HOUR)
    assert ripening.states() == [(1, None, None, None)]
    ripening.later(0.2 * HOUR)
    assert ripening.states() == [(None, None, None, 1)]


def test_trap_one_letter_answers_450_until_it_is_a_day_old(ripening):
    ripening.hit(**{"class": "trap"})
    ripening.later(5 * HOUR)
    assert ripening.listing()[0][:3] == ("trap", "witnessed", "450")
    assert ripening.pg.query("SELECT host(return_address), firm FROM hunnypot.listing") == [("127.0.1.2", False)]
    ripening.later(20 * HOUR)
    assert ripening.listing()[0][:3] == ("trap", "witnessed", "550")
    assert ripening.pg.query("SELECT host(return_address), firm FROM hunnypot.listing") == [("127.0.0.2", True)]


def test_trap_a_client_with_a_name_needs_three_days(ripening):
    ripening.watch_for_good()
    for _ in range(2):
        ripening.hit(**{"class": "trap", "name_state": "confirmed"})
        ripening.later(25 * HOUR)
        assert ripening.listing() == []
    ripening.hit(**{"class": "trap", "name_state": "confirmed"})
    ripening.later(25 * HOUR)
    assert ripening.listing()[0][:3] == ("trap", "witnessed", "550")


@pytest.mark.parametrize("state, listed", [("watching", True), ("none", False), ("dead", False), ("blind", False), ("one of two is dead", False),
                                           ("none, and no share is asked for", True)])
def test_trap_a_client_with_a_name_is_listed_only_where_its_letters_are_counted(ripening, state, listed):
    """Anyone can make a big sender write to a trap: where nobody tells how much it sends elsewhere, it is watched."""
    if state == "none, and no share is asked for":
        ripening.pg.query("UPDATE hunnypot.policy SET named_share = 0")
    elif state == "dead":
        ripening.witness(since=9 * DAY, until=-3 * DAY)
    elif state != "none":
        ripening.watch_for_good()
    if state == "one of two is dead":
        ripening.witness(mx="mx2.backup.example", since=9 * DAY, until=-3 * DAY)
    if state == "blind":
        ripening.tell("probes", {"sensor": "192.0.2.1", "time": micros(datetime.now(timezone.utc))})
    for _ in range(9):
        ripening.pg.query("INSERT INTO hunnypot.probe VALUES (%s, now(), '192.0.2.1')", MX)
        if state in ("watching", "one of two is dead"):
            ripening.tell("probes", {"sensor": "192.0.2.1", "time": micros(datetime.now(timezone.utc))})
        ripening.hit(**{"class": "trap", "name_state": "confirmed"})
        ripening.later(25 * HOUR)
    assert [row[:3] for row in ripening.listing()] == ([("trap", "witnessed", "550")] if listed else [])
    if not listed:
        assert "how many of its letters arrive is not known, as not all witnesses watch, or there are none; " in verdict(ripening)
        assert ripening.pg.query("SELECT count(*) FROM hunnypot.policy_test('trap') WHERE result LIKE 'listed%%'") == [(0,)]


def test_a_witness_that_has_been_blind_for_long_proves_nothing(ripening):
    """It logged a probe once, and went on with other entries for weeks: the log that it reads is not the whole any more."""
    ripening.watch_for_good()
    ripening.tell("probes", {"sensor": "192.0.2.1", "time": micros(datetime.now(timezone.utc))})
    ripening.later(20 * DAY)
    while ripening.pg.query("SELECT hunnypot.witness_forget(1000)") != [(0,)]:
        pass
    assert ripening.pg.query("SELECT count(*) FROM hunnypot.witness_probe") == [(0,)]
    ripening.hit()
    ripening.pg.query("INSERT INTO hunnypot.probe SELECT %s, now() - i * interval '301.7 s', '192.0.2.1' FROM generate_series(1, 100) i", MX)
    ripening.later(5 * HOUR)
    assert ripening.listing() == []
    ripening.later(48 * HOUR)
    assert ripening.pg.query("SELECT witnessed FROM hunnypot.offence_day") == [(False,)]
    assert ("blind",) not in ripening.pg.query("SELECT kind FROM hunnypot.witness_troubles()"), "no probe of the last hour"
    ripening.pg.query("INSERT INTO hunnypot.probe VALUES (%s, now() - interval '30 minutes', '192.0.2.1')", MX)
    assert ("blind",) in ripening.pg.query("SELECT kind FROM hunnypot.witness_troubles()")


@pytest.mark.parametrize("known", [{}, {"key_id": None, "envelope": None}, {"key_id": None, "envelope": None, "sender": "", "recipients": ""}],
                         ids=["hashes", "recorded envelope", "nothing"])
def test_trap_all_tries_of_a_letter_are_one_hit(ripening, known):
    """A form sent it there, and a mail server tries for five days: one hit on one day.  A week later the same is another letter."""
    letter = str(uuid.uuid4())
    ripening.watch_for_good()
    hits = [ripening.hit(letter, **{"class": "trap", "name_state": "confirmed", **known})]
    for _ in range(5):
        ripening.later(DAY)
        hits += [ripening.hit(letter, **{"class": "trap", "name_state": "confirmed", **known}) for _ in range(4)]
    ripening.later(25 * HOUR)
    assert ripening.pg.query("SELECT hits, counted FROM hunnypot.offence") == [(21, 1)] and ripening.listing() == []
    assert ripening.pg.query("SELECT hit_id::text FROM hunnypot.trap_letter") == [(hits[0],)]
    assert words(ripening, hits[7])[0].endswith("this hit does not count: its letter was counted already when it was tried before")
    assert words(ripening, hits[0])[1] == "witnessed"
    assert "with a name: 1 hit in all, of 3, on 1 day, of 3; " in verdict(ripening) and verdict(ripening).endswith("; 20 hits more with the same letters")
    ripening.later(2 * DAY)
    ripening.hit(letter, **{"class": "trap", "name_state": "confirmed", **known})
    ripening.later(25 * HOUR)
    assert ripening.pg.query("SELECT hits, counted FROM hunnypot.offence") == [(22, 2)]
    ripening.hit(letter, **{"class": "trap", **known})
    ripening.later(5 * HOUR)
    assert len(ripening.listing()) == 1, "one of a client without a name is enough"


def test_one_letter_that_is_tried_again_and_again_is_one_letter(ripening):
    """Its sender cannot get through to the primary, and comes to the backup each time: it is put off for as long as it may get through."""
    ripening.watch_for_good()
    letter = str(uuid.uuid4())
    for _ in range(2):
        ripening.hit(letter)
    ripening.later(3 * HOUR)
    ripening.hit(letter)
    ripening.later(5 * HOUR)
    assert ripening.states() == [(None, None, None, 3)]
    assert ripening.listing()[0][:3] == ("backup", "witnessed", "450")
    ripening.later(17 * HOUR)
    assert ripening.listing()[0][:3] == ("backup", "witnessed", "550")


def tries(ripening, hours, letter=None, **what):
    """A letter is tried so many HOURS after the first time, each; the hits, and the letter.  Everything is watched, for long."""
    letter, at, hits = letter or str(uuid.uuid4()), 0, []
    ripening.watch_for_good()
    for hour in hours:
        ripening.later((hour - at) * HOUR)
        at = hour
        hits.append(ripening.hit(letter, **what))
    return hits


POSTFIX = [0, 0.1, 0.2, 0.4, 0.8, 1.9, 3.1]  # hours
QMAIL = [0, 0.11, 0.44, 1, 1.8, 2.8]


@pytest.mark.parametrize("at", [POSTFIX, QMAIL, [0, 1, 2, 3]], ids=["postfix", "qmail", "hourly"])
@pytest.mark.parametrize("name_state, hours", [("none", 24), ("confirmed", 120), ("unknown", 120)])
def test_a_letter_that_is_tried_as_mail_servers_do_is_given_longer(ripening, at, name_state, hours):
    """Its way to the primary is broken, or that one defers it, for longer than a hit ripens."""
    hits = tries(ripening, at, name_state=name_state)
    other = ripening.hit(client="203.0.113.8", name_state=name_state)
    ripening.later((hours - at[-1] - 0.2) * HOUR)
    assert ripening.listing() == [] and not ripening.pg.query("SELECT FROM hunnypot.offence WHERE network = %s AND counted > 0", CLIENT)
    assert ripening.pg.query("SELECT counted FROM hunnypot.offence WHERE network = '203.0.113.8'") == [(1,)]
    assert words(ripening, hits[0])[0].endswith("this letter is tried again and again, as a mail server does: it has so long to arrive, "
                                                "and the hit does not count before")
    ripening.later(0.4 * HOUR)
    assert ripening.states()[-1][3] or ripening.states()[0][3]
    assert [row[:3] for row in ripening.listing()] == [("backup", "witnessed", "550")]
    assert other


@pytest.mark.parametrize("arrives", [10, 23])
def test_what_is_tried_long_and_arrives_is_redeemed(ripening, arrives):
    hits = tries(ripening, [*POSTFIX, 5, 7, 9])
    ripening.later((arrives - 9) * HOUR)
    for hit in hits:
        ripening.found(hit, after=arrives * HOUR)
    ripening.later(3 * DAY)
    assert ripening.states() == [(None, len(hits), None, None)] and ripening.listing() == []


@pytest.mark.parametrize("at, what", [([0, 1, 2], {}), ([0, 0.1, 0.2, 0.3, 0.4], {}), ([0, 2, 4.1, 6], {}),
                                      (POSTFIX, {"primaries": ["mx.unwatched.example"]}), (POSTFIX, {"key_id": None, "envelope": None}),
                                      (POSTFIX, {"class": "trap"})],
                         ids=["few", "a burst", "seldom", "nobody would tell", "unknown letter", "trap"])
def test_what_is_not_tried_like_that_is_given_no_more(ripening, at, what):
    tries(ripening, at, **what)
    ripening.later((4.1 - at[-1] if at[-1] < 4.1 else 0) * HOUR)
    assert ripening.states()[0][3]


def test_a_bot_that_repeats_one_letter_is_known_by_its_others(ripening):
    tries(ripening, POSTFIX)
    ripening.hit()
    ripening.later(4.1 * HOUR)
    assert ripening.listing()[0][:2] == ("backup", "witnessed")


def test_a_letter_that_was_given_longer_waits_for_a_witness_so_much_longer(ripening):
    tries(ripening, POSTFIX, name_state="confirmed")
    ripening.pg.query("UPDATE hunnypot.witness_stretch SET until = now() - interval '1 minute'")
    ripening.later(25 * HOUR)
    ripening.later(4 * DAY)
    assert ripening.states()[0][0] == len(POSTFIX)
    ripening.later(DAY)
    assert ripening.states() == [(None, None, None, len(POSTFIX))]
    assert ripening.pg.query("SELECT DISTINCT witnessed FROM hunnypot.offence_day") == [(False,)]


def test_very_many_tries_of_a_letter_cost_no_more_each(ripening):
    """A bot that has nothing else to do."""
    ripening.watch_for_good()
    ripening.hit()
    read = []
    for number in (2000, 20000):
        ripening.pg.query("""INSERT INTO hunnypot.waiting (hit_id, due, ripe, time, network, class, domain, owner, name_state, while_listed, letter,
                primaries, key_id)
            SELECT gen_random_uuid(), now() + interval '1 day', now(), now() - i * interval '0.1 s', network, class, domain, owner, name_state,
                while_listed, letter, primaries, key_id
            FROM (SELECT * FROM hunnypot.waiting LIMIT 1) one, generate_series(1, %s) i""", number)
        ripening.pg.query("UPDATE hunnypot.waiting SET due = now() WHERE ctid = ANY (ARRAY(SELECT ctid FROM hunnypot.waiting LIMIT 1000))")
        before = ripening.pg.query("SELECT pg_stat_force_next_flush(), idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'waiting_letter'")
        ripening.pg.query("SELECT hunnypot.tick()")
        after = ripening.pg.query("SELECT pg_stat_force_next_flush(), idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'waiting_letter'")
        read.append(after[0][1] - before[0][1])
    assert max(read) < 5000


def test_two_letters_are_refused_for_good(ripening):
    ripening.watch_for_good()
    ripening.hit()
    ripening.hit()
    ripening.later(5 * HOUR)
    assert ripening.listing()[0][:3] == ("backup", "witnessed", "550")


def test_trap_a_big_sender_needs_more_than_a_share_of_its_letters(ripening):
    """Anyone can make it write to a trap, by a sign-up form."""
    ripening.watch_for_good()
    ripening.tell("letters", {"client": CLIENT, "letters": 100})
    for _ in range(6):
        ripening.hit(**{"class": "trap", "name_state": "confirmed"})
        ripening.later(25 * HOUR)
    assert ripening.listing()[0][0] == "trap"
    ripening.tell("letters", {"client": CLIENT, "letters": 1000})
    ripening.pg.query("SELECT hunnypot.rebuild()")
    assert ripening.listing() == []


def test_letters_are_counted_of_clients_with_a_name_that_only_a_trap_knows(ripening):
    """Those are who is to be told from a bot by its letters; of a client without a name they make no difference."""
    ripening.witness()

    def clients(after=None, at_most=100):
        return [client for client, in ripening.pg.query("SELECT host(c) FROM hunnypot.witness_clients(%s, 'one', %s, %s) c", MX, after, at_most)]
    ripening.hit(**{"class": "trap", "name_state": "confirmed"})
    ripening.hit(**{"class": "trap", "name_state": "none", "client": "203.0.113.8"})
    ripening.hit(**{"class": "trap", "name_state": "unknown", "client": "203.0.113.9"})
    ripening.hit(**{"class": "trap", "name_state": "confirmed", "client": "2001:db8:c::9"})
    everybody = [CLIENT, "203.0.113.9", "2001:db8:c::9"]
    assert clients() == everybody
    ripening.later(25 * HOUR)
    ripening.hit(**{"class": "trap", "name_state": "confirmed"})
    assert clients() == everybody, "counted and waiting"
    assert clients(at_most=2) == everybody[:2] and clients(everybody[1]) == everybody[2:]


def test_inferred_takes_two_days_and_answers_450_for_a_day(ripening):
    ripening.hit()
    ripening.hit()
    ripening.later(5 * HOUR)
    assert ripening.listing() == [], "two on one day"
    ripening.later(20 * HOUR)
    ripening.hit()
    ripening.later(4.1 * HOUR)
    assert ripening.listing() == [("backup", "inferred", "450", 24)]
    assert ripening.pg.query("SELECT host(return_address), firm FROM hunnypot.listing") == [("127.0.1.3", False)]
    ripening.later(24.1 * HOUR)
    assert ripening.listing() == [], "it pauses"
    ripening.later(24 * HOUR)
    assert ripening.listing() == [("backup", "inferred", "450", 24)]
    ripening.later(7 * DAY)
    assert ripening.listing() == []


def test_inferred_clients_with_a_name_are_watched_only(ripening):
    for name_state in ("confirmed", "unknown", "confirmed", "unknown"):
        ripening.hit(name_state=name_state)
        ripening.later(25 * HOUR)
    assert ripening.listing() == []


def test_hits_far_apart_do_not_add_up(ripening):
    ripening.hit()
    ripening.later(15 * DAY)
    ripening.hit()
    ripening.later(5 * HOUR)
    assert ripening.listing() == []
    ripening.later(DAY)
    ripening.hit()
    ripening.later(5 * HOUR)
    assert len(ripening.listing()) == 1


@pytest.mark.parametrize("hits, name_state, listed", [(1, "none", True), (1, "confirmed", False), (2, "confirmed", True)])
def test_witnessed_one_hit_without_a_name_or_two_with_one(ripening, hits, name_state, listed):
    ripening.watch_on()
    for _ in range(hits):
        ripening.hit(name_state=name_state)
    ripening.pg.query("UPDATE hunnypot.witness_stretch SET until = now() + interval '10 days'")
    ripening.later(25 * HOUR)
    assert [row[:3] for row in ripening.listing()] == ([("backup", "witnessed", "550")] if listed else [])


def test_a_letter_that_arrived_redeems_before_and_after(ripening):
    ripening.watch_on()
    early, late = ripening.hit(), ripening.hit()
    ripening.found(early)
    assert ripening.states() == [(1, 1, None, None)]
    ripening.pg.query("UPDATE hunnypot.witness_stretch SET until = now() + interval '10 days'")
    ripening.later(5 * HOUR)
    assert [row[:2] for row in ripening.listing()] == [("backup", "witnessed")]
    ripening.found(late, after=5 * HOUR)
    assert ripening.listing() == [], "the listing that it carried is taken back"
    assert ripening.states() == [(None, 2, None, None)]
    ripening.found(late, after=5 * HOUR)
    assert ripening.states() == [(None, 2, None, None)], "told twice"


def test_redeemed_of_several_leaves_the_rest(ripening):
    ripening.watch_on()
    hits = [ripening.hit() for _ in range(3)]
    ripening.pg.query("UPDATE hunnypot.witness_stretch SET until = now() + interval '10 days'")
    ripening.later(5 * HOUR)
    ripening.found(hits[0], after=HOUR)
    assert ripening.states() == [(None, 1, None, 2)] and len(ripening.listing()) == 1
    ripening.tell("found", *[{"hit": hit, "what": "listed", "time": micros(datetime.now(timezone.utc))} for hit in hits])
    assert ripening.states() == [(None, 3, None, None)] and ripening.listing() == []


@pytest.mark.parametrize("name_state, excused", [("confirmed", True), ("none", False), ("unknown", False)])
@pytest.mark.parametrize("what", ["seen", "refused"])
def test_seen_at_the_primary_excuses_by_name_only(ripening, name_state, excused, what):
    ripening.watch_on()
    ripening.found(ripening.hit(name_state=name_state), what, after=-HOUR)
    ripening.later(25 * HOUR)
    assert ripening.states() == [(None, None, 1, None) if excused else (None, None, None, 1)] or \
        ripening.states() == [(1, None, None, None)], "not watched to the end: it still waits"
    assert (ripening.states()[0][2] == 1) == excused


def test_a_witness_that_lags_is_waited_for_then_it_is_inferred(ripening):
    ripening.witness(since=2 * DAY, until=timedelta())
    ripening.hit()
    ripening.later(5 * HOUR)
    assert ripening.states() == [(1, None, None, None)], "what it read ends before the hit was ripe"
    ripening.later(40 * HOUR)
    assert ripening.states() == [(1, None, None, None)]
    ripening.later(4 * HOUR)
    assert ripening.states() == [(None, None, None, 1)]
    assert ripening.pg.query("SELECT witnessed FROM hunnypot.offence_day") == [(False,)]


def test_what_waits_for_a_dead_witness_is_looked_at_ever_more_seldom(ripening):
    """There may be millions, and each look writes them anew."""
    ripening.witness(since=2 * DAY, until=timedelta())
    ripening.hit()
    looks = []
    for _ in range(600):
        ripening.pg.query("UPDATE hunnypot.waiting SET due = now() WHERE due < now() + interval '1 second'")
        [(wait,)] = ripening.pg.query("SELECT extract(epoch FROM min(due) - now()) FROM hunnypot.waiting")
        if wait is None:
            break
        ripening.later(timedelta(seconds=float(wait) + 1))
        looks.append(float(wait) / 3600)
    assert 44 < sum(looks) < 52 and len(looks) < 40 and sorted(looks[1:-1]) == pytest.approx(looks[1:-1], abs=0.01)
    assert ripening.states() == [(None, None, None, 1)]


def test_a_client_without_letters_leaves_no_row(ripening):
    ripening.witness()
    ripening.tell("letters", {"client": CLIENT, "letters": 0}, {"client": "203.0.113.8", "letters": 3})
    assert ripening.pg.query("SELECT host(client), letters FROM hunnypot.witness_letters") == [("203.0.113.8", 3)]
    ripening.tell("letters", {"client": "203.0.113.8", "letters": 0})
    assert ripening.pg.query("SELECT host(client), letters FROM hunnypot.witness_letters") == [("203.0.113.8", 0)]


def test_a_witness_that_catches_up_covers_what_it_read(ripening):
    ripening.witness(since=2 * DAY, until=timedelta())
    ripening.hit()
    ripening.later(20 * HOUR)
    ripening.witness(since=4 * DAY)
    ripening.later(4.5 * HOUR)
    assert ripening.pg.query("SELECT witnessed FROM hunnypot.offence_day") == [(True,)]


@pytest.mark.parametrize("second", ["another machine of it", "another primary", "a gap", "another key", "a probe that it missed"])
def test_not_all_watched_is_not_witnessed(ripening, second):
    ripening.watch_on()
    if second == "another machine of it":
        ripening.pg.query("SELECT * FROM hunnypot.witness_hello(%s, 'two', '1', ARRAY[%s], 'envelope')", MX, KEY)
    ripening.hit(primaries=[MX, "mx0.backup.example"] if second == "another primary" else [MX],
                 key_id="f" * 16 if second == "another key" else KEY)
    ripening.pg.query("UPDATE hunnypot.witness_stretch SET until = now() + interval '10 days'")
    if second == "a gap":
        ripening.pg.query("""WITH whole AS (UPDATE hunnypot.witness_stretch SET until = now() - interval '6 hours' RETURNING *)
            INSERT INTO hunnypot.witness_stretch SELECT witness_id, now() - interval '5 hours', now() + interval '10 days', keys
            FROM whole""")
    if second == "a probe that it missed":
        ripening.tell("probes", {"sensor": "192.0.2.1", "time": micros(datetime.now(timezone.utc) - 3 * HOUR)})
        ripening.pg.query("INSERT INTO hunnypot.probe VALUES (%s, now() - interval '1 hour', '192.0.2.1')", MX)
    ripening.later(5 * HOUR)
    assert ripening.listing() == []
    ripening.later(48 * HOUR)
    assert ripening.pg.query("SELECT witnessed FROM hunnypot.offence_day") == [(False,)]


def test_no_circle_a_hit_while_listed_does_not_prolong(ripening):
    for _ in range(2):
        ripening.hit()
        ripening.later(25 * HOUR)
    assert ripening.listing() == [] or ripening.listing()[0][1] == "inferred"
    ripening.pg.query("UPDATE hunnypot.policy SET inferred_pause = '0' WHERE class = 'backup'")
    before = ripening.pg.query("SELECT until FROM hunnypot.listed(%s)", CLIENT)
    ripening.hit()
    ripening.later(timedelta())
    assert ripening.pg.query("SELECT while_listed FROM hunnypot.waiting") == [(True,)]
    ripening.pg.query("UPDATE hunnypot.waiting SET due = now(), ripe = now()")
    ripening.pg.query("SELECT hunnypot.tick()")
    assert ripening.pg.query("SELECT until FROM hunnypot.listed(%s)", CLIENT) == before


@pytest.mark.parametrize("refused, prolongs", [(False, True), (True, False)])
def test_no_circle_unless_it_is_proven(ripening, refused, prolongs):
    ripening.watch_on()
    ripening.hit()
    ripening.pg.query("UPDATE hunnypot.witness_stretch SET until = now() + interval '100 days'")
    ripening.later(30 * HOUR)
    second = ripening.hit()
    if refused:
        ripening.found(second, "refused", after=-HOUR)
    ripening.later(30 * HOUR)
    [(hits,)] = ripening.pg.query("SELECT sum(hits) FILTER (WHERE NOT while_listed)::int FROM hunnypot.offence_day")
    assert hits == (2 if prolongs else 1)


def test_null_sender_is_watched_in_a_trap_too_but_not_with_two_recipients(ripening):
    for kind in ("trap", "backup"):
        ripening.hit(**{"class": kind, "null_sender": True})
        ripening.hit(**{"class": kind, "null_sender": True, "client": "203.0.113.8", "recipients": "a@b.example\nc@b.example"})
    assert sorted(row[0] for row in ripening.pg.query("SELECT class FROM hunnypot.waiting WHERE network = %s", CLIENT)) == ["null-sender"] * 2
    assert sorted(row[0] for row in ripening.pg.query("SELECT class FROM hunnypot.waiting WHERE network <> %s", CLIENT)) == ["backup", "trap"]


def test_suspects_are_a_grade_of_their_own(ripening):
    ripening.hit(**{"class": "trap"})
    assert ripening.pg.query("SELECT * FROM hunnypot.suspect") == []
    ripening.pg.query("UPDATE hunnypot.policy SET suspect_address = '127.0.2.2' WHERE class = 'trap'")
    assert ripening.pg.query("SELECT host(network), host(return_address) FROM hunnypot.suspect") == [(CLIENT, "127.0.2.2")]
    # For each client that is not listed a DNSBL asks so, while millions of hits may wait.
    ripening.pg.query("ALTER DATABASE hunnypot SET enable_seqscan = off")
    plan = ripening.pg.query("EXPLAIN SELECT FROM hunnypot.suspect WHERE network = '203.0.113.99'")
    ripening.pg.query("ALTER DATABASE hunnypot RESET enable_seqscan")
    assert any("waiting_letter" in line for (line,) in plan), plan
    ripening.later(5 * HOUR)
    assert ripening.pg.query("SELECT * FROM hunnypot.suspect") == []


def test_enabling_releases_the_brake_for_just_that(pg_plain):
    """The first publication too; what is held back for another reason stays so."""
    ripening = Ripening(pg_plain)
    pg_plain.query("UPDATE hunnypot.setting SET value = '4' WHERE name = 'brake_floor'")
    for _ in range(2):
        for number in range(10, 20):
            ripening.hit(client=f"203.0.113.{number}")
        ripening.later(25 * HOUR)
    assert pg_plain.query("SELECT hunnypot.policy_enable('backup')") == [(10,)]
    assert pg_plain.query("SELECT hunnypot.publish_check()") == [(None,)]
    pg_plain.query("UPDATE hunnypot.policy SET listed = true WHERE class = 'trap'")
    for number in range(20, 23):
        ripening.hit(**{"class": "trap", "client": f"203.0.113.{number}"})
    ripening.hit(**{"class": "address", "client": "203.0.113.30"})
    ripening.later(25 * HOUR)
    ripening.hit(**{"class": "address", "client": "203.0.113.30"})
    ripening.later(25 * HOUR)
    assert pg_plain.query("SELECT held, why FROM hunnypot.brake_state") == [(3, "3 new in an hour, of at most 2")]
    assert pg_plain.query("SELECT hunnypot.policy_enable('address')") == [(1,)]
    exported = {"203.0.113.30"} | {f"203.0.113.{number}" for number in range(10, 20)}
    rows = pg_plain.query("SET hunnypot.export = 'on'; SELECT host(network) FROM hunnypot.listing")
    assert {row[0] for row in rows} == exported
    assert pg_plain.query("SELECT count(*) FROM hunnypot.held") == [(3,)]


# In words

def words(ripening, hit):
    return ripening.pg.query("SELECT hunnypot.hit_words(h), (hunnypot.hit_outcome(h)).state FROM hunnypot.hit h WHERE hit_id = %s", hit)[0]


def verdict(ripening, client=CLIENT):
    return ripening.pg.query("SELECT string_agg(what, E'\\n') FROM hunnypot.verdicts(hunnypot.client_network(%s))", client)[0][0]


def test_words_of_what_is_listed(ripening):
    """The whole way: it came, the primary took mail, the letter was seen nowhere, its log was watched, it is listed."""
    ripening.watch_on()
    hit = ripening.hit()
    ripening.pg.query("INSERT INTO hunnypot.probe SELECT %s, time + interval '3 s', '192.0.2.1' FROM hunnypot.hit", MX)
    assert words(ripening, hit)[1] == "ripening"
    assert verdict(ripening).startswith("not listed under backup: nothing counts yet; 1 hit ripening, until ")
    ripening.pg.query("UPDATE hunnypot.witness_stretch SET until = now() + interval '10 days'")
    ripening.later(25 * HOUR)
    told, state = words(ripening, hit)
    assert state == "witnessed"
    parts = told.split("; ")
    assert parts[0].endswith("203.0.113.7 came to the backup mx2.example.org of backup.example")
    assert parts[1] == f"at T+3.0 s primary {MX} took mail"
    assert parts[2].startswith("at T+1 day 01:00:0") or parts[2].startswith("at T+04:00:0"), told
    assert " this hit counts, witnessed: the letter was seen nowhere until " in parts[2]
    assert parts[2].endswith(f"and the log of {MX} was watched all that time")
    assert parts[3].startswith("so 203.0.113.7/32 is listed (witnessed) under backup until "), told
    assert ", answered 550 5.7.1 (DNSBL 127.0.0.3); witnessed: 1 hit without a name, of 1 that it takes; inferred: 1 hit of 2" in \
        verdict(ripening)
    why = [row[0] for row in ripening.pg.query("SELECT what FROM hunnypot.why(%s)", CLIENT)]
    assert why[1] == f"primary {MX} took mail" and why[-1] == verdict(ripening) and len(why) == 4


def test_words_of_what_is_forgiven(ripening):
    ripening.watch_on()
    redeemed, excused = ripening.hit(), ripening.hit(name_state="confirmed")
    ripening.found(redeemed)
    ripening.found(excused, "refused", after=-HOUR)
    ripening.later(25 * HOUR)
    told, state = words(ripening, redeemed)
    assert state == "redeemed" and f"; at T+3.0 s primary {MX} accepted this letter; " in told
    assert told.endswith("so this hit is redeemed, and does not count")
    told, state = words(ripening, excused)
    assert state == "excused" and "; its name is confirmed; " in told and f"; at T-01:00:00 primary {MX} turned the client away; " in told
    assert verdict(ripening) == "not listed under backup: nothing counts yet; 1 hit redeemed; 1 hit excused"


@pytest.mark.parametrize("ahead_s, ago, proof", [(600, "0 s", "inferred"), (600, "1 hour", "inferred"), (0, "-10 minutes", "inferred"),
                                                 (0, "1 hour", "witnessed"), (30, "-30 s", "witnessed"), (-600, "10 minutes", "witnessed")])
def test_while_its_sensor_is_ahead_nothing_is_proven_of_a_hit(ripening, ahead_s, ago, proof):
    """By its time the letter arrived long before it came, which is nowhere looked for."""
    ripening.watch_for_good()
    sent = micros(datetime.now(timezone.utc)) // 1000 + ahead_s * 1000
    ripening.sensor.heartbeat(json.dumps({"moments": {"sent": sent}}))
    number = ripening.hit(ago=ago)
    ripening.later(5 * HOUR)
    assert words(ripening, number)[1] == proof


@pytest.mark.parametrize("hit, watch, reason", [
    ({"key_id": None}, True, "nobody can say whether its letter arrived"),
    ({"envelope_whole": False}, True, "it has more recipients than witnesses look for, or the clock of its sensor was ahead"),
    ({"primaries": None}, True, "the primaries of the domain are not known"),
    ({}, False, f"nobody watches the log of {MX}"),
    ({}, True, f"the log of {MX} was not watched all that time")])
def test_words_of_why_it_is_only_inferred(ripening, hit, watch, reason):
    if watch:
        ripening.witness(since=HOUR)
    number = ripening.hit(**hit)
    ripening.later(5 * HOUR)
    told, state = words(ripening, number)
    if state == "ripening":
        assert f"this hit was ripe, but {reason}: it waits until " in told and told.endswith("and then counts as inferred")
        ripening.later(44 * HOUR)
        told, state = words(ripening, number)
    assert state == "inferred" and told.endswith(f"this hit counts, inferred: {reason}")
    assert verdict(ripening) == ("not listed under backup: it is not enough; witnessed: no hit without a name, of 1 that it takes; "
                                 "inferred: 1 hit of 2, on 1 day of 2")


def test_words_of_the_arithmetic(ripening):
    """What there is and what it takes, where a name, a share, days, pauses and the end of a listing have a say."""
    ripening.witness()
    ripening.tell("letters", {"client": CLIENT, "letters": 100})
    ripening.hit(**{"class": "trap", "name_state": "confirmed"})
    ripening.later(25 * HOUR)
    assert verdict(ripening).startswith(
        "not listed under trap: it is not enough; witnessed: no hit without a name, of 1 that it takes; with a name: 1 hit in all, "
        "of 3, on 1 day, of 3, and more than 5.0, which are 5.0% of the letters that primaries accepted from it in 7 days; inferred: ")
    ripening.pg.query("UPDATE hunnypot.policy SET listed = false WHERE class = 'trap'")
    assert verdict(ripening).startswith('not listed under trap, which is only watched until "hunnypot policy enable trap"; witnessed: ')
    other = "203.0.113.8"
    for _ in range(2):
        ripening.hit(client=other, key_id=None)
        ripening.later(25 * HOUR)
    assert verdict(ripening, other).startswith("listed (inferred) under backup from ")
    assert "answered 450 4.7.1 (DNSBL 127.0.1.3); " in verdict(ripening, other) and "inferred: 2 hits of 2, on 2 days of 2" in verdict(ripening, other)
    ripening.hit(client=other, key_id=None)
    ripening.later(20 * HOUR)
    assert "; 1 hit while it was on the list" in verdict(ripening, other)
    ripening.later(15 * HOUR)
    assert " an inferred listing pauses; " in verdict(ripening, other)
    ripening.later(20 * DAY)
    assert verdict(ripening, other).startswith("not listed under backup any more, since ")


@pytest.mark.parametrize("seed", range(3))
def test_words_say_what_is(ripening, seed):
    """Whatever happens: who is listed is said to be, with what it takes; who is not, is not."""
    chance = random.Random(seed)
    ripening.watch_on()
    ripening.pg.query("UPDATE hunnypot.witness_stretch SET until = now() + interval '60 days'")
    clients = [f"203.0.113.{number}" for number in range(1, 9)]
    for _ in range(12):
        for client in chance.sample(clients, 3):
            ripening.hit(**{"client": client, "name_state": chance.choice(("none", "confirmed", "unknown")),
                            "class": chance.choice(("trap", "backup")), "key_id": chance.choice((KEY, None))})
        ripening.later(chance.choice((1, 2)) * DAY)
    for client in clients:
        said = {kind: what for kind, listed, what in ripening.pg.query(
            "SELECT class, listed, what FROM hunnypot.verdicts(hunnypot.client_network(%s))", client) if listed}
        assert sorted(said) == sorted(row[0] for row in ripening.listing(client))
        for kind, _, enough in ripening.pg.query("""
                SELECT o.class, p.class, (CASE WHEN l.proof = 'witnessed' THEN t.nameless >= p.witnessed_hits OR
                    (t.nameless + t.named >= p.named_hits AND t.days >= p.named_days)
                    ELSE t.nameless + t.named >= p.min_hits AND t.days >= p.min_days END)
                FROM (SELECT class, array_agg(o ORDER BY o.counted, o.first_seen, o.domain, o.day, o.named, o.witnessed) AS facts
                      FROM hunnypot.offence_day o WHERE network = hunnypot.client_network(%s) GROUP BY 1) o
                JOIN hunnypot.policy p USING (class) JOIN hunnypot.listing l ON l.class = o.class AND l.network = hunnypot.client_network(%s),
                hunnypot.tally(p, o.facts, l.proof = 'witnessed') t""", client, client):
            assert enough, (client, kind, said)
