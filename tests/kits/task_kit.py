"""What the tests of tasks share: the built-in task files, and the tiny models and tokenizers of the golden runs."""

import functools
import json
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

from zobench.models.capabilities import Capabilities, measure
from zobench.models.load import LoadedModel, adopt
from zobench.run.checksum import checksums
from zobench.tasks.encode import Encoder
from zobench.tasks.sampling import Splits
from zobench.tasks.task import Task, task_files

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = task_files("zobench_tasks")
NEW_TOKENS = 12


@functools.cache
def golden(name: str):
    return json.loads((GOLDEN / f"{name}.json").read_text())


@functools.cache
def task(name: str) -> Task:
    return Task.load(FILES[name.lower()])


@functools.cache
def tokenizer(kind: str = "bos"):
    return PreTrainedTokenizerFast(
        tokenizer_file=str(GOLDEN / "tokenizer" / f"tokenizer_{kind}.json"),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<unk>",
    )


def encoder(kind: str = "bos", max_length: int = 2048) -> Encoder:
    return Encoder(tokenizer(kind), max_length=max_length, max_new_tokens=NEW_TOKENS)


def llama(dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=172,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=2048,
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = LlamaForCausalLM(config)
    model.load_state_dict(load_file(GOLDEN / "llama_init.safetensors"))
    return model.to(dtype).eval().requires_grad_(False)


def opt() -> OPTForCausalLM:
    config = OPTConfig(
        vocab_size=512,
        hidden_size=64,
        ffn_dim=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=512,
        word_embed_proj_dim=64,
        pad_token_id=1,
        bos_token_id=2,
        eos_token_id=2,
    )
    model = OPTForCausalLM(config)
    absent, unknown = model.load_state_dict(load_file(GOLDEN / "opt_init.safetensors"), strict=False)
    assert absent == ["lm_head.weight"] and not unknown
    model.tie_weights()
    return model.double().eval().requires_grad_(False)


class Measured(LoadedModel):
    """A model that is asked what it can do once for the same weights and tokenizer, however many tests load it."""

    @functools.cached_property
    def capabilities(self) -> Capabilities:
        if "forward" in vars(self.model):
            return measure(self)
        bits = tuple(checksums(self.model.state_dict().items()).items())
        key = (type(self.model), self.dtype, id(self.tokenizer), bits)
        if key not in _KNOWN:
            _KNOWN[key] = measure(self)
        vars(self)["unreached"] = _KNOWN[key].unreached
        return _KNOWN[key]


_KNOWN: dict[object, Capabilities] = {}


def loaded(model: torch.nn.Module | None = None, kind: str = "bos") -> LoadedModel:
    made = adopt(model or llama(), tokenizer(kind), name="golden")
    return Measured(**{field.name: getattr(made, field.name) for field in fields(made)})


def splits(train=(), dev=(), test=(), pool=()) -> Splits:
    return Splits(list(train), list(dev), list(test), {}, {}, pool)


def output(logits: torch.Tensor) -> SimpleNamespace:
    return SimpleNamespace(logits=logits)
