"""What each role of the database can not do, as somebody who logs in with it.  Every table, view and function has its line
here, also one that is new; and nothing needs a superuser."""
import re
import shutil

import psycopg2
import pytest

from testbed.base import TOP
from testbed.milter import environment

ROLES = ["sensor", "reader", "operator", "witness", "door", "nobody"]
READ, CHANGE = {"SELECT"}, {"SELECT", "INSERT", "UPDATE", "DELETE"}
READERS = {"reader": READ, "operator": READ}
WITNESSES = {**READERS, "witness": READ}
CHANGED = {"reader": READ, "operator": CHANGE}
RELATIONS = {
    "schema_version": WITNESSES, "sensor": READERS, "spool": READERS, "hit": READERS, "hit_default": READERS,
    "waiting": READERS, "offence_day": READERS, "offence": READERS, "listing": READERS, "listed_now": READERS, "on_list": READERS,
    "odd_network": READERS, "list_serial": READERS,
    "rework": READERS, "suspect": READERS, "pardoned": READERS, "brake_growth": {}, "brake": {},
    "brake_state": READERS, "held": READERS, "trap_letter": {}, "redeemed": READERS, "envelope": READERS, "envelope_key": READERS, "witness": READERS,
    "witness_stretch": READERS, "witness_probe": READERS, "witness_found": READERS, "witness_letters": READERS,
    "turn_list": {}, "turn_record": {}, "turn_partitions": {}, "turn_request": {}, "request": READERS, "request_token": {}, "request_request_id_seq": {},
    "probe": READERS, "hourly": READERS, "outage": READERS, "reached": READERS,
    "left_alone": READERS, "busiest": READERS, "until_listed": READERS, "listing_count": READERS, "hit_to_listing": READERS, "setting": CHANGED, "policy": CHANGED, "allow": CHANGED,
    "hit_DAY": {}, "sensor_sensor_id_seq": {}, "witness_witness_id_seq": {}, "listed_network": {}, "listed_serial": {}, "change": {},
}
SENSOR, READER, OPERATOR = {"sensor"}, {"reader", "operator"}, {"operator"}
FUNCTIONS = {
    **dict.fromkeys(["sensor_hello", "record_batch", "sensor_heartbeat", "sensor_probes", "sensor_friends"], SENSOR),
    **dict.fromkeys(["witness_hello", "witness_waiting", "witness_clients", "witness_found", "witness_watched", "witness_probes",
                     "witness_letters"], {"witness"}),
    "tick": SENSOR | OPERATOR, "sensor_brake": SENSOR, "publish_check": READER, "envelope_keys": SENSOR | OPERATOR,
    **dict.fromkeys(["client_address", "client_network", "neighbours", "setting", "covering", "listed", "listed_code", "listed_address", "units", "hours_left",
                     "iso_time", "reversed", "address", "postfix_action", "postfix_actions", "known_class", "worst_listing", "firm_listing", "listing_serial",
                     "listing_state", "changes", "list_mark", "changed_networks", "changed_listing", "mark_address", "why", "verdicts", "hit_words",
                     "hit_outcome", "policy_test", "witness_list", "witness_troubles",
                     "was_watched", "mx_watched", "machine_watched", "brake_room", "newest_offences", "policy_tradeoff", "until_listed_steps", "hit_to_listing_bounds",
                     "dnsbl", "dnsbl_in", "dnsbl_address", "dnsbl_zone"], READER),
    **dict.fromkeys(["are_nat64_prefixes", "brake_release", "allow_add", "allow_del", "forget", "expire", "rebuild", "policy_enable",
                     "witness_remove", "witness_forget", "request_to_check", "request_checked", "request_decide", "sensor_retire"], OPERATOR),
    **dict.fromkeys(["door_look_up", "door_token", "door_ask"], {"door"}),
    **dict.fromkeys(["make_partitions", "lock_alone", "find_sensor", "no_link", "counted_class", "letter_of", "count_ripe", "waits_until", "letters_are_known", "letters_compared", "lasting", "is_enough", "judge",
                     "clients_needed", "facts_of",
                     "judge_anew", "rework_step", "refresh", "list_lock", "list_turn", "list_changed", "policy_changed",
                     "allow_changed", "setting_changed", "brake_why", "brake_turn", "rework_whole", "last_within",
                     "listing_term", "letters_accepted", "watched_times", "redeem", "from_micros", "find_witness",
                     "name_pattern", "helo_pattern", "busiest_add", "figures_expire", "note_counters", "note_outages", "note_reached", "policy_step",
                     "time_text", "span_text", "count_text", "fact_of", "unproven_text", "watched_until", "hit_story", "tally", "arithmetic",
                     "strict", "void", "request_lock", "request_remove", "request_proven", "request_is_full", "request_close", "request_expire", "request_forget",
                     "door_listing", "door_code", "door_may_remove", "door_way"], set()),
}


