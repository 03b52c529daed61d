"""A command at a terminal of its own, to which a person types."""
import os
import pty
import select
import subprocess


class Terminal:
    def __init__(self, command, env):
        self.main, terminal = pty.openpty()
        self.process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, cwd="/",
                                        start_new_session=True, env={"TERM": "dumb", **env})
        os.close(terminal)
        self.seen = ""

    def read(self):
        """What comes next, or "" at its end."""
        ready, _, _ = select.select([self.main], [], [], 60)
        assert ready, f"it says no more: {self.seen}"
        try:
            more = os.read(self.main, 65536).decode().replace("\r", "")
        except OSError:  # nobody has the terminal open any more
            more = ""
        self.seen += more
        return more

    def answer(self, question, text):
        """Wait until QUESTION is asked, and type TEXT; what was said until then."""
        while not self.seen.endswith(": ") or question not in self.seen.rsplit("\n", 1)[-1]:
            assert self.read(), self.seen
        said, self.seen = self.seen, ""
        os.write(self.main, text.encode())
        return said

    def end(self):
        """(exit status, what was said); what it started may keep the terminal."""
        ended = os.pidfd_open(self.process.pid)
        while self.main in select.select([self.main, ended], [], [], 250)[0] and self.read():
            pass
        os.close(ended)
        os.close(self.main)
        return self.process.wait(20), self.seen
