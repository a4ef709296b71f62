"""What the scripts of this folder share: models without files, the machine and the command, JSON."""

from __future__ import annotations

import json
import platform
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from zobench.models import shapes
from zobench.models.load import LoadedModel, load_model
from zobench.plugins.registry import load_plugins

SIZES = {"15m": (256, 688, 8, 4, 16384), "60m": (512, 1376, 12, 8, 22000)}
"""Of models of random weights like LLaMA: width, width of the MLP, blocks, heads, tokens of the vocabulary."""
PACKAGES = ("torch", "transformers", "torchzero", "lm_eval")


def model_of(name: str) -> LoadedModel:
    """The model in the package, one of random weights by its size, or that of a folder; float32 on the CPU."""
    if name in SIZES:
        from zobench.bench.random_models import random_model

        width, inner, blocks, heads, words = SIZES[name]
        shape = shapes._shape("llama", 1, **shapes._llama(width, inner, blocks, heads, heads, words))
        shapes.SHAPES = {**shapes.SHAPES, name: shape}
        import zobench.bench.random_models as made

        made.SHAPES = shapes.SHAPES
        return random_model(name, dtype="float32", device="cpu")
    if name == "embedded":
        return load_plugins().model(name)(dtype="float32", device="cpu")
    return load_model(name, device="cpu", dtype="float32", offline=True)


def ratios(seconds: dict[str, float], ours: str) -> dict[str, Any]:
    """Milliseconds of each, and how many times faster `ours` is than each."""
    return {
        "ms": {name: round(1e3 * value, 2) for name, value in seconds.items()},
        "zobench is faster": {name: round(v / seconds[ours], 2) for name, v in seconds.items() if name != ours},
    }


def machine() -> dict[str, Any]:
    """Where, with what, and by what command."""
    cpu = next((x.split(":")[1].strip() for x in _lines("/proc/cpuinfo") if x.startswith("model name")), "unknown")
    return {
        "command": shlex.join(["python", *sys.argv]),
        "cpu": cpu,
        "threads": torch.get_num_threads(),
        "clock": "process time",
        "python": platform.python_version(),
        **{name: found for name in PACKAGES if (found := _version(name)) is not None},
    }


def written(out: Path | None, found: dict[str, Any], where: dict[str, Any]) -> None:
    """All of it as JSON, where that is asked for."""
    if out is not None:
        out.write_text(json.dumps({"machine": where, **found}, indent=1) + "\n")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
