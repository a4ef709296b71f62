"""What a reader of a section must be told: the source of the data, departures from the protocol, what looks wrong."""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from . import stats, text
from .choices import edge, rates, tried
from .compare import Verdicts
from .entry import draw_of
from .record import Record
from .rows import MethodRow, Section

DATA = {
    "folder": "The data came from a **local folder** and may not be the official splits.",
    "hub": "The data are the hub's, at the revisions that the records hold.",
}


def data_line(section: Section) -> str:
    """One line on where the data are from."""
    if section.data in DATA:
        return DATA[section.data]
    nature, about = source_of(section)
    first = f"The data are **{nature}**" if nature else f"The data are from the source `{section.data}`"
    return f"{first}: {about}." if about else f"{first}."


def source_of(section: Section) -> tuple[str, str]:
    """The nature of a plugin's data, and what else a reader must know of them; empty where no record says it."""
    sources = [r.get("data", {}).get("source", {}) for r in section.records]
    return max(((s.get("nature", ""), s.get("about", "")) for s in sources), default=("", ""))


def departures(section: Section) -> list[str]:
    """Where splits or settings depart from the protocol, as the records say."""
    found: dict[str, set[str]] = defaultdict(set)
    for record in section.records:
        data: Mapping[str, Any] = record.get("data", {})
        for name, said in text.flat(data.get("notes") or {}).items():
            found[f"{name}: {text.value(said)}"].add(record["cell"]["task"])
    return [f"{', '.join(sorted(tasks))}: {text.sentence(said)}" for said, tasks in sorted(found.items())]


def warnings(section: Section, verdicts: Verdicts) -> list[str]:
    """What in the section's numbers asks for care, in a fixed order."""
    out: list[str] = []
    for at, row in enumerate(section.rows):
        if row.trains:
            out += _of_rates(row, section)
            out += _of_gains(row, at, section, verdicts)
    return [*out, *_of_guesses(section), *_of_seeds(section), *_of_machines(section), *_of_zero_shot(section)]


def standings(section: Section, verdicts: Verdicts) -> list[str]:
    """For every column with rivals: who leads, by how much certainty, or what keeps that from being said."""
    lines = []
    for column, one in verdicts.best.items():
        if one is None or not (one.beaten or one.close or one.untested):
            continue
        best = one.best.name
        if one.bold:
            lines.append(f"{column}: {best} is best (largest corrected p {one.worst_p:.2g}).")
            continue
        if one.few:
            lines.append(f"{column}: {best} has the highest score; {stats.MARK_SEEDS} seeds are needed for a verdict.")
            continue
        parts = [f"{best} has the highest score"]
        if one.close:
            parts.append(f"not told apart from {_some(one.close)}")
        if one.beaten:
            parts.append(f"better than {_some(one.beaten)}")
        if one.untested:
            parts.append(f"not compared with {_some(one.untested)} (a seed is missing or failed, or no scores by item)")
        lines.append(f"{column}: {'; '.join(parts)}.")
    return lines


MOST_NAMES = 4
"""Methods that are named in a line; of more the number is given."""


def _some(rows: Sequence[MethodRow]) -> str:
    if len(rows) <= MOST_NAMES:
        return ", ".join(row.name for row in rows)
    return f"{', '.join(row.name for row in rows[: MOST_NAMES - 1])} and {len(rows) - MOST_NAMES + 1} others"


def _of_rates(row: MethodRow, section: Section) -> Iterable[str]:
    for side in ("upper", "lower"):
        tasks = [task for task in section.tasks if any(edge(r) == side for r in row.entry(task).done.values())]
        if tasks:
            where = _list(tasks)
            yield f"{row.name}: the chosen learning rate is the {side} end of its grid on {where}: widen the grid."
    if all(len(rates(r)) == 1 and "rate_from" not in r.get("role", {}) for r in row.records):
        every = ", ".join(f"{lr:g}" for lr in tried(row))
        yield f"{row.name}: only one learning rate was tried{' in each cell' if ', ' in every else ''}, {every}."


def _of_gains(row: MethodRow, at: int, section: Section, verdicts: Verdicts) -> Iterable[str]:
    def gain(task: str) -> float | None:
        entry = row.entry(task)
        after, before = entry.mean(), entry.mean("zero_shot")
        return None if after is None or before is None else after - before

    gains = {task: g for task in section.tasks if (g := gain(task)) is not None}
    none = [task for task, g in gains.items() if g <= 0]
    if none:
        yield f"{row.name}: does not beat zero-shot on {_list(none)}."
    weak = [t for t, g in gains.items() if g > 0 and verdicts.gains.get((t, at)) in (stats.SAME, stats.EQUAL)]
    if weak:
        yield f"{row.name}: its gain over zero-shot is not told apart from none on {_list(weak)}."


def _of_guesses(section: Section) -> Iterable[str]:
    """The methods of which a detail could not be verified, as their records say."""
    names = sorted({name for record in section.records for name in record.get("unverified", ())})
    if names:
        yield f"Not verified, a detail is a guess (`zobench show` says which): {', '.join(names)}."


