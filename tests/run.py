"""Build what is needed, run the unit tests (make check) and the system tests (pytest, several at once, each in a network of its
own), and sum up.

Called by ./runtests after the setup.  Arguments: parts of test files' names, and -k EXPRESSION as pytest has it.  A system test needs build/tests; one that needs
other builds, or none, says so in a line of its own: BUILDS = ("tests", "tsan"); "clean-root" is what tests/clean-root makes.
"""
import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
BUILD = TOP / "build/tests"
RESULTS = BUILD / "results"
WORKERS = 3  # system tests wait more than they compute
FILE_LIMIT_S = 3000  # each test has a limit of its own, which is to come first
SLOW = ("test_analysis.py", "test_growth.py", "test_threads.py")  # they begin first; of the others the big files

NOTHING_CHOSEN = 5  # pytest's exit status

lock = threading.Lock()
total = {"passed": 0, "failed": 0, "skipped": 0}


def report(name, passed, failed, skipped, seconds, output=""):
    with lock:
        total["passed"] += passed
        total["failed"] += failed
        total["skipped"] += skipped
        if failed:
            print(output)
        counts = ", ".join(f"{count} {word}" for count, word in
                           ((passed, "passed"), (failed, "FAILED"), (skipped, "skipped")) if count) or "no test"
        print(f"{name}: {counts} ({seconds:.0f} s)", flush=True)


def count_unit(log, result):
    """A cmocka program says how many of its tests passed; others are one test."""
    passed = sum(int(n) for n in re.findall(r"^\[  PASSED  \] (\d+) test", log, re.M))
    failed = sum(int(n) for n in re.findall(r"^\[  FAILED  \] (\d+) test", log, re.M))
    if result in ("FAIL", "ERROR"):
        return passed, max(failed, 1), 0
    if result == "SKIP":
        return 0, 0, 1
    return max(passed, 1), failed, 0


def build(*words):
    if subprocess.run([TOP / "tests/build", *words], stdin=subprocess.DEVNULL, check=False).returncode != 0:
        sys.exit(1)


def chosen_units(names):
    """The tests of `make check` that have one of NAMES in their names."""
    made = subprocess.run(["make", "-s", "-f", "-", "print-tests"], cwd=BUILD, text=True, capture_output=True,
                          input="include Makefile\nprint-tests:\n\t@echo $(TESTS)\n", check=True).stdout.split()
    return [test for test in made if any(name in test for name in names)]


def begin_clean_root():
    """It waits for the network more than for a processor."""
    as_root = [] if os.getuid() == 0 else ["sudo"]
    return subprocess.Popen([*as_root, TOP / "tests/clean-root"], stdin=subprocess.DEVNULL)


def any_unit(names):
    """Can a test of `make check` be meant?  To know for sure takes a Makefile."""
    return any(name in str(file) for folder in ("unit", "fuzz", ".") for file in (TOP / "tests" / folder).iterdir()
               for name in names)


def unit_tests(names):
    """One make check for all; its .trs and .log files tell what became of each."""
    command = ["make", "-j2", "-k", "check"]
    if names:
        if not any_unit(names):
            return
        build("tests", "Makefile")
        chosen = chosen_units(names)
        if not chosen:
            return
        scripts = [test for test in chosen if (TOP / test).exists()]
        programs = [test for test in chosen if test not in scripts] + ["hunnypot-milter"] * bool(scripts)  # tests/check-manual's
        command[-1:] = ["check-TESTS", "TESTS=" + " ".join(chosen), "check_PROGRAMS=" + " ".join(programs),
                        "check_SCRIPTS=" + " ".join(scripts)]
    for old in BUILD.rglob("*.trs"):
        old.unlink()
    started = time.monotonic()
    done = subprocess.run(command, cwd=BUILD, text=True, errors="backslashreplace", stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    (BUILD / "check.log").write_text(done.stdout)
    found = sorted(BUILD.rglob("*.trs"))
    any_failed = False
    for trs in found:
        result = re.search(r"^:global-test-result: (\w+)", trs.read_text(), re.M)
        log = trs.with_suffix(".log").read_text(errors="backslashreplace")
        counts = count_unit(log, result.group(1) if result else "ERROR")
        any_failed |= counts[1] > 0
        report(str(trs.relative_to(BUILD).with_suffix("")), *counts, time.monotonic() - started, log)
        started = time.monotonic()
    if done.returncode != 0 and not any_failed:
        report("make check", 0, 1, 0, time.monotonic() - started, done.stdout[-8000:])


def count_system(xml):
    suite = ElementTree.parse(xml).getroot().find("testsuite")
    number = {key: int(suite.get(key)) for key in ("tests", "failures", "errors", "skipped")}
    failed = number["failures"] + number["errors"]
    return max(number["tests"] - failed - number["skipped"], 0), failed, number["skipped"]


def system_test(file, expression):
    xml = RESULTS / f"{file.stem}.xml"
    started = time.monotonic()
    try:
        done = subprocess.run([TOP / "tests/namespace", "/usr/bin/python3", "-B", "-m", "pytest", "-p", "no:cacheprovider",
                               "--basetemp=/run/testbed/pytest", "-q", "--tb=short", f"--junitxml={xml}", "-k", expression, file],
                              cwd=TOP, env={**os.environ, "HUNNYPOT_BUILD": str(BUILD)}, text=True,
                              errors="backslashreplace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=FILE_LIMIT_S)
        output, status = done.stdout, done.returncode
        if status == NOTHING_CHOSEN and expression:
            status = 0
    except subprocess.TimeoutExpired as late:
        output, status = (late.stdout or b"").decode(errors="backslashreplace") + f"\nnot done in {FILE_LIMIT_S} s", 1
    try:
        passed, failed, skipped = count_system(xml)
    except (OSError, ElementTree.ParseError):
        passed, failed, skipped = 0, 1, 0
    if status != 0 and failed == 0:
        failed = 1
    report(str(file.relative_to(TOP)), passed, failed, skipped, time.monotonic() - started, output)


def chosen_files(names):
    files = sorted((TOP / "tests/system").glob("test_*.py"), key=lambda file: (file.name not in SLOW, -file.stat().st_size))
    return [file for file in files if not names or any(name in file.name for name in names)]


def builds_of(file):
    for statement in ast.parse(file.read_text()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "BUILDS":
            return ast.literal_eval(statement.value)
    return ("tests",)


def system_tests(files, expression):
    queue = list(files)
    mutex = threading.Lock()

    def work():
        while True:
            with mutex:
                if not queue:
                    return
                file = queue.pop(0)
            system_test(file, expression)
    workers = [threading.Thread(target=work) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def main():
    parser = argparse.ArgumentParser(prog="runtests")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("-k", default="", metavar="EXPRESSION")
    arguments = parser.parse_args()
    names = [Path(name).stem for name in arguments.names]
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir(parents=True)
    files = chosen_files(names)
    needed = {name for file in files for name in builds_of(file)}
    clean_root = begin_clean_root() if "clean-root" in needed else None
    for name in sorted(needed - {"clean-root"}):
        build(name)
    unit_tests(names)
    if clean_root and clean_root.wait() != 0:
        return 1
    system_tests(files, arguments.k)
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    # Setup brings all that the tests need, so a skipped test is a fault too, and no test at all as well.
    return 0 if total["passed"] and not total["failed"] and not total["skipped"] else 1


sys.exit(main())
