"""The built-in selectors, one a module. Listing them imports none of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zobench import hookimpl

HERE = __name__


@hookimpl
def zobench_selectors() -> Mapping[str, str]:
    """Names to homes."""
    return {
        "all": f"{HERE}.everything:Everything",
        "all_but": f"{HERE}.all_but:AllBut",
        "emergence_layer": f"{HERE}.emergence_layer:EmergenceLayer",
        "exhaustive_sweep": f"{HERE}.exhaustive_sweep:ExhaustiveSweep",
        "first_outlier": f"{HERE}.first_outlier:FirstOutlier",
        "ist": f"{HERE}.ist:IST",
        "layer": f"{HERE}.layer:Layer",
        "lisa": f"{HERE}.lisa:LISA",
        "max_jump": f"{HERE}.max_jump:MaxJump",
        "outlier_channels": f"{HERE}.outlier_channels:OutlierChannels",
        "owlore": f"{HERE}.owlore:OwLore",
        "random_layers": f"{HERE}.random_layers:RandomLayers",
        "round_robin": f"{HERE}.round_robin:RoundRobin",
        "sensitive_weights": f"{HERE}.sensitive_weights:SensitiveWeights",
        "sensitivity": f"{HERE}.sensitivity:Sensitivity",
        "small_weights": f"{HERE}.small_weights:SmallWeights",
        "successive_halving": f"{HERE}.successive_halving:SuccessiveHalving",
    }


@hookimpl
def zobench_roles() -> Mapping[str, Sequence[str]]:
    """What scopes are held against, and what `zobench analyze` knows of them."""
    return {
        "everything": ["all"],
        "one_block": ["layer"],
        "outlier_block": ["first_outlier"],
        "whole_blocks": ["max_jump", "emergence_layer", "exhaustive_sweep"],
    }
