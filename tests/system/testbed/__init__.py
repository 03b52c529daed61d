"""The parts of a small internet with a trap host in it, for the system tests and the quickstart.

Everything here runs inside tests/namespace; see conftest.py for how a test asks for the parts.
"""
