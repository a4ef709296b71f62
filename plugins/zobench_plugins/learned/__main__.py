"""The commands that make learned files: `python -m zobench_plugins.learned masks|scales`."""

from __future__ import annotations

import importlib
import itertools
import sys
from pathlib import Path
from typing import Annotated

import typer
from zobench_world import zobench_models

from zobench import LoadedModel, ZobenchError, load_model

from .masks import Per, learn_masks, write_masks
from .networks import write_networks
from .scales import learn_scales
from .text import text_objectives

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Model = Annotated[str, typer.Option("--model", "-m", help="A folder with a model, a hub id, or embedded.")]
Text = Annotated[Path, typer.Option(help="Plain text, UTF-8; the papers take C4 and a training task.", metavar="FILE")]
Out = Annotated[Path, typer.Option(help="The file to write (.safetensors).", metavar="FILE")]
BatchSize = Annotated[int, typer.Option(help="Windows of text in a batch.", min=1)]
Length = Annotated[int, typer.Option(help="Tokens of a window.", min=2)]
Seed = Annotated[int, typer.Option(help="Of the windows (and, for scales, of networks and noise).", min=0)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")]


@app.command()
def masks(
    model: Model,
    text: Text,
    out: Out,
    density: Annotated[float, typer.Option(help="Share of entries in the mask.")] = 1e-3,
    per: Annotated[str, typer.Option(help="model: the largest of all tensors; tensor: of each.")] = "model",
    only: Annotated[list[str] | None, typer.Option(help="Only parameters with this in their name.")] = None,
    batches: Annotated[int, typer.Option(help="Batches, one backward pass each.", min=1)] = 32,
    batch_size: BatchSize = 8,
    length: Length = 128,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """The entries with the largest squared gradient of the next-token loss, for the estimator sensitive_sparse."""
    which: Per = "tensor" if per == "tensor" else "model"
    if per != which:
        raise ZobenchError(f"--per {per}: model or tensor")
    loaded, content = _opened(model, text, device)
    objectives = text_objectives(loaded, content, batch_size=batch_size, length=length, seed=seed)
    found, facts = learn_masks(
        loaded, itertools.islice(objectives, batches), density=density, per=which, only=tuple(only or ())
    )
    digest = write_masks(out, found, {**facts, "text": text.name, "length": length, "seed": seed})
    print(
        f"{out}: {facts['entries']} entries of {len(found)} tensors, with {facts['share_of_squares']:.1%} of the "
        f"squared gradient\nsha256 {digest}"
    )


@app.command()
def scales(
    model: Model,
    text: Text,
    out: Out,
    steps: Annotated[int, typer.Option(help="Steps of learning, two backward passes each.", min=1)] = 300,
    restart_every: Annotated[int, typer.Option(help="Steps until the model starts again.", min=1)] = 100,
    lr: Annotated[float, typer.Option(help="Of the model's own steps.")] = 0.01,
    rate: Annotated[float, typer.Option(help="Learning rate of the networks.")] = 0.1,
    reach: Annotated[float, typer.Option(help="Learning rate of the runs to come.")] = 1e-6,
    batch_size: BatchSize = 8,
    length: Length = 128,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Networks that scale the direction of each tensor, for the estimator zo_fine_tuner."""
    loaded, content = _opened(model, text, device)
    objectives = text_objectives(loaded, content, batch_size=batch_size, length=length, seed=seed)
    found, facts = learn_scales(
        loaded, objectives, steps=steps, restart_every=restart_every, lr=lr, seed=seed, rate=rate, reach=reach
    )
    digest = write_networks(out, found, {**facts, "text": text.name, "length": length})
    low, high = (pick(facts["scales"], key=facts["scales"].get) for pick in (min, max))
    print(
        f"{out}: {len(found)} networks; last scales from {facts['scales'][low]:.3g} ({low}) to "
        f"{facts['scales'][high]:.3g} ({high})\nsha256 {digest}"
    )


def _opened(model: str, text: Path, device: str) -> tuple[LoadedModel, str]:
    """The model in float32, and the text. ZobenchError where one cannot be read."""
    try:
        content = text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ZobenchError(f"--text {text} cannot be read: {e}") from e
    built_in = zobench_models().get(model)
    if built_in is None:
        return load_model(model, dtype="float32", device=device), content
    module, _, name = built_in.partition(":")
    loaded: LoadedModel = getattr(importlib.import_module(module), name)(dtype="float32", device=device)
    return loaded, content


def main() -> None:
    """Run the command; a fault of the user is one line on stderr and exit status 2."""
    try:
        app()
    except ZobenchError as e:
        print(f"zobench_plugins.learned: error: {e}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
