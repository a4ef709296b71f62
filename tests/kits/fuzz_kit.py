"""Inputs that nobody would write, each a pure function of (kind, number): command lines and the files they name.

A kind writes what it needs into a folder of its own and gives the words of a command. `told` runs them in this process.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zobench.cli import COMMANDS, main
from zobench.plugins.registry import load_plugins
from zobench.protocol.protocol import Computation, Protocol
from zobench.settings import settings_of

SECONDS = 60
"""The longest that one input may take, on a machine with much else to do."""

NUMBERS = [
    "nan",
    "inf",
    "-inf",
    "1e999",
    "-1e999",
    "1e-999",
    "0",
    "-0",
    "-1",
    "1",
    "2",
    "3",
    "7",
    "99",
    "1_000",
    "１２",
]
NUMBERS += [
    "9" * 400,
    "-" + "9" * 5000,
    "0x10",
    "1e3",
    "1.5",
    ".5",
    "5.",
    "+1",
    "1e",
    "--1",
    "0.1",
    "²",
    "٣",
    "1,2",
    "3-5",
]
TEXTS = [
    "",
    " ",
    ",",
    ",,",
    "=",
    "none",
    "null",
    "None",
    "true",
    "false",
    "all",
    "auto",
    "é",
    "\u202e",
    "\x1b[31m",
    "\u2028",
]
TEXTS += [
    "a" * 300,
    "😀",
    "{{",
    "{{ 1/0 }}",
    "%s",
    "..",
    "../..",
    "/",
    "~",
    "~nobody",
    "/dev/null",
    "-",
    "--",
    "a b",
    "\\",
    "'",
]
TEXTS += [
    "a\nb",
    "\t",
    "\0",
    "\udcff",
    "[",
    "[" * 60,
    "layer",
    "mezo",
    "sst2",
    "embedded",
    "cpu",
    "*",
    "a=b=c",
    "|",
    "<x>",
]
VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    1.5,
    -0.5,
    10**400,
    1e308,
    "",
    "x",
    "\ud800",
    [],
    {},
    [[]],
    [None],
    {"": 0},
]
VALUES += [float("nan"), float("inf"), "1", ["a"], [1, 2], {"a": {"b": []}}, "a" * 300, "\n# heading", "[x](http://y)"]
SELECTORS = (
    "all",
    "layer",
    "first_outlier",
    "all_but",
    "lisa",
    "round_robin",
    "random_layers",
    "ist",
    "owlore",
    "max_jump",
)


@dataclass(frozen=True)
class World:
    """What is there: a model, data, a folder of records, the record of one cell that can be replayed."""

    model: Path
    data: Path
    results: Path
    cell: str


@dataclass(frozen=True)
class Told:
    """What a command said."""

    status: int | str
    err: str

    @property
    def fault(self) -> str:
        """What is wrong with the answer; empty if nothing is."""
        last = self.err.strip().splitlines()[-1:] or [""]
        if self.status not in (0, 1, 2):
            return f"status {self.status}: {last[0][:300]}"
        if "Traceback (most recent" in self.err:
            return f"a traceback: {last[0][:300]}"
        if self.status == 2 and not last[0]:
            return "status 2 and nothing said"
        return ""


def told(words: list[str]) -> Told:
    """The answer to a command line, given in this process. A hang, or what no `main` raises, is a status of its own."""

    def over(*_: object) -> None:
        raise TimeoutError(f"still at work after {SECONDS} s")

    out, err = io.StringIO(), io.StringIO()
    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status: int | str = main(words)
    except BaseException as e:
        status = f"{type(e).__name__}: {e}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return Told(status, err.getvalue())


def odd(rng: random.Random) -> str:
    """A word for an option's value."""
    return rng.choice(rng.choice([NUMBERS, TEXTS]))


