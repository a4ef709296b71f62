"""Mutants: the sources with one thing changed that a user would see, and the tests that must notice.

`python -m kits.mutation FILE.toml [--only TEXT] [--jobs N] [--verdicts FILE]` (in `tests/`) tries those of a file.
Each is made in a copy of the sources; its tests run in a fork of a process that has imported torch and transformers
already, which makes a mutant a matter of a second or two. Every test named is first run on the sources as they are: a
mutant whose test fails there is not judged, and the line says which test and how. With `--verdicts` each verdict is
written as it is reached, and a later run tries those alone that lack one or whose sources or tests have changed.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Any

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "tests" / "mutants.toml"
PACKAGES = (".", "plugins", "tasks", "world")
LEFT_OUT = shutil.ignore_patterns(".git", ".*_cache", "results", "__pycache__", "*.egg-info", "build", "dist", "site")
WARM = (
    "numpy",
    "pytest",
    "torch",
    "transformers",
    "peft",
    "safetensors.torch",
    "tokenizers",
    "typer",
    "rich",
    "jinja2",
)
WARM_MODELS = ("llama", "opt", "qwen2", "gpt2")
PATIENCE = (60.0, 20.0)
"""Tests that take more than so many seconds, and so many times what they took of the sources, have noticed."""


@dataclass(frozen=True)
class Mutant:
    """One change of one file: where `old` stands, `new` is put. `tests` are pytest's names of those that must fail."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}: {self.old!r} -> {self.new!r}"

    def applied(self, text: str) -> str:
        """The text of the file with the change. ValueError where `old` does not stand there exactly once."""
        if (times := text.count(self.old)) != 1:
            raise ValueError(f"{self}: it stands there {times} times")
        return text.replace(self.old, self.new)

    def digest(self) -> str:
        """Of the change, of the file, and of the files of its tests."""
        files = [self.file, *(test.partition("::")[0] for test in self.tests)]
        texts = [path.read_text(encoding="utf-8") for file in files if (path := ROOT / file).is_file()]
        return hashlib.sha256("\0".join([self.old, self.new, *self.tests, *texts]).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: `killed`, `survived` or `not judged`; by which test, and how."""

    mutant: Mutant
    word: str
    how: str = ""

    def __str__(self) -> str:
        return f"{self.word}: {self.mutant}  ({self.how or ' '.join(self.mutant.tests)})"


def read(path: Path = KEPT) -> list[Mutant]:
    """The mutants of a file: by source file, each with what it changes and the tests that notice."""
    found = tomllib.loads(path.read_text(encoding="utf-8"))
    return [
        Mutant(file, one["old"], one["new"], tuple(one["tests"].split()))
        for file, ones in found.items()
        for one in ones
    ]


def verdicts(mutants: Sequence[Mutant], jobs: int = 1) -> Iterator[Verdict]:
    """What becomes of each, as it is found out, by so many processes. RuntimeError where one of these breaks down."""
    told: Queue[Verdict | None] = Queue()
    shares = [share for slot in range(jobs) if (share := mutants[slot::jobs])]
    with ThreadPoolExecutor(jobs) as pool:
        served = [pool.submit(_served, share, told) for share in shares]
        going = len(shares)
        while going:
            one = told.get()
            if one is None:
                going -= 1
            else:
                yield one
        for each in served:
            each.result()


def remembered(mutants: Sequence[Mutant], jobs: int, path: Path) -> Iterator[Verdict]:
    """The same, from `path` those that were killed and are still what they were; the others are written there."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    known = {one["digest"]: one for one in map(json.loads, lines) if one["word"] == "killed"}
    digests = {one: one.digest() for one in mutants}
    yield from (Verdict(one, "killed", known[of]["how"]) for one, of in digests.items() if of in known)
    with path.open("a", encoding="utf-8") as file:
        for one in verdicts([one for one, of in digests.items() if of not in known], jobs):
            row = {"digest": digests[one.mutant], "word": one.word, "mutant": str(one.mutant), "how": one.how}
            print(json.dumps(row), file=file, flush=True)
            yield one


def _served(mutants: Sequence[Mutant], told: Queue[Verdict | None]) -> None:
    """Try these in a process of their own, and tell what becomes of each, and at the end, None."""
    command = [sys.executable, "-m", "kits.mutation", "--serve"]
    try:
        with tempfile.TemporaryFile("w+") as errors:
            serving = subprocess.Popen(
                command,
                cwd=ROOT / "tests",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
            assert serving.stdin is not None and serving.stdout is not None
            serving.stdin.write(json.dumps([[m.file, m.old, m.new, *m.tests] for m in mutants]))
            serving.stdin.close()
            for line in serving.stdout:
                (file, old, new, *tests), word, how = json.loads(line)
                told.put(Verdict(Mutant(file, old, new, tuple(tests)), word, how))
            if serving.wait():
                errors.seek(0)
                raise RuntimeError(errors.read()[-4000:])
    finally:
        told.put(None)


def _serve() -> None:
    """Mutants from standard input; a line on standard output for what becomes of each."""
    given = [Mutant(file, old, new, tuple(tests)) for file, old, new, *tests in json.load(sys.stdin)]
    for name in (*WARM, *(f"transformers.models.{of}.modeling_{of}" for of in WARM_MODELS)):
        importlib.import_module(name)
    sys.modules["torch"].set_num_threads(1)
    gc.collect()
    gc.freeze()
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder).resolve() / "copy", [test for one in given for test in one.tests])
        for one in given:
            word, how = copy.tried(one)
            print(json.dumps([[one.file, one.old, one.new, *one.tests], word, how]), flush=True)


