"""The built-in selectors, one a module. Listing them imports none of them."""

from __future__ import annotations

from collections.abc import Mapping

from zobench import hookimpl


@hookimpl
def zobench_selectors() -> Mapping[str, str]:
    """Names to homes."""
    return {
        "all": "zobench_plugins.selectors.everything:Everything",
        "layer": "zobench_plugins.selectors.layer:Layer",
        "first_outlier": "zobench_plugins.selectors.first_outlier:FirstOutlier",
        "exhaustive_sweep": "zobench_plugins.selectors.exhaustive_sweep:ExhaustiveSweep",
    }
