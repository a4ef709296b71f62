"""A model in files is read and measured once."""

from kits.once import measured_once, reached_once, read_once, tried_once  # noqa: F401 - fixtures of all tests here