def _of_seeds(section: Section) -> Iterable[str]:
    numbers = [len(e.done) for row in section.rivals if row.trains for e in row.entries.values() if e.done]
    if numbers and min(numbers) < stats.MARK_SEEDS:
        fewest = min(numbers)
        yield (
            f"Some scores rest on {text.plural(fewest, 'seed')}: what another seed would give "
            + ("is not seen at all" if fewest == 1 else "is hardly seen")
            + f", so nothing is marked there; give {stats.MARK_SEEDS} or more."
        )
    for row in section.rows:
        if tasks := [task for task in section.tasks if row.entry(task).missing]:
            yield f"{row.name}: seeds that others have are missing on {_list(tasks)}, which counts as a failure."
    yield from _of_tuning(section)


def _of_tuning(section: Section) -> Iterable[str]:
    """Where the seed that chose the learning rate is among those reported, and others ran the rate that it chose."""
    found: dict[int, list[str]] = defaultdict(list)
    apart: list[str] = []
    for row in section.rows:
        done = [entry.done for entry in row.entries.values()]
        apart += [row.name] if any("rate_from" in r.get("role", {}) for of in done for r in of.values()) else []
        chose = {
            draw.seed
            for of in done
            for draw, record in of.items()
            if len(record["trials"]) > 1 and any(len(r["trials"]) == 1 for r in of.values())
        }
        for seed in chose:
            found[seed].append(row.name)
    for seed, rows in sorted(found.items()):
        yield (
            f"Seed {seed} chose the learning rate and is reported with the seeds that ran it, in "
            f"{text.plural(len(rows), 'row')}: it flatters. `zobench run --tune-seeds` keeps the two apart."
        )
    own = {row.name for row in section.rows if row.trains and row.name not in apart}
    if apart and own:
        yield (
            f"Roles of seeds are mixed: learning rates of {_list(sorted(apart))} were chosen on seeds that are not "
            f"reported, those of {_list(sorted(own))} were not."
        )
    yield from _of_lost(section)


def _of_lost(section: Section) -> Iterable[str]:
    """Methods that no learning rate was found for: they have records of tuning seeds alone."""
    shown = {(r["cell"]["estimator"], r["cell"]["selector"], r["cell"]["task"]) for r in section.records}
    lost: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in section.tuning:
        cell = record["cell"]
        if (cell["estimator"], cell["selector"], cell["task"]) not in shown:
            lost[cell["estimator"], cell["selector"]].add(cell["task"])
    for (estimator, selector), tasks in sorted(lost.items()):
        yield f"{estimator} / {selector}: has records of tuning seeds alone on {_list(sorted(tasks))}."


def tuning_of(section: Section) -> str:
    """On which seeds learning rates were chosen, for the section's head; empty where on those reported."""
    seeds = sorted({s for r in section.records for s in r.get("role", {}).get("tuned_on", ())})
    seeds = seeds or sorted({r["cell"]["seed"] for r in section.tuning})
    return f" Learning rates were chosen on seeds {_list([*map(str, seeds)])}, which are not reported." if seeds else ""


def _of_machines(section: Section) -> Iterable[str]:
    devices = Counter(device(r) for r in section.records if r["status"] == "ok")
    if len(devices) > 1:
        shown = "; ".join(f"{name} ({text.plural(n, 'record')})" for name, n in sorted(devices.items()))
        yield f"Times and memory are from different machines and may not be compared; speed-ups may. {shown}."


def _of_zero_shot(section: Section) -> Iterable[str]:
    """The untouched model is one model on one test set: where its scores differ, something else did."""
    seen: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in section.records:
        if record["status"] == "ok" and "zero_shot" in record["metrics"]:
            seen[record["cell"]["task"]][draw_of(record).split].append(record["metrics"]["zero_shot"]["value"])
    spreads = {task: max(max(of) - min(of) for of in seen[task].values()) for task in section.tasks if seen[task]}
    tasks = [task for task, spread in spreads.items() if spread > 1e-9]
    if tasks:
        yield (
            f"The untouched model scored differently in different records on {_list(tasks)} (by up to "
            f"{text.percent(max(spreads.values()))} points): their dtype, machine or software differ."
        )


def device(record: Record) -> str:
    """The device a record was made on, in words."""
    environment = record["environment"]
    name = environment.get("device_name") or environment.get("device") or "unknown device"
    processor = environment.get("processor")
    return f"{name}, {processor}" if str(name) == "cpu" and processor else str(name)


def plugin_columns(
    columns: Mapping[str, Callable[[list[Record]], str]],
) -> tuple[dict[str, Callable[[MethodRow], str]], list[str]]:
    """Plugins' columns made safe: (heading -> the text of a row, what went wrong, filled when the columns are used)."""
    faults: list[str] = []

    def safe(heading: str, column: Callable[[list[Record]], str]) -> Callable[[MethodRow], str]:
        def show(row: MethodRow) -> str:
            try:
                found: object = column(copy.deepcopy(list(row.records)))  # what it does to them stays with it
                if not isinstance(found, str | int | float):
                    raise TypeError(f"it returned {type(found).__name__}, not text")
                return str(found)
            except KeyboardInterrupt:
                raise
            except BaseException as e:  # a plugin's column must not cost the board; the board says that it failed
                fault = text.foreign(f"column {heading!r} failed: {type(e).__name__}: {text.sentence(str(e))}")
                faults.extend([] if fault in faults else [fault])
                return "failed"

        return show

    return {heading: safe(heading, columns[heading]) for heading in sorted(columns)}, faults


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)


def seeds_of(section: Section) -> str:
    """The seeds, for the section's head."""
    return ", ".join(map(str, sorted({r["cell"]["seed"] for r in section.records})))
