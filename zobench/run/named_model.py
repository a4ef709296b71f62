"""Models for use from Python: those of the hub at the commits that plugins pin, as `--model` takes them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..models import load
from ..plugins import declared
from ..plugins.registry import load_plugins

if TYPE_CHECKING:
    from pathlib import Path

    from ..models.load import LoadedModel


def load_model(
    spec: str | Path,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    device: str = "auto",
    offline: bool = False,
) -> LoadedModel:
    """Load a causal language model from a folder or the hub, ready for forward passes: evaluation mode, no gradients.

    Args:
        spec: A folder with config.json, `*.safetensors` and a tokenizer, a GGUF file or a folder with one, or the id of
            a model on the hub. Code from the model's side is never run, and pickled weights are never read.
        revision: A commit, tag or branch of the hub. None takes the commit that an installed plugin pins the model to
            (`zobench_revisions`), as `--model` does; of a model that none pins, the newest.
        dtype: Of the weights: `float16`, `bfloat16` or `float32`.
        device: `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:N`, `xpu`, `xpu:N` or `mps`. With auto, cuda and
            xpu a model too large for one GPU is spread over all of them. GPUs of ROCm are cuda, as in torch.
        offline: Look at the local cache only.

    Raises:
        ZobenchError: One line, for everything the user can mend.
    """
    spec, pinned = str(spec), None
    if revision is None and not os.path.exists(os.path.expanduser(spec)):  # a folder has no commits
        pinned = declared.revision(load_plugins(), spec)
    return load.load_model(spec, revision=revision, dtype=dtype, device=device, offline=offline, pinned=pinned)
