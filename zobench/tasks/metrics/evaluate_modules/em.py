"""The metric em for the `evaluate` library."""

from zobench.tasks.metrics.em import em
from zobench.tasks.metrics.evaluate_modules import base


class ExactMatch(base.MeanOverItems):
    """Share of answers that equal an accepted one, after the normalisation of SQuAD."""

    key = "em"
    dtype = "string"
    of_item = staticmethod(em)
