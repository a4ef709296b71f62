"""`zobench analyze`: look into a model without training it, and into what training gave."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import (
    DataDir,
    Device,
    Dtype,
    ModelName,
    Offline,
    PluginFiles,
    PresetName,
    check_outputs,
    figure_class,
    picture,
    plugins_of,
    write_file,
)
from .costs import cost
from .curves import curves
from .layers import layers
from .looking import place_of
from .methods import methods
from .outlier_bar import bar
from .propagation import propagation
from .ranks import factors, ranks
from .sensitivity import sensitivity

if TYPE_CHECKING:
    from ..models.activations import BlockActivation
    from ..models.load import LoadedModel
    from ..run.looks import Sample

app = typer.Typer(no_args_is_help=True)

HEADINGS = ("block", "mean", "median", "max", "max/median", "jump", "position", "channel", "token")


@app.callback()
def analyze() -> None:
    """Look into a model: the activations that selectors go by, and what its blocks do alone."""


app.command()(layers)
app.command()(methods)
app.command()(ranks)
app.command()(factors)
app.command()(sensitivity)
app.command()(propagation)
app.command()(cost)
app.command()(curves)


@app.command()
def activations(
    task: Annotated[str, typer.Option("--task", "-t", help="The task whose training examples are looked at.")],
    model: ModelName = None,
    data_dir: DataDir = None,
    batches: Annotated[int, typer.Option(help="Batches of training examples.", min=1)] = 4,
    batch_size: Annotated[int, typer.Option(help="Examples in a batch.", min=1)] = 8,
    preset: PresetName = None,
    seed: Annotated[int, typer.Option(help="Whose training order: as in zobench run.", min=0)] = 0,
    dtype: Annotated[Dtype, typer.Option(help="Of the weights.")] = Dtype.float32,
    device: Device = "auto",
    offline: Offline = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the table and the rules here.", metavar="FILE")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it here: .png, .pdf or .svg.", metavar="FILE")] = None,
    plugin: PluginFiles = None,
) -> None:
    """Print |h| of the stream after each decoder block, and which block each outlier rule would choose.

    With the same task, preset, seed, batches and dtype this is the table that `--selector first_outlier` goes by.
    """
    check_outputs(json=json_file, plot=plot)
    found = plugins_of(plugin)
    place, name = place_of(found, model, preset, data_dir, device=device, offline=offline)
    from ..models.activations import block_activations
    from ..run.looks import Sample, sampled
    from ..run.place import data_source, load
    from ..tasks.source import load_pools

    asked = Sample(task, name, seed, batches, batch_size)
    loaded = load(place, found, dtype.value)
    pools = load_pools(found.task(task), data_source(place, loaded, found), offline=offline)
    _, calibration = sampled(asked, found, pools, loaded)
    table = block_activations(loaded, calibration, embedding=True)
    facts = _facts(asked, loaded, table, bar(found, place.model))
    tokens = sum(batch.tokens for batch in calibration)
    print(
        f"{loaded.name}, {asked.task}: {len(calibration)} batches of {batch_size} training examples, {tokens} tokens\n"
    )
    print(_markdown(facts["rows"]) + "\n")
    for name, rule in facts["rules"].items():
        says = "no outlier" if rule["block"] is None else f"block {rule['block']}"
        print(f"rule {name}: {says} ({rule['condition']})")
    if json_file is not None:
        write_file(json_file, json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n")
    if plot is not None:
        write_file(plot, _drawn(plot, facts))


def _facts(
    asked: Sample, loaded: LoadedModel, table: Sequence[BlockActivation], least: dict[str, float]
) -> dict[str, Any]:
    """All that is known, for JSON: what was asked, the rows, what each rule says (`least`: the bars of some)."""
    from ..models.outliers import RULES, choose_block, describe, jumps

    rows = []
    for row, jump in zip(table, jumps(table), strict=True):
        token = str(loaded.tokenizer.convert_ids_to_tokens(row.token))
        ratio = row.ratio if math.isfinite(row.ratio) else None
        rows.append({**dataclasses.asdict(row), "ratio": ratio, "jump": jump, "text": token})
    return {
        "model": loaded.name,
        "revision": loaded.revision,
        "dtype": loaded.dtype,
        **vars(asked),
        "rows": rows,
        "rules": {
            rule: {
                "block": choose_block(table, rule=rule, ratio=least.get(rule)),
                "condition": describe(rule, ratio=least.get(rule)),
            }
            for rule in RULES
        },
    }


def _markdown(rows: Sequence[dict[str, Any]]) -> str:
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


def _drawn(path: Path, facts: dict[str, Any]) -> bytes:
    """Max, mean and median by block on a logarithmic axis, the plateau rule's block marked: the paper's figure 2."""
    figure = figure_class(path)(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    rows = [row for row in facts["rows"] if row["index"] >= 0]
    blocks = [row["index"] for row in rows]
    for key, marker in (("max", "o"), ("mean", "s"), ("median", "^")):
        axes.plot(blocks, [row[key] for row in rows], marker=marker, markersize=3, label=key)
    chosen = facts["rules"]["plateau"]["block"]
    if chosen is not None:
        axes.plot([chosen], [rows[chosen]["max"]], "*", markersize=14, color="tab:red", label=f"block {chosen}")
    axes.set(yscale="log", xlabel="decoder block", ylabel="|h|", title=f"{facts['model']} on {facts['task']}")
    axes.legend()
    return picture(figure, path)
