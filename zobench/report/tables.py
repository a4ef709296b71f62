"""The tables of a section, each a pure function of it. Scores and gains are percentages, times milliseconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from . import stats, text
from .compare import Verdict
from .record import Record, ScoreInfo
from .rows import NO_SELECTOR, Entry, Row, Section, average

ONE_SEED = "¹"
"""Marks a spread over test items in a table whose other spreads are over seeds."""

FORWARDS = ("train", "extra", "backward", "eval", "calibration", "probe", "speed")
PHASES = ("forward_s", "perturb_s", "update_s")


def heads(row: Row) -> list[str]:
    """The first two cells of a row; references are in italics."""
    return [f"*{row.method}*", row.where] if row.reference else [row.method, row.where]


# ---- scores


def zero_shot_scores(section: Section) -> dict[str, ScoreInfo]:
    """The untouched model's test score by task, from the first record that has one: they are all the same run."""
    out: dict[str, ScoreInfo] = {}
    for record in section.records:
        if "zero_shot" in record["metrics"] and record["status"] == "ok":
            out.setdefault(record["cell"]["task"], record["metrics"]["zero_shot"])
    return out


def mixed_seeds(section: Section) -> bool:
    """Whether some entries have one seed and others several."""
    numbers = [len(e.done) for row in section.rows for e in row.entries.values() if e.done]
    numbers += [] if _has_untrained(section) else [1]
    return min(numbers, default=1) == 1 < max(numbers, default=1)


def score_table(section: Section, verdicts: Mapping[str, Verdict | None], overall: Verdict | None) -> str:
    """Test scores: a row a method, a column a task, then the average over tasks and its gain over zero-shot."""
    tasks, mixed = section.scored, mixed_seeds(section)
    rows = [] if _has_untrained(section) else [_zero_shot_row(section, mixed)]
    for row in section.rows:
        cells = []
        for task in section.tasks:
            verdict = verdicts[task]
            best = verdict is not None and verdict.bold and verdict.best is row
            cells.append(_bold(score(row.entry(task), mixed), best))
        best = overall is not None and overall.bold and overall.best is row
        rows.append([*heads(row), *cells, _bold(_average(row, tasks, mixed), best), _average_gain(row, tasks)])
    return text.table(["method", "selector", *section.tasks, "average", "gain"], rows)


def score(entry: Entry, mixed: bool) -> str:
    """`91.2 ± 0.4`; how it failed where it did; `-` where it was not run."""
    if not entry.done:
        return _failures(entry) or text.NONE
    spread = stats.sample_std(entry.values())
    mark = ONE_SEED if mixed and spread is None else ""
    error = entry.stderr() if spread is None else spread
    shown = f"{text.percent(stats.mean(entry.values()))} ± {text.percent(error)}{mark}"
    return shown + (f" ({_failures(entry)})" if entry.failed else "")


def _failures(entry: Entry) -> str:
    if len(entry.records) == 1:
        return ", ".join(entry.failed)
    return ", ".join(f"{n} of {len(entry.records)} {status}" for status, n in sorted(entry.failed.items()))


def _bold(shown: str, bold: bool) -> str:
    return f"**{shown}**" if bold else shown


def _has_untrained(section: Section) -> bool:
    return any(row.selector == NO_SELECTOR for row in section.rows)


def _zero_shot_row(section: Section, mixed: bool) -> list[str]:
    scores, mark = zero_shot_scores(section), ONE_SEED if mixed else ""
    cells = [
        f"{text.percent(scores[t]['value'])} ± {text.percent(scores[t]['stderr'])}{mark}" if t in scores else text.NONE
        for t in section.tasks
    ]
    if scores:
        m = stats.mean([s["value"] for s in scores.values()])
        cells.append(f"{text.percent(m)} ± {text.percent(_pooled([s['stderr'] for s in scores.values()]))}{mark}")
    else:
        cells.append(text.NONE)
    return ["*zero-shot*", NO_SELECTOR, *cells, text.NONE]


def _pooled(errors: Sequence[float]) -> float:
    """The standard error of a mean of independent means."""
    return math.sqrt(math.fsum(e * e for e in errors)) / len(errors)


def _average(row: Row, tasks: Sequence[str], mixed: bool) -> str:
    m = average(row, tasks)
    if m is None:
        return text.NONE
    entries = [row.entry(task) for task in tasks]
    seeds = sorted(set.intersection(*(set(e.done) for e in entries)))
    spread = stats.sample_std([stats.mean([e.scores()[s]["value"] for e in entries]) for s in seeds])
    if spread is None:
        return f"{text.percent(m)} ± {text.percent(_pooled([e.stderr() for e in entries]))}{ONE_SEED if mixed else ''}"
    return f"{text.percent(m)} ± {text.percent(spread)}"


