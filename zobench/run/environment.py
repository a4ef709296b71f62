"""What a record says of the machine and the software that made it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from .. import devices, redact

PACKAGES = (
    *("zobench", "torch", "transformers", "tokenizers", "accelerate", "huggingface_hub", "peft", "datasets"),
    *("evaluate", "numpy", "safetensors", "triton"),
)


def describe(placed: Sequence[torch.device]) -> dict[str, Any]:
    """Versions, platform, devices, threads, the git commit of the code if it is a checkout, and the command line."""
    return {
        "packages": {name: v for name in PACKAGES if (v := _version(name)) is not None},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **device_facts(placed[0]),
        **card_facts(placed),
        "git_commit": _git_commit(),
        "command": " ".join([Path(sys.argv[0]).name, *redact.arguments(sys.argv[1:])]),
    }


def device_facts(device: torch.device) -> dict[str, str]:
    """The device and its name: what decides, beside the software, which bits a computation gives."""
    return {"device": str(device), "device_name": devices.name(device)}


def card_facts(placed: Sequence[torch.device]) -> dict[str, Any]:
    """Of GPUs: how many multiprocessors they have, over which torch spreads a generator's draws, and their driver."""
    if placed[0].type not in devices.GPUS:
        return {}
    facts: dict[str, Any] = {"multiprocessors": devices.processors(placed[0]), "driver": devices.driver()}
    return facts if len(placed) == 1 else {**facts, "devices": [str(device) for device in placed]}


@cache
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@cache
def _git_commit() -> str | None:
    """The commit of the checkout this package runs from, when first asked for: a checkout may move on, what a process
    has imported does not. None for an installed wheel or without git.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        asked = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() or None
