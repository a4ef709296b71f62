"""What to run next, as the first screen says it: only what can change what it shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .. import stats, text
from ..compare import Verdicts
from ..judge import settled
from ..record import Record
from ..rows import MethodRow, Section
from .lines import Line

NEEDED = {"error": "the errors mended", "oom": "more memory", "timeout": "a longer `--timeout`"}
"""What cells need that came to such an end, to come to another when they run again."""


def following(section: Section, verdicts: Verdicts, rivals: Sequence[Line], seeds: int) -> list[str]:
    """Options of the run, or commands. `seeds`: those that the answer rests on."""
    out = _of_failures([r for r in section.records if r["status"] != "ok"])
    if 0 < seeds < stats.MARK_SEEDS:
        out += _further_seeds(section.records, rivals)
    if rivals and verdicts.control is None:
        out += _control(section, rivals)
    if len(rivals) > 1 and (standing := verdicts.best["average"]) is not None:
        against = verdicts.control if verdicts.control is not standing.best else None
        other = against or next((r for r in (*standing.close, *standing.beaten) if r.trains), None)
        if other is not None:
            pair = (standing.best, other)
            out.append(f"`zobench compare {' '.join(_spelt(row) for row in pair)}`")
    return out


def _of_failures(failed: Sequence[Record]) -> list[str]:
    """What helps cells that came to other ends than ok; a cell that diverged would do so again."""
    out: list[str] = []
    ends = {r["status"] for r in failed if settled(r)}
    if any(not settled(r) for r in failed):
        out.append("the same command again")
    if needs := [needed for end, needed in NEEDED.items() if end in ends]:
        out.append(f"`--rerun failed` with {', '.join(needs)}")
    diverged = [r for r in failed if r["status"] == "diverged"]
    rates = [lr for r in diverged if _of_its_rates(r) for lr in r["cell"]["lrs"]]
    if rates:
        out.append(f"`--lr` below {min(rates):g}")
    if any(not _of_its_rates(r) for r in diverged):
        out.append("another `--dtype`")
    return out


def _of_its_rates(diverged: Record) -> bool:
    """Whether it was training that diverged, at every rate: a lower one may not. Else scores are no numbers."""
    return bool(diverged["cell"]["lrs"]) and not diverged.get("chosen")


def _further_seeds(records: Iterable[Record], rivals: Sequence[Line]) -> list[str]:
    """The first seeds, where a method was not tried at one of them; else ones that nobody tried.

    None where cells of the first seeds wait for something else: they would fail alike, or go on by themselves.
    """
    first = set(range(stats.MARK_SEEDS))
    names = {(line.row.estimator, line.row.selector) for line in rivals}
    mine = [r for r in records if _method(r) in names]
    tried: dict[tuple[str, ...], set[int]] = {}
    for r in mine:
        tried.setdefault((*_method(r), r["cell"]["task"]), set()).add(r["cell"]["seed"])
    if any(not first <= seeds for seeds in tried.values()):
        return [f"`--seeds {','.join(map(str, sorted(first)))}`"]
    if any(r["status"] not in ("ok", "diverged") for r in mine):
        return []
    last = max(seed for seeds in tried.values() for seed in seeds)
    return [f"`--seeds {','.join(str(last + n) for n in range(1, stats.MARK_SEEDS + 1))}`"]


def _control(section: Section, rivals: Sequence[Line]) -> list[str]:
    """The options that run what rivals are held against, where it is known who that is and it was not tried."""
    if not (section.known.baseline and section.known.everything):
        return []
    baseline, everything = section.known.baseline[0], section.known.everything[0]
    tried = {r["cell"]["task"] for r in section.records if _method(r) == (baseline, everything)}
    if tried >= set(section.tasks):
        return []
    selectors = sorted({line.row.selector for line in rivals} - {everything}, key=text.natural)
    there = any(line.row.estimator == baseline for line in rivals)
    return [
        f"`--selector {','.join([everything, *selectors])}`"
        if there
        else f"`--estimator {baseline} --selector {everything}`"
    ]


def _method(record: Record) -> tuple[str, str]:
    return record["cell"]["estimator"], record["cell"]["selector"]


def _spelt(row: MethodRow) -> str:
    said = f"{row.method}/{row.where}" if row.trains else row.method
    return f"'{said}'" if " " in said else said
