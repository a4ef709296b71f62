"""What models can do is measured on them: of each kind one, and what follows for rows, scopes and tokenizers."""

import functools
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import get_type_hints

import pytest
import torch
from kits.families import model_of, tokenizer
from kits.matrix import covering
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from zobench.errors import ZobenchError
from zobench.models import capabilities
from zobench.models.capabilities import Capabilities, check_causal, cut_at
from zobench.models.forward import Forward
from zobench.models.load import adopt
from zobench.models.speech import appended
from zobench.models.window import window
from zobench.report.record import ModelCapabilities
from zobench.report.schema_check import faults
from zobench.run.selection import everything
from zobench.tasks.encode import Encoder
from zobench.tasks.example import Example

GOLDEN = Path(__file__).parents[1] / "golden" / "tokenizer" / "tokenizer_bos.json"


def held(family, dtype=torch.float32):
    return adopt(model_of(family).to(dtype), tokenizer(), name=family)


@functools.cache
def able(family):
    """What a family can do in single precision."""
    return held(family).capabilities


@pytest.mark.parametrize(
    ("family", "want"),
    [
        ("llama", {"padding": "masked", "packs": True, "last_block": True, "cuts": True, "points": True}),
        ("gpt2", {"padding": "positions", "packs": True, "last_block": False}),
        ("xglm", {"padding": "positions", "packs": True}),
        ("rwkv", {"padding": "seen", "packs": False, "cuts": False, "points": False, "cache": None}),
        ("bloom", {"padding": "masked", "packs": False}),
        ("mamba2", {"padding": "masked", "packs": False, "window": None}),
        ("recurrent_gemma", {"padding": "seen", "packs": False, "cache": None}),
        ("gemma3_tower", {"padding": "masked", "window": 8, "packs": True}),
        ("mistral_windowed", {"window": 8}),
        ("qwen2", {"window": None}),
        ("llama4_text", {"window": 8}),
        ("gpt_neo", {"window": 8, "padding": "positions"}),
    ],
)
def test_what_each_can_do(family, want):
    found = able(family)
    assert found.causal and {name: getattr(found, name) for name in want} == want
    assert 0 < found.noise < 1e-4 and not list(faults(found.record(), ModelCapabilities))


@pytest.mark.parametrize(
    ("family", "dtype"), covering(["llama", "gpt2", "xglm", "rwkv", "mixtral"], [torch.bfloat16, torch.float16])
)
def test_it_can_do_the_same_in_half_the_bits(family, dtype):
    ours, want = held(family, dtype).capabilities, able(family)
    same = ("causal", "padding", "window", "cuts", "cache")
    assert [getattr(ours, name) for name in same] == [getattr(want, name) for name in same]


@pytest.mark.parametrize("family", ["bert", "roberta", "xlnet"])
def test_models_that_see_later_tokens_are_refused(family):
    with pytest.raises(ZobenchError, match="is not causal: .* it would see the answers"):
        check_causal(held(family))


def test_a_model_is_measured_once(monkeypatch):
    loaded = held("llama")
    assert loaded.capabilities is loaded.capabilities
    monkeypatch.setattr(capabilities, "measure", lambda _: pytest.fail("measured again"))
    assert Forward.of(loaded).padding == "masked" and cut_at(loaded, 1) is not None


LACKS = [
    torch.OutOfMemoryError("out"),
    MemoryError("out"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)"),
]


@pytest.mark.parametrize("before", [6, 8], ids=["where what fails is no way", "where nothing may fail"])
@pytest.mark.parametrize("error", LACKS, ids=lambda e: type(e).__name__)
def test_memory_that_runs_out_is_no_lack_of_ability(error, before):
    loaded, calls = held("llama"), []

    plain = loaded.model.forward

    @functools.wraps(plain)
    def short(*args, **kwargs):
        calls.append(1)
        if len(calls) > before:
            raise error
        return plain(*args, **kwargs)

    loaded.model.forward = short
    with pytest.raises(type(error)):
        _ = loaded.capabilities
    assert len(calls) == before + 1


def test_records_declare_all_that_is_measured():
    assert {field.name for field in fields(Capabilities)} == set(get_type_hints(ModelCapabilities))


def test_what_measuring_leaves():
    loaded, seen = held("gemma3_tower"), []
    handles = [m.register_forward_hook(lambda *_: seen.append(1)) for m in (loaded.model, loaded.model.lm_head)]
    before = {n: (p.detach().clone(), p.requires_grad) for n, p in loaded.model.named_parameters()}
    state = torch.get_rng_state()
    assert loaded.capabilities.causal
    after = dict(loaded.model.named_parameters())
    assert all(torch.equal(after[n], p) and after[n].requires_grad == wants for n, (p, wants) in before.items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not seen  # who watches hears of runs alone
    loaded.model(input_ids=torch.tensor([[3, 4]]))
    assert len(seen) == 2
    for handle in handles:
        handle.remove()
    assert not any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in loaded.model.modules())


