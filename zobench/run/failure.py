"""Whether a cell failed by itself, or by the machine it ran on: full disks, broken links, memory that others hold.

What failed by the machine says so in its record, and the same command runs it again.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import out_of_memory, said

if TYPE_CHECKING:
    import torch

_NAMES = (
    "ENOSPC EDQUOT EIO EROFS ENFILE EMFILE EAGAIN ESTALE ENODEV ENXIO EREMOTEIO ETIMEDOUT ECONNRESET "
    "ECONNREFUSED ECONNABORTED ENETDOWN ENETUNREACH EHOSTDOWN EHOSTUNREACH ENOTCONN EPIPE"
)
OF_THE_MACHINE = frozenset(getattr(errno, name) for name in _NAMES.split() if hasattr(errno, name))
"""Errors of the system that another try, or another day, may not meet: not that a file is missing or forbidden."""

_SAYS = re.compile(
    r"no space left on device|disk quota exceeded|input/output error|read-only file system|too many open files"
    r"|stale file handle|cannot allocate memory|connection (?:reset|aborted|refused|timed out)|network is unreachable"
    r"|temporary failure in name resolution|os error (?:5|28|30|122)\b|\bcode: (?:5|28|30|122)\b"
    r"|pytorchstreamwriter failed|uncorrectable ecc|devices? (?:is|are|\(s\) is/are) busy or unavailable|gpu is lost"
    r"|fallen off the bus|file write failed",
    re.IGNORECASE,
)
"""What libraries say of such an error where they hide its number."""

_KINDS = frozenset({"ConnectionError", "ConnectTimeout", "ReadTimeout", "ConnectError", "ChunkedEncodingError"})
_SHARE = 0.1
"""Of a device's or machine's memory: what others must hold for its being full to be theirs too."""


def retry(error: BaseException, device: torch.device) -> str | None:
    """Why the same command should run the cell again; None where it would but fail again."""
    if out_of_memory(error):
        held = held_by_others(device)
        return None if held is None else f"memory was full while other processes held {held / 2**30:.1f} GiB of it"
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno is not None and one.errno in OF_THE_MACHINE:
            return os.strerror(one.errno)
        if found := _SAYS.search(said(one, 100_000)):
            return found.group(0)
        if type(one).__name__ in _KINDS:
            return f"the network failed ({type(one).__name__})"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it came of."""
    for _ in range(20):
        if error is None:
            return
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def held_by_others(device: torch.device) -> int | None:
    """Bytes of the device's memory (of the host's for a CPU) that other processes hold; None for a small share."""
    from ..devices import GPUS, of_kind

    if device.type in GPUS:
        module = of_kind(device.type)
        free, total = module.mem_get_info(device)
        others = total - free - module.memory_reserved(device)
    else:
        known = _host_memory()
        if known is None:
            return None
        others, total = known
    return others if others > _SHARE * total else None


def _host_memory() -> tuple[int, int] | None:
    """(what other processes hold, all there is) in bytes; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return None
    sizes = {
        name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines) if rest.split()
    }
    if not {"MemTotal", "MemAvailable"} <= set(sizes):
        return None
    total = sizes["MemTotal"]
    return total - sizes["MemAvailable"] - resident, total
