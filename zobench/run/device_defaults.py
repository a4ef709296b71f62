"""What a run takes on devices other than a CPU where nothing is said: noise that is equal on every card, and the dtypes
of the paper under its preset.

A CPU keeps what the settings' own defaults say, so that cells of CPUs have the identities that they ever had.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from ..plugins.along import descends_gradients
from .routing import preset_of, said_of_run

if TYPE_CHECKING:
    from ..plugins.registry import Plugins
    from .routing import Routed
    from .wish import Wish

COUNTED: Literal["philox"] = "philox"
"""Of torch's own generators draws depend on how many multiprocessors a card has; counters are the same on all."""


def for_device(routed: Routed, wish: Wish, plugins: Plugins, kind: str) -> Routed:
    """The settings of a run on this type of device.

    Under the preset of MeZO's paper zeroth-order methods, and what trains nothing, take float16, those that descend
    gradients bfloat16; what trains nothing takes bfloat16 too where all others do.
    """
    if kind == "cpu":
        return routed
    said = said_of_run(wish, plugins)
    every, gradients = routed.computation, routed.first_order.computation
    if "noise" not in said:
        every, gradients = replace(every, noise=COUNTED), replace(gradients, noise=COUNTED)
    if "dtype" not in said and preset_of(wish, plugins).grid == "paper":
        training = [cls for name in wish.estimators if (cls := plugins.estimator(name)).trains]
        alone = bool(training) and all(map(descends_gradients, training))
        gradients = replace(gradients, dtype="bfloat16")
        every = replace(every, dtype="bfloat16" if alone else "float16")
    return replace(routed, computation=every, first_order=replace(routed.first_order, computation=gradients))
