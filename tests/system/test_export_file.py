"""hunnypot export, whatever the format: what becomes of the file, its readers, and what they are told."""
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from cli_data import Sensor
from testbed.base import BUILD, TOP, let_pass, run, wait_for
from testbed.milter import environment
from testbed.offences import early_in_the_hour, list_networks

ADDRESSES = "SELECT host(network) FROM hunnypot.listing ORDER BY network"
NOTE = "user.hunnypot.made-from"
OLD = b"what was there before\nwithout an end of line"
# Rows come one by one and slowly, so that something can happen in between; the first fill libpq's and the file's buffers.
SLOW = """SELECT CASE WHEN i > 3000 THEN repeat('x', 100) || coalesce(pg_sleep(0.05)::text, '') ELSE repeat('x', 100) END
    FROM generate_series(1, 5000) i"""


@pytest.fixture
def formats(tmp_path):
    """formats(name, sql) puts a format into the user's folder, which is given to every run."""
    folder = tmp_path / "formats"
    folder.mkdir()

    def write(name, sql):
        (folder / f"{name}.sql").write_text(sql)
    write.env = environment(PGUSER="postgres", HUNNYPOT_EXPORT_DIR=str(folder))
    write.folder = folder
    return write


@pytest.fixture
def listed(pg):
    """Two listed networks, and what records more."""
    sensor = Sensor(pg)
    trap(sensor, "203.0.113.1", "203.0.113.2")
    return sensor


def trap(sensor, *clients):
    sensor.record(*[{"class": "trap", "domain": "trap.example", "client": client} for client in clients])


