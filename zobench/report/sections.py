"""Records sorted into the sections of a board, and their rows.

Raises ZobenchError where records may not stand in one table.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import ZobenchError
from . import text, units
from .entry import Entry, draw_of
from .known import NOTHING, KnownNames
from .origins import apart_by_code, told_of_code
from .plain import canonical
from .record import Record
from .rows import MethodRow, Section, average
from .stats import Draw


def sections(records: Iterable[Record], *, split_protocols: bool = False, known: KnownNames = NOTHING) -> list[Section]:
    """The sections of a board, in a fixed order whatever the order of the records; their texts made inert.

    Raises ZobenchError where one section would hold several protocols (unless they may be split), several versions or
    revisions of a task's data, or the same cell twice.
    """
    grouped: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in sorted((text.inert(record) for record in records), key=_order):
        cell = record["cell"]
        grouped[cell["model"], cell["model_revision"] or "", cell["data"]].append(record)
    out: list[Section] = []
    for key in sorted(grouped):
        twins = [other for other in grouped if (other[0], other[2]) == (key[0], key[2])]
        revision = {"revision": key[1][:12]} if len(twins) > 1 else {}
        by_protocol: dict[str, list[Record]] = defaultdict(list)
        for record in grouped[key]:
            by_protocol[canonical(_protocol(record))].append(record)
        if len(by_protocol) > 1 and not split_protocols:
            raise ZobenchError(_mixed_protocols(key[0], list(by_protocol.values())))
        flats = [text.flat(_protocol(group[0])) for group in by_protocol.values()]
        varying = _varying(flats)
        for (_, group), settings in zip(sorted(by_protocol.items()), _sorted_like(by_protocol, flats), strict=True):
            distinct = revision | {k: settings[k] for k in varying if k in settings}
            for metric, part in units.by_metric(group):
                if any(map(reported, part)):
                    one = _section(part, distinct | ({"metric": metric} if metric else {}), metric)
                    out.append(replace(one, known=known))
    return out


def reported(record: Record) -> bool:
    """Whether the record's seed is one that is reported: one that chose learning rates is not."""
    return record.get("role", {"seed": "report"})["seed"] == "report"


def _protocol(record: Record) -> Mapping[str, Any]:
    """What must be equal to stand in one table: of a run over several data splits all but which one it was."""
    own, splits = record["protocol"], record.get("role", {}).get("splits")
    return {**own, "data_seed": "several"} if splits else own


