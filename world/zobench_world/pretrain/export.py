"""The finished model: a folder that transformers and `zobench run --model` load, and what a model card needs to say."""

from __future__ import annotations

import copy
import importlib.metadata
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from zobench import ZobenchError

FACTS = "training.json"
"""Stands in a folder where training is finished."""
_PACKAGES = ("zobench", "torch", "transformers", "tokenizers", "safetensors", "numpy")


def machine(device: torch.device) -> dict[str, Any]:
    """Where training runs: processor, threads, device, versions."""
    return {
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def write_model(model: Any, folder: Path) -> None:
    """Write model.safetensors in float16, config.json and generation_config.json to `folder`.

    Raises ZobenchError where a weight is too large for float16.
    """
    half = {name: p.detach().to("cpu", torch.float16).contiguous() for name, p in model.named_parameters()}
    for name, weight in half.items():
        if not bool(weight.isfinite().all()):
            raise ZobenchError(f"{name} is not finite in float16: train again with a lower --lr")
    config, generation = copy.deepcopy(model.config), model.generation_config
    config.architectures, config.dtype = [type(model).__name__], torch.float16
    with tempfile.TemporaryDirectory(dir=folder, prefix=".model-") as made:
        config.save_pretrained(made)
        generation.save_pretrained(made)
        Path(made, "model.safetensors").write_bytes(save(half, metadata={"format": "pt"}))
        for path in Path(made).iterdir():
            os.replace(path, folder / path.name)


def write_facts(folder: Path, facts: dict[str, Any]) -> None:
    """Write training.json, last of all files."""
    unfinished = folder / f".{FACTS}.part"
    unfinished.write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(unfinished, folder / FACTS)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
