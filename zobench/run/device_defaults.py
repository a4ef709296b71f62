"""What a run takes where nothing is said and the device is no CPU: noise that is equal on every card, and the dtypes of
the paper under its preset.

A CPU keeps what the settings' own defaults say, so that cells of CPUs have the identities that they ever had.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .plan import preset_of, said_of_run

if TYPE_CHECKING:
    from ..plugins.registry import Plugins
    from .plan import Routed, Wish

COUNTED = "philox"
"""Of torch's own generators draws depend on how many multiprocessors a card has; counters are the same on all."""
PAPER_DTYPES = {False: "float16", True: "bfloat16"}
"""Of MeZO's paper: of methods that take forwards alone, and of those that take gradients."""


def for_device(routed: Routed, wish: Wish, plugins: Plugins, kind: str) -> Routed:
    """The settings of a run on this type of device. Where methods of both kinds run on one model, it is float16."""
    if kind == "cpu":
        return routed
    said, changes = said_of_run(wish, plugins), dict[str, Any]()
    if "noise" not in said:
        changes["noise"] = COUNTED
    if "dtype" not in said and preset_of(wish, plugins).grid == "paper":
        training = [cls for name in wish.estimators if (cls := plugins.estimator(name)).trains]
        changes["dtype"] = PAPER_DTYPES[bool(training) and all(cls.differentiates for cls in training)]
    return replace(routed, computation=replace(routed.computation, **changes))
