"""The prefix cache: the same losses up to rounding, each example passed over whole once, and faults are noticed."""

import copy
from contextlib import nullcontext

import pytest
import torch
from kits.task_kit import golden, llama, loaded, splits, task

from zobench.errors import ZobenchError
from zobench.models.capabilities import cut_at
from zobench.models.start_at_block import Cut
from zobench.tasks.prefix import PrefixCache
from zobench.tasks.prepared import PreparedTask
from zobench.tasks.rules import Rules

PROMPTS = golden("prompts")
ROOMY = 10**9
AT = 1


def world(name="RTE", rows="packed", limit=ROOMY, host_limit=0, dtype=torch.float32):
    """(model held, task without a cache, the same with one, the cache)"""
    held = loaded(llama(dtype))
    items = [s["data"] for s in PROMPTS[name]["samples"]] * 3
    plain = PreparedTask(task(name), splits(items, items, items), held, Rules(max_new_tokens=4), rows)
    cut = cut_at(held, AT)
    cache = PrefixCache(cut, held.device, limit, host_limit)
    return held, plain, plain.above(cache), cache


def runs_of(held):
    """Grows by a block's index whenever the block is run."""
    ran = []
    for block in held.blocks:
        block.module.self_attn.register_forward_hook(lambda *_, i=block.index: ran.append(i))
    return ran


@pytest.mark.parametrize("rows", ["packed", "shared"])
@pytest.mark.parametrize("name", ["RTE", "Copa", "SQuAD"])
def test_losses_are_the_same_and_the_blocks_below_run_once_an_example(name, rows):
    held, plain, cached, cache = world(name, rows)
    order = [[0, 1], [1, 0], [0, 1], [1], [0]]  # the second is the check of what was kept
    ran = runs_of(held)
    want = [plain.loss(held.model, plain.train_batch(part)).item() for part in order]
    ran.clear()
    got = [cached.loss(held.model, cached.train_batch(part)).item() for part in order]
    assert got == pytest.approx(want, abs=2e-6) and got[0] == want[0]
    assert ran.count(0) == 2 and ran.count(AT) == len(order)
    assert (cache.misses, cache.hits) == (2, 3) and cache.nbytes() > 0


def test_a_look_sees_the_weights_above_and_dev_losses_come_from_it_too():
    held, plain, cached, cache = world()
    batch = cached.train_batch([0, 1])
    for _ in range(2):
        cached.loss(held.model, batch)
    before = cached.loss(held.model, batch).item()
    with torch.no_grad():
        held.blocks[AT].module.mlp.down_proj.weight.add_(0.5)
    after = cached.loss(held.model, batch).item()
    assert after != before and after == pytest.approx(plain.loss(held.model, batch).item(), abs=2e-6)
    hits = cache.hits
    first = cached.dev_loss(held.model).value
    assert cached.dev_loss(held.model).value == pytest.approx(first, abs=2e-6) and cache.hits > hits
    assert first == pytest.approx(plain.dev_loss(held.model).value, abs=2e-6)


def test_a_model_that_changes_below_is_noticed():
    held, _, cached, cache = world()
    cached.loss(held.model, cached.train_batch([0, 1]))
    with torch.no_grad():
        held.blocks[0].module.mlp.down_proj.weight.add_(0.5)
    with pytest.raises(ZobenchError, match="what enters block 1 is not what it was .* set prefix_cache=off"):
        cached.loss(held.model, cached.train_batch([1, 0]))


def test_where_there_is_no_room_the_whole_model_runs():
    held, plain, cached, cache = world(limit=0)
    ran = runs_of(held)
    for _ in range(3):
        got = cached.loss(held.model, cached.train_batch([0, 1]))
    assert ran.count(0) == 3 and cache.nbytes() == 0 and cache.hits == 0
    assert got.item() == plain.loss(held.model, plain.train_batch([0, 1])).item()