def spoiled(rng: random.Random, text: str) -> str:
    """A text with some of it left out, doubled, changed or put elsewhere."""
    for _ in range(rng.randint(1, 3)):
        i, j = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        j = min(j, i + 40)
        how = rng.randrange(5)
        middle = [
            "",
            text[i:j] * 2,
            odd(rng),
            text[i:j][::-1],
            chr(rng.choice([0, 10, 34, 91, 123, 125, 0x2028, 0x1F600])),
        ]
        text = text[:i] + middle[how] + text[j:]
    return text


def spoiled_bytes(rng: random.Random, data: bytes) -> bytes:
    """As `spoiled`, of bytes."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        i = rng.randrange(len(out) + 1)
        how = rng.randrange(4)
        if how == 0 and i < len(out):
            out[i] ^= 1 << rng.randrange(8)
        elif how == 1:
            del out[i:]
        elif how == 2:
            out[i:i] = rng.randbytes(rng.randint(1, 9))
        else:
            del out[i : i + rng.randint(1, 40)]
    return bytes(out)


def changed(rng: random.Random, value: Any) -> Any:
    """A value of JSON with something in it changed, at a random depth."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        out, key = dict(value), rng.choice(sorted(value))
        how = rng.random()
        if how < 0.1:
            del out[key]
        elif how < 0.15:
            out[odd(rng)] = rng.choice(VALUES)
        else:
            out[key] = changed(rng, out[key])
        return out
    if isinstance(value, list) and value and rng.random() < 0.8:
        i = rng.randrange(len(value))
        return [changed(rng, v) if k == i else v for k, v in enumerate(value)] * rng.choice([1, 1, 1, 2])
    return rng.choice(VALUES)


# ---- kinds


def _run(world: World, *more: str, **options: str) -> list[str]:
    """A run that could be planned, with some words of it another."""
    given = {"estimator": "mezo", "selector": "layer:1", "tasks": "sst2", "model": str(world.model)}
    given |= {"data-dir": str(world.data), "results": "results", "preset": "smoke", **options}
    words = ["run", "--offline", *(x for key, value in given.items() for x in (f"--{key}", value)), *more]
    return words


def command_lines(rng: random.Random, world: World, here: Path) -> list[str]:
    """Words of all commands, with some left out, doubled, odd, or in another order."""
    results, model, data = str(world.results), str(world.model), str(world.data)
    plugin = here / "plugin.py"
    plugin.write_text(
        rng.choice(
            ["", "x = (", "raise SystemExit", "import zobench\n@zobench.hookimpl\ndef zobench_tasks(): return 1"]
        )
    )
    lines = [
        _run(world),
        _run(world, "--dry-run", "--seeds", "0,1"),
        _run(world, "--steps", "3", "--lr", "1e-3", "--dtype", "float32", "--engine", "flat", "--rerun", "failed"),
        ["leaderboard", results, "--out", "board.md"],
        ["leaderboard", results, "--check", "--split-protocols", "--paper"],
        ["replay", results, world.cell, "--model", model, "--out", "w.safetensors"],
        ["ls", "estimators", "--json", "--plugin", str(plugin)],
        ["show", "estimator", "mezo", "--plugin", str(plugin)],
        ["show", "task", "sst2", "--data-dir", data, "--model", model, "--offline"],
        ["plugins", "--json", "--plugin", str(plugin)],
        ["analyze", "layers", results, "--out", "layers.md"],
        ["analyze", "methods", results, "--against", "mezo", "--by", "selector", "--cards"],
        ["new", "estimator", "mine", "--directory", str(here / "new")],
        ["--help"],
        ["--version"],
    ]
    words = list(rng.choice(lines))
    for _ in range(rng.randint(1, 3)):
        i = rng.randrange(len(words) + 1)
        how = rng.randrange(6)
        if how == 0 and len(words) > 1:
            del words[min(i, len(words) - 1)]
        elif how == 1:
            words.insert(i, odd(rng))
        elif how == 2 and i < len(words):
            words[i] = odd(rng)
        elif how == 3 and i < len(words):
            words[i] = spoiled(rng, words[i])
        elif how == 4:
            words.insert(i, rng.choice([w for line in lines for w in line if w.startswith("--")]))
        else:
            words.insert(i, rng.choice([*COMMANDS, "--help", "--model=", "--set", "-e", "-t"]))
    dangerous = any(w in ("bench", "activations") for w in words)  # they would time and run a model
    return ["--help"] if dangerous else words


