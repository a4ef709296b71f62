"""Gradients beside looks at blocks: left out where there can be none, and no bug is taken for that."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from zobench.errors import ZobenchError
from zobench.run import sensitivity


def gradient(monkeypatch, *found):
    """The mean over as many batches; what is raised, for one that is an error."""
    of_each = iter(found)

    class Look:
        def __init__(self, *given):
            pass

        def gradient(self, names):
            one = next(of_each)
            if isinstance(one, BaseException):
                raise one
            return None, {name: torch.tensor(one, dtype=torch.float16) for name in names}

    monkeypatch.setattr(sensitivity, "Objective", Look)
    told = []
    prepared = SimpleNamespace(loss=None, task=SimpleNamespace(name="copa"))
    scope = SimpleNamespace(named=[("w", None)])
    made = sensitivity._gradient(SimpleNamespace(model=None), prepared, [None] * len(found), scope, told.append)
    return made, told


def test_it_is_the_mean_over_batches(monkeypatch):
    made, told = gradient(monkeypatch, 1.0, 2.0, 6.0)
    assert made["w"].item() == pytest.approx(3.0) and made["w"].dtype == torch.float32 and told == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ZobenchError("the loss has none\nat all"), "copa: no gradients: the loss has none"),
        (torch.OutOfMemoryError(), "copa: no gradients: memory ran out"),
    ],
)
def test_where_there_can_be_none_it_is_left_out(monkeypatch, error, said):
    assert gradient(monkeypatch, 1.0, error) == (None, [said])


def test_a_bug_is_a_bug(monkeypatch):
    with pytest.raises(TypeError, match="a bug"):
        gradient(monkeypatch, TypeError("a bug"))
