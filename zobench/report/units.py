"""Which metrics are fractions, and how those that are not are shown. Light."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from . import text
from .record import Record

FRACTIONS = frozenset({"accuracy", "f1", "em"})
"""Metrics whose items, and so their mean, lie in [0, 1]: they are shown in percent, and may be averaged over tasks."""

MEANING = {"log_prob": "the mean log-probability of a token in nats (perplexity: exp(-log_prob))"}
"""What other metrics are, in words."""


def shown(metric: str, value: float) -> str:
    """A score, or half of its interval, on its own: a fraction in percent, anything else in its own unit."""
    return text.percent(value) if metric in FRACTIONS else f"{value:.3f}"


def by_metric(records: Iterable[Record]) -> list[tuple[str | None, list[Record]]]:
    """The records that may share a table: those of fractions (None), then those of each other metric. A task of which
    nothing was scored is taken for one of fractions.
    """
    records, of_task = list(records), dict[str, str]()
    for record in records:
        for score in (record["metrics"].get(name) for name in ("zero_shot", "test")):
            if score is not None and score["metric"] not in FRACTIONS:  # type: ignore[index]
                of_task[record["cell"]["task"]] = score["metric"]  # type: ignore[index]
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        found[of_task.get(record["cell"]["task"], "")].append(record)
    return [(metric or None, found[metric]) for metric in sorted(found)]


def caption(metric: str | None) -> str:
    """What a table of scores must say of a metric that is no fraction."""
    if metric is None:
        return ""
    meaning = f", {MEANING[metric]}" if metric in MEANING else ""
    return f" Scores are 100 × {metric}{meaning}; points are hundredths of its unit."
