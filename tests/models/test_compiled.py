"""Decoder blocks by torch.compile: one piece of code for all of them, and the model as it was afterwards."""

import shutil
from functools import partial

import pytest
import torch
from kits.matrix import named
from kits.tiny_models import tiny
from torch import _inductor as inductor

from zobench.errors import ZobenchError
from zobench.models.blocks import decoder_blocks
from zobench.models.compiled import compiled

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")


@pytest.mark.parametrize("backend", named(["eager", "inductor"], ["eager"]))
def test_one_graph_for_all_blocks_and_rows_of_any_length(monkeypatch, backend):
    """eager: what is traced is run by torch."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    model = tiny("llama").model
    blocks = decoder_blocks(model)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    rows = [torch.arange(2 * n).view(2, n) % 50 for n in (5, 7, 9)]
    with torch.no_grad():
        plain = [model(input_ids=x, use_cache=False).logits for x in rows]
        with compiled(blocks):
            fast = [model(input_ids=x, use_cache=False).logits for x in rows]
            assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
            blocks[1].module.mlp.down_proj.weight.mul_(3)
            moved = model(input_ids=rows[0], use_cache=False).logits
        after = model(input_ids=rows[0], use_cache=False).logits
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(moved, plain[0], rtol=1e-3), "weights are looked up at each forward"
    torch.testing.assert_close(moved, after, rtol=1e-5, atol=1e-6)
    assert all("forward" not in vars(block.module) for block in blocks)


def test_generation_runs_the_blocks_as_they_are(monkeypatch):
    model = tiny("llama").model
    monkeypatch.setattr(torch, "compile", lambda f, dynamic: lambda *args, **kwargs: pytest.fail("compiled"))
    ids = torch.tensor([[5, 6, 7]])
    plain = model.generate(ids, max_new_tokens=4, do_sample=False)
    with compiled(decoder_blocks(model)):
        assert torch.equal(model.generate(ids, max_new_tokens=4, do_sample=False), plain)


def makes_no_code(graph, inputs):
    raise OSError("no compiler\nwas found")


@pytest.mark.parametrize("backend", named(["inductor", makes_no_code], [makes_no_code]))
def test_a_machine_that_cannot_compile_is_told(monkeypatch, backend):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    model = tiny("llama").model
    torch._dynamo.reset()
    no_compiler = inductor.config.patch({"cpp.cxx": ("/nowhere/g++",)})
    told = pytest.raises(ZobenchError, match=r"cannot make code here \(.+\): leave compile=blocks out")
    with torch.no_grad(), no_compiler, compiled(decoder_blocks(model)), told:
        model(input_ids=torch.arange(22).view(2, 11), use_cache=False)
