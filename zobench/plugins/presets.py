"""A preset: sizes and steps of a run under one name. Light: imports nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Preset:
    """Sizes and steps of a run, that a plugin registers under a name (hook `zobench_presets`).

        Preset({"steps": 100, "eval_every": 50, "my_selector.steps": 10}, models=("lab-1b",))

    Whatever the user sets goes before it, and so does what a plugin sets for the model (hook `zobench_model_settings`).
    """

    settings: Mapping[str, object] = field(default_factory=dict)
    """Settings as `--set` takes them; what it does not name keeps its default, and what nobody has is passed over."""
    first_order: Mapping[str, object] = field(default_factory=dict)
    """On top of them, of estimators that descend gradients: settings of the protocol; and `epochs`, which stands for
    the steps of so many passes over the training examples, evaluated after each, where nobody says how long to train.
    """
    models: tuple[str, ...] = ()
    """The models, by their plugins' names, whose runs take it where none is named."""
    grid: Literal["small", "paper"] = "small"
    """The learning rates of an estimator where no tuned one is known: its `small_lrs`, or its `lr_grid`."""
    about: str = ""
    """A line for `zobench ls presets`."""
