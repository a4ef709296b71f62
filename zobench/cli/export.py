"""`zobench export`: the tuned weights of a finished cell as a folder for transformers or peft."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import CellId, Offline, PluginFiles, RebuiltOn, plugins_of
from .replay import found_cell, of_transform


def export(
    cell: CellId,
    out: Annotated[Path, typer.Option(help="The folder to write: new, or empty.", metavar="DIR")],
    results: Annotated[Path, typer.Option(help="The results folder of its run.", metavar="DIR")] = Path("runs"),
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="The model it ran on, where the record's name does not lead there."),
    ] = None,
    device: RebuiltOn = "auto",
    offline: Offline = False,
    plugin: PluginFiles = None,
) -> None:
    """Write the chosen weights of a cell so that from_pretrained loads them, with tokenizer and a model card.

    A cell that trained adapters (LoRA), a prefix in all blocks or a prompt gives a folder for peft. The weights are
    rebuilt from the cell's replay log, or are those that it kept. They give the very predictions of the record.
    """
    plugins = plugins_of(plugin)
    record = found_cell(results, cell, plugins)
    from ..run.export import export as write
    from ..run.place import Place, load

    name = record["cell"]["model"] if model is None else model
    loaded = load(Place(name, device=device, offline=offline), plugins, record["cell"]["run_settings"]["dtype"])
    names = write(record, results, loaded, plugins, out)
    print(f"{out}: {', '.join(names)}")
    if said := of_transform(record):
        print(said)