def test_a_cache_spills_to_the_host_before_it_gives_up():
    """With the model on another device than the CPU; here a device of that name without memory of its own."""
    held, _, cached, cache = world()
    batch = cached.train_batch([0, 1])
    cached.loss(held.model, batch)
    size = {ids: t.numel() * 4 for ids, t in cache._kept.items()}
    device, host = torch.device("cuda", 0), torch.device("cpu")
    small = PrefixCache(cache.cut, host, 0)
    small._room = {device: 0, host: min(size.values())}
    small.device = host
    with cache.cut.seen() as seen:
        cached.replicated().above(small).loss(held.model, batch)
    assert 0 < small.nbytes() <= max(size.values()) and len(small._kept) == 1 and seen
    assert small._room[device] == 0


def test_a_batch_of_every_row_is_passed_over_whole():
    held, plain, cached, cache = world()
    batch = cached.train_batch([0, 1])
    assert cached.loss(held.model, batch.replicated()).item() == plain.loss(held.model, batch.replicated()).item()
    assert cache.nbytes() == 0
    assert cached.replicated().prefix is None


def test_gradients_and_replaced_weights_go_through_it():
    from zobench.engine.objective import Objective

    held, plain, cached, _ = world()
    batch = cached.train_batch([0, 1])
    names = held.blocks[AT].parameter_names()
    want = Objective(held.model, plain.loss, batch, batched=False)
    got = Objective(held.model, cached.loss, batch, batched=False)
    for _ in range(3):
        loss, grads = got.gradient(names)
    fresh_loss, fresh = want.gradient(names)
    assert loss.item() == pytest.approx(fresh_loss.item(), abs=2e-6)
    assert all(torch.allclose(grads[n], fresh[n], atol=1e-5) for n in names)
    moved = {n: held.model.get_parameter(n).detach() * 1.1 for n in names}
    assert got.at(moved).item() == pytest.approx(want.at(moved).item(), abs=2e-6)
    along = {n: torch.ones_like(t) for n, t in moved.items()}
    assert got.jvp(along)[1].item() == pytest.approx(want.jvp(along)[1].item(), rel=1e-4)


def test_a_model_that_cannot_be_cut_is_found_out():
    held = loaded()
    assert held.capabilities.cuts and isinstance(cut_at(held, AT), Cut)
    stubborn = copy.deepcopy(held.model)
    kept = []

    def looks_back(module, args):
        if not kept:
            raise RuntimeError("block 0 was not run")
        kept.clear()

    stubborn.model.layers[0].self_attn.register_forward_hook(lambda *_: kept.append(1))
    stubborn.model.layers[-1].register_forward_pre_hook(looks_back)
    assert cut_at(loaded(stubborn), AT) is None


def test_a_cut_that_gives_nothing_is_found_out(monkeypatch):
    monkeypatch.setattr(Cut, "given", lambda self, hidden: nullcontext())
    assert cut_at(loaded(), AT) is None


def test_what_enters_a_block_is_told_once_it_was_compared():
    """As graphs are given it, that begin there."""
    held, plain, cached, cache = world()
    asked, over = [], cache.over
    cache.over = lambda shared: asked.append(shared) or over(shared)
    told = []
    for part in ([0], [0], [0, 1]):
        cached.loss(held.model, cached.train_batch(part))
        told.append(cache.entering(asked[-1]))
    hits = cache.hits
    assert told[0] is None, "it was not compared yet"
    with cache.cut.seen() as seen:
        plain.loss(held.model, plain.train_batch([0]))
    assert torch.equal(told[1], seen[0])
    for checked in (False, True):
        again = world()[3]
        again.restore(
            [(ids, False, hidden) for ids, hidden in cache._kept.items()], {**cache.facts(), "checked": checked}
        )
        assert (again.entering(asked[0]) is not None) == checked, "as it was when it was saved"
    fresh = world()[3]
    fresh._checked = True
    assert fresh.entering(asked[0]) is None and (fresh.hits, cache.hits) == (0, hits)