def _sorted_like(groups: Mapping[str, Any], values: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [value for _, value in sorted(zip(groups, values, strict=True), key=lambda pair: pair[0])]


def _order(record: Record) -> tuple[str, ...]:
    cell = record["cell"]
    return (cell["task"], cell["estimator"], cell["selector"], f"{cell['seed']:020d}", record["id"])


def _section(records: Sequence[Record], distinct: Mapping[str, Any], metric: str | None) -> Section:
    tuning = tuple(r for r in records if not reported(r))
    records = [r for r in records if reported(r)]
    tasks = sorted({r["cell"]["task"] for r in records})
    for task in tasks:
        of_task = [r for r in records if r["cell"]["task"] == task]
        for key, what in (("task_version", "versions"), ("data_revision", "revisions of the data")):
            _one_value(task, of_task, key, what)
    rows = _expecting(_rows(records))
    scored = [t for t in tasks if any(row.entry(t).done for row in rows)]
    first = records[0]
    return Section(
        model=first["cell"]["model"],
        revision=first["cell"]["model_revision"],
        data=first["cell"]["data"],
        protocol=first["protocol"] | {"data_seed": _splits(records)} if _splits(records) else first["protocol"],
        tasks=tuple(tasks),
        rows=tuple(sorted(rows, key=lambda row: _rank(row, scored))),
        distinct=distinct,
        tuning=tuning,
        metric=metric,
    )


def _splits(records: Sequence[Record]) -> list[int]:
    """The data splits of a section that has several."""
    found = {draw_of(r).split for r in records if r.get("role", {}).get("splits")}
    return sorted(found) if len(found) > 1 else []


def _rank(row: MethodRow, tasks: Sequence[str]) -> tuple[Any, ...]:
    m = average(row, tasks)
    by_value = (m is None, -round(m, 9) if m is not None else 0.0)
    if row.reference:  # what trains nothing above what trains
        return (0, row.trains, row.method, row.where)
    return (1, *by_value, row.method, row.where)


def _rows(records: Sequence[Record]) -> list[MethodRow]:
    keys = ("estimator", "selector", "estimator_settings", "selector_settings", "run_settings")
    alike = [apart for group in _grouped(records, keys) for apart in apart_by_code(group)]
    groups = [apart for group in alike for apart in _apart_by_rates(group)]
    firsts = [group[0] for group in groups]
    return [
        MethodRow(
            records=tuple(group),
            estimator=group[0]["cell"]["estimator"],
            selector=group[0]["cell"]["selector"],
            method=_method(group[0], firsts),
            where=_where(group[0], firsts),
            reference=any(record.get("stands", "control") != "control" for record in group),
            entries=_entries(group),
        )
        for group in groups
    ]


def _grouped(records: Sequence[Record], keys: Sequence[str]) -> list[list[Record]]:
    """The records that agree in these parts of their cells, together."""
    grouped: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        cell = record["cell"]
        grouped[canonical({key: cell[key] for key in keys})].append(record)  # type: ignore[literal-required]
    return [grouped[key] for key in sorted(grouped)]


def _apart_by_rates(records: list[Record]) -> list[list[Record]]:
    """One row, where learning rates differ only from task to task or from seed to seed; else one for each grid."""
    cells = Counter((record["cell"]["task"], record["cell"]["seed"]) for record in records)
    return [records] if max(cells.values()) == 1 else _grouped(records, ("lrs",))


def _entries(records: Sequence[Record]) -> dict[str, Entry]:
    by_task: dict[str, dict[Draw, Record]] = defaultdict(dict)
    for record in records:
        task, draw = record["cell"]["task"], draw_of(record)
        if draw in by_task[task]:
            twin = by_task[task][draw]
            raise ZobenchError(f"records {twin['id']} and {record['id']} are of the same cell: delete one of them")
        by_task[task][draw] = record
    return {task: Entry(of_draw) for task, of_draw in by_task.items()}


def _expecting(rows: Sequence[MethodRow]) -> list[MethodRow]:
    """The rows, each knowing the draws that it should have: of each task those that any method has.

    Those of references count where no method was run.
    """
    expected: dict[str, frozenset[Draw]] = {}
    for some in ([r for r in rows if r.trains and r.reference], [r for r in rows if r.trains and not r.reference]):
        for task in {task for row in some for task in row.entries}:
            expected[task] = frozenset(draw for row in some for draw in row.entry(task).records)
    return [
        replace(
            row,
            entries={t: replace(e, expected=expected.get(t, frozenset())) for t, e in row.entries.items()},
        )
        for row in rows
    ]


def _method(record: Record, all_rows: Sequence[Record]) -> str:
    """The estimator's name and, among rows of the same estimator, the settings that differ."""
    cell = record["cell"]
    same = [r for r in all_rows if r["cell"]["estimator"] == cell["estimator"]]
    twins = [r for r in same if r["cell"]["selector"] == cell["selector"]]
    told = _told(same, record, lambda r: r["cell"]["estimator_settings"])
    told |= _told(twins, record, lambda r: r["cell"]["run_settings"])
    told |= _told(twins, record, lambda r: {"lrs": r["cell"]["lrs"]})
    told |= told_of_code(twins, record)
    return _label(cell["estimator"], told)


def _where(record: Record, all_rows: Sequence[Record]) -> str:
    cell = record["cell"]
    same = [r for r in all_rows if r["cell"]["selector"] == cell["selector"]]
    return _label(cell["selector"], _told(same, record, lambda r: r["cell"]["selector_settings"]))


def _told(among: Sequence[Record], record: Record, read: Callable[[Record], Mapping[str, Any]]) -> dict[str, Any]:
    own = read(record)
    return {key: own[key] for key in _varying([read(r) for r in among]) if key in own}


def _label(name: str, told: Mapping[str, Any]) -> str:
    return f"{name} ({text.settings(told)})" if told else name


def _varying(mappings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys that not all mappings have alike."""
    keys = sorted({key for mapping in mappings for key in mapping})
    absent = object()
    return [k for k in keys if len({canonical(m[k]) if k in m else absent for m in mappings}) > 1]


def _mixed_protocols(model: str, groups: Sequence[Sequence[Record]]) -> str:
    flats = [text.flat(_protocol(group[0])) for group in groups]
    parts = []
    for key in _varying(flats)[:3]:
        by_value: dict[str, list[Record]] = defaultdict(list)
        for settings, group in zip(flats, groups, strict=True):
            by_value[text.value(settings.get(key))].extend(group)
        parts.append(f"{key} is " + " and ".join(f"{v} in {_ids(rs)}" for v, rs in sorted(by_value.items())))
    return (
        f"the records of {model} have different protocols, which may not stand in one table: {'; '.join(parts)}; "
        "pass --split-protocols for a section each, or keep them in different folders"
    )


def _one_value(task: str, records: Sequence[Record], key: str, what: str) -> None:
    by_value: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_value[text.value(record["cell"].get(key))].append(record)
    if len(by_value) > 1:
        parts = " and ".join(f"{v} in {_ids(rs)}" for v, rs in sorted(by_value.items()))
        raise ZobenchError(
            f"records of task {task} are of different {what}, which may not stand in one table: {parts}; "
            "move or delete those of one of them"
        )


def _ids(records: Sequence[Record]) -> str:
    ids = sorted(r["id"] for r in records)
    return f"{text.plural(len(ids), 'record')} ({ids[0]}{', ...' if len(ids) > 1 else ''})"
