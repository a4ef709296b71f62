"""The processes that run each cell together (zobench.run.ranks): how they are started, what the others do, and end."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch

from ..errors import ZobenchError
from ..report import processes
from .ranks import APART, Apart, Ranks

if TYPE_CHECKING:
    from ..protocol.cell import Cell
    from .session import Session
    from .work import RunInProcess

FOREVER = timedelta(days=30)
"""For the others: the first rank may plan, or measure, for as long as it likes."""
RANK = "import sys; from zobench.run.group import main; sys.exit(main(sys.argv[1:]))"
LOCAL = "127.0.0.1"
INTERFACE = "GLOO_SOCKET_IFNAME"
PATIENCE_S = 20.0
"""For the others to end."""


def follow(ranks: Ranks) -> None:
    """A rank that is not the first: run the cells that that one names, until there are no more."""
    run_cell: RunInProcess = ranks.told("order")
    run_cell.ranks = ranks
    with tempfile.TemporaryDirectory(prefix="zobench-rank-") as folder:
        while (told := ranks.told("cell")) is not None:
            cell, journal = told
            _run_beside(run_cell, cell, journal, Path(folder))


def _run_beside(run_cell: RunInProcess, cell: Cell, journal: bytes, folder: Path) -> None:
    """Run a cell with files that nobody keeps, from the journal of the first rank."""
    from ..report import running
    from .cell_runner import Runner
    from .events import Unheard

    results = folder / "results"
    shutil.rmtree(results, ignore_errors=True)
    (results / running.FOLDER).mkdir(parents=True)
    (results / running.FOLDER / f"{cell.id}.journal").write_bytes(journal)
    run_cell.check_code(cell)
    rerun = run_cell.order.place.rerun
    runner = Runner(run_cell.session, results, Unheard(run_cell.order.live), rerun=rerun)
    runner.environment["run"] = run_cell.order.run
    record, ranks = runner(cell), run_cell.ranks
    if ranks is not None and ranks.broken is not None and not str(record["error"]).startswith(APART):
        print(f"zobench: rank {ranks.rank}: {cell.id}: {record['error']}", file=sys.stderr)


def check(cells: Sequence[Cell], session: Session) -> None:
    """ZobenchError for a cell that ranks cannot compute: its method, or its loss, needs more than means of losses."""
    from ..tasks.loss import PARTS
    from .rehearsal import wide

    known: dict[tuple[str, str], bool] = {}
    for cell in cells:
        cls, settings = session.plugins.estimator(cell.estimator), cell.estimator_settings
        if not cls.trains:
            continue
        key = (cell.estimator, str(settings))
        if key not in known:
            known[key] = wide(cls, settings)
        if known[key]:
            raise ZobenchError(
                f"--ranks: estimator {cell.estimator} looks at activations or gradients, and ranks exchange losses "
                "alone; run it without --ranks"
            )
        loss = cell.protocol.loss_of(session.task(cell.task))
        if loss not in PARTS:
            raise ZobenchError(
                f"--ranks: train_loss={loss} of task {cell.task} is no mean over the examples of a batch, so that no "
                f"part of one can be computed apart; use {' or '.join(sorted(PARTS))}, or run it without --ranks"
            )


@contextlib.contextmanager
def joined(size: int) -> Iterator[Ranks | None]:
    """The ranks of this run: those of torchrun, where it started this process, else `size` of them; None of one.

    Raises ZobenchError where both say a number, and where this build of torch cannot do it.
    """
    import torch.distributed as dist

    env, launched = os.environ, "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1
    if not launched and size <= 1:
        yield None
        return
    if not dist.is_available():
        raise ZobenchError("--ranks: this build of torch has no torch.distributed")
    if launched and size not in (0, int(env["WORLD_SIZE"])):
        raise ZobenchError(f"--ranks {size}: torchrun started {env['WORLD_SIZE']} processes; leave --ranks out")
    others: list[subprocess.Popen[bytes]] = []
    with contextlib.ExitStack() as held:
        if launched:
            ranks = Ranks(int(env["RANK"]), int(env["WORLD_SIZE"]), int(env.get("LOCAL_RANK", "0")))
            dist.init_process_group("gloo", init_method="env://", timeout=FOREVER)
        else:
            folder = held.enter_context(
                tempfile.TemporaryDirectory(prefix="zobench-ranks-", ignore_cleanup_errors=True)
            )
            threads = max(1, torch.get_num_threads() // size)
            torch.set_num_threads(threads)
            others = [_started(r, size, folder, threads) for r in range(1, size)]
            ranks = Ranks(0, size, 0)
            _meet(0, size, folder)
        try:
            yield ranks
        finally:
            _part(others)


def _meet(rank: int, size: int, folder: str) -> None:
    """Join the group of this machine's ranks: by a file of this user's own, and over the loopback interface alone.

    A store of torch that is named by a port listens on all interfaces, whatever its address says.
    """
    import torch.distributed as dist

    here = next((name for name, own in psutil.net_if_addrs().items() if any(a.address == LOCAL for a in own)), None)
    before = os.environ.get(INTERFACE)
    if here is not None and sys.platform != "win32":  # where gloo finds no interface by its name
        os.environ[INTERFACE] = here
    try:
        store = dist.FileStore(str(Path(folder) / "store"), size)  # type: ignore[attr-defined]
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=FOREVER)
    finally:
        os.environ.pop(INTERFACE, None)
        os.environ.update({} if before is None else {INTERFACE: before})


def _part(others: Sequence[subprocess.Popen[bytes]]) -> None:
    """Leave the group, which ends those that wait for this rank; and see them end."""
    import torch.distributed as dist

    with contextlib.suppress(RuntimeError, ValueError):
        dist.destroy_process_group()
    for one in others:
        try:
            one.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            one.kill()
            one.wait()


def _started(rank: int, size: int, folder: str, threads: int) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", RANK, str(rank), str(size), folder]
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def main(words: Sequence[str]) -> int:
    """A rank that `joined` started."""
    rank, size = int(words[0]), int(words[1])
    met = threading.Event()
    first = os.getppid()
    threading.Thread(target=_leave_with, args=(first, processes.born(first), met), daemon=True).start()
    _meet(rank, size, words[2])
    met.set()
    return led(Ranks(rank, size, rank))


def _leave_with(first: int, since: str | None, met: threading.Event) -> None:
    """End this process where the first rank ended before all had met: from then on the group itself tells."""
    while not met.wait(1.0):
        if not processes.alive(first, since):
            os._exit(1)


def led(ranks: Ranks) -> int:
    """Follow the first rank; the exit status."""
    try:
        follow(ranks)
    except Apart:
        return 1  # the first rank says it
    except ZobenchError as e:
        print(f"zobench: error: rank {ranks.rank}: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
