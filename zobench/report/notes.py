"""What a reader of a section must be told: the source of the data, departures from the protocol, what looks wrong."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from . import text
from .choices import edge, rates, tried
from .compare import Verdict
from .record import Record
from .rows import Row, Section

DATA = {
    "embedded": "The data are **synthetic**: small tasks made for the embedded model, with no bearing on the data sets "
    "whose names they bear.",
    "folder": "The data came from a **local folder** and may not be the official splits.",
    "hub": "The data are the hub's, at the revisions that the records hold.",
}
FEW_SEEDS = 3


def data_line(section: Section) -> str:
    """One line on where the data are from."""
    return DATA.get(section.data, f"The data are from the source `{section.data}`.")


def departures(section: Section) -> list[str]:
    """Where splits or settings depart from the protocol, as the records say."""
    found: dict[str, set[str]] = defaultdict(set)
    for record in section.records:
        data: Mapping[str, Any] = record.get("data", {})
        for name, said in text.flat(data.get("notes") or {}).items():
            found[f"{name}: {text.value(said)}"].add(record["cell"]["task"])
    return [f"{', '.join(sorted(tasks))}: {text.sentence(said)}" for said, tasks in sorted(found.items())]


def warnings(section: Section) -> list[str]:
    """What in the section's numbers asks for care, in a fixed order."""
    out: list[str] = []
    for row in section.rows:
        if row.trains:
            out += _of_rates(row, section)
            out += _of_gains(row, section)
    return [*out, *_of_guesses(section), *_of_seeds(section), *_of_machines(section), *_of_zero_shot(section)]


def ties(section: Section, verdicts: Mapping[str, Verdict | None], overall: Verdict | None) -> list[str]:
    """For every column with rivals: who is best by how much certainty, or that it is a tie, or cannot be told."""
    lines = []
    for column, verdict in (*((t, verdicts[t]) for t in section.tasks), ("average", overall)):
        if verdict is None or not (verdict.beaten or verdict.tied or verdict.untested):
            continue
        best = verdict.best.name
        if verdict.bold:
            lines.append(f"{column}: {best} is best (largest corrected p {verdict.worst_p:.2g}).")
            continue
        parts = []
        if verdict.tied:
            parts.append(f"tie of {', '.join([best, *(row.name for row in verdict.tied)])}")
        if verdict.untested:
            names = ", ".join(row.name for row in verdict.untested)
            parts.append(f"{best} cannot be compared with {names} (no shared seed, or no scores by item)")
        lines.append(f"{column}: {'; '.join(parts)}.")
    return lines


def _of_rates(row: Row, section: Section) -> Iterable[str]:
    for side in ("upper", "lower"):
        tasks = [task for task in section.tasks if any(edge(r) == side for r in row.entry(task).done.values())]
        if tasks:
            where = _list(tasks)
            yield f"{row.name}: the chosen learning rate is the {side} end of its grid on {where}: widen the grid."
    if all(len(rates(r)) == 1 for r in row.records):
        every = ", ".join(f"{lr:g}" for lr in tried(row))
        yield f"{row.name}: only one learning rate was tried{' in each cell' if ', ' in every else ''}, {every}."


def _of_gains(row: Row, section: Section) -> Iterable[str]:
    def gain(task: str) -> float | None:
        entry = row.entry(task)
        after, before = entry.mean(), entry.mean("zero_shot")
        return None if after is None or before is None else after - before

    gains = {task: g for task in section.tasks if (g := gain(task)) is not None}
    none = [task for task, g in gains.items() if g <= 0]
    if none:
        yield f"{row.name}: does not beat zero-shot on {_list(none)}."
    weak = [t for t, g in gains.items() if g > 0 and (c := row.entry(t).gain()) is not None and not c.holds(c.p)]
    if weak:
        yield f"{row.name}: its gain over zero-shot is not told apart from none on {_list(weak)}."


def _of_guesses(section: Section) -> Iterable[str]:
    """The methods of which a detail could not be verified, as their records say."""
    names = sorted({name for record in section.records for name in record.get("unverified", ())})
    if names:
        yield f"Not verified, a detail is a guess (`zobench show` says which): {', '.join(names)}."


def _of_seeds(section: Section) -> Iterable[str]:
    numbers = [len(e.done) for row in section.rivals for e in row.entries.values() if e.done]
    if numbers and min(numbers) < FEW_SEEDS:
        fewest = min(numbers)
        yield (
            f"Some scores rest on {text.plural(fewest, 'seed')}: what another seed would give "
            + ("is not seen at all." if fewest == 1 else "is hardly seen.")
        )


def _of_machines(section: Section) -> Iterable[str]:
    devices = Counter(device(r) for r in section.records if r["status"] == "ok")
    if len(devices) > 1:
        shown = "; ".join(f"{name} ({text.plural(n, 'record')})" for name, n in sorted(devices.items()))
        yield f"Times and memory are from different machines and may not be compared; speed-ups may. {shown}."


def _of_zero_shot(section: Section) -> Iterable[str]:
    """The untouched model is one model on one test set: where its scores differ, something else did."""
    seen: dict[str, list[float]] = defaultdict(list)
    for record in section.records:
        if record["status"] == "ok" and "zero_shot" in record["metrics"]:
            seen[record["cell"]["task"]].append(record["metrics"]["zero_shot"]["value"])
    tasks = [task for task in section.tasks if seen[task] and max(seen[task]) - min(seen[task]) > 1e-9]
    if tasks:
        spread = max(max(seen[t]) - min(seen[t]) for t in tasks)
        yield (
            f"The untouched model scored differently in different records on {_list(tasks)} (by up to "
            f"{text.percent(spread)} points): their dtype, machine or software differ."
        )


def device(record: Record) -> str:
    """The device a record was made on, in words."""
    environment = record["environment"]
    name = environment.get("device_name") or environment.get("device") or "unknown device"
    processor = environment.get("processor")
    return f"{name}, {processor}" if str(name) == "cpu" and processor else str(name)


def plugin_columns(
    columns: Mapping[str, Callable[[list[Record]], str]],
) -> tuple[dict[str, Callable[[Row], str]], list[str]]:
    """Plugins' columns made safe: (heading -> the text of a row, what went wrong, filled when the columns are used)."""
    faults: list[str] = []

    def safe(heading: str, column: Callable[[list[Record]], str]) -> Callable[[Row], str]:
        def show(row: Row) -> str:
            try:
                return str(column(list(row.records)))
            except Exception as e:  # a plugin's column must not cost the board; the board says that it failed
                fault = f"column {heading!r} failed: {type(e).__name__}: {text.sentence(str(e))}"
                faults.extend([] if fault in faults else [fault])
                return "failed"

        return show

    return {heading: safe(heading, columns[heading]) for heading in sorted(columns)}, faults


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)


def seeds_of(section: Section) -> str:
    """The seeds, for the section's head."""
    return ", ".join(map(str, sorted({r["cell"]["seed"] for r in section.records})))
