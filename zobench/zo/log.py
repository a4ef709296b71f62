r"""The replay log: what each step saw. Running `iterate` again on it rebuilds weights and state without a forward.

The file is binary and only ever appended to, in blocks:

    file   = b"ZOLOG\x00\x00\x01" block*
    block  = <payload bytes u32> <crc32 of payload u32> <first step u32> <steps u32> payload
    step   = <flags u8: 1 settled, 2 wide, 4 new lr> <losses u16> <seed u64> [<groups u8> lr f64 *] (<dtype u8> value)*

little-endian, values in the dtype they came in: 21 bytes a step for two float32 losses at a constant lr.
A block that was cut short (a killed run) ends the log there.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

import torch
from torch import Tensor

from ..errors import ZobenchError

MAGIC = b"ZOLOG\x00\x00\x01"
_BLOCK = struct.Struct("<IIII")
_STEP = struct.Struct("<BHQ")
_SETTLED, _WIDE, _LR = 1, 2, 4
_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@dataclass
class StepLog:
    """What one step saw.

    Attributes:
        step: number of the step, from 0.
        seed: its seed.
        lr: the learning rate of each parameter group.
        seen: every loss and slope that came back, in order, 0-dim, in the dtype (and on the device) they came in.
        settled: the engine was settled between the step before and this one (an evaluation, a checkpoint): where an
            in-place engine settles is where it rounds.
        wide: it saw more than scalars (activations, gradients), so it cannot be replayed.
    """

    step: int
    seed: int
    lr: tuple[float, ...]
    seen: list[Tensor] = field(default_factory=list)
    settled: bool = False
    wide: bool = False


class LogWriter:
    """Appends steps to a log file; `append=True` goes on after the last whole block of an existing one.

    Steps of one `write` must follow each other; each call writes one block and flushes it. Reading losses waits for
    the device, so write many steps at a time. Raises ZobenchError if an existing file is no log.
    """

    def __init__(self, path: str | Path, *, append: bool = False) -> None:
        self.path = Path(path)
        if append and self.path.exists():
            end = _whole(self.path)
            self._file: IO[bytes] = self.path.open("r+b")
            self._file.truncate(end)
            self._file.seek(end)
        else:
            self._file = self.path.open("wb")
            self._file.write(MAGIC)
            self._file.flush()

    def write(self, steps: Sequence[StepLog]) -> None:
        """Append these steps as one block (nothing if there are none)."""
        if not steps:
            return
        payload, lr = bytearray(), None
        for i, s in enumerate(steps):
            if s.step != steps[0].step + i:
                raise ValueError(f"steps of a log follow each other: {s.step} after {steps[0].step + i - 1}")
            payload += _encode(s, new_lr=s.lr != lr)
            lr = s.lr
        self._file.write(_BLOCK.pack(len(payload), zlib.crc32(payload), steps[0].step, len(steps)) + payload)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def read_log(path: str | Path) -> list[StepLog]:
    """The steps of a log file, up to the first block that is cut short or damaged; losses lie on the CPU.

    Raises ZobenchError if the file is no replay log.
    """
    data = Path(path).read_bytes()
    return [s for payload, first, n, _ in _blocks(data, Path(path)) for s in _decode(payload, first, n)]


def _whole(path: Path) -> int:
    """Where the last whole block of a file ends."""
    end = len(MAGIC)
    for *_, end in _blocks(path.read_bytes(), path):  # noqa: B007
        pass
    return end


def _blocks(data: bytes, path: Path) -> Iterator[tuple[bytes, int, int, int]]:
    if data[: len(MAGIC)] != MAGIC:
        raise ZobenchError(f"{path} is no replay log of zobench")
    at = len(MAGIC)
    while at + _BLOCK.size <= len(data):
        size, crc, first, n = _BLOCK.unpack_from(data, at)
        payload = data[at + _BLOCK.size : at + _BLOCK.size + size]
        if len(payload) < size or zlib.crc32(payload) != crc:
            return
        at += _BLOCK.size + size
        yield payload, first, n, at


def _encode(s: StepLog, new_lr: bool) -> bytes:
    flags = s.settled * _SETTLED | s.wide * _WIDE | new_lr * _LR
    out = bytearray(_STEP.pack(flags, len(s.seen), s.seed))
    if new_lr:
        out += struct.pack(f"<B{len(s.lr)}d", len(s.lr), *s.lr)
    for v in s.seen:
        v = v.detach().cpu()
        out.append(_DTYPES.index(v.dtype))
        out += bytes(v.reshape(1).view(torch.uint8).tolist())
    return bytes(out)


def _decode(payload: bytes, first: int, n: int) -> Iterator[StepLog]:
    at, lr = 0, ()
    for step in range(first, first + n):
        flags, count, seed = _STEP.unpack_from(payload, at)
        at += _STEP.size
        if flags & _LR:
            groups = payload[at]
            lr = struct.unpack_from(f"<{groups}d", payload, at + 1)
            at += 1 + 8 * groups
        seen = []
        for _ in range(count):
            dtype = _DTYPES[payload[at]]
            size = dtype.itemsize
            seen.append(torch.frombuffer(bytearray(payload[at + 1 : at + 1 + size]), dtype=dtype)[0].clone())
            at += 1 + size
        yield StepLog(step, seed, lr, seen, bool(flags & _SETTLED), bool(flags & _WIDE))