@dataclass
class Copy:
    """A copy of the sources, and how the tests that are asked for end on it while nothing is changed."""

    path: Path
    tests: Sequence[str]
    failing: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    written: int = 0

    def __post_init__(self) -> None:
        shutil.copytree(ROOT, self.path, ignore=LEFT_OUT, symlinks=True)
        if (ROOT / "results").exists():
            (self.path / "results").symlink_to(ROOT / "results")

    def tried(self, one: Mutant) -> tuple[str, str]:
        """The verdict on a mutant, and how it came about."""
        self._know(one.tests)
        if wrong := [
            f"{test} of the sources as they are: {self.failing[test]}" for test in one.tests if test in self.failing
        ]:
            return "not judged", "; ".join(wrong)
        path = self.path / one.file
        text, times = path.read_text(encoding="utf-8"), path.stat()
        self.written += 1
        path.write_text(one.applied(text), encoding="utf-8")
        os.utime(path, (self.written, self.written))  # bytecode is known by the time of its source, in whole seconds
        base, factor = PATIENCE
        patience_s = base + factor * sum(self.seconds[test] for test in one.tests)
        ended = _ended(self.path, one.tests, patience_s, first=True)
        path.write_text(text, encoding="utf-8")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        if ended.status in (0, 1):
            return ("killed" if ended.status else "survived"), ended.words()
        return ("killed", "did not end") if ended.status == -signal.SIGALRM else ("not judged", ended.words())

    def _know(self, tests: Iterable[str]) -> None:
        """Run what is asked of the same files as these, where it was not yet; what fails in company, alone."""
        for file in dict.fromkeys(test.partition("::")[0] for test in tests if test not in self.seconds):
            of_file = list(dict.fromkeys(test for test in self.tests if test.partition("::")[0] == file))
            began = time.monotonic()
            together = _ended(self.path, of_file, 3600)
            self.seconds.update(dict.fromkeys(of_file, time.monotonic() - began))
            for test in of_file if together.status else ():
                alone = _ended(self.path, [test], 3600)
                if alone.status:
                    self.failing[test] = alone.words()


@dataclass(eq=False)
class Ended:
    """How pytest ended: its exit status (or minus the signal), and of what failed, the line that says how."""

    status: int
    failed: dict[str, str] = field(default_factory=dict)

    def words(self) -> str:
        """In one line; empty where all passed."""
        ways = [f"{test}: {how}" for test, how in self.failed.items()]
        return "; ".join(ways) or (f"pytest ended with {self.status}" if self.status else "")

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Called by pytest after each phase of a test."""
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            said = crash.message if crash else str(report.longrepr)
            self.failed[report.nodeid] = said.strip().partition("\n")[0][:300]

    def pytest_collectreport(self, report: Any) -> None:
        """Called by pytest after each file."""
        if report.failed:
            self.failed[report.nodeid] = (str(report.longrepr).strip().splitlines() or [""])[-1][:300]


def _ended(copy: Path, tests: Sequence[str], patience_s: float, *, first: bool = False) -> Ended:
    """How these tests end on the copy, or the `first` that fails, in a process that has no longer than this."""
    told = copy.with_suffix(".ended")
    told.unlink(missing_ok=True)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            signal.alarm(max(1, round(patience_s)))
            ended = _run(copy, tests, first=first)
            told.write_text(json.dumps([ended.status, ended.failed]), encoding="utf-8")
        finally:
            os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what the tests have left behind
    return Ended(*json.loads(told.read_text(encoding="utf-8"))) if told.is_file() else Ended(code or 99)


def _run(copy: Path, tests: Sequence[str], *, first: bool) -> Ended:
    import pytest

    said = tempfile.TemporaryFile("w+")  # not a pipe: what a test leaves running would hold it open
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for stream in (1, 2):
        os.dup2(said.fileno(), stream)
    os.chdir(copy)
    own = [str((copy / package).resolve()) for package in PACKAGES]
    os.environ["PYTHONPATH"] = os.pathsep.join(own)
    sys.path[:] = own + [entry for entry in sys.path if entry and not Path(entry).resolve().is_relative_to(ROOT)]
    for name in [n for n in sys.modules if n.partition(".")[0] in ("kits", "zobench")]:
        del sys.modules[name]
    ended = Ended(0)
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(copy), *(["-x"] if first else [])]
    ended.status = int(pytest.main([*options, *tests], plugins=[ended]))
    if ended.status and not ended.failed:
        said.seek(0)
        ended.failed["pytest"] = " | ".join(said.read().strip().splitlines()[-3:])
    return ended


def main() -> int:
    """From the command line; see above."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", nargs="?", type=Path, default=KEPT)
    parser.add_argument("--only", default="", help="those whose file, change or tests have this text")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--verdicts", type=Path, help="a file that keeps them; a killed mutant in it is not tried again"
    )
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        _serve()
        return 0
    chosen = [one for one in read(given.file) if given.only in f"{one} {one.tests}"]
    found = remembered(chosen, given.jobs, given.verdicts) if given.verdicts else verdicts(chosen, given.jobs)
    left = 0
    for one in found:
        left += one.word != "killed"
        if one.word != "killed":
            print(one, flush=True)
    print(f"{len(chosen) - left} of {len(chosen)} killed")
    return 1 if left else 0


if __name__ == "__main__":
    raise SystemExit(main())
