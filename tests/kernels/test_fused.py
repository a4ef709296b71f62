"""Coefficients on their way to a kernel: made once a sweep, and never those of before."""

import pytest
import torch

from zobench.directions import fused

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def none_made(monkeypatch):
    monkeypatch.setattr(fused, "_MADE", {})


def test_coefficients_are_made_once_for_a_sweep():
    slope = torch.tensor(0.25, dtype=torch.float64)
    rows = [[1e-3, slope], [-1e-3, 0.0]]
    first = fused._on_device(rows, CPU)
    assert first.dtype == torch.float32 and torch.equal(first, torch.tensor([[1e-3, 0.25], [-1e-3, 0.0]]))
    assert fused._on_device([list(row) for row in rows], CPU) is first
    assert fused._on_device([[1e-3, slope, -1e-3, 0.0]], CPU).shape == (1, 4)


def test_what_has_changed_is_made_again():
    slope = torch.tensor(0.25, dtype=torch.float64)
    fused._on_device([[slope]], CPU)
    slope.mul_(2)
    assert fused._on_device([[slope]], CPU).item() == 0.5
    for value in range(1, 200):  # a tensor that is gone must not leave its coefficient to one that is put in its place
        assert fused._on_device([[torch.tensor(float(value), dtype=torch.float64)]], CPU).item() == value
    assert len(fused._MADE) <= 64
    with torch.inference_mode():
        slope = torch.tensor(0.25, dtype=torch.float64)
        fused._on_device([[slope]], CPU)
        slope.mul_(2)
        assert fused._on_device([[slope]], CPU).item() == 0.5


def test_the_last_used_stay():
    kept = fused._on_device([[0.5]], CPU)
    for i in range(200):
        fused._on_device([[float(i)]], CPU)
        assert fused._on_device([[0.5]], CPU) is kept
