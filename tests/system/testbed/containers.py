"""Containers: podman's storage in memory, and a fresh root to make an image of."""
import os
import re
import shutil
import subprocess

from testbed.base import STATE, TOP, Server, TestbedError, run, wait_for
from testbed.clean import ROOTS

FOLDER = STATE / "containers"
STORAGE = f"""[storage]
driver = "overlay"
graphroot = "{FOLDER}/images"
runroot = "{FOLDER}/run"
"""
# The network is the testbed's, and there is no systemd.
ENGINE = """[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
"""


class Containers:
    """.path is where the source would be unpacked, in a folder with PACKAGES; .run("command") runs one there."""

    def __init__(self, packages):
        self.path = FOLDER / "source/hunnypot-milter"
        self.path.mkdir(parents=True)
        (FOLDER / "storage.conf").write_text(STORAGE)
        (FOLDER / "containers.conf").write_text(ENGINE)
        shutil.copytree(TOP / "container", self.path / "container")
        for package in packages:
            shutil.copy(package, self.path.parent)
        # crun knows cgroups of version 1 and of version 2, not both at once.
        if os.path.ismount("/sys/fs/cgroup/unified"):
            run("umount", "/sys/fs/cgroup/unified")
        # What debootstrap makes of Debian's mirror; with the libraries, as here is no mirror to be asked.
        root = self.path / "root"
        for folder in (root, FOLDER / "upper", FOLDER / "work"):
            folder.mkdir()
        run("mount", "-t", "overlay", "overlay", "-o",
            f"lowerdir={ROOTS / 'slim'},upperdir={FOLDER / 'upper'},workdir={FOLDER / 'work'}", root)
        for name in ("sources.list", "sources.list.d/updates.list"):
            (root / "etc/apt" / name).write_text("")
        self.service = Server("podman", ["podman", "system", "service", "--time=0", f"unix://{FOLDER}/socket"], FOLDER / "log",
                              env=self.environment())
        wait_for((FOLDER / "socket").exists, what="podman's socket")

    def environment(self):
        """What doc/container.md exports, for the socket that is here; and no programs but Debian's."""
        exported = re.search("^    export (.*)$", (TOP / "doc/container.md").read_text(), re.M)[1]
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "CONTAINERS_STORAGE_CONF": f"{FOLDER}/storage.conf",
                "CONTAINERS_CONF": f"{FOLDER}/containers.conf", **dict(word.split("=", 1) for word in exported.split()),
                "DOCKER_HOST": f"unix://{FOLDER}/socket"}

    def run(self, command, check=True, timeout=200):
        try:
            return run("sh", "-c", command, cwd=self.path, check=check, timeout=timeout, env=self.environment())
        except subprocess.TimeoutExpired as late:
            look = "podman ps --all; podman logs --tail 40 container_database_1; ps -e -o pid,ppid,stat,etime,args --forest"
            seen = run("sh", "-c", look, check=False, timeout=60, env=self.environment())
            raise TestbedError(f"{late}: {late.stdout} {late.stderr}\n{seen.stdout}\n{seen.stderr}") from late

    def in_service(self, service, command, check=True):
        return self.run(f"podman exec container_{service}_1 {command}", check)

    def state(self, service, what):
        return self.run(f"podman inspect --format '{{{{{what}}}}}' container_{service}_1").stdout.strip()

    def remove(self):
        self.run("podman rm --all --force --time 1; podman volume rm --all; podman rmi --all --force", check=False)
        self.service.stop()
        run("umount", "-l", self.path / "root", check=False)
        # The machine's cgroups are no part of the testbed.
        run("sh", "-c", "find /sys/fs/cgroup -depth -path '*/libpod_parent*' -type d -exec rmdir {} + 2>/dev/null", check=False)
