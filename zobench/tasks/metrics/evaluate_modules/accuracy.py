"""The metric accuracy for the `evaluate` library."""

from zobench.tasks.metrics.accuracy import accuracy
from zobench.tasks.metrics.evaluate_modules import base


class Accuracy(base.MeanOverItems):
    """Share of items whose chosen candidate is one of the right ones."""

    key = "accuracy"
    dtype = "int64"
    of_item = staticmethod(accuracy)
