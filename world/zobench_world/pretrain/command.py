"""The command line of pre-training. Light until it trains."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.main

from zobench import ZobenchError

from .recipe import PRESETS, Recipe, recipe_from

if TYPE_CHECKING:
    from .job import Job

PROGRAM = "python -m zobench_world.pretrain"
EXAMPLES = (
    f"{PROGRAM} --out model --threads 2",
    f"{PROGRAM} --out deep --blocks 12 --hidden 96 --heads 4 --steps 2000 --seed 1",
    f"{PROGRAM} --out large --preset reference --corpus text.txt --device cuda",
)
INTERRUPTED = 130
_ClickException: Any = typer.BadParameter.__mro__[2]
"""The base of usage errors: typer exports only leaves of it, and from release to release another home."""


class RecipePreset(StrEnum):
    """The presets of the recipe."""

    embedded = "embedded"
    reference = "reference"


class ProductDtype(StrEnum):
    """What matrix products are taken in."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


def _option(name: str, help: str, **more: Any) -> Any:  # noqa: A002
    """An option that a preset has a value for; its help says which."""
    values = {str(getattr(preset, name)) for preset in PRESETS.values()}
    each = ", ".join(f"{key} {getattr(preset, name)}" for key, preset in PRESETS.items())
    return typer.Option(help=f"{help} [{each if len(values) > 1 else values.pop()}]", **more)


def pretrain(
    called: typer.Context,
    out: Annotated[Path, typer.Option(help="The folder of the model; the same command goes on in it.", metavar="DIR")],
    preset: Annotated[RecipePreset, typer.Option(help="What the settings below are.")] = RecipePreset.embedded,
    corpus: Annotated[
        Path | None,
        typer.Option(help="Plain text with <|endoftext|> or blank lines between documents.", metavar="FILE"),
    ] = None,
    extend: Annotated[
        Path | None,
        typer.Option(help="Begin with a finished model, where its last cycle ends.", metavar="DIR"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads of the CPU; torch's choice if not given.", min=1)] = None,
    save_every: Annotated[int, typer.Option(help="Steps between two checkpoints.", min=1)] = 500,
    eval_every: Annotated[int, typer.Option(help="Steps between two lines of DIR/log.jsonl.", min=1)] = 200,
    seed: Annotated[int | None, _option("seed", "Of weights and text.", min=0)] = None,
    steps: Annotated[int | None, _option("steps", "Updates of the weights.", min=1)] = None,
    blocks: Annotated[int | None, _option("blocks", "Decoder blocks.", min=1)] = None,
    hidden: Annotated[int | None, _option("hidden", "Channels of the stream.", min=1)] = None,
    heads: Annotated[int | None, _option("heads", "Attention heads.", min=1)] = None,
    kv_heads: Annotated[int | None, typer.Option(help="Heads of keys and values. [as many as heads]", min=1)] = None,
    intermediate: Annotated[int | None, _option("intermediate", "Channels inside the MLP.", min=1)] = None,
    vocab: Annotated[int | None, _option("vocab", "The most tokens of the vocabulary.", min=1)] = None,
    context: Annotated[int | None, _option("context", "The most tokens that the model admits.", min=2)] = None,
    tie: Annotated[
        bool | None, typer.Option("--tie/--no-tie", help="Embedding and head are one. [embedded: yes]")
    ] = None,
    bos: Annotated[bool | None, typer.Option("--bos/--no-bos", help="Begin rows and prompts with BOS. [yes]")] = None,
    init_std: Annotated[float | None, _option("init_std", "Standard deviation of the first weights.")] = None,
    embed_std: Annotated[float | None, _option("embed_std", "That of the embedding.")] = None,
    lr: Annotated[float | None, _option("lr", "The highest learning rate.")] = None,
    warmup: Annotated[int | None, _option("warmup", "Steps up to it.", min=0)] = None,
    weight_decay: Annotated[float | None, _option("weight_decay", "Of matrices.")] = None,
    beta2: Annotated[float | None, _option("beta2", "AdamW's second beta.")] = None,
    batch: Annotated[int | None, _option("batch", "Rows a step.", min=1)] = None,
    length: Annotated[int | None, _option("length", "Tokens a row.", min=2)] = None,
    accumulate: Annotated[int | None, _option("accumulate", "Parts of a batch, one after another.", min=1)] = None,
    dtype: Annotated[ProductDtype | None, typer.Option(help="Of products. [bfloat16 on a GPU, else float32]")] = None,
    compile_: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="Compile the step (needs a C++ compiler). [no]")
    ] = None,
) -> None:
    """Pre-train a small Llama from scratch: on text made as it is needed, or on a file (--preset reference --corpus).

    Weights are a function of the settings, the machine and the number of threads. Ctrl-C leaves a checkpoint.
    """
    params = {name.rstrip("_"): value for name, value in called.params.items()}
    given = {name: value for name, value in params.items() if name in _FIELDS and value is not None}
    chosen = recipe_from(preset.value, given)
    if (preset is RecipePreset.reference) != (corpus is not None):
        raise ZobenchError("--preset reference reads a --corpus FILE, and --preset embedded makes its own text")
    from ..text import document
    from .job import Job
    from .loop import KeepingPace

    text, pace = document if corpus is None else corpus, KeepingPace(save_every=save_every, eval_every=eval_every)
    _train(Job(out=out, recipe=chosen, text=text, device=device, threads=threads, pace=pace, extend=extend))


_FIELDS = set(Recipe.__dataclass_fields__) - {"preset"}


def _train(job: Job) -> None:
    from .job import pretrain
    from .progress import TrainingProgress

    with TrainingProgress(job.recipe) as progress:
        pretrain(job, progress, progress.say)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, 2 (wrong usage), 130 (interrupted).

    What is neither a usage error nor a ZobenchError is a bug and keeps its traceback.
    """
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(epilog="\b\n" + "\n".join(("Examples:", *(f"  {line}" for line in EXAMPLES))))(pretrain)
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        status = typer.main.get_command(app)(args=arguments, prog_name=PROGRAM, standalone_mode=False)
    except ZobenchError as error:
        return _fail(str(error))
    except _ClickException as error:
        return _fail(f"{error.format_message().rstrip('.')} (see: {PROGRAM} --help)")
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    if status == INTERRUPTED:
        print("pretrain: interrupted; the same command goes on", file=sys.stderr)
    return status if isinstance(status, int) else 0


def _fail(message: str) -> int:
    print("pretrain: error: " + " ".join(message.split()), file=sys.stderr)
    return 2
