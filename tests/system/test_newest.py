"""The tests of test_mta once more, with the newest Postfix, sendmail and libmilter that Debian's backports have for this release.

They are laid over those of the release, in this test's own tree of mounts; the versions that answer are asked for.
"""
from testbed.base import DEBS, run
from test_mta import *  # noqa: F403  # pylint: disable=wildcard-import,unused-wildcard-import

for name in ("postfix", "sendmail"):
    run("mount", "--bind", DEBS / "newest" / name, DEBS / name)
run("mount", "--bind", DEBS / "newest/sendmail/usr/share/sendmail/cf", "/usr/share/sendmail/cf")
LIBMILTER = "usr/lib/x86_64-linux-gnu/libmilter.so.1.0.1"
run("mount", "--bind", DEBS / "newest/libmilter1.0.1" / LIBMILTER, f"/{LIBMILTER}")


def test_postfix_is_newer_than_that_of_the_release(postfix):
    version = postfix().command("postconf", "-h", "mail_version").stdout
    assert [int(part) for part in version.split(".")[:2]] > [3, 7]


def test_sendmail_is_newer_than_that_of_the_release(sendmail, smtp):
    sendmail()
    assert " Sendmail 8.18." in smtp().greeting
