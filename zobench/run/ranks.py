"""One cell in several processes, each with a part of every batch: data-parallel, by losses alone.

All ranks hold the whole model and draw the same directions from the same seeds. Of each loss a rank computes its part
of the batch; what they exchange is one row of eight float64 a call of `losses` (of up to `ROOM` points), so that every
rank sees the same losses, bit for bit, and makes the same move. Gradients, activations and weights never leave a
process.

The first rank plans, claims, writes and measures; the others run the cells that it names, in a folder of their own that
is thrown away. They are started by it (`--ranks N`) or by torchrun.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import ZobenchError

if TYPE_CHECKING:
    from ..protocol.cell import Cell

ROW = 8
ROOM = ROW - 3
"""Losses of a row, beside what it is of, the weight of the rank's part, and their dtype."""
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


APART = "the ranks came apart"


class Apart(ZobenchError):
    """The ranks do not do the same, or one is gone: nothing more can be computed together."""


class Ranks:
    """The ranks of a run, as one of them sees them. Made by `joined`.

    sent: bytes of losses that this rank gave in the present cell; steps: the training steps that it began there.
    """

    def __init__(self, rank: int, size: int, local: int) -> None:
        self.rank, self.size, self.local = rank, size, local
        self.sent = self.steps = 0
        self.broken: str | None = None

    def device(self, asked: str) -> str:
        """Where this rank's model lies, if `asked` is what the user said: a GPU each, where that is meant."""
        from .. import devices

        kind = devices.best() if asked == "auto" else asked
        return f"{kind}:{self.local}" if kind in devices.GPUS and kind != "mps" else kind

    # ---- exchange

    def mean(self, of: str, weight: float, losses: Sequence[Tensor]) -> list[Tensor]:
        """The losses of the whole batch: means of the ranks' by weight, in float64, in the dtype of the first that has
        a part. `of` says what they are of, and must be the same on all ranks.
        """
        device = losses[0].device
        code = DTYPES.index(losses[0].dtype)
        values = torch.stack([x.detach() for x in losses]).cpu().double().tolist()
        out: list[Tensor] = []
        for start in range(0, len(values), ROOM):
            rows = self._rows(f"{of} {start}", [weight, float(code), *values[start : start + ROOM]])
            self.sent += ROW * 8
            parts = [row[1:] for row in rows if row[1] > 0]
            total, dtype = sum(weight for weight, *_ in parts), DTYPES[int(parts[0][1])]
            for i in range(2, 2 + len(values[start : start + ROOM])):
                value = sum(part[0] * part[i] for part in parts) / total
                out.append(torch.tensor(value, dtype=torch.float64).to(dtype).to(device))
        return out

    def agree(self, of: str) -> None:
        """Wait for all ranks. Raises Apart where one is at something else."""
        self._rows(of, [])

    def gather(self, of: str, mine: Any) -> list[Any]:
        """What each rank has, in their order: plain values."""
        self.agree(of)
        out: list[Any] = [None] * self.size
        self._all(lambda dist: dist.all_gather_object(out, mine))
        return out

    def told(self, of: str, said: Any = None) -> Any:
        """What the first rank says, on all."""
        self.agree(of)
        out = [said]
        self._all(lambda dist: dist.broadcast_object_list(out, src=0))
        return out[0]

    def _rows(self, of: str, values: Sequence[float]) -> list[list[float]]:
        mark = float(zlib.crc32(of.encode()))
        mine = torch.zeros(ROW, dtype=torch.float64)
        mine[: 1 + len(values)] = torch.tensor([mark, *values], dtype=torch.float64)
        found = [torch.zeros(ROW, dtype=torch.float64) for _ in range(self.size)]
        self._all(lambda dist: dist.all_gather(found, mine))
        rows: list[list[float]] = [row.tolist() for row in found]
        if any(row[0] != mark for row in rows):
            said: list[Any] = [of] * self.size
            self._all(lambda dist: dist.all_gather_object(said, of))  # all of them have seen it
            self.broken = ", ".join(f"rank {r} was at {what}" for r, what in enumerate(said))
            raise Apart(f"{APART}: {self.broken}: the same command goes on with what is not done")
        return rows

    def _all(self, act: Callable[[Any], Any]) -> None:
        import torch.distributed as dist

        if self.broken is not None:
            raise Apart(f"{APART}: {self.broken}: the same command goes on with what is not done")
        try:
            act(dist)
        except (RuntimeError, ValueError) as e:
            first = (str(e).strip().splitlines() or [type(e).__name__])[0]
            self.broken = f"a rank is gone ({first})"
            raise Apart(f"{APART}: {self.broken}: the same command goes on with what is not done") from e

    # ---- cells

    def lead(self, run_cell: object) -> None:
        """The first rank: tell the others what runs cells."""
        self.told("order", run_cell)

    def begin(self, cell: Cell, journal: Path) -> None:
        """The first rank: have the others run a cell too, from what its journal has."""
        self.sent = self.steps = 0
        if self.rank == 0:
            self.told("cell", (cell, journal.read_bytes()))

    def end(self, status: str) -> None:
        """The cell is over, on all ranks with the same status. Raises Apart where it is not."""
        self.agree(f"end {status}")

    def record(self) -> dict[str, Any]:
        """For the record: how many there were, and the bytes of losses that each gave in a step."""
        return {"size": self.size, "bytes_a_step": self.sent / max(1, self.steps)}

    def stop(self) -> None:
        """The first rank: there is no more to do."""
        if self.broken is None:
            with contextlib.suppress(Apart):
                self.told("cell")
