"""The model and the tasks that come with the package, for runs without network, GPU or `--model`.

The model is a LLaMA of 1.9 M parameters, trained on the text of a small world (text.py) by `python -m
zobench.models.embedded.pretrain`; MODEL_CARD.md beside its weights says how. The tasks (tasks.py) are of the same
world, in wordings that the text does not have.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ZobenchError
from .tasks import TASKS, task_data

if TYPE_CHECKING:
    from ..load import LoadedModel

__all__ = ["TASKS", "WEIGHTS", "load", "load_random", "task_data"]

WEIGHTS = Path(__file__).parent / "weights"
"""The folder with the model: weights, config, tokenizer, card."""


def load(*, dtype: str = "float32", device: str = "auto") -> LoadedModel:
    """The model, ready for forward passes; it needs no network.

    Raises ZobenchError as `load_model` does, and where the package came without the weights.
    """
    from ..load import load_model

    if not (WEIGHTS / "model.safetensors").is_file():
        raise ZobenchError(f"no weights in {WEIGHTS}: install zobench again, or pass --model and --data-dir")

    loaded = load_model(str(WEIGHTS), dtype=dtype, device=device, offline=True)
    loaded.name, loaded.data = "embedded", "embedded"  # the tasks of the world that it was trained on
    return loaded


def load_random(*, dtype: str = "float32", device: str = "auto") -> LoadedModel:
    """The same shape and tokenizer with the random weights that training began with: the control that shows what
    training is for. Raises ZobenchError as `load` does.
    """
    from .pretrain.model import build
    from .pretrain.recipe import PRESETS

    loaded = load(dtype=dtype, device=device)
    begun = build(PRESETS["embedded"], loaded.model.config.vocab_size)
    loaded.model.load_state_dict(begun.state_dict())
    loaded.name, loaded.revision = "embedded_random", None
    return loaded
