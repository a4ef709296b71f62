"""What the words of `zobench run` stand for: names, seeds, shares, and settings that have options of their own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ZobenchError
from .common import Dtype, numbers_of
from .run_config import from_file, settings_in

if TYPE_CHECKING:
    from ..plugins.registry import Plugins
    from ..run.wish import Wish

OwnData = Annotated[
    Path | None,
    typer.Option(help="A task of your own: a .csv, .tsv, .jsonl or .parquet with texts and labels.", metavar="FILE"),
]
Jobs = Annotated[
    str | None, typer.Option(help="Cells at once: a number, or `auto`: one a GPU, or a core.", metavar="N|auto")
]
Shard = Annotated[str | None, typer.Option(help="Run the I-th of N shares of the cells, one a machine.", metavar="I/N")]
Timeout = Annotated[
    str | None, typer.Option(help="The most that a cell may take, as 90s, 30m or 2h; then it ends as `timeout`.")
]
Track = Annotated[str | None, typer.Option(help="Tell a tracker of losses and scores: tensorboard, trackio or wandb.")]
ForDevice = Annotated[
    str | None, typer.Option(help="With --dry-run: on this GPU: a6000, h100, 2xa6000.", metavar="NAME")
]
ConfigFile = Annotated[
    Path | None, typer.Option(help="Options from a TOML file.", metavar="FILE", callback=from_file, is_eager=True)
]


def elsewhere_of(for_device: str | None, device_map: str, *, dry_run: bool) -> tuple[str, str] | None:
    """The GPU of another machine that is planned for, and how weights are spread over several; None: this machine's.

    Raises ZobenchError where more than a plan is asked for.
    """
    if for_device is None:
        return None
    if not dry_run:
        raise ZobenchError("--for-device tells what a run would take elsewhere: add --dry-run")
    return for_device, device_map


def settings_of(
    context: typer.Context,
    given: list[str] | None,
    steps: int | None,
    dtype: Dtype | None,
    engine: str | None,
    lr: str | None,
) -> dict[str, str]:
    """Settings by key: those of the config file, those of the command line in their place, and options that are some.

    Raises ZobenchError for one that is given twice.
    """
    from ..run.routing import parse_settings

    said = parse_settings(given or [])
    settings = {key: value for key, value in settings_in(context).items() if key not in said} | said
    parse_settings([f"{key}={value}" for key, value in settings.items()])  # together, too
    add_options(settings, ("protocol.steps", steps), ("run.dtype", dtype), ("run.engine", engine), ("run.lr", lr))
    if steps is not None and not {"eval_every", "protocol.eval_every"} & set(settings):
        settings["eval_every"] = str(max(1, steps // 5))
    return settings


Ranks = Annotated[
    int,
    typer.Option(help="Processes (GPUs) that run each cell together, each with a part of every batch.", min=1),
]


def usual(plugins: Plugins, model: str | None, selector: str | None, preset: str | None) -> tuple[str, str, str]:
    """Model, selector and preset: those that are named, else those that plugins declare as the usual ones."""
    from ..plugins import declared

    model = declared.one(plugins, "usual_model", "--model") if model is None else model
    selector = declared.one(plugins, "everything", "--selector") if selector is None else selector
    return model, selector, declared.usual_preset(plugins, model) if preset is None else preset


def wish_of(
    named: tuple[str, str, str],
    seeds: tuple[str, str | None, str | None],
    preset: str,
    settings: dict[str, str],
) -> Wish:
    """The wish. named: estimators, selectors, tasks. seeds: reported, tuning, of splits. Raises ZobenchError."""
    from ..run.wish import Wish

    estimators, selectors, tasks = named
    reported, tuning, splits = seeds
    return Wish(
        _names(estimators, "--estimator", "mezo,adamw"),
        ranges(_names(selectors, "--selector", "all,layer")),
        _names(tasks, "--tasks", "sst2,copa"),
        _seeds(reported, "--seeds"),
        preset,
        None,
        settings,
        _seeds(tuning, "--tune-seeds"),
        _seeds(splits, "--split-seeds"),
    )


def add_options(settings: dict[str, str], *options: tuple[str, object]) -> None:
    """Put options that stand for a setting among those of `--set`. Raises ZobenchError for one that is there too."""
    for owned, value in options:
        key = owned.rpartition(".")[2]
        for said in ((owned,) if key == "jobs" else (key, owned)) if value is not None else ():
            if said in settings:
                raise ZobenchError(f"{key} is given twice: by --{key} and by --set {said}={settings[said]}")
        if value is not None:
            settings[owned] = str(value)


def _names(text: str, option: str, example: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise ZobenchError(f"{option} names none; write for example {option} {example}")
    return names


MOST_OF_A_RANGE = 1000


def ranges(names: tuple[str, ...]) -> tuple[str, ...]:
    """`layer:0-31` as the 32 selectors that it is short for; other names as they are.

    Raises ZobenchError for a range that runs backwards, or is longer than any model.
    """
    out: list[str] = []
    for name in names:
        found = re.fullmatch(r"([a-z][a-z0-9_]*):(\d+)-(\d+)", name)
        if found is None:
            out.append(name)
            continue
        first, last = int(found[2]), int(found[3])
        if not first <= last < first + MOST_OF_A_RANGE:
            raise ZobenchError(f"--selector {name}: write a range from the lower to the higher block, {found[1]}:0-31")
        out += [f"{found[1]}:{n}" for n in range(first, last + 1)]
    return tuple(dict.fromkeys(out))


def _seeds(text: str | None, option: str) -> tuple[int, ...]:
    return () if text is None else numbers_of(text, option)


def jobs_of(text: str) -> int:
    """Cells at once, 0 for `auto`."""
    if text != "auto" and not (text.isdecimal() and int(text)):
        raise ZobenchError(f"--jobs {text}: write a number of at least 1, or auto")
    return 0 if text == "auto" else int(text)


def shard_of(text: str | None) -> tuple[int, int]:
    """(i, n) of `i/n`."""
    if text is None:
        return 1, 1
    i, _, n = text.partition("/")
    if not (i.isdecimal() and n.isdecimal() and 1 <= int(i) <= int(n)):
        raise ZobenchError(f"--shard {text}: write which of how many, from 1, for example --shard 2/4")
    return int(i), int(n)


def duration_of(text: str | None) -> float:
    """Seconds of `--timeout 90`, `90s`, `30m` or `2h`; 0 of None."""
    if text is None:
        return 0.0
    number, unit = (text[:-1], text[-1]) if text[-1:] in ("s", "m", "h") else (text, "s")
    try:
        seconds = float(number) * {"s": 1, "m": 60, "h": 3600}[unit]
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ZobenchError(f"--timeout {text}: write a time above 0, as 90s, 30m or 2h")
    return seconds