def settings(rng: random.Random, world: World, here: Path) -> list[str]:
    """Settings of the protocol, the run and plugins, with odd values."""
    names = [*settings_of(Protocol), *settings_of(Computation), "lr", "eps", "mezo.eps", "layer.index", "nothing", ""]
    names += ["es.n", "es.mirrored", "lisa.gamma", "first_outlier.ratio", "lozo.rank", "hizoo.eps"]
    chosen = [rng.choice(names) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
    sets = [x for name in chosen for x in ("--set", f"{name}={odd(rng)}")]
    estimator, selector = rng.choice(["mezo", "lozo", "hizoo", "es", "all"]), rng.choice([*SELECTORS, "layer:1"])
    seeds = ["--seeds", odd(rng)] if rng.random() < 0.2 else []
    return _run(world, *sets, *seeds, estimator=estimator, selector=selector)


def expressions(rng: random.Random, world: World, here: Path) -> list[str]:
    """Expressions of selectors, right and wrong."""

    def term(depth: int) -> str:
        name = rng.choice([*SELECTORS, "layr", "", "1"])
        if rng.random() < 0.5:
            return name
        value = term(depth + 1) if depth < 3 and rng.random() < 0.5 else odd(rng)
        return f"{name}{rng.choice([':', ':', '::', ' : '])}{value}"

    text = rng.choice(["+", "+", ",", "++"]).join(term(0) for _ in range(rng.randint(1, 4)))
    if rng.random() < 0.3:
        text = spoiled(rng, text)
    return ["show", "selector", text] if rng.random() < 0.3 else _run(world, selector=text)


def records(rng: random.Random, world: World, here: Path) -> list[str]:
    """Folders with real records, one of them changed in its values, its text or its bytes."""
    cells = here / "cells"
    cells.mkdir()
    real = sorted((world.results / "cells").glob("*.json"))
    for path in rng.sample(real, 2):
        shutil.copy(path, cells)
    path = rng.choice(sorted(cells.iterdir()))
    how = rng.random()
    if how < 0.6:
        record = json.loads(path.read_text())
        for _ in range(rng.randint(1, 3)):
            record = changed(rng, record)
        record = record | {"sha256": _sealed(record)} if isinstance(record, dict) and rng.random() < 0.5 else record
        with contextlib.suppress(UnicodeEncodeError):
            path.write_text(json.dumps(record, ensure_ascii=rng.random() < 0.5), encoding="utf-8")
    elif how < 0.8:
        path.write_text(spoiled(rng, path.read_text()), encoding="utf-8", errors="surrogateescape")
    elif how < 0.95:
        path.write_bytes(spoiled_bytes(rng, path.read_bytes()))
    else:
        path.write_text(rng.choice(["[" * 100_000, '{"a":' * 50_000, "1" * 10_000, '"\\ud800"', "\ufeff{}"]))
    commands = [["leaderboard", str(here)], ["leaderboard", str(here), "--check"], ["analyze", "layers", str(here)]]
    commands += [["analyze", "methods", str(here)], ["leaderboard", str(here), "--paper", "--split-protocols"]]
    commands += [_run(world, results=str(here))]
    return rng.choice(commands)


def _sealed(record: dict[str, Any]) -> Any:
    """The checksum that a record of this content would have, so that what lies behind it is reached."""
    from zobench.report import store

    seal = getattr(store, "digest", None)
    with contextlib.suppress(Exception):
        return seal(record) if seal else None
    return None


TASK = """name = "odd"
version = 1
title = "An odd task"
kind = "classification"
metric = "accuracy"
train_loss = "classification"
num_dev = 4

[source]
id = "a/b"
config = "c"
revision = "0123"
train = "train"
validation = "validation"
fields = ["sentence", "label"]

[template]
prompt = "{{ sentence.strip() }} It was"
candidates = ["terrible", "great"]
text = "{{ prompt }} {{ candidate }}"
answer = "label"
"""


LITERALS = [
    "1",
    "-1",
    "0",
    "2",
    "true",
    '""',
    '"x"',
    "[]",
    "{}",
    "[1]",
    '["a"]',
    "1e999",
    "nan",
    "1979-05-27",
    "9" * 60,
]
LITERALS += [
    '"generation"',
    '"multiple_choice"',
    '"f1"',
    '"em"',
    '"option"',
    '["sentence"]',
    '["label", "x|y"]',
    '"a/b"',
]
TEMPLATES = [
    *(
        '"{{ sentence }}"',
        '"{{ sentence | random }}"',
        '"{{ sentence | nothing }}"',
        '"{{ nothing }}"',
        '"{{"',
        '"{% x %}"',
    ),
    *('"{{ label.__class__ }}"', '"{{ 1 // 0 }}"', '"{{ sentence[0:] }}"', '"{{ [label] * 3 }}"', '"[label]"'),
    *(
        '"label + 1"',
        '"label - 1"',
        '"sentence"',
        '"[sentence, sentence]"',
        '"label | list"',
        '"none"',
        '"1.5"',
        '"true"',
    ),
    *('"{{ prompt }}"', '"{{ candidate }}"', '"{{ prompt }}{{ candidate }}"', '"{{ candidate * 300 }}"', '"range(3)"'),
    *(
        '"{{ sentence.split(9) }}"',
        '"{{ label.strip() }}"',
        '"{{ sentence | tojson | safe }}"',
        '"\\ud800"',
        "'\\n'",
        '" "',
    ),
]
"""Values of keys of a task file, as TOML has them."""


def task_files(rng: random.Random, world: World, here: Path) -> list[str]:
    """Task files with other values, keys, templates and bytes."""
    text = TASK
    how = rng.random()
    if how < 0.75:  # TOML still, but for a word that is none
        lines = text.splitlines()
        i = rng.choice([k for k, line in enumerate(lines) if "=" in line])
        key, _, value = lines[i].partition(" = ")
        told_in = [TEMPLATES, TEMPLATES, LITERALS] if key in ("prompt", "text", "answer", "candidates") else [LITERALS]
        value = rng.choice(rng.choice(told_in))
        if rng.random() < 0.2:
            value = json.dumps(odd(rng), ensure_ascii=rng.random() < 0.5)
        lines[i] = rng.choice([f"{key} = {value}"] * 8 + ["", f"{lines[i]}\n{lines[i]}x", f"{key}s = {value}"])
        text = "\n".join(lines)
    elif how < 0.9:
        text = spoiled(rng, text)
    data = text.encode("utf-8", "surrogatepass")
    (here / "odd.toml").write_bytes(spoiled_bytes(rng, data) if how > 0.9 else data)
    hook = "@zobench.hookimpl\ndef zobench_tasks():\n    return {'odd': Path(__file__).with_name('odd.toml')}"
    source = f"from pathlib import Path\nimport zobench\n{hook}\n"
    (here / "plugin.py").write_text(source)
    (here / "data").mkdir()
    shutil.copytree(world.data / "sst2", here / "data" / "odd")
    model = ["--model", str(world.model)] if rng.random() < 0.3 else []
    return [
        "show",
        "task",
        "odd",
        "--plugin",
        str(here / "plugin.py"),
        "--data-dir",
        str(here / "data"),
        "--offline",
        *model,
    ]


def data_rows(rng: random.Random, world: World, here: Path) -> list[str]:
    """Rows of data with other values, keys and bytes."""
    task = rng.choice(["sst2", "copa", "squad"])
    shutil.copytree(world.data / task, here / "data" / task)
    path = here / "data" / task / f"{rng.choice(['train', 'validation'])}.jsonl"
    lines = path.read_text().splitlines()
    i = 0 if rng.random() < 0.5 else rng.randrange(len(lines))
    how = rng.random()
    if how < 0.6:
        with contextlib.suppress(ValueError):
            lines[i] = json.dumps(changed(rng, json.loads(lines[i])), ensure_ascii=rng.random() < 0.5)
    elif how < 0.75:
        lines[i] = spoiled(rng, lines[i])
    elif how < 0.8:
        lines[i] = rng.choice(["[" * 100_000, '{"sentence":' * 50_000, "null", "[]", '"x"', "NaN", "{}"])
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    path.write_bytes(spoiled_bytes(rng, data) if how >= 0.8 else data)
    options = {"data-dir": str(here / "data")}
    if rng.random() < 0.6:
        return ["show", "task", task, "--offline", "--data-dir", options["data-dir"], "--model", str(world.model)]
    return _run(world, tasks=task, **options)


def replay_logs(rng: random.Random, world: World, here: Path) -> list[str]:
    """A replay log with other bytes, or a record that says other things of it."""
    shutil.copytree(world.results, here, dirs_exist_ok=True)
    log, record = (here / "cells" / f"{world.cell}{ending}" for ending in (".replay.bin", ".json"))
    if rng.random() < 0.7:
        log.write_bytes(spoiled_bytes(rng, log.read_bytes()))
    else:
        record.write_text(json.dumps(changed(rng, json.loads(record.read_text()))))
    return [
        "replay",
        str(here),
        world.cell,
        "--model",
        str(world.model),
        "--out",
        str(here / "w.safetensors"),
        "--offline",
    ]


def weight_files(rng: random.Random, world: World, here: Path) -> list[str]:
    """A model's folder whose weights, config or tokenizer are other bytes or other JSON."""
    shutil.copytree(world.model, here / "model")
    path = (
        here
        / "model"
        / rng.choice(["model.safetensors"] * 3 + ["config.json", "tokenizer.json", "tokenizer_config.json"])
    )
    data = path.read_bytes()
    if path.suffix == ".json":
        value = changed(rng, json.loads(data))
        path.write_text(
            json.dumps(value) if rng.random() < 0.7 else spoiled(rng, data.decode()), encoding="utf-8", errors="replace"
        )
    else:
        length = int.from_bytes(data[:8], "little")
        header, rest = data[8 : 8 + length], data[8 + length :]
        how = rng.random()
        if how < 0.5:
            header = json.dumps(changed(rng, json.loads(header))).encode()
        elif how < 0.8:
            header = spoiled_bytes(rng, header)
        size = len(header) if rng.random() < 0.8 else rng.choice([0, 1, 7, 2**31, 2**63, 2**64 - 1])
        path.write_bytes(struct.pack("<Q", size) + header + rest)
    return _run(world, model=str(here / "model"))


KINDS: dict[str, tuple[Callable[[random.Random, World, Path], list[str]], int]] = {
    "command lines": (command_lines, 2400),
    "settings": (settings, 1800),
    "expressions": (expressions, 1200),
    "records": (records, 1600),
    "task files": (task_files, 1200),
    "data rows": (data_rows, 1000),
    "replay logs": (replay_logs, 400),
    "weight files": (weight_files, 400),
}
"""Each kind, and how many of 10,000 inputs are of it."""


def inputs(world: World, root: Path, counts: dict[str, int]) -> Iterator[tuple[str, int, Path, list[str]]]:
    """So many of each kind, each in a folder of its own, which is gone when the next one is asked for."""
    for kind, count in counts.items():
        for number in range(count):
            here = root / "input"
            shutil.rmtree(here, ignore_errors=True)
            here.mkdir()
            os.chdir(here)  # what an odd word names, it names here
            yield kind, number, here, KINDS[kind][0](random.Random(f"{kind}/{number}"), world, here)


def known_names() -> None:
    """Load what the kinds name once, so that a fault of theirs is none of an input."""
    plugins = load_plugins()
    assert {*SELECTORS} <= {*plugins.names("selectors")}
