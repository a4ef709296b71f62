"""The pace of this machine: of a whole model, by what was timed of one and two of its blocks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from zobench.run import device_pace
from zobench.run.device_pace import TOKENS, Pace, measured


def of(monkeypatch, one, two, blocks=4):
    """As where forwards over TOKENS tokens, and twice as many, took so many seconds through one and two blocks."""
    config = SimpleNamespace(num_hidden_layers=blocks)
    loaded = SimpleNamespace(device=torch.device("cpu"), dtype="float32", model=SimpleNamespace(config=config))
    monkeypatch.setattr(device_pace, "_timed", lambda loaded, n: {1: one, 2: two}[n])
    monkeypatch.setattr(device_pace, "_of_passes", lambda dtype, device: (2.0, 3.0))
    return measured(loaded)


def test_a_forward_takes_as_much_longer_as_there_are_more_blocks(monkeypatch):
    pace = of(monkeypatch, [1.0, 1.5], [1.2, 1.8])
    assert pace.token_s == pytest.approx((2.4 - 1.6) / TOKENS) and pace.call_s == pytest.approx(1.6 - 0.8)
    assert pace.forward_s(TOKENS) == pytest.approx(1.6) and pace.forward_s(2 * TOKENS) == pytest.approx(2.4)
    assert pace.pass_s == {"drawn": 5.0, "kept": 3.0, "fused": 2.0, "official": 8.0}
    assert (pace.memory, pace.launch_s, pace.attend_s, pace.least_s) == (None, 0.0, 0.0, 0.0)


def test_times_that_contradict_each_other_are_none(monkeypatch):
    pace = of(monkeypatch, [1.0, 3.0], [0.5, 2.0])  # two blocks faster than one: they take nothing
    assert pace.token_s == pytest.approx(2.0 / TOKENS) and pace.call_s == 0.0
    assert of(monkeypatch, [1.0, 0.5], [1.0, 0.5]).token_s == 0.0
    assert of(monkeypatch, [1.0, 1.5], [9.0, 9.0], blocks=0).call_s == 0.5, "one block at least"


def test_a_forward_and_a_pass_by_their_parts():
    pace = Pace("x", 1.0, 2.0, {"draw": 0.5}, attend_s=0.1)
    assert pace.forward_s(3, 10) == pytest.approx(1 + 3 * (2 + 1)) and pace.forward_s(3) == 7.0
    assert Pace("x", 1.0, 2.0, {}, least_s=8.0).forward_s(3) == 8.0
