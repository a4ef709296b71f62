"""The command line. One module a subcommand, imported only when it is called, so that `zobench --help` is quick.

A module `zobench/cli/<name>.py` exports a function (or a typer app) with typed options; it is entered in
`COMMANDS` below with its one-line help and its examples. Modules keep heavy imports (torch, transformers, ...)
inside functions. A command returns None or an exit status, and raises ZobenchError for what the user can mend.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast

import typer
import typer.main

from .. import __version__, redact
from ..errors import ZobenchError, out_of_memory
from . import faults

_ClickException: Any = typer.BadParameter.__mro__[2]
"""The base of usage errors: typer exports only leaves of it, and from release to release another home."""


@dataclass(frozen=True)
class Command:
    """A subcommand: where its function (or typer app) is, its line in `zobench --help`, examples for its own help."""

    target: str
    help: str
    examples: tuple[str, ...]

    def load(self) -> Callable[..., Any] | typer.Typer:
        """Import the module, and give its function or typer app."""
        module, _, name = self.target.partition(":")
        return cast("Callable[..., Any] | typer.Typer", getattr(importlib.import_module(module, __name__), name))


COMMANDS: dict[str, Command] = {
    "run": Command(
        ".run:run",
        "Fine-tune, measure, and print the leaderboard.",
        (
            "zobench run --estimator mezo --selector first_outlier --tasks all --model Qwen/Qwen3-0.6B",
            "zobench run --estimator zero_shot,mezo,adamw --selector layer --set layer.index=1 --model DIR",
            "zobench run --estimator mezo,lozo --tasks copa,wsc --model MODEL --preset paper --seeds 0,1,2 --dry-run",
            "zobench run --plugin my_zo.py --estimator my_zo,mezo --set my_zo.eps=1e-2 --model MODEL",
            "zobench run --config grid.toml --jobs auto",
            "zobench run -e mezo,lozo -t copa --model shape:llama2-7b --preset paper --dry-run --for-device a6000",
            "zobench run --data reviews.csv --text review --label sentiment --estimator mezo --model MODEL",
        ),
    ),
    "leaderboard": Command(
        ".leaderboard:leaderboard",
        "Make the leaderboard of a folder of records again.",
        (
            "zobench leaderboard runs",
            "zobench leaderboard results/demo --paper",
            "zobench leaderboard here there --format latex --out table.tex",
            "zobench leaderboard runs --records parquet --out cells.parquet",
        ),
    ),
    "status": Command(
        ".status:status",
        "Say what of a grid is done, running, failed and left.",
        ("zobench status runs", "zobench status runs --json"),
    ),
    "merge": Command(
        ".merge:merge",
        "Put the records of several folders into one.",
        ("zobench merge runs-a runs-b -o runs", "zobench merge a b -o runs --prefer a"),
    ),
    "clean": Command(
        ".clean:clean",
        "Remove records of older settings and what the dead left.",
        ("zobench clean runs", "zobench clean runs --yes", "zobench clean runs --no-older --yes"),
    ),
    "pack": Command(
        ".pack:pack",
        "Put the records of a folder into one small file.",
        (
            "zobench pack runs",
            "zobench pack runs --with steps,replay --remove",
            "zobench pack runs --undo --remove",
        ),
    ),
    "replay": Command(
        ".replay:replay",
        "Build a cell's chosen weights again from its replay log.",
        ("zobench replay runs copa-mezo-layer-s0-5b1cee87eabf --model MODEL --out weights.safetensors",),
    ),
    "export": Command(
        ".export:export",
        "Write a cell's weights for from_pretrained or peft.",
        (
            "zobench export copa-mezo-layer-s0-5b1cee87eabf --out tuned",
            "zobench export copa-lora_zo-all-s0-9c1cee87eabf --results runs --model MODEL --out adapter",
        ),
    ),
    "fetch": Command(
        ".fetch:fetch",
        "Download the models and data of a grid, for --offline.",
        ("zobench fetch --models Qwen/Qwen3-8B,facebook/opt-1.3b --tasks all", "zobench fetch --tasks sst2 --offline"),
    ),
    "doctor": Command(
        ".doctor:doctor",
        "Say what is installed and what is missing here.",
        ("zobench doctor", "zobench doctor --json"),
    ),
    "reproduce": Command(
        ".reproduce:reproduce",
        "Run a paper's tables on any model, its numbers beside ours.",
        (
            "zobench reproduce dominant-layer --table 1 --model meta-llama/Llama-2-7b-hf --budget paper --dry-run",
            "zobench reproduce dominant-layer --table 5,6 --seeds 0,1,2 --out tables.md",
            "zobench reproduce mezo --model shape:opt-13b --budget paper --dry-run --for-device a100-80gb",
        ),
    ),
    "ls": Command(
        ".ls:ls",
        "List estimators, selectors, tasks, models and executors.",
        ("zobench ls", "zobench ls estimators", "zobench ls tasks --json", "zobench ls estimators --plugin my_zo.py"),
    ),
    "show": Command(
        ".show:show",
        "Show one of them: reference, settings, source.",
        (
            "zobench show estimator mezo",
            "zobench show selector first_outlier",
            "zobench show task sst2",
            "zobench show task sst2 --model facebook/opt-125m --data-dir data",
        ),
    ),
    "plugins": Command(
        ".plugins:plugins",
        "List plugins with their distribution, hooks and load errors.",
        ("zobench plugins", "zobench plugins --json", "ZOBENCH_PLUGINS= zobench plugins"),
    ),
    "compare": Command(
        ".compare:compare",
        "Hold one method against another, from records.",
        ("zobench compare fzoo/all mezo/all --results runs", "zobench compare mezo zero_shot --margin 1"),
    ),
    "analyze": Command(
        ".analyze:app",
        "Activations; blocks, methods, ranks, factors from records.",
        (
            "zobench analyze activations --model facebook/opt-125m --task sst2 --data-dir DATA",
            "zobench analyze layers runs --plot layers.png",
            "zobench analyze methods runs --against mezo,n_spsa,mezo_normalized --plot methods.png",
        ),
    ),
    "bench": Command(
        ".bench:bench",
        "Time steps against MeZO's own order of operations.",
        (
            "zobench bench --preset ci",
            "zobench bench --random-weights llama2-7b --dtype float16 --json bench.json",
            "zobench bench --model Qwen/Qwen3-8B --dtype bfloat16 --layer 6 --tasks copa,sst2",
            "zobench bench --model DIR --data-dir DATA --engine auto,flat,deferred --steps 30",
        ),
    ),
    "new": Command(
        ".new:new",
        "Write a ready-to-run plugin file to start from.",
        (
            "zobench new estimator my_zo",
            "zobench new selector every_other",
            "zobench new task my_task --directory mine",
            "zobench new task my_task --from reviews.csv --text review --label sentiment",
        ),
    ),
}
EXAMPLES = (
    "zobench run --estimator mezo,sparse_mezo --tasks sst2,rte --model MODEL",
    "zobench leaderboard runs",
    "zobench new estimator my_zo",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0; 1: some cells failed; 2: wrong usage, or something on this machine is wrong; 70: a bug of zobench;
    130: interrupted (143, 129: by SIGTERM, SIGHUP); 141: the reader of the output went away. All but 0 and 141 are
    said in one line.
    """
    if argv is None:  # the process ends with this command
        atexit.register(gc.freeze)  # first, hence called last: Python would look through all that it is to forget
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    debug = faults.debugging(arguments)
    try:
        with faults.streams(), faults.stoppable(bool(set(arguments) & set(COMMANDS))):
            return _status(arguments, debug)
    except ZobenchError as e:
        return faults.wrong(str(e))
    except OSError as e:  # of the last words to stdout
        return faults.of_the_machine(e)


