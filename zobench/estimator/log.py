r"""The replay log: what each step saw. Running `iterate` again on it rebuilds weights and state without a forward.

The file is binary and only ever appended to, in blocks, and closed by an end that vouches for all of it:

    file   = b"ZOLOG\x00\x00\x02" <bytes u32> <crc32 of them u32> facts block* end
    facts  = what the run says of itself: JSON, in UTF-8
    block  = <payload bytes u32> <crc32 of the next two and the payload u32> <first step u32> <steps u32> payload
    end    = <0xFFFFFFFF u32> <steps in all u64> <SHA-256 of all before it>
    step   = <flags u8: 1 settled, 2 wide, 4 new lr> <losses u16> <seed u64> [<groups u8> lr f64 *] (<dtype u8> value)*

little-endian, values in the dtype they came in: 21 bytes a step for two float32 losses at a constant lr. Version 1 has
neither facts nor an end, and its crc32 is of the payload alone.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import torch
from torch import Tensor

from ..errors import ZobenchError

MAGIC = b"ZOLOG\x00\x00\x02"
_FIRST_VERSION = b"ZOLOG\x00\x00\x01"
_FACTS = struct.Struct("<II")
_BLOCK = struct.Struct("<IIII")
_END = struct.Struct("<IQ")
_MARK = b"\xff\xff\xff\xff"
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


@dataclass
class Log:
    """A log as it was read.

    Attributes:
        steps: what the steps saw; losses lie on the CPU.
        facts: what the run said of itself when it began the file; empty in logs of the first version.
        fault: what is wrong with the file after these steps; None for a whole one.
    """

    steps: list[StepLog] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    fault: str | None = None
    end: int = 0  # of the last whole block


class LogWriter:
    """Appends steps to a log file; `append=True` goes on after the last whole block of an existing one.

    Steps of one `write` must follow each other; each call writes one block and flushes it. `close` writes the end,
    without which the file counts as cut short. Reading losses waits for the device, so write many steps at a time.

    facts: what a reader should know of the run, as JSON has it; an existing file keeps its own.

    Raises ZobenchError if an existing file is no log, or one of the first version.
    """

    def __init__(self, path: str | Path, *, append: bool = False, facts: Mapping[str, Any] | None = None) -> None:
        self.path, self._steps = Path(path), 0
        if append and self.path.exists():
            data = self.path.read_bytes()
            if data.startswith(_FIRST_VERSION):
                raise ZobenchError(f"{self.path} is a replay log of an earlier version, to which nothing can be added")
            log = _parse(data, self.path)
            self._steps, whole = len(log.steps), data[: log.end]
            self._file: IO[bytes] = self.path.open("r+b")
            self._file.truncate(log.end)
            self._file.seek(log.end)
            self._hash = hashlib.sha256(whole)
            return
        said = json.dumps(dict(facts or {}), sort_keys=True).encode()
        self._hash, self._file = hashlib.sha256(), self.path.open("wb")
        self._append(MAGIC + _FACTS.pack(len(said), zlib.crc32(said)) + said)

    def write(self, steps: Sequence[StepLog]) -> None:
        """Append these steps as one block (nothing if there are none)."""
        if not steps:
            return
        payload = pack(steps)
        numbers = struct.pack("<II", steps[0].step, len(steps))
        crc = zlib.crc32(payload, zlib.crc32(numbers))
        self._append(struct.pack("<II", len(payload), crc) + numbers + payload)
        self._steps += len(steps)

    def close(self) -> None:
        """Write the end and close the file. May be called twice."""
        if not self._file.closed:
            self._append(_END.pack(0xFFFFFFFF, self._steps))
            self._file.write(self._hash.digest())
            self._file.close()

    def _append(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()
        self._hash.update(data)

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()  # without an end: it is not whole


def read_log(path: str | Path, *, whole: bool = True) -> list[StepLog]:
    """The steps of a log file; losses lie on the CPU.

    whole=False: those before what is cut short or damaged, of a run that was killed.

    Raises ZobenchError if the file is no replay log, or not a whole one.
    """
    return load_log(path, whole=whole).steps


def load_log(path: str | Path, *, whole: bool = True, data: bytes | None = None) -> Log:
    """As `read_log`, with the facts that the file states about its run. `data`: its bytes, if already read."""
    log = _parse(Path(path).read_bytes() if data is None else data, Path(path))
    if whole and log.fault is not None:
        raise ZobenchError(f"{path} is not a whole replay log: {log.fault}")
    return log


def _parse(data: bytes, path: Path) -> Log:
    """What there is of a log, up to the first fault."""
    if data.startswith(_FIRST_VERSION):
        return _parse_first(data)
    if not data.startswith(MAGIC):
        raise ZobenchError(f"{path} is no replay log of zobench")
    log, at = Log(), len(MAGIC) + _FACTS.size
    size, crc = _FACTS.unpack(data[len(MAGIC) : at]) if len(data) >= at else (0, None)
    said = data[at : at + size]
    if len(said) != size or zlib.crc32(said) != crc:
        raise ZobenchError(f"{path} is not a whole replay log: its first lines are cut short or damaged")
    log.facts, log.end = json.loads(said), at + size
    while data[log.end : log.end + 4] != _MARK:
        log.fault = _block(data, log, covers_numbers=True)
        if log.fault is not None:
            return log
    end = data[log.end : log.end + _END.size]
    digest = hashlib.sha256(data[: log.end] + end).digest()
    if data[log.end + _END.size :] != digest or _END.unpack(end)[1] != len(log.steps):
        log.fault = f"its end, after {len(log.steps)} steps, is cut short or damaged"
    return log


def _parse_first(data: bytes) -> Log:
    log = Log(end=len(_FIRST_VERSION))
    while log.end < len(data):
        log.fault = _block(data, log, covers_numbers=False)
        if log.fault is not None:
            return log
    if not log.steps:
        log.fault = "it has no step"
    return log


def _block(data: bytes, log: Log, *, covers_numbers: bool) -> str | None:
    """Read the block at `log.end` into the log; what is wrong with it, if anything is."""
    fault = f"after {len(log.steps)} steps it is cut short or damaged"
    begin = log.end + _BLOCK.size
    if len(data) < begin:
        return fault
    size, crc, first, n = _BLOCK.unpack_from(data, log.end)
    payload = data[begin : begin + size]
    over = data[log.end + 8 : begin] + payload if covers_numbers else payload
    if len(payload) < size or zlib.crc32(over) != crc or (log.steps and first != log.steps[-1].step + 1):
        return fault
    try:
        log.steps += unpack(payload, first, n)
    except (struct.error, IndexError, ValueError):  # of the first version, whose crc does not cover n
        return fault
    log.end = begin + size
    return None


def pack(steps: Sequence[StepLog]) -> bytes:
    """These steps as the payload of a block; waits for the device once. ValueError for a gap between them."""
    payload, lr, values = bytearray(), None, iter(_bytes([v for s in steps for v in s.seen]))
    for i, s in enumerate(steps):
        if s.step != steps[0].step + i:
            raise ValueError(f"steps of a log follow each other: {s.step} after {steps[0].step + i - 1}")
        flags = s.settled * _SETTLED | s.wide * _WIDE | (s.lr != lr) * _LR
        payload += _STEP.pack(flags, len(s.seen), s.seed)
        if s.lr != lr:
            payload += struct.pack(f"<B{len(s.lr)}d", len(s.lr), *s.lr)
            lr = s.lr
        for v in s.seen:
            payload.append(_DTYPES.index(v.dtype))
            payload += next(values)
    return bytes(payload)


def _bytes(values: Sequence[Tensor]) -> list[bytes]:
    """The bytes of 0-dim tensors; those of a device and dtype come to the host together."""
    together: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for i, v in enumerate(values):
        together.setdefault((v.device, v.dtype), []).append(i)
    out = [b""] * len(values)
    for (_, dtype), of in together.items():
        data = bytes(torch.stack([values[i].detach() for i in of]).cpu().view(torch.uint8).numpy())
        for k, i in enumerate(of):
            out[i] = data[k * dtype.itemsize : (k + 1) * dtype.itemsize]
    return out


def unpack(payload: bytes, first: int, n: int) -> list[StepLog]:
    """The steps of a block. IndexError, ValueError or struct.error if the block does not hold exactly as many."""
    at, lr, steps = 0, tuple[float, ...](), list[StepLog]()
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
        steps.append(StepLog(step, seed, lr, seen, bool(flags & _SETTLED), bool(flags & _WIDE)))
    if at != len(payload):
        raise ValueError(f"{len(payload) - at} bytes are left")
    return steps
