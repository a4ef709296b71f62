"""What the scripts of this folder write of where they measured, and how."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path


def machine(command: str, clock: str, **more: object) -> dict[str, object]:
    """The command, the processor, the clock, and how busy the machine is."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {"command": command, **more, "cpu": cpu, "clock": clock, "load": round(os.getloadavg()[0], 1)}


def written(out: Path | None, where: Mapping[str, object], found: Mapping[str, object]) -> None:
    """All of it as JSON, where that is asked for."""
    if out is not None:
        out.write_text(json.dumps({"machine": where, **found}, indent=1) + "\n", encoding="utf-8")