def _status(arguments: list[str], debug: bool) -> int:
    """The exit status of a command, with what went wrong said."""
    try:
        _check_text(arguments)
        status = _click_command(arguments)(args=arguments, prog_name="zobench", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        status = faults.INTERRUPTED
    except BaseException as e:
        if debug:
            print(redact.text(traceback.format_exc()), end="", file=sys.stderr)
        return _said(e, debug)
    if status == faults.INTERRUPTED:  # some releases of typer make an interrupt this status, others raise it
        return faults.interrupted()
    return status if isinstance(status, int) else 0


def _said(error: BaseException, debug: bool) -> int:
    """Say what was raised, by its kind; the status."""
    if isinstance(error, ZobenchError):
        return faults.wrong(str(error))
    if isinstance(error, _ClickException):
        if error.format_message().startswith("Usage:"):  # a group without a subcommand: its message is its help
            print(error.format_message(), file=sys.stderr)
            return faults.WRONG
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "zobench"
        return faults.wrong(f"{error.format_message().rstrip('.')} (see: {path} --help)")
    if isinstance(error, SystemExit) and isinstance(error.__context__, OSError):  # typer's answer to a broken pipe
        error = error.__context__
    if isinstance(error, OSError) and error.errno is not None:
        return faults.of_the_machine(error)
    if out_of_memory(error):
        return faults.wrong("out of memory; free some, or name a smaller model, --dtype bfloat16, or less at once")
    return faults.bug(error, debug=debug)


def _check_text(arguments: Sequence[str]) -> None:
    """ZobenchError for a word that is no text in the system's encoding: no record and no page could hold it."""
    for word in arguments:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise ZobenchError(f"{word!r} is no text in UTF-8: rename what it names, or link to it") from None


def _click_command(arguments: Sequence[str]) -> Any:
    """The whole command line as typer wants it, with only the subcommand that `arguments` call imported."""
    called = next((a for a in arguments if not a.startswith("-")), None)
    completing = "_ZOBENCH_COMPLETE" in os.environ
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback(epilog=epilog(EXAMPLES))(_root)
    for name, command in COMMANDS.items():
        target = command.load() if completing or name == called else _not_called
        if isinstance(target, typer.Typer):
            for subcommand in target.registered_commands:
                subcommand.epilog = subcommand.epilog or epilog(command.examples)
            app.add_typer(target, name=name, help=command.help, epilog=epilog(command.examples))
        else:
            summary = command.help if target is _not_called else None
            app.command(name, help=summary, epilog=epilog(command.examples))(target)
    return typer.main.get_command(app)


def epilog(examples: Sequence[str]) -> str:
    r"""Examples as the foot of a help text: one a line, which `\b` keeps from being re-wrapped."""
    return "\b\n" + "\n".join(("Examples:", *(f"  {line}" for line in examples)))


def _not_called() -> None:
    """Stand in for a subcommand in the list that `zobench --help` prints."""


def _print_version(asked: bool) -> None:
    if asked:
        print(f"zobench {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Print the traceback of what goes wrong (or set ZOBENCH_DEBUG=1)."),
    ] = False,
) -> None:
    """Benchmark zeroth-order (forward-only) fine-tuning of language models.

    Exit status: 0; 1 if some cells failed; 2 for what is wrong with a command or this machine, in one line;
    70 for a bug of zobench, with the file that its traceback is in; 130 when interrupted, 143 and
    129 by SIGTERM and SIGHUP.
    """