@pytest.fixture
def roles(pg):
    """The database with all that can be in it, a partition for today and somebody who is a member of no role."""
    if not pg.query("SELECT 1 FROM pg_roles WHERE rolname = 'nobody'"):
        pg.query("CREATE ROLE nobody LOGIN")
    pg.query("SELECT hunnypot.sensor_hello('s', gen_random_uuid(), '{}', 1); SELECT hunnypot.sensor_heartbeat('s', '', 0, 0, 0, '{}')")
    pg.query((TOP / "sql/dnsbl/powerdns.sql").read_text())
    return pg


def test_tables_and_views(roles):
    found = {}
    for relation, kind, role, right in roles.query("""
            SELECT c.relname, c.relkind, role, p FROM pg_class c, unnest(%s) role,
                unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER', NULL]) p
            WHERE c.relnamespace = 'hunnypot'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
              AND CASE WHEN p IS NULL THEN true
                       WHEN c.relkind = 'S' THEN p IN ('SELECT', 'UPDATE') AND (has_sequence_privilege(role, c.oid, p)
                                                                                OR has_sequence_privilege(role, c.oid, 'USAGE'))
                       WHEN p IN ('DELETE', 'TRUNCATE', 'TRIGGER') THEN has_table_privilege(role, c.oid, p)
                       ELSE has_table_privilege(role, c.oid, p) OR has_any_column_privilege(role, c.oid, p) END""", ROLES):
        rights = found.setdefault(re.sub(r"^hit_\d{8}$", "hit_DAY", relation), {}).setdefault(role, set())
        rights.update([right] if right else [])
    assert found == {name: {role: rights.get(role, set()) for role in ROLES} for name, rights in RELATIONS.items()}


def test_functions(roles):
    found = {}
    for name, role, may in roles.query("""
            SELECT p.proname, role, has_function_privilege(role, p.oid, 'EXECUTE') FROM pg_proc p, unnest(%s) role
            WHERE p.pronamespace = 'hunnypot'::regnamespace""", ROLES):
        found.setdefault(name, set()).update([role] if may else [])
    assert found == FUNCTIONS


def test_functions_with_their_owners_rights_look_nowhere_else(roles):
    """Not where others may make things, and last of all among temporary ones."""
    found = roles.query("SELECT proname, coalesce(array_to_string(proconfig, ';'), '') FROM pg_proc "
                        "WHERE prosecdef AND pronamespace = 'hunnypot'::regnamespace")
    assert len(found) >= 9
    for name, settings in found:
        assert re.search(r"(^|;)search_path=(hunnypot|pg_catalog), pg_temp(;|$)", settings), name


def test_no_superuser_owns_anything(roles):
    owners = roles.query("""
        SELECT pg_get_userbyid(owner), rolsuper OR rolcreaterole OR rolcreatedb OR rolcanlogin
        FROM (SELECT relowner FROM pg_class WHERE relnamespace = 'hunnypot'::regnamespace
              UNION SELECT proowner FROM pg_proc WHERE pronamespace = 'hunnypot'::regnamespace
              UNION SELECT typowner FROM pg_type WHERE typnamespace = 'hunnypot'::regnamespace
              UNION SELECT nspowner FROM pg_namespace WHERE nspname = 'hunnypot') o (owner)
        JOIN pg_roles ON pg_roles.oid = owner""")
    assert owners == [("hunnypot_owner", False)]


def test_members_and_schema(roles):
    members = roles.query("SELECT roleid::regrole::text, member::regrole::text FROM pg_auth_members m JOIN pg_roles r "
                          "ON r.oid = member WHERE roleid::regrole::text LIKE 'hunnypot%%' AND NOT rolcanlogin")
    assert members == [("hunnypot_reader", "hunnypot_operator")]
    for role in ROLES:
        [(usage, create)] = roles.query("SELECT has_schema_privilege(%s, 'hunnypot', 'USAGE'), "
                                        "has_schema_privilege(%s, 'hunnypot', 'CREATE')", role, role)
        assert (usage, create) == (role != "nobody", False)


