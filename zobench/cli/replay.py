"""`zobench replay`: the chosen weights of a finished cell as a safetensors file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ZobenchError, unknown
from ..paths import check_writable
from .common import CellId, Offline, PluginFiles, RebuiltOn, atomically, plugins_of

if TYPE_CHECKING:
    from ..plugins.registry import Plugins
    from ..report.record import Record


def replay(
    results: Annotated[Path, typer.Argument(help="The results folder of a run.")],
    cell: CellId,
    model: Annotated[str, typer.Option("--model", "-m", help="The model it ran on: a folder, a hub id or a name.")],
    out: Annotated[Path, typer.Option(help="The file to write.", metavar="FILE")],
    device: RebuiltOn = "auto",
    offline: Offline = False,
    plugin: PluginFiles = None,
) -> None:
    """Build the chosen weights of a cell again from its replay log, without data and without a forward pass."""
    check_writable(out, "--out")
    plugins = plugins_of(plugin)
    record = found_cell(results, cell, plugins)
    from safetensors.torch import save_file

    from ..run.place import Place, load
    from ..run.replay import rebuild

    loaded = load(Place(model, device=device, offline=offline), plugins, record["cell"]["run_settings"]["dtype"])
    weights = rebuild(record, results, loaded, plugins)
    with atomically(out, "--out") as draft:
        save_file({name: t.contiguous().cpu() for name, t in weights.items()}, draft)
    chosen = record["chosen"]
    print(f"{out}: {len(weights)} tensors of {cell} at step {chosen['step']}, lr {chosen['lr']:g}")
    if said := of_transform(record):
        print(said)


def of_transform(record: Record) -> str:
    """What weights are of that were trained in a transformed model; empty for others."""
    said = record["protocol"].get("transform")
    return f"trained under transform={said}: without it they are not what was scored" if said else ""


def found_cell(results: Path, cell: str, plugins: Plugins) -> Record:
    """The record of a cell, whole with the files beside it, of the code that is there now. Else ZobenchError."""
    from ..report import store

    record = store.find(results, cell)
    if record is None:
        known = [r["id"] for r in store.read(results)[0]]
        raise ZobenchError(unknown("cell", cell, known))
    if isinstance(record, store.RecordProblem):
        raise ZobenchError(str(record))
    for problem in store.beside(results, [record], hash_weights=True)[0]:
        raise ZobenchError(str(problem))
    said = record["cell"].get("code", {})
    for name, now in plugins.code([("estimators", record["cell"]["estimator"])]).items():
        if said.get(name, now) != now:
            raise ZobenchError(
                f"{cell}: the code of {name} was {said[name]} then and is {now} now: other code moves other weights; "
                "put the file of then back"
            )
    return record
