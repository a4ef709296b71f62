"""Mutants: the sources with one thing changed that a user would see, and the tests that must notice.

`python -m kits.mutation FILE.toml [--only TEXT] [--jobs N]` (in `tests/`) tries those of a file.
Each is made in a copy of the sources; its tests run in a fork of a process that has imported torch and transformers
already, which makes a mutant a matter of a second or two.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "tests" / "mutants.toml"
PACKAGES = (".", "plugins", "tasks", "world")
LEFT_OUT = shutil.ignore_patterns(".*", "results", "__pycache__", "*.egg-info", "build", "dist", "site")
PATIENCE = 300
"""Seconds after which tests that do not end count as having noticed."""


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


def read(path: Path = KEPT) -> list[Mutant]:
    """The mutants of a file: by source file, each with what it changes and the tests that notice."""
    found = tomllib.loads(path.read_text(encoding="utf-8"))
    return [
        Mutant(file, one["old"], one["new"], tuple(one["tests"].split()))
        for file, ones in found.items()
        for one in ones
    ]


def survivors(mutants: Sequence[Mutant], jobs: int = 1) -> Iterator[tuple[Mutant, str]]:
    """Those whose tests did not fail, and how they ended. RuntimeError where some fail of the sources as they are."""
    told: Queue[tuple[Mutant, str] | None] = Queue()
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


def _served(mutants: Sequence[Mutant], told: Queue[tuple[Mutant, str] | None]) -> None:
    """Try these in a process of their own, and tell of those that survive, and at the end, of None."""
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
                (file, old, new, *tests), how = json.loads(line)
                told.put((Mutant(file, old, new, tuple(tests)), how))
            if serving.wait():
                errors.seek(0)
                raise RuntimeError(errors.read()[-4000:])
    finally:
        told.put(None)


def _serve() -> None:
    """Mutants from standard input; a line on standard output for each whose tests did not fail as they should."""
    given = [Mutant(file, old, new, tuple(tests)) for file, old, new, *tests in json.load(sys.stdin)]
    import pytest  # noqa: F401
    import torch
    import transformers  # noqa: F401

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT, symlinks=True)
        if (ROOT / "results").exists():
            (copy / "results").symlink_to(ROOT / "results")
        every = tuple(dict.fromkeys(test for one in given for test in one.tests))
        if _ended(copy, every) != 0:
            raise SystemExit("some of these tests fail of the sources as they are")
        for one in given:
            path = copy / one.file
            text = path.read_text(encoding="utf-8")
            path.write_text(one.applied(text), encoding="utf-8")
            status = _ended(copy, one.tests)
            path.write_text(text, encoding="utf-8")
            if status != 1:
                _tell(one, "survived" if status == 0 else f"pytest ended with {status}")


def _tell(one: Mutant, how: str) -> None:
    print(json.dumps([[one.file, one.old, one.new, *one.tests], how]), flush=True)


def _ended(copy: Path, tests: Iterable[str]) -> int:
    """The exit status of these tests on the copy: 0 where all pass, 1 where one fails or they do not end."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 99
        try:
            os.setsid()
            signal.alarm(PATIENCE)
            status = _run(copy, tests)
        finally:
            os._exit(status)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return 1 if code == -signal.SIGALRM else code


def _run(copy: Path, tests: Iterable[str]) -> int:
    import pytest

    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(quiet, stream)
    os.chdir(copy)
    own = [str((copy / package).resolve()) for package in PACKAGES]
    os.environ["PYTHONPATH"] = os.pathsep.join(own)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    sys.path[:] = own + [entry for entry in sys.path if not entry or not Path(entry).is_relative_to(ROOT)]
    for name in [n for n in sys.modules if n.partition(".")[0] in ("kits", "zobench")]:
        del sys.modules[name]
    return int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(copy), *tests]))


def main() -> int:
    """From the command line; see above."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", nargs="?", type=Path, default=KEPT)
    parser.add_argument("--only", default="", help="those whose file, change or tests have this text")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        _serve()
        return 0
    chosen = [one for one in read(given.file) if given.only in f"{one} {one.tests}"]
    left = 0
    for one, how in survivors(chosen, given.jobs):
        left += 1
        print(f"{how}: {one}  ({' '.join(one.tests)})", flush=True)
    print(f"{len(chosen) - left} of {len(chosen)} killed")
    return 1 if left else 0


if __name__ == "__main__":
    raise SystemExit(main())
