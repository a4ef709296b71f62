"""Every registered selector passes the whole battery; a new file is covered by being registered."""

from __future__ import annotations

import pytest
from kits.matrix import named
from zobench_plugins import selectors

from zobench import Composite
from zobench.plugins.registry import load_plugins
from zobench.testing import check_selector

PLUGINS = load_plugins(only="")
NAMES = sorted(selectors.zobench_selectors())
OF_ANOTHER = {"all_but": "all_but:first_outlier"}
EXPRESSIONS = [
    "first_outlier+layer:3",
    "all_but:layer:0",
    "all_but:outlier_channels",
    "layer:0+lisa",
    "outlier_channels+random_layers:0.5",
    "outlier_channels:mlp",
    "outlier_channels:mlp_without_top",
    "outlier_channels:layer_without_top",
    "owlore:owl_reverse",
    "owlore:uniform",
]


OF_OTHER_KINDS = ["first_outlier+layer:3", "all_but:outlier_channels", "outlier_channels:mlp", "owlore:uniform"]
"""A sum, all but one's choice, a choice with masks, and another mode of a schedule."""


@pytest.mark.parametrize("name", named([*NAMES, *EXPRESSIONS], [*NAMES, *OF_OTHER_KINDS]))
def test_the_battery(name):
    report = check_selector(PLUGINS.selector(OF_ANOTHER.get(name, name)))
    assert report.passed and report.of("S3")[0].passed and report.of("S4")[0].passed


@pytest.mark.parametrize("name", NAMES)
def test_class_facts_for_the_card(name):
    cls = PLUGINS.get("selectors", name)
    assert cls.reference and len(cls.__doc__.split()) > 10 or name == "all"
    assert name in OF_ANOTHER or not issubclass(cls, Composite) or cls.alone
    doc = cls.__doc__
    if name not in ("all", "layer", "exhaustive_sweep", "first_outlier"):
        assert "Forwards:" in doc and ("Embeddings" in doc or "Norms" in doc), "what it costs, and what never moves"
    if not cls.verified:
        assert "Not verified:" in doc