@pytest.fixture
def target(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "list"


def export(formats, *words, status=0):
    done = run(BUILD / "hunnypot", "export", *words, check=False, env=formats.env)
    assert "Sanitizer" not in done.stderr, done.stderr
    assert done.returncode == status, done
    assert status == 0 or done.stderr.startswith("hunnypot: ") and done.stderr.count("\n") == 1, done.stderr
    return done


def identity(path):
    """What changes when a file is written or replaced."""
    now = path.stat()
    return now.st_ino, now.st_mtime_ns, now.st_ctime_ns


def in_folder(target):
    return sorted(path.name for path in target.parent.iterdir())


# Formats

def test_a_file_in_the_folder_is_a_format(listed, formats, target):
    formats("mine", f"-- consumer: my own\n{ADDRESSES} -- the end\n;\n")
    export(formats, "mine", "-o", target)
    assert target.read_text() == "203.0.113.1\n203.0.113.2\n"
    assert export(formats, "mine").stdout == "203.0.113.1\n203.0.113.2\n"
    assert "\nmine             my own\n" in "\n" + export(formats, "--list").stdout


def test_a_users_format_goes_before_a_shipped_one(listed, formats):
    formats("plain", "SELECT 'mine'")
    assert export(formats, "plain").stdout == "mine\n"
    listing = export(formats, "--list").stdout
    assert listing.count("\nplain ") + listing.startswith("plain ") == 1


def test_list_has_every_shipped_format(formats):
    listed = [line.split()[0] for line in export(formats, "--list").stdout.splitlines() if not line.startswith(" ")]
    assert listed == sorted(path.stem for path in (TOP / "sql/export").glob("*.sql"))


PARAMETERS = """-- parameter: name = a default  what it is
--   parameter: empty =   nothing
-- parameter: last = x
SELECT concat_ws('|', :'name', :'empty', :'last', ':', 'a:''b')"""


@pytest.mark.parametrize("settings, line", [
    ([], "a default||x|:|a:'b"),
    (["name="], "||x|:|a:'b"),
    (["name=a=b", "last=y z"], "a=b||y z|:|a:'b"),
    (["name='; DROP SCHEMA hunnypot; --", "empty=\\'"], "'; DROP SCHEMA hunnypot; --|\\'|x|:|a:'b"),
    (["name=\t:'last'$$\"%s\u00fc"], "\t:'last'$$\"%s\u00fc||x|:|a:'b"),
])
def test_parameters_are_literals(pg, formats, settings, line):
    formats("parameters", PARAMETERS)
    words = [word for setting in settings for word in ("--set", setting)]
    assert export(formats, "parameters", *words).stdout == line + "\n"


def test_text_comes_as_it_is(pg, formats):
    formats("text", "SELECT unnest(ARRAY[E'a\\tb', E'\\\\', E'\\\\N', E'\\\\.', '', '\"', '%s', E'\u00fc'])")
    assert export(formats, "text").stdout == "a\tb\n\\\n\\N\n\\.\n\n\"\n%s\n\u00fc\n"


@pytest.mark.parametrize("sql, why", [
    ("SELECT 1, 2", "row 1 has more than one column"),
    ("SELECT 'fine' UNION ALL SELECT NULL", "row 2 is NULL"),
    ("SELECT E'two\\nlines'", "row 1 has a control character"),
    ("SELECT E'\\x1b[31m'", "row 1 has a control character"),
    ("SELECT :'undeclared'", 'no "-- parameter:" line for undeclared'),
    ("SELECT 1/(5000 - i) FROM generate_series(1, 6000) i", "division by zero"),
    ("SELECT nonsense", 'column "nonsense" does not exist'),
    ("", "syntax error"),
    ("DELETE FROM hunnypot.offence_day RETURNING 'x'", "read-only transaction"),
    ("-- parameter: name\nSELECT 1", "a parameter without a default: name"),
    ("SELECT pg_terminate_backend(pg_backend_pid())::text FROM generate_series(1, 3) i", "terminating connection"),
], ids=lambda text: text[:30])
@pytest.mark.parametrize("there", [True, False], ids=["replacing", "new"])
def test_an_error_leaves_the_old_file(listed, formats, target, sql, why, there):
    formats("wrong", sql)
    if there:
        target.write_bytes(OLD)
    before = there and identity(target)
    done = export(formats, "wrong", "-o", target, status=1)
    assert why in done.stderr
    if there:
        assert target.read_bytes() == OLD and identity(target) == before
    assert in_folder(target) == (["list", "list.lock"] if there else ["list.lock"]) or why.startswith(("no ", "a "))


def test_no_such_format(net, formats):
    assert "no such format: nonsense" in export(formats, "nonsense", status=1).stderr


def test_a_disk_that_is_full_leaves_the_old_file(listed, formats, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk)
    try:
        (disk / "list").write_bytes(OLD)
        formats("large", "SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
        done = export(formats, "large", "-o", disk / "list", status=1)
        assert "No space left on device" in done.stderr
        assert (disk / "list").read_bytes() == OLD and not (disk / "list.new").exists()
    finally:
        run("umount", disk)


@pytest.mark.parametrize("where, why", [("nowhere/list", "No such file or directory"), ("out", "is not a file"),
                                        ("pipe", "is not a file")])
def test_a_target_that_cannot_be(listed, formats, tmp_path, target, where, why):
    os.mkfifo(tmp_path / "pipe")
    assert why in export(formats, "plain", "-o", tmp_path / where, status=1).stderr


def test_a_database_that_is_down_leaves_the_old_file(pg_server, formats, target):
    target.write_bytes(OLD)
    pg_server.stop()
    export(formats, "plain", "-o", target, status=1)
    assert target.read_bytes() == OLD and in_folder(target) == ["list"]


# Replacing

def test_identical_content_leaves_the_file_untouched(listed, formats, target):
    formats("mine", ADDRESSES)
    export(formats, "mine", "-o", target, "--command", f"echo >>{target}.ran")
    before = identity(target)
    export(formats, "mine", "-o", target, "--command", f"echo >>{target}.ran")
    assert identity(target) == before
    assert (target.parent / "list.ran").read_text() == "\n"


def set_read(pg):
    """What plain gives from now on, without a trace in the list's serial: a file that says so was made from the list anew."""
    pg.query("SET session_replication_role = replica; DELETE FROM hunnypot.listed_network WHERE network = '203.0.113.2'")


def test_an_unchanged_list_is_not_read_again(listed, pg, formats, target):
    early_in_the_hour(pg)
    export(formats, "plain", "-o", target, "--command", f"echo >>{target}.ran")
    before = identity(target)
    set_read(pg)
    export(formats, "plain", "-o", target, "--command", f"echo >>{target}.ran")
    assert identity(target) == before and target.read_text() == "203.0.113.1\n203.0.113.2\n".replace("\n", "/32\n")
    assert (target.parent / "list.ran").read_text() == "\n"


def rewrite(target, text):
    """In place, with the time that it had."""
    before = target.stat()
    target.write_text(text)
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(target):
    shutil.copy2(target, f"{target}.copy")  # with attributes and times
    os.rename(f"{target}.copy", target)


@pytest.mark.parametrize("what", [
    lambda target, pg: target.write_text("203.0.113.1/32\n203.0.113.9/32\n"), lambda target, pg: rewrite(target, "short\n"),
    lambda target, pg: replace(target), lambda target, pg: target.unlink(), lambda target, pg: os.removexattr(target, NOTE),
    lambda target, pg: pg.query("UPDATE hunnypot.setting SET value = value WHERE name = 'lookup_url'"),
    lambda target, pg: pg.query("UPDATE hunnypot.listed_network SET due = now()"),
    lambda target, pg: run(BUILD / "hunnypot", "db", "upgrade", env=environment(PGUSER="postgres"))],
    ids=["rewritten", "of another size", "a copy", "gone", "without a note", "changed list", "ended listing", "upgrade"])
def test_what_may_differ_is_read_again(listed, pg, formats, target, what):
    export(formats, "plain", "-o", target)
    set_read(pg)
    what(target, pg)
    export(formats, "plain", "-o", target)
    assert target.read_text() == "203.0.113.1/32\n"


def test_other_parameters_are_another_file(listed, formats, target):
    export(formats, "plain", "-o", target)
    export(formats, "plain", "-o", target, "--set", "class=backup")
    assert target.read_text() == ""
    export(formats, "plain", "-o", target)
    assert target.read_text() == "203.0.113.1/32\n203.0.113.2/32\n"


def test_a_format_of_ones_own_may_read_more_than_the_list(listed, pg, formats, target):
    formats("plain", "SELECT count(*)::text FROM hunnypot.allow, hunnypot.setting WHERE false UNION ALL "
                     "SELECT value FROM public.mine\n")
    pg.query("CREATE TABLE public.mine AS SELECT 'one' AS value")
    export(formats, "plain", "-o", target)
    pg.query("UPDATE public.mine SET value = 'two'")
    export(formats, "plain", "-o", target)
    assert target.read_text() == "0\ntwo\n"


@pytest.mark.parametrize("old", [b"", b"203.0.113.1\n", b"203.0.113.1\n203.0.113.2\n203.0.113.3\n",
                                 b"203.0.113.1\n203.0.113.9\n"], ids=["empty", "shorter", "longer", "same length"])
def test_other_content_is_replaced(listed, formats, target, old):
    formats("mine", ADDRESSES)
    target.write_bytes(old)
    before = target.stat().st_ino
    export(formats, "mine", "-o", target)
    assert target.read_text() == "203.0.113.1\n203.0.113.2\n"
    assert target.stat().st_ino != before and in_folder(target) == ["list", "list.lock"]


def test_mode_and_owner_stay(listed, formats, target):
    formats("mine", ADDRESSES)
    target.write_bytes(OLD)
    os.chmod(target, 0o640)
    os.chown(target, 1234, 5678)
    export(formats, "mine", "-o", target)
    now = target.stat()
    assert (now.st_mode & 0o7777, now.st_uid, now.st_gid) == (0o640, 1234, 5678)


def test_a_link_that_leads_nowhere_is_refused(formats, target, tmp_path):
    target.symlink_to(tmp_path / "gone")
    assert "leads to no file" in export(formats, "plain", "-o", target, status=1).stderr
    assert target.is_symlink() and not (tmp_path / "gone").exists()


def test_a_link_stays_a_link(listed, formats, target, tmp_path):
    formats("mine", ADDRESSES)
    (tmp_path / "real").write_bytes(OLD)
    target.symlink_to(tmp_path / "real")
    export(formats, "mine", "-o", target)
    assert target.is_symlink() and (tmp_path / "real").read_text() == "203.0.113.1\n203.0.113.2\n"


def test_it_is_on_the_disk_before_it_is_in_place(listed, formats, target):
    """In this order: the file's fsync, the rename, the folder's fsync."""
    formats("mine", ADDRESSES)
    trace = target.parent / "trace"
    env = {**formats.env, "ASAN_OPTIONS": "detect_leaks=0"}  # LeakSanitizer cannot work under a tracer
    run("strace", "-f", "-y", "-e", "trace=fsync,fdatasync,rename,renameat,renameat2", "-o", trace, BUILD / "hunnypot",
        "export", "mine", "-o", target, env=env)
    calls = [line.split(None, 1)[1] for line in trace.read_text().splitlines() if "(" in line]
    assert [call.split("(")[0] for call in calls] == ["fsync", "rename", "fsync"], calls
    assert "/out/list.new>" in calls[0] and "/out>" in calls[2]


class Running:
    def __init__(self, formats, *words):
        self.errors = tempfile.NamedTemporaryFile()
        self.process = subprocess.Popen([BUILD / "hunnypot", "export", *words], stderr=self.errors, env=formats.env)

    def said(self):
        return Path(self.errors.name).read_text()

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(30)
        error = self.said()
        assert "Sanitizer" not in error, error
        return self.process.returncode, error


def test_killed_while_it_writes(listed, formats, target):
    """Not a byte of the old file is lost, and what lies about is no obstacle to the next run."""
    formats("slow", SLOW)
    formats("mine", ADDRESSES)
    target.write_bytes(OLD)
    running = Running(formats, "slow", "-o", target)
    fresh = target.parent / "list.new"
    wait_for(lambda: fresh.exists() and fresh.stat().st_size > 100000, what="half a file")
    assert running.end(signal.SIGKILL)[0] == -signal.SIGKILL
    assert target.read_bytes() == OLD and fresh.exists()
    export(formats, "mine", "-o", target)
    assert target.read_text() == "203.0.113.1\n203.0.113.2\n" and in_folder(target) == ["list", "list.lock"]


def test_stopped_while_it_waits_for_another(listed, formats, target):
    formats("slow", SLOW)
    first = Running(formats, "slow", "-o", target)
    wait_for((target.parent / "list.new").exists, what="first run")
    second = Running(formats, "slow", "-o", target)
    wait_for(lambda: "list.lock" in run("ls", "-l", f"/proc/{second.process.pid}/fd", check=False).stdout, what="second run")
    assert second.end() == (1, f"hunnypot: {target}.lock: stopped while waiting for another export\n")
    assert first.process.poll() is None
    assert first.end()[0] == 1


def half_written(formats, target):
    """An export that is about to replace OLD, and has written a part."""
    formats("slow", SLOW)
    target.write_bytes(OLD)
    running = Running(formats, "slow", "-o", target)
    fresh = target.parent / "list.new"
    wait_for(lambda: fresh.exists() and fresh.stat().st_size > 100000, what="half a file")
    return running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_while_it_writes(listed, formats, target, number):
    running = half_written(formats, target)
    assert running.end(number)[0] == 1
    assert target.read_bytes() == OLD and in_folder(target) == ["list", "list.lock"]


def test_server_killed_while_it_writes(listed, pg, formats, target):
    running = half_written(formats, target)
    pg.kill()
    assert running.process.wait(30) == 1
    assert target.read_bytes() == OLD and in_folder(target) == ["list", "list.lock"]


def waiting(target):
    """What an export says that has waited for ten seconds."""
    return f"hunnypot: {target}.lock: waiting for another export\n"


def test_several_at_once(listed, formats, target):
    formats("large", "SELECT repeat('x', 100) || i FROM generate_series(1, 20000) i")
    running = [Running(formats, "large", "-o", target) for _ in range(6)]
    for one in running:
        assert one.process.wait(60) == 0 and one.said() in ("", waiting(target)), one.said()
    assert target.read_text() == "".join(f"{'x' * 100}{i}\n" for i in range(1, 20001))
    assert in_folder(target) == ["list", "list.lock"]


def test_a_second_run_waits_for_the_first(listed, formats, target):
    formats("slow", SLOW.replace("5000", "3040"))
    formats("mine", ADDRESSES)
    first = Running(formats, "slow", "-o", target)
    wait_for((target.parent / "list.new").exists, what="first run")
    export(formats, "mine", "-o", target)
    assert first.process.wait(timeout=20) == 0  # it let go of the file a moment before its end
    assert target.read_text() == "203.0.113.1\n203.0.113.2\n"


# Others in the same folder

STRANGER = 1234


@pytest.fixture
def shared(tmp_path):
    """A folder in which everybody may make files."""
    folder = tmp_path / "shared"
    folder.mkdir()
    os.chmod(folder, 0o1777)
    return folder


def give(path, owner=STRANGER):
    os.lchown(path, owner, owner)
    return path


@pytest.mark.parametrize("owner", [0, STRANGER])
def test_a_lock_of_a_stranger_is_refused(listed, formats, shared, owner):
    """They could hold it for ever.  Not so in a folder of their own, where they can do anything."""
    (shared / "list.lock").touch(mode=0o600)
    give(shared / "list.lock")
    give(shared, owner)
    done = export(formats, "plain", "-o", shared / "list", status=int(owner != STRANGER))
    assert ("belongs to user 1234" in done.stderr) == (owner != STRANGER)


def test_a_lock_that_is_held_is_said(listed, formats, target):
    with open(target.parent / "list.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        running = Running(formats, "plain", "-o", target)
        wait_for(running.said, timeout=30, what="word of the lock")
    assert (running.process.wait(20), running.said()) == (0, waiting(target)) and target.exists()


def test_a_lock_that_was_removed_is_made_again(listed, formats, target):
    """The one that is held then keeps nobody away who comes later."""
    formats("slow", SLOW)
    first = Running(formats, "slow", "-o", target)
    wait_for((target.parent / "list.new").exists, what="first run")
    second = Running(formats, "plain", "-o", target)
    wait_for(lambda: "list.lock" in run("ls", "-l", f"/proc/{second.process.pid}/fd", check=False).stdout, what="second run")
    lock = target.parent / "list.lock"
    lock.unlink()
    first.end()
    assert second.process.wait(20) == 0
    assert lock.exists() and target.exists()


def test_a_link_of_a_stranger_is_not_followed(listed, formats, shared, tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    (real / "list").write_bytes(OLD)
    (shared / "list").symlink_to(real / "list")
    give(shared / "list")
    (shared / "folder").symlink_to(real)
    give(shared / "folder")
    (tmp_path / "mine").symlink_to("shared/list")  # a link of ours to one of theirs
    for path in (shared / "list", shared / "folder" / "list", tmp_path / "mine"):
        assert "a link of another user" in export(formats, "plain", "-o", path, status=1).stderr
    assert (real / "list").read_bytes() == OLD and in_folder(real / "list") == ["list"]
    give(shared / "list", 0)
    export(formats, "plain", "-o", tmp_path / "mine")
    assert (real / "list").read_bytes() != OLD


# The brake

def test_the_brake(listed, pg, formats, target):
    """What it holds back is not in the file, which is kept up to date in all else; who released it finds all there."""
    formats("mine", ADDRESSES)
    pg.query("UPDATE hunnypot.setting SET value = '20' WHERE name = 'brake_floor'")
    trap(listed, "203.0.113.3")
    export(formats, "mine", "-o", target)
    trap(listed, *[f"203.0.113.{i}" for i in range(4, 10)])
    done = export(formats, "mine", "-o", target)
    assert done.stderr.endswith("the brake holds 6 networks back from exports: 9 new in an hour, of at most 5 "
                                "(see: hunnypot brake show)\n")
    assert target.read_text().split() == export(formats, "mine").stdout.split() == ["203.0.113.1", "203.0.113.2", "203.0.113.3"]
    pg.query("SELECT hunnypot.allow_add('203.0.113.2')")
    export(formats, "mine", "-o", target)
    assert target.read_text().split() == ["203.0.113.1", "203.0.113.3"]
    pg.query("SELECT hunnypot.brake_release()")
    assert export(formats, "mine", "-o", target).stderr == ""
    assert len(target.read_text().split()) == 8


def test_the_brake_in_each_shipped_format(listed, pg, formats):
    """None of them has who is held back."""
    trap(listed, *[f"198.51.100.{i}" for i in range(1, 40)])
    names = [path.stem for path in (TOP / "sql/export").glob("*.sql")]
    assert len(names) > 20
    for name in names:
        assert "198.51.100" not in (text := export(formats, name).stdout), name
        assert "100.51.198" not in text, name
    pg.query("SELECT hunnypot.brake_release()")
    assert "198.51.100" in export(formats, "plain").stdout


def test_the_brake_is_said_once_while_watching(listed, pg, formats, target):
    running = Running(formats, "plain", "-o", target, "--watch", "--interval", "100ms")
    wait_for(target.exists, what="export")
    trap(listed, *[f"198.51.100.{i}" for i in range(1, 40)])
    trap(listed, *[f"198.51.100.{i}" for i in range(41, 50)])
    pg.query("SELECT hunnypot.allow_add('203.0.113.2')")
    wait_for(lambda: "203.0.113.2" not in target.read_text(), what="removal")
    assert running.end()[1].count("the brake holds") == 1 and "198.51.100" not in target.read_text()


def test_standard_output_that_is_full(listed, formats):
    formats("large", "SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([BUILD / "hunnypot", "export", "large"], stdout=full, stderr=subprocess.PIPE, text=True,
                              check=False, env=formats.env)
    assert (done.returncode, done.stderr) == (1, "hunnypot: standard output: No space left on device\n")


def test_a_reader_may_export(listed, pg, formats, target):
    pg.query("DROP ROLE IF EXISTS looker; CREATE ROLE looker LOGIN IN ROLE hunnypot_reader")
    formats.env["PGUSER"] = "looker"
    export(formats, "plain", "-o", target)
    assert target.read_text().count("203.0.113.") == 2


def test_brake_and_rows_are_of_one_snapshot(listed, formats):
    formats("mine", "SELECT current_setting('transaction_isolation')")
    assert export(formats, "mine").stdout == "repeatable read\n"


# Commands

@pytest.mark.parametrize("command, why", [("exit 3", "exit status 3"), ("kill -9 $$", "killed by signal 9"),
                                          ("/nonexistent", "exit status 127")])
def test_a_command_that_fails(listed, formats, target, command, why):
    done = run(BUILD / "hunnypot", "export", "plain", "-o", target, "--command", command, check=False, env=formats.env)
    assert done.returncode == 1 and why in done.stderr and target.exists()


@pytest.mark.parametrize("first", ["exit 3", "kill -9 $PPID"], ids=["fails", "everything is killed"])
def test_a_command_that_was_cut_off_is_made_up_for(listed, formats, target, first):
    """With the same file: the consumer still has the one before."""
    command = f"echo told >>{target}.ran"
    run(BUILD / "hunnypot", "export", "plain", "-o", target, "--command", first, check=False, env=formats.env)
    for _ in range(3):
        export(formats, "plain", "-o", target, "--command", command)
    assert lines(Path(f"{target}.ran")) == ["told"]


@pytest.mark.parametrize("words", [(), ("--watch",)], ids=["once", "watch"])
@pytest.mark.parametrize("at_term", ["", "trap : TERM;", "trap 'exit 3' TERM;"], ids=["", "ignoring", "failing"])
def test_stopped_while_the_command_hangs(listed, formats, target, words, at_term):
    """It ends too, and what it started, even when it does not want to; that is no failure of the command to speak of."""
    pids = target.parent / "pids"
    command = f"{at_term} sleep 1000 & echo $! $$ >{pids}; while :; do wait; done"
    running = Running(formats, "plain", "-o", target, "--command", command, *words)
    wait_for(lambda: len(lines(pids)) == 1, what="command")
    started = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    assert (running.process.wait(20), running.said()) == (0 if words else 1, "")
    assert time.monotonic() - started < 5
    wait_for(lambda: not any(alive(pid) for pid in lines(pids)[0].split()), what="end of the command")


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


# Watch

@pytest.fixture
def watch(formats, target):
    started = []

    def start(*words):
        formats("mine", ADDRESSES)
        started.append(Running(formats, "mine", "-o", target, "--watch", *words))
        wait_for(target.exists, what="first export")
        return started[-1]
    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def test_watch_exports_what_changes(listed, formats, target, watch, pg, hunnypot):
    ran = target.parent / "ran"
    running = watch("--interval", "100ms", "--command", f"wc -l <{target} >>{ran}")
    wait_for(lambda: lines(ran) == ["2"], what="command after the first export")
    trap(listed, "203.0.113.3")
    wait_for(lambda: len(lines(target)) == 3, timeout=2, what="new client in the file")
    hunnypot("allow", "add", "203.0.113.1")
    wait_for(lambda: lines(target) == ["203.0.113.2", "203.0.113.3"], timeout=2, what="file without the allowed client")
    wait_for(lambda: lines(ran) == ["2", "3", "2"], what="command after each replacement")
    # A hit that lists nobody new: the file is looked at and left alone, and no command runs.
    inode = target.stat().st_ino
    trap(listed, "203.0.113.3")
    trap(listed, "203.0.113.4")
    wait_for(lambda: len(lines(ran)) == 4, what="next replacement")
    assert lines(ran) == ["2", "3", "2", "3"] and target.stat().st_ino != inode
    assert running.end() == (0, "")
    assert in_folder(target) == ["list", "list.lock", "ran"]


def test_watch_tells_the_consumer_until_it_listens(listed, formats, target, watch, tmp_path):
    """After a boot the file is as it was, but a firewall knows nothing; and it may not be ready to be told."""
    formats("mine", ADDRESSES)
    export(formats, "mine", "-o", target)
    ready = tmp_path / "ready"
    running = watch("--interval", "100ms", "--command",
                    f"test -e {ready} && echo >>{target}.ran || {{ touch {target}.failed; exit 1; }}")
    wait_for((target.parent / "list.failed").exists, what="command that fails")
    ready.touch()
    trap(listed, "203.0.113.2")
    wait_for(lambda: len(lines(target.parent / "list.ran")) == 1, what="command that is run again")
    trap(listed, "203.0.113.2")
    trap(listed, "203.0.113.3")
    wait_for(lambda: len(lines(target.parent / "list.ran")) == 2, what="command for the next change")
    status, said = running.end()
    assert status == 0 and "exit status 1" in said


def test_watch_exports_at_most_once_in_the_interval(listed, target, watch, pg):
    pg.query("UPDATE hunnypot.setting SET value = '1000' WHERE name = 'brake_floor'")
    ran = target.parent / "ran"
    began = time.monotonic()
    running = watch("--interval", "1s", "--command", f"date +%s.%N >>{ran}")
    end = time.monotonic() + 3
    number = 3
    while time.monotonic() < end or len(lines(ran)) < 3:
        assert number < 250, "it exports no more"
        trap(listed, f"203.0.113.{number}")
        number += 1
        let_pass(0.05)  # changes come for 3 s, not in one burst
    wait_for(lambda: len(lines(target)) == number - 1, what="all of them")
    assert 3 <= len(lines(ran)) <= 1 + (time.monotonic() - began)
    assert running.end()[0] == 0


def test_watch_survives_what_goes_wrong(listed, target, watch, pg, formats):
    """A command that fails, a restart, a format that breaks: each is said, and it goes on."""
    running = watch("--interval", "100ms", "--command", "exit 3")
    pg.restart("immediate")
    trap(listed, "203.0.113.3")
    wait_for(lambda: len(lines(target)) == 3, timeout=20, what="export after the restart")
    pg.query("ALTER VIEW hunnypot.listing RENAME TO gone")
    trap(listed, "203.0.113.4")
    trap(listed, "203.0.113.5")
    wait_for(lambda: "does not exist" in running.said(), what="word of the export that fails")
    assert len(lines(target)) == 3
    pg.query("ALTER VIEW hunnypot.gone RENAME TO listing")
    trap(listed, "203.0.113.6")
    wait_for(lambda: len(lines(target)) == 6, timeout=10, what="export after the mending")
    status, said = running.end()
    assert status == 0
    for word in ("exit 3: exit status 3", "connecting again", "does not exist"):
        assert word in said, said


def test_watch_ends_at_once_when_it_cannot_begin(pg_server, formats, target):
    pg_server.stop()
    export(formats, "plain", "-o", target, "--watch", status=1)
