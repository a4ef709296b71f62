"""How much one pass of a kernel may add."""

MOST_TERMS = 8
"""Noises that one pass may add: a restore and an update are of one, the next perturbation is of another; a step along
q directions has q. As many as a thread has registers for."""