RECORDING = ["SELECT hunnypot.sensor_hello('s', gen_random_uuid(), '{}', 1)", "SELECT hunnypot.record_batch('s', gen_random_uuid(), NULL, gen_random_uuid(), false, '{}')",
             "SELECT hunnypot.sensor_heartbeat('s', '', 0, 0, 0, '{}')"]
FOR_NONE = [
    "COPY hunnypot.hit TO PROGRAM 'cat'", "COPY hunnypot.hit TO '/tmp/x'", "COPY (SELECT 1) TO PROGRAM 'cat'",
    "CREATE TABLE hunnypot.x ()", "CREATE TABLE public.x ()", "CREATE FUNCTION hunnypot.x() RETURNS int LANGUAGE sql RETURN 1",
    "CREATE SCHEMA x", "CREATE ROLE x", "CREATE DATABASE x", "CREATE EXTENSION file_fdw", "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')", "SET ROLE postgres", "SET ROLE hunnypot_owner", "SET SESSION AUTHORIZATION postgres",
    "GRANT hunnypot_operator TO nobody", "ALTER TABLE hunnypot.hit ADD COLUMN x int",
    "ALTER FUNCTION hunnypot.expire RESET ALL", "DROP SCHEMA hunnypot CASCADE", "TRUNCATE hunnypot.offence_day",
    "BEGIN; LOCK TABLE hunnypot.hit IN ACCESS EXCLUSIVE MODE", "ALTER SYSTEM SET listen_addresses = '*'",
    "CREATE TRIGGER x BEFORE INSERT ON hunnypot.hit EXECUTE FUNCTION hunnypot.policy_changed()"]


@pytest.mark.parametrize("role", ROLES)
def test_statements_that_are_refused(roles, role):
    done = [statement for statement in FOR_NONE + (RECORDING if role != "sensor" else [])
            if not is_refused(roles, role, statement)]
    assert done == []


def is_refused(pg, role, statement):
    try:
        pg.query(statement, user=role)
    except psycopg2.errors.InsufficientPrivilege:
        return True
    return False



def test_nothing_needs_a_superuser(pg, hunnypot, tmp_path):
    """A database of one's own, and the right to make roles for the time of `db init`."""
    shutil.copytree(TOP / "sql", tmp_path / "sql")

    def run(user, *words):
        return hunnypot(*words, env=environment(PGUSER=user, PGDATABASE="own", HUNNYPOT_DATADIR=str(tmp_path))).stdout
    pg.query("DROP DATABASE IF EXISTS own WITH (FORCE)")
    pg.query("DROP ROLE IF EXISTS chief, keeper; CREATE ROLE chief LOGIN CREATEROLE; CREATE ROLE keeper LOGIN")
    pg.query("CREATE DATABASE own OWNER chief")
    run("chief", "db", "init")
    pg.query("ALTER ROLE chief NOCREATEROLE; GRANT hunnypot_owner TO keeper")
    number = len(list((tmp_path / "sql").glob("[0-9]*.sql"))) + 1
    (tmp_path / f"sql/{number:03}-more.sql").write_text("ALTER TABLE hunnypot.hit ADD COLUMN more int;\n"
                                                         "CREATE FUNCTION hunnypot.more() RETURNS int LANGUAGE sql RETURN 1")
    assert run("keeper", "db", "upgrade") == f"{number:03}-more.sql\n"
    assert pg.query("SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE proname = 'more'", database="own") == [("hunnypot_owner",)]
    pg.query("SELECT hunnypot.sensor_hello('s', gen_random_uuid(), '{}', 1); SELECT hunnypot.sensor_heartbeat('s', '', 0, 0, 0, '{}')",
             user="sensor", database="own")
    pg.query("UPDATE hunnypot.setting SET value = '1 s' WHERE name = 'keep_hits'", user="operator", database="own")
    for words in ("allow add 192.0.2.0/24", "allow del 192.0.2.0/24", "forget 192.0.2.0/24", "expire"):
        run("operator", *words.split())
    for words in ("status", "list", "export csv"):
        run("reader", *words.split())
    pg.query("DROP DATABASE own WITH (FORCE)")
    pg.query("DROP ROLE chief, keeper")
