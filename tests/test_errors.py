"""The sentence that answers an unknown name, and the public names of the package."""

from __future__ import annotations

import pytest

import zobench
from zobench.errors import unknown


def test_the_nearest_names_come_first():
    message = unknown("estimator", "mzo", ["adamw", "mezo", "lozo"], see="zobench ls estimators")
    assert message.startswith("unknown estimator 'mzo'; did you mean 'mezo'")
    assert message.endswith("? (see: zobench ls estimators)") and "adamw" not in message


def test_all_names_if_none_is_near_and_few_of_many():
    assert unknown("task", "xyz", ["sst2", "copa"]) == "unknown task 'xyz'; known: copa, sst2"
    assert unknown("task", "?", [f"t{i:02}" for i in range(20)]).endswith("t10, t11, ...")
    assert unknown("model", "x", []) == "unknown model 'x'; none is registered"


def test_public_names_can_be_imported():
    for name in zobench.__all__:
        assert getattr(zobench, name) is not None, name
    assert dir(zobench) == sorted(zobench.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Estimatr'"):
        _ = zobench.Estimatr
