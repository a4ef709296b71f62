"""Runs of a grid that are killed again and again by SIGKILL, and what each kill cost.

`python -m kits.kills --kills 50 --results DIR` (with tests/ on PYTHONPATH) does it over all estimators with several
engines, on a tiny model or (`--embedded`) the one in the package, and prints a line a kill and what differs in the end.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import pkgutil
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from kits.processes import heeds_signals

from zobench.report import running, store

MUST_AGREE = ("id", "status", "protocol", "cell", "scope", "selection", "engine", "metrics", "trials", "chosen", "kept")
"""Of a record, beside `forwards`, `error`, the state's size and the files of curve and checkpoint."""


@dataclass
class Killed:
    """One kill, after so many seconds of a process's own time: in which run of which cell, and what of it was lost."""

    after_s: float
    cell: str = ""
    run: int = -1
    step: int = 0
    row: int | None = None
    goes_on: int | None = None
    lost_s: float = 0.0

    @property
    def lost(self) -> int:
        """Steps that had to be made again."""
        return 0 if self.goes_on is None else self.step - self.goes_on


@dataclass
class Harness:
    """Commands (the words of `zobench`) that are run until all their cells are done, in processes that are killed."""

    commands: Sequence[Sequence[str]]
    spied: Path
    kills: list[Killed] = field(default_factory=list)

    def run(self, times: int, *, longest_s: float, seed: int = 0, say: Callable[[str], None] = str) -> int:
        """Kill at `times` random moments, then let it end; the exit status of the last process."""
        rng, status, left = random.Random(seed), 0, list(self.commands)
        while left:
            after = rng.uniform(0.0, longest_s) if len(self.kills) < times else None
            ended = self._attempt(left[0], after)
            self._account(say)
            if ended is None:
                self.kills.append(Killed(after or 0.0, *self._last()))
            else:
                if ended:  # no kill of ours: a signal (below 0), cells that failed, or a refusal
                    say(f"a process ended by itself with {ended}: {' '.join(left[0][:3])}: {self._said()}")
                status = max(status, abs(ended))
                left.pop(0)
        self._account(say)
        return status

    def _said(self) -> str:
        """The last lines that a process wrote on standard error."""
        path = self.spied.with_suffix(".err")
        return " / ".join(path.read_text(errors="replace").splitlines()[-3:]) if path.exists() else ""

    def _attempt(self, words: Sequence[str], after: float | None) -> int | None:
        """Run in a process of its own; kill it after so much of its time. None: it was killed."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            status = 70
            try:
                status = _in_child(words, self.spied, writing)
            finally:  # whatever is raised, no second process goes on with what this one was doing
                sys.stderr.flush()
                os._exit(status)
        os.close(writing)
        os.read(reading, 1)  # it runs its cells, or it has ended
        os.close(reading)
        while after is None or _cpu_s(child) < after:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        os.kill(child, signal.SIGKILL)
        pid, status = os.waitpid(child, 0)
        return None if os.waitstatus_to_exitcode(status) < 0 else os.waitstatus_to_exitcode(status)

    def _steps(self) -> list[tuple[int, str, int, int, float]]:
        """(process, cell, run, step, seconds of the process's own time by then) of every step that was made."""
        text = self.spied.read_text() if self.spied.exists() else ""
        rows = [line.split() for line in text.splitlines()]
        return [(int(p), cell, int(run), int(step), float(at)) for p, cell, run, step, at in rows]

    def _last(self) -> tuple[str, int, int, int | None]:
        steps = self._steps()
        return (*steps[-1][1:4], len(steps) - 1) if steps else ("", -1, 0, None)

    def _account(self, say: Callable[[str], None]) -> None:
        """Find out what the kills before cost, once a later process has gone on with their runs."""
        steps = self._steps()
        for kill in self.kills:
            if kill.goes_on is not None or kill.row is None:
                continue
            process, cell, run, step, _ = steps[kill.row]
            later = next((row for row in steps[kill.row :] if row[1:3] == (cell, run) and row[0] != process), None)
            if later is not None:
                kill.goes_on = later[3] - 1
                took = _took(steps[: kill.row + 1])
                kill.lost_s = sum(took.get((cell, run, k), 0.0) for k in range(kill.goes_on + 1, step + 1))
                say(
                    f"killed after {kill.after_s:4.1f} s of its time: {kill.cell} run {kill.run} at step {kill.step}; "
                    f"went on from step {kill.goes_on}: {kill.lost} steps ({kill.lost_s:.2f} s) lost"
                )


def _took(steps: Sequence[tuple[int, str, int, int, float]]) -> dict[tuple[str, int, int], float]:
    """Seconds that each step took when it was last made, of those that follow another one in their process."""
    before: dict[int, float] = {}
    out: dict[tuple[str, int, int], float] = {}
    for process, cell, run, step, at in steps:
        if process in before:
            out[cell, run, step] = at - before[process]
        before[process] = at
    return out


def _cpu_s(pid: int) -> float:
    """Seconds of its own time that a process took, whatever else the machine does."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _in_child(words: Sequence[str], spied: Path, begun: int) -> int:
    """The command, in a process that is forked; each step is noted in `spied`, by one write that no kill divides."""
    from zobench.cli import main
    from zobench.run import whole_run
    from zobench.run.diary import Diary

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(spied.with_suffix(".err"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # not those that a test reads
    faulthandler.enable(sys.stderr)
    heeds_signals()
    out = os.open(spied, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    stepped, execute = Diary.stepped, whole_run.execute

    def noted(self: Diary, estimator: Any, feed: Any, run: Any, budget: Any, *, evaluated: bool) -> None:
        line = f"{os.getpid()} {self.journal.cell_id} {self.number} {run.steps} {time.process_time():.3f}\n"
        os.write(out, line.encode())
        stepped(self, estimator, feed, run, budget, evaluated=evaluated)

    def told(*args: Any, **more: Any) -> Any:
        os.write(begun, b".")
        return execute(*args, **more)

    Diary.stepped, whole_run.execute = noted, told  # type: ignore[method-assign]
    return main(list(words))


def differences(whole: Path, killed: Path) -> list[str]:
    """What of the records, and of what lies beside them, is not the same in two folders."""
    out, found = [], {}
    for folder in (whole, killed):
        records, problems = store.read(folder)
        out += [f"{folder}: {problem}" for problem in problems]
        found[folder] = {record["id"]: record for record in records}
    out += [f"{path}: left in the end" for path in running.files(killed / running.FOLDER)]
    ours, theirs = found[whole], found[killed]
    out += [f"{cell}: in one folder alone" for cell in ours.keys() ^ theirs.keys()]
    for cell in sorted(ours.keys() & theirs.keys()):
        a, b = ours[cell], theirs[cell]
        keys = (*MUST_AGREE, "forwards", "error")
        out += [f"{cell}: {key} differs" for key in keys if a.get(key) != b.get(key)]
        if a["memory"].get("state_bytes") != b["memory"].get("state_bytes"):
            out.append(f"{cell}: state_bytes differs")
        for kind in ("steps", "replay", "weights"):
            one, other = (getattr(store.files(folder, found[folder][cell]), kind) for folder in (whole, killed))
            if one.is_file() != other.is_file() or (one.is_file() and one.read_bytes() != other.read_bytes()):
                out.append(f"{cell}: {kind} differs")
    return out


ENGINES = (
    {"engine": "flat", "restore": "exact"},
    {"engine": "deferred", "restore": "arithmetic"},
    {"engine": "pair"},
    {"engine": "streamed"},
    {"engine": "official", "noise": "official"},
    {"engine": "flat", "restore": "arithmetic", "dtype": "bfloat16"},
    {"engine": "deferred", "precision": "float32", "dtype": "bfloat16"},
)
APART = ("hizoo_l",)
"""Not with noise that is one stream, which is refused: with the first engine, whatever their place."""
EVERYWHERE = ("prompt_zo",)
"""In the place of the input embeddings, which no block has: over all weights, by a command of their own."""
SIZES = {"num_train": 16, "num_dev": 8, "num_test": 8, "batch_size": 4, "eval_every": 10, "speed_steps": 0}


def grid(results: Path, estimators: Sequence[str], *more: str) -> list[list[str]]:
    """One command an engine, with a part of the estimators each."""
    out = []
    parts = [
        [name for name in estimators[i :: len(ENGINES)] if name not in APART + EVERYWHERE] for i in range(len(ENGINES))
    ]
    parts[0] += [name for name in estimators if name in APART]
    last = [name for name in estimators if name in EVERYWHERE]
    for mine, engine, where in [
        *((p, e, "layer:1") for p, e in zip(parts, ENGINES, strict=True)),
        (last, ENGINES[0], "all"),
    ]:
        if mine:
            words = ["run", "-e", ",".join(mine), "-t", "sst2", "-s", where, "--steps", "40", "--device", "cpu"]
            words += ["--lr", "1e-4,1e-3", "--results", str(results), "--offline", *more]
            out.append(words + [x for k, v in {**SIZES, **engine}.items() for x in ("--set", f"{k}={v}")])
    return out


def tiny(folder: Path) -> list[str]:
    """Words that name a tiny model and its data, made in a folder."""
    from kits.run_kit import save_data, save_model

    return ["--model", str(save_model(folder / "model")), "--data-dir", str(save_data(folder / "data"))]


def import_all() -> None:
    """Import what the processes need before they are forked: they begin sooner, and all of them run the same code,
    whatever becomes of the sources meanwhile.
    """
    import_module("transformers.models.llama.modeling_llama")
    for package in ("zobench", "zobench_plugins", "zobench_tasks"):
        for module in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                with contextlib.suppress(ImportError):  # of an extra that is not installed
                    import_module(module.name)


def _trained(plugins: Any) -> list[str]:
    """The estimators that train with their defaults."""
    every = {name: plugins.estimator(name) for name in plugins.names("estimators")}
    return [name for name, cls in every.items() if cls.trains and not cls.needs]


def main(arguments: Sequence[str] | None = None) -> int:
    """The harness from the command line; 1 where anything differs in the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--longest", type=float, default=8.0, help="seconds that a process lives at most")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--embedded", action="store_true", help="on the model in the package, which takes longer")
    parser.add_argument("--estimators", help="comma separated, instead of all")
    given = parser.parse_args(arguments)
    import_all()
    from zobench.plugins.registry import load_plugins

    names = given.estimators.split(",") if given.estimators else _trained(load_plugins())
    given.results.mkdir(parents=True, exist_ok=True)
    where = [] if given.embedded else tiny(given.results)
    whole, killed = given.results / "whole", given.results / "killed"
    started = time.monotonic()
    Harness(grid(whole, names, *where), given.results / "whole.steps").run(0, longest_s=0)
    print(f"undisturbed: {len(names)} estimators, {time.monotonic() - started:.0f} s", flush=True)
    kills, folders, longest = list[Killed](), list[Path](), given.longest
    while len(kills) < given.kills:  # a fast machine is through with the grid before: then with another one
        folders.append(killed if not folders else killed.with_name(f"killed-{len(folders) + 1}"))
        harness = Harness(grid(folders[-1], names, *where), folders[-1].with_suffix(".steps"))
        left, seed = given.kills - len(kills), given.seed + len(folders) - 1
        harness.run(left, longest_s=longest, seed=seed, say=lambda line: print(line, flush=True))
        kills, longest = kills + harness.kills, longest if harness.kills else longest / 2
    records = [record for folder in folders for record in store.read(folder)[0]]
    gone_on = [record["resumed"] for record in records if "resumed" in record]
    print(f"{len(kills)} kills; {len(records)} records, {len(gone_on)} of them went on, together "
          f"{sum(r['times'] for r in gone_on)} times over {sum(r['replayed'] for r in gone_on)} steps")  # fmt: skip
    print(f"lost a kill: at most {max((k.lost for k in kills), default=0)} steps, "
          f"{max((k.lost_s for k in kills), default=0):.2f} s")  # fmt: skip
    print(json.dumps({s: sum(r["status"] == s for r in records) for s in {r["status"] for r in records}}))
    wrong = [one for folder in folders for one in differences(whole, folder)]
    print("\n".join(wrong) or "no difference")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