# ---- rows of one length together


@torch.no_grad()
def test_rows_of_a_model_that_sees_padding_run_without_it():
    loaded, sizes = held("rwkv"), []
    forward = Forward.of(loaded)
    ids = torch.tensor([[0, 0, 5, 6, 7], [0, 8, 9, 10, 11], [0, 0, 12, 13, 14]])
    mask = (ids != 0).long()
    loaded.model.register_forward_pre_hook(lambda m, a, k: sizes.append(tuple(k["input_ids"].shape)), with_kwargs=True)
    got, narrow = forward.rows(ids, mask), forward.rows(ids, mask, 2)
    assert sizes == [(1, 4), (2, 3)] * 2 and forward.calls(mask) == 2
    for row, length in enumerate((3, 4, 3)):
        alone = loaded.model(input_ids=ids[row : row + 1, -length:]).logits[0]
        assert torch.allclose(got[row, -length:], alone, atol=1e-6)
        assert torch.allclose(narrow[row], alone[-2:], atol=1e-6)
    out = forward.output(ids, mask, output_hidden_states=True)
    assert out.hidden_states[-1].shape[:2] == (3, 4)  # as long as the longest, the last token at -1
    wanted = loaded.model(input_ids=ids[:1, -3:], output_hidden_states=True).hidden_states[-1][0, -1]
    assert torch.allclose(out.hidden_states[-1][0, -1], wanted, atol=1e-6)


# ---- what a text does not reach


def test_towers_are_in_no_scope_and_no_size():
    loaded = held("gemma3_tower")
    assert set(loaded.unreached) == {"model.vision_tower", "model.multi_modal_projector"}
    names = [name for name, _ in everything(loaded).named]
    assert names and not any("vision" in name or "multi_modal" in name for name in names)
    assert loaded.parameters == sum(p.numel() for _, p in everything(loaded).named)
    assert loaded.parameters < sum(p.numel() for p in loaded.model.parameters())


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral", "mamba", "opt", "jamba"])
def test_of_models_of_text_alone_all_is_reached(family):
    loaded = held(family)
    assert loaded.unreached == [] and len(everything(loaded).named) == len(list(loaded.model.named_parameters()))


# ---- tokenizers


def appending(template="$A </s>"):
    made = PreTrainedTokenizerFast(tokenizer_file=str(GOLDEN), bos_token="<s>", eos_token="</s>", pad_token="<unk>")
    special = [(t, made.convert_tokens_to_ids(t)) for t in ("<s>", "</s>")]
    made.backend_tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=special)
    return made


@pytest.mark.parametrize(("template", "want"), [("$A </s>", (2,)), ("<s> $A </s> </s>", (2, 2)), ("<s> $A", ())])
def test_what_a_tokenizer_appends_is_no_part_of_a_row(template, want):
    made = appending(template)
    assert appended(made) == want
    plain = made("The film is good", add_special_tokens=False)["input_ids"]
    (ids,) = Encoder(made).tokens(["The film is good"])
    assert ids[-len(plain) :] == plain


def test_ids_that_the_embedding_does_not_have_are_told_when_the_model_is_loaded():
    model, more = model_of("llama"), appending("$A")
    more.add_tokens(["<more>"])
    with pytest.raises(ZobenchError, match="its embedding has 512 rows, and its tokenizer ids up to 512 .*'<more>'"):
        adopt(model, more, name="short")
    special = appending("$A")
    special.add_special_tokens({"additional_special_tokens": ["<picture>"]})
    loaded = adopt(model, special, name="short")  # as Gemma 3's tokenizer: no text has it
    assert loaded.capabilities.beyond == 1
    encoder = Encoder(special, vocabulary=loaded.vocabulary)
    example = Example("see <picture>", ("see <picture> yes",), ("yes",), (0,), (), {}, label="one")
    with pytest.raises(ZobenchError, match="the tokenizer gives id 512, and the model's embedding has 512 rows"):
        encoder.encode(example)


def test_the_narrowest_of_several_windows_counts():
    model = torch.nn.Module()
    model.config = SimpleNamespace(sliding_window=16, attention_chunk_size=8, window_layers=2, use_sliding_window=True)
    assert window(SimpleNamespace(model=model, blocks=[])) == 8
