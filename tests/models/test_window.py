"""How far attention looks back, as modules and configs say it under many names."""

from __future__ import annotations

import pytest

from zobench.models.window import _said_in


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("sliding_window", 8, [8]),
        ("sliding_window", 1, [1]),
        ("sliding_window", 0, []),
        ("sliding_window", -1, []),
        ("sliding_window", None, []),
        ("sliding_window", True, []),
        ("hidden_size", 8, []),
    ],
)
def test_a_number_above_0_under_such_a_name_is_one(name, value, said):
    assert list(_said_in({name: value})) == said
