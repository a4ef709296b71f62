"""The metric f1 for the `evaluate` library."""

from zobench.tasks.metrics.evaluate_modules import base
from zobench.tasks.metrics.f1 import f1


class F1(base.MeanOverItems):
    """Mean token F1 against the best accepted answer, with the normalisation of SQuAD."""

    key = "f1"
    dtype = "string"
    of_item = staticmethod(f1)
