"""Checkpoints: folders DIR/checkpoint-<step>, each there whole or not at all; the newest alone is kept."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from zobench import ZobenchError

_NAME = re.compile(r"checkpoint-(\d+)")


@dataclass
class TrainingCounts:
    """What is counted while training goes on, beside weights and optimiser."""

    step: int = 0
    """Steps done."""
    tokens: int = 0
    """Tokens seen, padding left out."""
    seconds: float = 0.0
    """Of training and evaluation, over all sittings."""
    summed_loss: float = 0.0
    """Of the steps since the last line of the log."""
    since: int = 0
    """How many they are."""
    digest: str = ""
    """Of the text."""
    sittings: list[dict[str, Any]] = field(default_factory=list)
    """On which machine from which step: more than one where training was interrupted."""


def newest(folder: Path) -> Path | None:
    """The checkpoint of most steps in `folder`, None where there is none."""
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    return max(found, key=_step, default=None)


def save(folder: Path, counts: TrainingCounts, model: Any, optimizer: torch.optim.Optimizer) -> Path:
    """Write a checkpoint, then delete older ones; returns its folder."""
    path = folder / f"checkpoint-{counts.step}"
    unfinished = folder / f".{path.name}.part"
    for stale in (unfinished, path):
        shutil.rmtree(stale, ignore_errors=True)
    unfinished.mkdir()
    save_file(
        {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()},
        unfinished / "weights.safetensors",
    )
    torch.save(optimizer.state_dict(), unfinished / "optimizer.pt")
    (unfinished / "counts.json").write_text(json.dumps(asdict(counts), indent=1) + "\n", encoding="utf-8")
    for written in unfinished.iterdir():
        with written.open("rb") as file:
            os.fsync(file.fileno())
    os.rename(unfinished, path)
    for old in [old for old in folder.iterdir() if _NAME.fullmatch(old.name) and old != path]:
        shutil.rmtree(old)
    return path


def load(path: Path, model: Any, optimizer: torch.optim.Optimizer) -> TrainingCounts:
    """Put a checkpoint's weights and optimiser state in place; returns its counts.

    Raises ZobenchError for files that are damaged or of another model.
    """
    try:
        weights = load_file(path / "weights.safetensors")
        state = torch.load(path / "optimizer.pt", map_location="cpu", weights_only=True)
        counts = TrainingCounts(**json.loads((path / "counts.json").read_text(encoding="utf-8")))
        parameters = dict(model.named_parameters())
        if {n: t.shape for n, t in weights.items()} != {n: p.shape for n, p in parameters.items()}:
            raise ValueError("its weights are of another model")
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(weights[name])
        optimizer.load_state_dict(state)
    except (OSError, ValueError, TypeError, RuntimeError, EOFError, SafetensorError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ZobenchError(f"{path} cannot be read ({why}): delete it and run the command again") from error
    return counts


def _step(path: Path) -> int:
    return int(path.name.rpartition("-")[2])
