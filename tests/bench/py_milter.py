"""The null milter in Python, with pymilter: DATA is answered 451.

    py_milter.py SOCKET
"""
import sys

import Milter


class Null(Milter.Base):
    @Milter.noreply
    def connect(self, _name, _family, _address):
        return Milter.CONTINUE

    @Milter.noreply
    def hello(self, _name):
        return Milter.CONTINUE

    @Milter.noreply
    def envfrom(self, _sender, *_words):
        return Milter.CONTINUE

    @Milter.noreply
    def envrcpt(self, _recipient, *_words):
        return Milter.CONTINUE

    def data(self):
        self.setreply("451", "4.7.1", "This host takes no mail")
        return Milter.TEMPFAIL


Milter.factory = Null
Milter.runmilter("null", sys.argv[1], 0)
