"""`zobench analyze activations`: where a model's activation outliers are, and which block each rule would choose."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..plugins.outlier_bar import bar
from .activations_picture import drawn
from .looking import Batches, BatchSize, LookOptions, looking_at, of_model, tell
from .shared_options import shares
from .written import WrittenOptions

if TYPE_CHECKING:
    from ..models.activations import BlockActivation
    from ..models.load import LoadedModel
    from ..run.looks import Sample

HEADINGS = ("block", "mean", "median", "max", "max/median", "jump", "position", "channel", "token")


@shares
def activations(
    look: LookOptions,
    written: WrittenOptions,
    batches: Batches = 4,
    batch_size: BatchSize = 8,
    seed: Annotated[int, typer.Option(help="Whose training order: as in zobench run.", min=0)] = 0,
) -> None:
    """Print |h| of the stream after each decoder block, and which block each outlier rule would choose.

    With the same task, preset, seed, batches and dtype this is the table that `--selector first_outlier` goes by. Of
    several tasks: the block of each rule on each task, whether they agree, and how far each is from its thresholds.
    """
    written.check()
    found, place, name = look.begin()
    from ..models.activations import block_activations
    from ..run.looks import Sample
    from ..run.place import load

    asked = Sample("", name, seed, batches, batch_size)
    loaded = load(place, found, look.dtype.value)
    least = bar(found, place.model)
    every = []
    for task, _, given in looking_at(look.tasks, asked, place, loaded, found):
        table = block_activations(loaded, given, embedding=True)
        every.append(_facts(dataclasses.replace(asked, task=task), loaded, table, least))
        every[-1]["tokens"] = sum(batch.tokens for batch in given)
        tell(f"{task}: {len(given)} batches, {every[-1]['tokens']} tokens")
    page, facts = _of_one(every[0]), every[0]
    if len(every) > 1:
        page, facts = _of_many(every), {"model": loaded.name, "agree": _agreed(every), "tasks": every}
    written.end(page, facts, lambda path: drawn(path, every))


def _facts(
    asked: Sample, loaded: LoadedModel, table: Sequence[BlockActivation], least: Mapping[str, float]
) -> dict[str, Any]:
    """All that is known, for JSON: what was asked, the rows, what each rule says (`least`: the bars of some)."""
    from ..models.outliers import RULES, choice, describe, jumps

    rows = []
    for row, jump in zip(table, jumps(table), strict=True):
        token = str(loaded.tokenizer.convert_ids_to_tokens(row.token))
        ratio = row.ratio if math.isfinite(row.ratio) else None
        rows.append({**dataclasses.asdict(row), "ratio": ratio, "jump": jump, "text": token})
    rules = {}
    for rule in RULES:
        chosen = choice(table, rule=rule, ratio=least.get(rule))
        numbers = {k: v if v is None or math.isfinite(v) else None for k, v in dataclasses.asdict(chosen).items()}
        rules[rule] = {**numbers, "condition": describe(rule, ratio=least.get(rule)), "said": str(chosen)}
    return of_model(loaded, **vars(asked), rows=rows, rules=rules)


def _of_one(facts: Mapping[str, Any]) -> str:
    lines = [
        f"{facts['model']}, {facts['task']}: {facts['batches']} batches of {facts['batch_size']} training examples, "
        f"{facts['tokens']} tokens",
        "",
        _table(facts["rows"]),
        "",
    ]
    for name, rule in facts["rules"].items():
        says = "no outlier" if rule["block"] is None else f"block {rule['block']}"
        lines.append(f"rule {name}: {says} ({rule['condition']}){_how_far(rule)}")
    return "\n".join(lines) + "\n"


def _how_far(rule: Mapping[str, Any]) -> str:
    """How far the choice is from its thresholds, in words."""
    parts = [] if rule["margin"] is None else [f"x{rule['margin']:.3g} over its thresholds"]
    if rule["rival"] is not None:
        when = "nearest" if rule["block"] is None else "nearest before it"
        parts.append(f"{when}: block {rule['rival']}, at x{rule['rival_margin']:.2g} of them")
    return f"; {'; '.join(parts)}" if parts else ""


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    from tabulate import tabulate

    lines = []
    for row in rows:
        lines.append(
            [
                "embedding" if row["index"] < 0 else str(row["index"]),
                *(f"{row[key]:.4g}" for key in ("mean", "median", "max")),
                "-" if row["ratio"] is None else f"{row['ratio']:.1f}",
                "-" if row["jump"] is None else f"x{row['jump']:.2f}",
                str(row["position"]),
                str(row["channel"]),
                repr(row["text"]),
            ]
        )
    return tabulate(lines, HEADINGS, tablefmt="github", disable_numparse=True, colalign=("right",) * 8 + ("left",))


# ---- of several tasks


def _of_many(every: Sequence[Mapping[str, Any]]) -> str:
    from tabulate import tabulate

    rules = list(every[0]["rules"])
    rows = [[facts["task"], *(facts["rules"][rule]["said"] for rule in rules), _peak(facts)] for facts in every]
    first = every[0]
    heads = ["task", *rules, "largest max/median"]
    lines = [
        f"# {first['model']}: the first outlier block on {len(every)} tasks",
        "",
        f"{first['batches']} batches of {first['batch_size']} training examples a task, {first['dtype']}, seed "
        f"{first['seed']}, {sum(facts['tokens'] for facts in every)} tokens in all.",
        "",
        tabulate(rows, heads, tablefmt="github", disable_numparse=True),
        "",
    ]
    for rule in rules:
        condition, told = first["rules"][rule]["condition"], _said(every, rule)
        lines.append(f"- {rule} ({condition}): {told}{_least(every, rule)}")
    lines += ["", _between(every), "", HOW_FAR]
    return "\n".join(lines) + "\n"


HOW_FAR = (
    "In brackets: how many times over the rule's thresholds the block is, and the earlier block (of all, where none "
    "passes) that comes nearest to them. Thresholds so many times higher, or so low that the other reaches them, "
    "choose another block."
)


def _peak(facts: Mapping[str, Any]) -> str:
    known = [row for row in facts["rows"] if row["index"] >= 0 and row["ratio"] is not None]
    if not known:
        return "-"
    peak = max(known, key=lambda row: float(row["ratio"]))
    return f"{peak['ratio']:.4g}, block {peak['index']}"


def _blocks(every: Sequence[Mapping[str, Any]], rule: str) -> list[int | None]:
    return [facts["rules"][rule]["block"] for facts in every]


def _agreed(every: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """By rule whether it says the same of every task."""
    return {rule: len(set(_blocks(every, rule))) == 1 for rule in every[0]["rules"]}


def _said(every: Sequence[Mapping[str, Any]], rule: str) -> str:
    found = _blocks(every, rule)
    if len(set(found)) == 1:
        return "no block on any task" if found[0] is None else f"block {found[0]} on every task"
    counts = sorted({one: found.count(one) for one in found}.items(), key=lambda pair: (-pair[1], str(pair[0])))
    return ", ".join(f"{'no block' if block is None else f'block {block}'} on {n}" for block, n in counts)


def _least(every: Sequence[Mapping[str, Any]], rule: str) -> str:
    """The task on which the choice is nearest to another one."""
    near = []
    for facts in every:
        said = facts["rules"][rule]
        if said["margin"] is not None:
            near.append((said["margin"], facts["task"]))
        if said["rival_margin"]:
            near.append((1 / said["rival_margin"], facts["task"]))
    return f"; nearest to another choice on {min(near)[1]}, by a factor of {min(near)[0]:.3g}" if near else ""


def _between(every: Sequence[Mapping[str, Any]]) -> str:
    """Whether the choice depends on the task, and on the rule."""
    agreed = _agreed(every)
    depends = [rule for rule, same in agreed.items() if not same]
    one = {rule: _blocks(every, rule)[0] for rule, same in agreed.items() if same}
    parts = [f"The choice depends on the task by {', '.join(depends)}."] if depends else []
    found = {rule: block for rule, block in one.items() if block is not None}
    if len(found) > 1 and len(set(found.values())) == 1:
        parts.append(f"{', '.join(found)} choose block {next(iter(found.values()))} on every task.")
    elif found:
        each = ", ".join(f"{rule} block {block}" for rule, block in found.items())
        parts.append(f"The same on every task: {each}.")
    none = [rule for rule, block in one.items() if block is None]
    return " ".join([*parts, *([f"No outlier on any task: {', '.join(none)}."] if none else [])])