def _average_gain(row: Row, tasks: Sequence[str]) -> str:
    after, before = average(row, tasks), [row.entry(t).mean("zero_shot") for t in tasks if row.entry(t).done]
    if after is None or row.selector == NO_SELECTOR:
        return text.NONE
    return text.signed(after - stats.mean([b for b in before if b is not None]))


def error_table(section: Section) -> str:
    """What the scores rest on: standard error of one seed's score, test items, seeds."""

    def cell(entry: Entry) -> str:
        if not entry.done:
            return text.NONE
        n = sorted({s["n"] for s in entry.scores().values()})
        return f"{text.percent(entry.stderr())} ({'/'.join(map(str, n))} × {len(entry.done)})"

    return _by_task(section, cell, section.rows)


def gain_table(section: Section) -> str:
    """Gain over zero-shot by task, with the standard error of the paired difference over items."""

    def cell(entry: Entry) -> str:
        after, before = entry.mean(), entry.mean("zero_shot")
        if after is None or before is None:
            return text.NONE
        paired = entry.gain()
        return text.signed(after - before) + (f" ± {text.percent(paired.stderr)}" if paired else "")

    return _by_task(section, cell, _trained(section))


def _by_task(section: Section, cell: Callable[[Entry], str], rows: Sequence[Row]) -> str:
    body = [[*heads(row), *(cell(row.entry(task)) for task in section.tasks)] for row in rows]
    return text.table(["method", "selector", *section.tasks], body)


def _trained(section: Section) -> list[Row]:
    return [row for row in section.rows if row.selector != NO_SELECTOR]


# ---- cost


def cost_table(section: Section, further: Mapping[str, Callable[[Row], str]]) -> str:
    """What a method moves and what it takes: means over the tasks it finished; `further` are plugins' columns."""
    headers = ["method", "selector", "tasks", "parameters", "of model", "layers", "ms per step", "forward"]
    headers += ["perturb", "update", "speedup", "peak memory", "weights", "state", *further]
    rows = []
    for row in section.rows:
        done = [r for task in section.tasks for r in row.entry(task).done.values()]
        tasks = sum(1 for task in section.tasks if row.entry(task).done)
        scopes = [scope for r in done if (scope := r["scope"]) is not None]
        times = [_mean_time(row, section.tasks, key) for key in ("step_s", *PHASES)]
        rows.append(
            [
                *heads(row),
                f"{tasks}/{len(section.tasks)}",
                _distinct([text.count(s["parameters"]) for s in scopes]),
                _distinct([text.share(s["fraction"]) for s in scopes]),
                _distinct([text.layers(s["layers"]) for s in scopes]),
                *(text.NONE if t is None else text.milliseconds(t) for t in times),
                _speedup(row, section.tasks),
                *(_largest(done, key) for key in ("peak_bytes", "weights_bytes", "state_bytes")),
                *(column(row) for column in further.values()),
            ]
        )
    return text.table(headers, rows)


def forwards_table(section: Section) -> str:
    """Forward passes of a cell by purpose: means over the cells that ended well."""
    purposes = [p for p in FORWARDS if p in ("train", "eval") or any(_of(r, p) for r in section.records)]
    purposes += sorted({p for r in section.records for p, n in r["forwards"].items() if n and p not in FORWARDS})
    rows = []
    for row in section.rows:
        done = [r for r in row.records if r["status"] == "ok"]
        cells = [text.count(stats.mean([_of(r, p) for r in done])) if done else text.NONE for p in purposes]
        rows.append([*heads(row), *cells])
    return text.table(["method", "selector", *purposes], rows)


def _of(record: Record, purpose: str) -> int:
    return record["forwards"].get(purpose, 0)


def speed_table(section: Section) -> str:
    """By task: the speed-up, the baseline's and the own milliseconds per step, and the own by phase."""

    def cell(entry: Entry) -> str:
        measured = [r["speed"] for r in entry.done.values() if "speed" in r]
        if not measured:
            return text.NONE
        own = {k: stats.mean([s["own"][k] for s in measured]) for k in ("step_s", *PHASES)}  # type: ignore[literal-required]
        base = stats.mean([s["baseline"]["step_s"] for s in measured])
        phases = " + ".join(text.milliseconds(own[k]) for k in PHASES)
        speedup = text.ratio(stats.geometric_mean([s["ratio"] for s in measured]))
        return f"{speedup}: {text.milliseconds(base)} to {text.milliseconds(own['step_s'])} ({phases})"

    return _by_task(section, cell, [row for row in section.rows if _ratios(row, section.tasks)])


