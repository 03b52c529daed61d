"""Static analysis has nothing to say about our C (see tests/analyze)."""
import subprocess

import pytest

from testbed.base import TOP


@pytest.mark.timeout(2400)  # about four minutes of a processor, for clang-tidy
@pytest.mark.parametrize("tool", ["cppcheck", "clang-tidy", "gcc"])
def test_finds_nothing(tool):
    done = subprocess.run([TOP / "tests/analyze", tool], text=True, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
