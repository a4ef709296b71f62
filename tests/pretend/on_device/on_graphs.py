"""Losses replayed as CUDA graphs: those that are computed, bit for bit, in one launch; and never of what was before.

The kit's graphs are run by address with the numbers of their capture, on memory that is undefined before: see there.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass

import pytest
import torch
from kits import pretend_cuda
from pretend_kit import ROOT, SIZES, plugins, scope_of, session

from zobench.errors import ZobenchError
from zobench.models.graphs import Graphs
from zobench.protocol.protocol import computation_from, protocol_from
from zobench.run.graphs import graphed
from zobench.run.method import Method, applied, keeper, scope_bytes
from zobench.run.prefix import prefixed
from zobench.run.train import Feed

STEPS = 10
CASES = [("flat", "full"), ("flat", "layer"), ("deferred", "layer"), ("pair", "layer")]


@dataclass
class Run:
    """Losses and last weights of some steps; of the last one that captured nothing launches, waits and copies."""

    losses: list[float]
    weights: list[torch.Tensor]
    graphs: Graphs | None
    launches: int
    replays: int
    waits: int
    copies: int


def run(engine, scope, task="sst2", *, most=32, on=True, before=None, estimator="mezo", where=None, **computed) -> Run:
    """Some steps. most: shapes that have graphs, 0: none, over the same padded rows. before(step, loaded): is called
    before each. where: the session, else that of the tiny model.
    """
    where, protocol = where or session("cuda"), protocol_from({**SIZES, "batch_size": 3})
    wish = computation_from({"noise": "philox", "engine": engine, "cuda_graphs": "on" if on else "off", **computed})
    cls = plugins().estimator(estimator)
    method = Method(cls, dict(cls.needs), wish)
    prepared, _ = where.prepared(task, protocol, "auto")
    chosen = scope_of(where, scope)
    prepared = graphed(prefixed(prepared, where.loaded, chosen, wish), where.loaded, wish)
    if prepared.graphs is not None:
        prepared.graphs.most = most
    losses = []
    keep = keeper(where.loaded, scope_bytes(chosen))
    with applied(method, where.loaded, chosen, lr=1e-3, seed=0, keep=keep) as stands:
        feed = Feed(where.loaded, prepared, protocol.batch_size, 0)
        feed.batches_for(stands.estimator)
        for step in range(STEPS):
            if before is not None:
                before(step, where.loaded)
            objective, captured = feed.objective(), prepared.graphs and prepared.graphs.captured
            with pretend_cuda.watched(ROOT) as seen:
                losses.append(stands.estimator.step(objective))
                if captured == (prepared.graphs and prepared.graphs.captured):
                    counts, waits = pretend_cuda.native.counts(), seen.total()
        stands.estimator.settle()
        weights = [h.param.detach().clone() for h in stands.estimator.handles]
    launched = counts["launches"]
    replays = launched.get("CUDA graph", 0)
    shown = [float(x) for x in losses]
    return Run(shown, weights, prepared.graphs, sum(launched.values()), replays, waits, counts["copies_to"])


def assert_same(one: Run, other: Run) -> None:
    assert one.losses == other.losses
    assert all(map(torch.equal, one.weights, other.weights))


@pytest.mark.parametrize(("engine", "scope"), CASES)
@pytest.mark.parametrize("task", ["sst2", "squad"])
def test_steps_are_those_that_are_computed(engine, scope, task):
    """Over several batches and lengths, with another seed a step: neither is baked in."""
    graphs, computed, off = (run(engine, scope, task, **how) for how in ({}, {"most": 0}, {"on": False}))
    assert_same(graphs, computed)
    assert graphs.losses == pytest.approx(off.losses, rel=2e-5)
    assert len(set(graphs.losses)) == STEPS
    assert graphs.graphs.captured > 1 and graphs.graphs.replayed > 1
    assert computed.graphs.captured == computed.graphs.replayed == 0
    assert graphs.replays == (1 if engine == "pair" else 2)
    assert graphs.launches < 0.6 * off.launches
    assert (graphs.waits, graphs.copies) == (off.waits, off.copies) == (1, 0)


def test_more_shapes_than_graphs_are_computed_to_the_same_numbers():
    one, many = run("flat", "full", most=1), run("flat", "full")
    assert_same(one, many)
    assert one.graphs.captured == 1 and one.graphs.computed > 0 and many.graphs.computed == 0


@pytest.mark.parametrize("part", ["scope", "below", "buffer"])
def test_a_graph_is_not_replayed_where_something_lies_elsewhere(part):
    """A graph that was would read what lay there before; the kit refuses memory that was freed."""

    def before(step, loaded):
        if step != 6:
            return
        blocks = [block.module for block in loaded.blocks]
        if part == "buffer":
            loaded.model.model.rotary_emb.inv_freq = loaded.model.model.rotary_emb.inv_freq / 2
        else:
            moved = blocks[-1 if part == "scope" else 1].mlp.up_proj.weight
            moved.data = moved.data * 1.01

    kept = {name: x.clone() for name, x in session("cuda").loaded.model.state_dict().items()}
    angles = session("cuda").loaded.model.model.rotary_emb.inv_freq
    try:
        made = []
        for most in (32, 0):
            made.append(run("flat", "full", most=most, before=before))
            session("cuda").loaded.model.load_state_dict(kept)
            session("cuda").loaded.model.model.rotary_emb.inv_freq = angles
    finally:
        session("cuda").loaded.model.load_state_dict(kept)
    assert_same(*made)
    plain = run("flat", "full")
    assert plain.losses[:6] == made[0].losses[:6] and plain.losses[6] != made[0].losses[6]
    assert made[0].graphs.captured > plain.graphs.captured


def test_a_graph_is_not_replayed_where_something_watches_the_model():
    handles = []

    def before(step, loaded):
        if step == 6:
            handles.append(loaded.blocks[1].module.mlp.register_forward_hook(lambda module, args, out: out * 1.1))

    made = []
    for most in (32, 0):
        made.append(run("flat", "full", most=most, before=before))
        handles.pop().remove()
    assert_same(*made)
    assert made[0].losses[6] != run("flat", "full").losses[6]


def test_weights_at_points_lie_where_they_lay():
    """`pair` looks at copies: in the same memory step for step, or each would be captured anew."""
    made = run("pair", "layer")
    shapes = len({key for key, _ in made.graphs._held})
    assert made.graphs.captured == shapes and made.graphs.nbytes() > 0


def test_memory_of_graphs_goes_with_them():
    gc.collect()
    before = pretend_cuda.native.allocated(0)
    made = run("flat", "full")
    made.weights.clear()
    held = pretend_cuda.native.allocated(0) - before
    assert held > made.graphs.nbytes() > 0
    del made
    gc.collect()
    assert pretend_cuda.native.allocated(0) - before < held / 10


def test_in_sixteen_bits_and_with_other_methods_too():
    for how in ({"dtype": "float16"}, {"estimator": "fzoo"}, {"estimator": "adamw"}):
        assert_same(run("flat", "layer", **how), run("flat", "layer", most=0, **how))


def test_what_waits_for_the_device_cannot_be_captured():
    graphs, x = Graphs(torch.nn.Identity(), torch.device("cuda:0")), torch.ones(3, device="cuda")

    def waiting(inputs):
        return inputs["x"].sum() * float(inputs["x"].sum())

    with pytest.raises(ZobenchError, match=r"no CUDA graph can be made .*\(.*synchronizing.*\): leave cuda_gr"):
        graphs.value("key", {"x": x}, waiting)
    assert graphs.captured == 0
    assert float(graphs.value("other", {"x": x}, lambda inputs: inputs["x"].sum())) == 3.0


def test_what_is_another_number_when_replayed_is_refused():
    graphs, x = Graphs(torch.nn.Identity(), torch.device("cuda:0")), torch.ones(3, device="cuda")
    calls = []

    def changing(inputs):
        calls.append(1)
        return inputs["x"].sum() * len(calls)

    with pytest.raises(ZobenchError, match="gives another number than the loss"):
        graphs.value("key", {"x": x}, changing)