def _ratios(row: Row, tasks: Sequence[str]) -> list[float]:
    """A row's speed-up by task (the geometric mean over seeds)."""
    found = [[r["speed"]["ratio"] for r in row.entry(t).done.values() if "speed" in r] for t in tasks]
    return [stats.geometric_mean(ratios) for ratios in found if ratios]


def _speedup(row: Row, tasks: Sequence[str]) -> str:
    ratios = _ratios(row, tasks)
    if not ratios:
        return text.NONE
    shown = text.ratio(stats.geometric_mean(ratios))
    return shown if len(ratios) == len(tasks) else f"{shown} ({len(ratios)} of {len(tasks)} tasks)"


def _mean_time(row: Row, tasks: Sequence[str], key: str) -> float | None:
    by_task = [[r["time"][key] for r in row.entry(t).done.values() if r["time"].get(key) is not None] for t in tasks]
    means = [stats.mean(times) for times in by_task if times]
    return stats.mean(means) if means else None


def _largest(records: Sequence[Record], key: str) -> str:
    values = [r["memory"][key] for r in records if r["memory"].get(key) is not None]
    return text.size(max(values)) if values else text.NONE


def _distinct(shown: Sequence[str]) -> str:
    return " or ".join(sorted(set(shown))) or text.NONE


# ---- what was chosen, how it was computed, what failed


def edge(record: Record) -> str:
    """`upper` or `lower` where the chosen learning rate is the end of a grid of several; empty otherwise."""
    grid, chosen = sorted(set(record["cell"]["lrs"])), record.get("chosen", {}).get("lr")
    if len(grid) < 2 or chosen is None:
        return ""
    return "upper" if chosen >= grid[-1] else "lower" if chosen <= grid[0] else ""


def rate_table(section: Section) -> str:
    """The learning rate chosen on dev, by task; an arrow where it is the end of its grid."""
    arrows = {"upper": " ↑", "lower": " ↓", "": ""}

    def cell(entry: Entry) -> str:
        chosen = {
            r["chosen"]["lr"]: f"{r['chosen']['lr']:g}{arrows[edge(r)]}"
            for r in entry.done.values()
            if r.get("chosen", {}).get("lr") is not None
        }
        lost = [t["status"] for r in entry.done.values() for t in r["trials"] if t["status"] != "ok"]
        shown = ", ".join(chosen[lr] for lr in sorted(chosen)) or text.NONE
        return shown + (f" ({', '.join(f'{lost.count(s)} {s}' for s in sorted(set(lost)))})" if lost else "")

    body = [
        [*heads(row), ", ".join(f"{lr:g}" for lr in sorted(row.records[0]["cell"]["lrs"])) or text.NONE]
        + [cell(row.entry(task)) for task in section.tasks]
        for row in _trained(section)
    ]
    return text.table(["method", "selector", "tried", *section.tasks], body, left=3)


def settings_table(section: Section) -> tuple[str, str]:
    """(settings that all rows share, in one line; a table of those that differ, empty where none do)."""
    flats = [text.flat(row.records[0]["cell"]["run_settings"]) for row in section.rows]
    keys = sorted({key for one in flats for key in one})
    shared = [k for k in keys if all(k in one and one[k] == flats[0].get(k) for one in flats)]
    own = [k for k in keys if k not in shared]
    resolved = [_engines(row) for row in section.rows]
    headers = ["method", "selector", "estimator settings", "selector settings", *own, "computed with"]
    body = [
        [
            *heads(row),
            text.settings(row.records[0]["cell"]["estimator_settings"]),
            text.settings(row.records[0]["cell"]["selector_settings"]),
            *(text.value(one[k]) if k in one else text.NONE for k in own),
            used,
        ]
        for row, one, used in zip(section.rows, flats, resolved, strict=True)
    ]
    return text.settings({k: flats[0][k] for k in shared}), text.table(headers, body, left=len(headers))


def _engines(row: Row) -> str:
    """What `auto` became: the engine's facts as the records have them."""
    facts = []
    for record in row.records:
        engine = record.get("engine")
        if isinstance(engine, Mapping):
            facts.append(text.settings(engine))
        elif engine is not None:
            facts.append(str(engine))
    return _distinct(facts)


def failure_table(section: Section) -> str:
    """The cells that did not end well, each with its one-line error."""
    rows = [
        [*heads(row), r["cell"]["task"], str(r["cell"]["seed"]), r["status"], text.sentence(r["error"] or text.NONE)]
        for row in section.rows
        for r in row.records
        if r["status"] != "ok"
    ]
    return text.table(["method", "selector", "task", "seed", "status", "what happened"], rows, left=6) if rows else ""
