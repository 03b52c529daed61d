"""What HACKING.md and ARCHITECTURE.md name is there, and what HACKING.md has people type means something."""
import re
import subprocess

import pytest

from testbed.base import TOP

BUILDS = ()
TEXTS = {name: (TOP / name).read_text() for name in ("HACKING.md", "ARCHITECTURE.md", "SECURITY.md", "README")}
FOLDERS = ("src", "tests", "sql", "man", "postfix", "sendmail-cf", "pdns", "systemd", "m4", "testbed")


def files_named(name):
    return [path for folder in ("unit", "system", "fuzz", ".") for path in (TOP / "tests" / folder).glob(f"*{name}*")]


@pytest.mark.parametrize("name", TEXTS)
def test_files_that_are_named_are_there(name):
    named = [word for word in re.findall(r"[\w./-]+/[\w./-]*[\w-]", TEXTS[name]) if word.split("/")[0] in FOLDERS]
    missing = [word for word in named if not any((base / word).exists() or list(base.glob(word + ".*"))
                                                 for base in (TOP, TOP / "tests/system"))]
    assert named and not missing


def test_what_is_looked_for_is_found():
    searches = re.findall(r"`git (grep [^`]*)`", TEXTS["HACKING.md"])
    assert len(searches) > 5
    for search in searches:
        found = subprocess.run(["git", "-c", f"safe.directory={TOP}", "-C", TOP, *search.split(), "--", "src", "sql", "man"],
                               capture_output=True, check=False)
        assert found.returncode == 0 and found.stdout, search


def test_tests_that_are_named_are_there():
    named = re.findall(r"\./runtests ([a-z_-]+)(?: -k (\w+))?", TEXTS["HACKING.md"])
    assert len(named) > 5
    for name, expression in named:
        files = files_named(name)
        assert files, name
        assert not expression or any(f"def test_{expression}" in file.read_text() for file in files), expression
    for target in re.findall(r"tests/fuzz/run (\w+)", TEXTS["HACKING.md"]):
        assert (TOP / f"tests/fuzz/fuzz_{target}.c").exists()


@pytest.mark.parametrize("name", ["packages", "packages.quickstart"])
def test_what_readme_says_a_build_needs_is_installed_for_it(name):
    needed = set(re.search(r"apt-get install ((?:.*\\\n)*.*)", TEXTS["README"]).group(1).replace("\\", " ").split())
    listed = (TOP / "tests" / name).read_text().split()
    assert "libmilter-dev" in needed and needed <= set(listed) and listed == sorted(listed)


def test_it_is_one_page():
    assert len(TEXTS["HACKING.md"].splitlines()) < 80
