"""Peak memory of a cell: what the allocator held at most on a GPU, the process's largest resident size on a CPU."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import torch

from ..devices import GPUS, peak, reset_peak
from .heap import give_back

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class PeakMemory:
    """Peak bytes since this object was made, of all devices together. `kind` says what was measured."""

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self.devices = [device for device in devices if device.type in GPUS]
        self.kind = "resident size of the process"
        if self.devices:
            self.kind = f"allocated by torch on {'each of the devices' if len(self.devices) > 1 else 'the device'}"
        self.again()

    def again(self) -> None:
        """The peak counts from now on."""
        for device in self.devices:
            reset_peak(device)
        if not self.devices:
            self._reset()

    def _reset(self) -> None:
        """Start the process's peak anew, where the system can (Linux); elsewhere it counts from the start."""
        give_back()
        try:
            _CLEAR.write_text("5")
        except OSError:
            self.kind = "resident size of the process, since its start"

    def peak(self) -> int:
        """Bytes."""
        if self.devices:
            return sum(map(peak, self.devices))
        if _STATUS.is_file():
            for line in _STATUS.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return _peak_since_start()


def _peak_since_start() -> int:
    """Bytes; of Windows, which has no `resource`, the peak of the working set."""
    try:
        import resource
    except ImportError:
        return int(psutil.Process().memory_info().peak_wset)  # type: ignore[attr-defined]
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
