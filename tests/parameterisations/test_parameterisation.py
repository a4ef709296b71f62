"""LoRA is the official one, stands only where it should, and leaves no trace."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from zobench_plugins.estimators.lora_zo import LoRAZO

from zobench import Objective, Scope, ZobenchError
from zobench.parameterisations import attach

GOLDEN = Path(__file__).parents[1] / "golden"


def llama(layers=2, **more):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = dict(vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=layers, num_attention_heads=4)
    config = LlamaConfig(**{**shape, "num_key_value_heads": 2, "max_position_embeddings": 64, **more})
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def qwen():
    from transformers import Qwen3Config, Qwen3ForCausalLM

    shape = dict(vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4)
    config = Qwen3Config(**shape, num_key_value_heads=2, head_dim=8, max_position_embeddings=64)
    return Qwen3ForCausalLM(config).eval()


def opt():
    from transformers import OPTConfig, OPTForCausalLM

    shape = dict(vocab_size=64, hidden_size=16, ffn_dim=24, num_hidden_layers=2, num_attention_heads=4)
    return OPTForCausalLM(OPTConfig(**shape, max_position_embeddings=64, word_embed_proj_dim=16)).eval()


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=4, n_positions=64)).eval()


def neox():
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    shape = dict(vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4)
    return GPTNeoXForCausalLM(GPTNeoXConfig(**shape, max_position_embeddings=64)).eval()


def mixtral():
    from transformers import MixtralConfig, MixtralForCausalLM

    shape = dict(vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4)
    config = MixtralConfig(**shape, num_key_value_heads=2, num_local_experts=3, max_position_embeddings=64)
    return MixtralForCausalLM(config).eval()


def qwen_moe():
    from transformers import Qwen2MoeConfig, Qwen2MoeForCausalLM

    shape = dict(vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4)
    experts = dict(num_experts=3, num_experts_per_tok=2, moe_intermediate_size=8, shared_expert_intermediate_size=8)
    config = Qwen2MoeConfig(**shape, **experts, num_key_value_heads=2, max_position_embeddings=64)
    return Qwen2MoeForCausalLM(config).eval()


def layer(model, index, prefix="model.layers"):
    named = [(n, p) for n, p in model.named_parameters() if n.startswith(f"{prefix}.{index}.")]
    return Scope(named, layers=(index,))


def whole(model):
    return Scope(model.named_parameters())


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.arange(3, 12)[None], use_cache=False).logits


def picture(model):
    """All there is to see of a model: its modules by identity, its tensors, its flags, its attributes."""
    modules = [(n, id(m), sorted(vars(m))) for n, m in model.named_modules()]
    flags = [(n, id(p), p.requires_grad, p._version) for n, p in model.named_parameters()]
    return modules, flags, [k for k in vars(model)]


@pytest.mark.parametrize("make", [llama, qwen, opt, mixtral, qwen_moe])
def test_adapters_start_neutral_and_leave_no_trace(make):
    model = make()
    before, out = picture(model), logits(model)
    stream = torch.get_rng_state()
    put = attach("lora", model, whole(model), seed=3, settings={"r": 4, "eps": 1e-3})
    assert torch.equal(torch.get_rng_state(), stream)
    assert torch.equal(logits(model), out), "B is zero: the function is the same"
    assert len(put.scope.named) == 2 * 2 * model.config.num_hidden_layers
    assert all(p.requires_grad for _, p in put.scope.named)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {n for n, _ in put.scope.named}
    with torch.no_grad():
        for n, p in put.scope.named:
            if "lora_B" in n:
                p.normal_()
    assert not torch.allclose(logits(model), out)
    put.detach()
    put.detach()
    assert picture(model) == before
    assert torch.equal(logits(model), out)


def test_only_the_targets_of_the_chosen_layer():
    model = llama(layers=3)
    put = attach("lora", model, layer(model, 1))
    assert [n for n, _ in put.scope.named] == [
        f"model.layers.1.self_attn.{m}.lora_{ab}.zobench.weight" for m in ("q_proj", "v_proj") for ab in "AB"
    ]
    assert put.scope.layers == (1,)
    shapes = {n.split("self_attn.")[1]: tuple(p.shape) for n, p in put.scope.named}
    assert shapes["v_proj.lora_A.zobench.weight"] == (8, 16)
    assert shapes["v_proj.lora_B.zobench.weight"] == (8, 8), "two of four heads: grouped-query attention"


@pytest.mark.parametrize("make", [mixtral, qwen_moe])
def test_of_a_mixture_of_experts_the_chosen_modules_alone_are_wrapped(make):
    """peft, given such a model, turns full names into the last parts of names: those of every block."""
    model = make()
    before, out = picture(model), logits(model)
    put = attach("lora", model, layer(model, 1))
    assert [n for n, _ in put.scope.named] == [
        f"model.layers.1.self_attn.{m}.lora_{ab}.zobench.weight" for m in ("q_proj", "v_proj") for ab in "AB"
    ]
    assert {n for n, _ in model.named_parameters() if "lora" in n} == {n for n, _ in put.scope.named}
    put.detach()
    assert picture(model) == before and torch.equal(logits(model), out)


@pytest.mark.parametrize(
    ("make", "targets", "tensor"),
    [
        (mixtral, ("q_proj", "w1"), "model.layers.0.mlp.experts.gate_up_proj"),
        (mixtral, ("w2",), "model.layers.0.mlp.experts.down_proj"),
        (mixtral, ("experts",), "model.layers.0.mlp.experts.gate_up_proj"),
        (qwen_moe, ("up_proj",), "model.layers.0.mlp.experts.gate_up_proj"),
        (qwen_moe, ("down_proj", "v_proj"), "model.layers.0.mlp.experts.down_proj"),
    ],
)
def test_experts_that_are_one_tensor_are_refused_in_a_sentence(make, targets, tensor):
    model = make()
    before = picture(model)
    with pytest.raises(ZobenchError, match="is in one tensor of all of them") as e:
        attach("lora", model, whole(model), settings={"targets": targets})
    assert tensor in str(e.value) and "leave " in str(e.value) and "\n" not in str(e.value)
    assert picture(model) == before


def test_a_module_that_peft_has_no_adapter_for_is_refused_in_a_sentence():
    model = mixtral()
    before = picture(model)
    with pytest.raises(ZobenchError, match="lora: peft refuses these modules .*; set other targets"):
        attach("lora", model, whole(model), settings={"targets": ("gate",)})
    assert picture(model) == before


def test_without_peft_there_is_one_line_with_the_mend(monkeypatch):
    model = llama()
    before = picture(model)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ZobenchError, match="^parameterisation lora needs the package peft: pip install peft$"):
        attach("lora", model, whole(model))
    assert picture(model) == before


@pytest.mark.parametrize("layers", [12])
def test_many_targets_are_matched_exactly(layers):
    model = llama(layers=layers)
    put = attach("lora", model, Scope([x for i in range(1, layers) for x in layer(model, i).named]))
    touched = {int(n.split(".")[2]) for n, _ in put.scope.named}
    assert touched == set(range(1, layers)) and len(put.scope.named) == 4 * (layers - 1)


def test_initialisation_is_kaiming_seeded_by_name_and_in_the_model_dtype():
    draws = {}
    for seed in (0, 0, 1):
        model = llama(layers=2, hidden_size=64).to(torch.bfloat16)
        put = attach("lora", model, whole(model), seed=seed)
        assert all(p.dtype == torch.bfloat16 for _, p in put.scope.named)
        assert all(not p.any() for n, p in put.scope.named if "lora_B" in n)
        draws.setdefault(seed, []).append({n: p.clone() for n, p in put.scope.named if "lora_A" in n})
    first, again = draws[0]
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not any(torch.equal(first[n], draws[1][0][n]) for n in first)
    assert len({tuple(v.flatten().tolist()) for v in first.values()}) == len(first) == 4, "each module has its own"
    values = torch.cat([v.detach().flatten() for v in first.values()]).float()
    assert values.abs().max() <= 1 / 8 and abs(float(values.std()) - 1 / (8 * 3**0.5)) < 0.004
    alone = llama(layers=2, hidden_size=64).to(torch.bfloat16)
    small = attach("lora", alone, layer(alone, 1))
    assert all(torch.equal(p, first[n]) for n, p in small.scope.named if "lora_A" in n), (
        "scope does not change the draw"
    )


@pytest.mark.parametrize(("make", "fused"), [(gpt2, "c_attn"), (neox, "query_key_value")])
def test_fused_projections_are_refused_by_name_and_taken_when_asked_for(make, fused):
    model = make()
    with pytest.raises(ZobenchError, match=f"one matrix, {fused}.*set targets={fused}"):
        attach("lora", model, whole(model))
    before, out = picture(model), logits(model)
    put = attach("lora", model, whole(model), settings={"targets": fused})
    assert len(put.scope.named) == 4
    shapes = {tuple(p.shape) for _, p in put.scope.named}
    assert shapes == {(8, 16), (48, 8)}
    assert torch.equal(logits(model), out)
    put.detach()
    assert picture(model) == before


class Following(Scope):
    """Masks that follow the weights."""

    def mask(self, p, step):
        return p.data > 0


@pytest.mark.parametrize(("make", "targets"), [(llama, ("q_proj", "v_proj")), (gpt2, ("c_attn",))])
def test_a_masked_scope_masks_the_product_of_the_adapters(make, targets):
    model = make()
    before, out = picture(model), logits(model)
    generator = torch.Generator().manual_seed(5)
    named = list(model.named_parameters())
    masks = {
        n: torch.rand(p.shape, generator=generator) < 0.5 for n, p in named if n.endswith("weight") and p.ndim == 2
    }
    put = attach("lora", model, Scope(named, masks=masks), settings={"targets": targets})
    assert torch.allclose(logits(model), out, atol=1e-6), "B is zero at first"
    with torch.no_grad():
        for _, p in put.scope.named:
            p.copy_(torch.randn(p.shape, generator=generator) / 10)
    adapted = logits(model)
    factors = {n: p.detach().clone() for n, p in put.scope.named}
    put.detach()
    assert picture(model) == before
    plain = logits(model)
    with torch.no_grad():
        for n, p in model.named_parameters():
            stem = n.removesuffix(".weight")
            if f"{stem}.lora_A.zobench.weight" in factors:
                product = 2 * factors[f"{stem}.lora_B.zobench.weight"] @ factors[f"{stem}.lora_A.zobench.weight"]
                p.add_((product if product.shape == p.shape and "c_attn" not in n else product.T) * masks[n])
    assert torch.allclose(logits(model), adapted, atol=1e-5) and not torch.allclose(plain, adapted, atol=1e-3)


@torch.no_grad()
def test_masked_adapters_are_displaced_where_points_go_side_by_side():
    model, ids = llama(), torch.arange(3, 11).view(2, 4)
    masks = {n: torch.arange(p.numel()).view_as(p) % 3 == 0 for n, p in model.named_parameters() if p.ndim == 2}
    put = attach("lora", model, Scope(list(model.named_parameters()), masks=masks))
    generator = torch.Generator().manual_seed(5)
    points = [{n: torch.randn(p.shape, generator=generator) for n, p in put.scope.named} for _ in range(2)]

    def loss(forward, batch):
        return forward(input_ids=batch).logits.square().mean()

    together, in_turn = (Objective(model, loss, ids, batched=batched).many(points) for batched in (True, False))
    put.detach()
    assert torch.allclose(torch.stack(together), torch.stack(in_turn), rtol=1e-4)
    assert abs(float(together[0] - together[1])) > 1e-2 * float(together[0])


def test_faults_are_named():
    model = llama()
    with pytest.raises(ZobenchError, match="unknown parameterisation 'lorra'; did you mean 'lora'"):
        attach("lorra", model, whole(model))
    with pytest.raises(ZobenchError, match="no linear module called to_q; set targets to some of: .*q_proj"):
        attach("lora", model, whole(model), settings={"targets": ("to_q",)})
    with pytest.raises(ZobenchError, match=re.escape("lies in the chosen scope (1 tensors)")):
        attach("lora", model, Scope([("model.norm.weight", model.model.norm.weight)]))
    with pytest.raises(
        ZobenchError, match="masks entries of model.layers.0.self_attn.q_proj.weight, and masks that ch"
    ):
        attach("lora", model, Following(model.named_parameters()))
    with pytest.raises(ZobenchError, match="lora.r=0: must be at least 1"):
        attach("lora", model, whole(model), settings={"r": 0})


def test_a_changing_scope_carries_over():
    class Even(Scope):
        def active(self, step):
            return lambda name: f"layers.{step % 2}." in name

    model = llama()
    put = attach("lora", model, Even(model.named_parameters()))
    for step in (0, 1, 2):
        on = put.scope.active(step)
        assert {n.split(".")[2] for n, _ in put.scope.named if on(n)} == {str(step % 2)}


def test_full_is_the_scope_itself():
    model = llama()
    scope = whole(model)
    before = picture(model)
    put = attach("full", model, scope)
    assert put.scope is scope
    put.detach()
    assert picture(model) == before


# ---- the official runs: LoRA by the released code's own class, MeZO's step, 20 steps


class OfficialForm(nn.Module):
    """W x + B (A x) alpha / r, written out."""

    def __init__(self, base, a, b, scale):
        super().__init__()
        self.base, self.a, self.b, self.scale = base, a, b, scale

    def forward(self, x):
        return self.base(x) + F.linear(F.linear(x, self.a), self.b) * self.scale


def golden_model(dtype):
    model = llama(
        layers=4,
        vocab_size=512,
        hidden_size=64,
        intermediate_size=172,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model.load_state_dict(load_file(GOLDEN / "llama_init.safetensors"), strict=False)
    return model.to(dtype)


def option_loss(forward, batch):
    ids, mask = torch.tensor(batch["input_ids"]), torch.tensor(batch["attention_mask"])
    target = ids[:, 1:].clone()
    target[target == 0] = -100
    for row, length in enumerate(batch["option_len"]):
        target[row, :-length] = -100
    out = forward(input_ids=ids, attention_mask=mask).logits[:, :-1]
    return F.cross_entropy(out.reshape(-1, out.shape[-1]), target.reshape(-1), ignore_index=-100)


def ours(name):
    return re.sub(r"lora_([AB])$", r"lora_\1.zobench.weight", name)


RUNS = [("option_nopad", "float64", 1e-6, 1e-3), ("option", "float32", 2e-4, 2e-2)]


@pytest.mark.parametrize(("objective", "dtype", "loss_gate", "g_gate"), RUNS)
def test_peft_computes_the_official_run(objective, dtype, loss_gate, g_gate):
    runs = json.loads((GOLDEN / "zo_steps.json").read_text())["runs"]
    (run,) = [r for r in runs if (r["scope"], r["objective"], r["dtype"]) == ("lora", objective, dtype)]
    batch = json.loads((GOLDEN / "llama_batches.json").read_text())[objective]
    model = golden_model(getattr(torch, dtype))
    put = attach("lora", model, whole(model))
    init = {ours(n): v for n, v in load_file(GOLDEN / "llama_lora_init.safetensors").items()}
    assert [n for n, _ in put.scope.named] == [ours(n) for n in run["trainable_order"]]
    with torch.no_grad():
        for n, p in put.scope.named:
            p.copy_(init[n])
    opt = LoRAZO(put.scope, lr=1e-3, engine="official", noise="official", restore="arithmetic", seed=42)
    objective_ = Objective(model, option_loss, batch)
    for step in run["steps"]:
        loss = float(opt.step(objective_))
        seen = opt.log[-1]
        assert seen.seed == step["seed"]
        assert loss == pytest.approx(step["loss1"], abs=loss_gate)
        assert float(seen.seen[1]) == pytest.approx(step["loss2"], abs=loss_gate)
        g = (float(seen.seen[0]) - float(seen.seen[1])) / 2e-3
        assert g == pytest.approx(step["projected_grad"], abs=g_gate)
    opt.settle()
    for n, p in put.scope.named:
        final = run["final"][n.replace(".zobench.weight", "")]
        assert float(p.detach().double().norm()) == pytest.approx(final["l2"], rel=2e-4 if dtype == "float32" else 1e-6)


def test_peft_is_the_written_out_form():
    model = llama().double()
    put = attach("lora", model, whole(model), settings={"r": 4, "alpha": 12})
    with torch.no_grad():
        for n, p in put.scope.named:
            p.normal_(generator=torch.Generator().manual_seed(len(n)))
    out = logits(model)
    by = dict(put.scope.named)
    put.detach()
    for i, block in enumerate(model.model.layers):
        for m in ("q_proj", "v_proj"):
            a, b = (by[f"model.layers.{i}.self_attn.{m}.lora_{x}.zobench.weight"] for x in "AB")
            setattr(block.self_attn, m, OfficialForm(getattr(block.self_attn, m), a, b, 3.0))
    assert float((logits(model) - out).abs().max()) < 1e-12
