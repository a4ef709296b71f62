"""Inputs that nobody would write, each a pure function of (kind, number): command lines and the files they name.

A kind writes what it needs into a folder of its own and gives the words of a command (kits/told.py runs them).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kits.odd_tasks import LITERALS, TASK, TEMPLATES
from kits.odd_values import changed, odd, spoiled, spoiled_bytes

from zobench.cli import COMMANDS
from zobench.plugins.registry import load_plugins
from zobench.protocol.protocol import Computation, Protocol
from zobench.report import plain, seal
from zobench.settings import settings_of

SELECTORS = tuple("all layer first_outlier all_but lisa round_robin random_layers ist owlore max_jump".split())


@dataclass(frozen=True)
class World:
    """What is there: a model, data, a folder of records, the record of one cell that can be replayed."""

    model: Path
    data: Path
    results: Path
    cell: str


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
        text = _sealed(record) if rng.random() < 0.5 else None
        with contextlib.suppress(UnicodeEncodeError):
            path.write_text(text or json.dumps(record, ensure_ascii=rng.random() < 0.5), encoding="utf-8")
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


def _sealed(record: Any) -> str | None:
    """The text of a record with the checksum of what it says, so that what lies behind that is reached."""
    if not isinstance(record, dict):
        return None
    rest = {key: value for key, value in record.items() if key != seal.KEY}
    with contextlib.suppress(ValueError, TypeError):  # what no writer of records can write
        return plain.dumps({**rest, seal.KEY: seal.checksum(plain.dumps(rest))})
    return None


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
