"""Known answers: one draw of each kind from each source, and seeds: by them old logs rebuild the same weights."""

from __future__ import annotations

import pytest
import torch

from zobench.directions.handle import Handle
from zobench.directions.noise import build_source, philox
from zobench.directions.noise.source import RECALLED, mix

DRAWS = {
    ("per_tensor", "gaussian"): (
        (4695493438642797134, 8833850190693651143),
        [-0.048203, -0.893399, 0.789975, -0.44011, 0.580662, -1.142323],
    ),
    ("per_tensor", "rademacher"): ((4695493438642797134, 8833850190693651143), [-1.0, -1.0, -1.0, -1.0, -1.0, 1.0]),
    ("official", "gaussian"): ((327741615, 976413892), [1.42713, -1.870089, -1.19621, -2.043951, -0.455991, -1.429451]),
    ("official", "rademacher"): ((327741615, 976413892), [-1.0, -1.0, -1.0, -1.0, -1.0, 1.0]),
    ("philox", "gaussian"): (
        (4695493438642797134, 8833850190693651143),
        [-0.031962, -0.503596, -1.849205, 1.170159, -1.31915, 0.013397],
    ),
    ("philox", "rademacher"): ((4695493438642797134, 8833850190693651143), [-1.0, -1.0, -1.0, -1.0, -1.0, -1.0]),
}
"""(source, kind): the seeds of steps 0 and 1 at seed 7, and the draw of seed 12345 on layers.0.weight, 2 x 3."""


@pytest.mark.parametrize(("source", "kind"), DRAWS)
def test_a_draw_of_each_kind_is_what_it_always_was(source, kind):
    seeds, values = DRAWS[source, kind]
    made, p = build_source(source, 7), Handle("layers.0.weight", torch.zeros(2, 3), {})
    assert (made.step_seed(0), made.step_seed(1)) == seeds
    drawn = made.draw(12345, kind, p, (2, 3), full_shape=True)
    assert drawn.dtype == torch.float32 and drawn.flatten().tolist() == pytest.approx(values, abs=2e-6)


def test_seeds_are_what_they_always_were():
    assert (mix(7, "step", 3), mix("a", 1)) == (6198142412803012277, 6920629095001669593)


def test_kinds_draw_from_streams_of_their_own():
    """The signs are not those of the normals: the kind is part of the tensor's seed."""
    p = Handle("w", torch.zeros(64, 64), {})
    for source in ("per_tensor", "philox"):
        made = build_source(source, 7)
        draws = {kind: made.draw(1, kind, p, (64, 64), full_shape=True) for kind in ("gaussian", "rademacher")}
        same = float((draws["gaussian"].sign() == draws["rademacher"]).float().mean())
        assert abs(same - 0.5) < 0.05, source


@pytest.mark.parametrize("source", ["per_tensor", "official", "philox"])
def test_the_seeds_of_the_last_steps_can_be_had_again(source):
    made = build_source(source, 7)
    seeds = [made.step_seed(step) for step in range(RECALLED + 1)]
    assert [made.step_seed(step) for step in range(RECALLED + 1)] == seeds
    further = made.step_seed(RECALLED + 1)
    assert [made.step_seed(step) for step in range(1, RECALLED + 2)] == [*seeds[1:], further]


def test_what_mezo_has_no_counterpart_for_is_drawn_as_per_tensor():
    p = Handle("layers.0.weight", torch.zeros(2, 3), {})
    official, own = (build_source(source, 7) for source in ("official", "per_tensor"))
    for kind, full in (("gaussian", False), ("rademacher", True), ("rademacher", False)):
        assert torch.equal(
            official.draw(5, kind, p, (2, 3), full_shape=full), own.draw(5, kind, p, (2, 3), full_shape=full)
        )
    assert not torch.equal(
        official.draw(5, "gaussian", p, (2, 3), full_shape=True), own.draw(5, "gaussian", p, (2, 3), full_shape=True)
    )


@pytest.mark.parametrize("kind", ["gaussian", "rademacher"])
def test_a_large_tensor_is_drawn_in_parts_that_make_one(kind, monkeypatch):
    assert philox.PART % 128 == philox.PART_OF_A_GPU % 128 == 0, "parts begin where counters do"
    made, p = build_source("philox", 7), Handle("w", torch.zeros(40, 25), {})
    at_once = made.draw(1, kind, p, (40, 25), full_shape=True)
    monkeypatch.setattr(philox, "PART", 128)
    assert torch.equal(made.draw(1, kind, p, (40, 25), full_shape=True), at_once)
