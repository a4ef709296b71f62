"""A small world to choose scopes in: a LLaMA of four blocks with one planted, and data that give themselves away."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..models.load import LoadedModel, adopt
from ..protocol.protocol import computation_from, protocol_from
from ..run.method import Method
from ..run.selection import RunSelectionContext
from ..tasks.batch import Batch, collate
from ..tasks.encode import Encoded, Row
from ..tasks.prepared import PreparedTask
from ..tasks.score import Evaluated, Score
from .reference_mezo import ReferenceMeZO

LAYERS = 4
VOCABULARY = 64
MARKS = {"dev": 61, "test": 62}
"""Tokens that stand in every dev, or test, row and nowhere else."""


@cache
def _template() -> LoadedModel:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    return adopt(model, SimpleNamespace(pad_token_id=0, eos_token_id=2), name="planted")


def _outlier(loaded: LoadedModel, index: int) -> None:
    """Block `index` writes massive activations into one channel of the stream, through three channels of its MLP."""
    _weight(loaded, index, "mlp.down_proj")[5] *= 1e5


def _weight(loaded: LoadedModel, index: int, module: str) -> Tensor:
    """The weight of a module inside a block."""
    return loaded.blocks[index].module.get_parameter(f"{module}.weight")


def _sensitive(loaded: LoadedModel, index: int) -> None:
    """All other blocks hardly listen to the stream, so that nothing inside them matters to the loss."""
    for block in loaded.blocks:
        if block.index != index:
            for norm in ("input_layernorm", "post_attention_layernorm"):
                _weight(loaded, block.index, norm).mul_(1e-3)


PLANTS: Mapping[str, Callable[[LoadedModel, int], None]] = {"outlier": _outlier, "sensitive": _sensitive}
"""What may be planted, each in one block: the name is what a selector's `planted` says it finds."""


@torch.no_grad()
def planted(plant: str, index: int) -> LoadedModel:
    """A new copy of the model with that planted in that block."""
    template = _template()
    loaded = adopt(copy.deepcopy(template.model), template.tokenizer, name=template.name)
    vars(loaded)["capabilities"] = template.capabilities  # measured once, and by no forward of a trial
    PLANTS[plant](loaded, index)
    return loaded


class WatchedTask:
    """Stands for a PreparedTask: rows of random tokens, the last of which is to be told. It notes who asks for test."""

    train_size, dev_size, rows, spread, graphs, loss_name = 48, 16, "replicated", None, None, "option"

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded, self.asked = loaded, list[str]()

    def train_batch(self, indices: Sequence[int]) -> Batch:
        """The training examples with these indices."""
        return _rows("train", indices)

    def loss(self, forward: Callable[..., Any], batch: Batch) -> Tensor:
        """Cross-entropy of the last token, 0-dim."""
        logits = forward(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
        value: Tensor = nn.functional.cross_entropy(logits[:, -2], batch.input_ids[:, -1])
        return value

    @torch.no_grad()
    def dev_loss(self, model: nn.Module) -> Evaluated:
        """The loss on dev, in two batches."""
        halves = [self.loss(model, _rows("dev", range(start, start + 8))) for start in (0, 8)]
        return Evaluated(float(sum(halves)) / 2, 2)

    @torch.no_grad()
    def dev_score(self, model: nn.Module, progress: object = None) -> Score:
        """Accuracy on dev, in one batch."""
        batch = _rows("dev", range(self.dev_size))
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
        items = (logits[:, -2].argmax(-1) == batch.input_ids[:, -1]).double().tolist()
        return Score("accuracy", sum(items) / len(items), len(items), 0.1, items, 1, [0] * len(items))

    def __getattr__(self, name: str) -> Any:
        if "test" not in name and name not in ("_scored", "_splits", "_examples"):
            raise AttributeError(name)
        self.asked.append(name)
        return SimpleNamespace(test=[_rows("test", [i]) for i in range(4)])


def _rows(split: str, indices: Sequence[int]) -> Batch:
    """One row an example: a first token, five to nine others, and on dev and test the mark of the split."""
    encoded = []
    for i in indices:
        generator = torch.Generator().manual_seed(sum(map(ord, split)) * 1000 + i)
        length = int(torch.randint(5, 10, (), generator=generator))
        ids = [1, *torch.randint(3, 60, (length,), generator=generator).tolist()]
        if split in MARKS:
            ids[2] = MARKS[split]
        encoded.append(Encoded((Row(tuple(ids), 1),), 0, (0,), (), ""))
    return collate(encoded, 0, 4)


class SeenByModel:
    """What passed through the model while it was watched."""

    def __init__(self) -> None:
        self.forwards = 0
        self.tokens: set[int] = set()


@contextmanager
def watching(loaded: LoadedModel) -> Iterator[SeenByModel]:
    """Count forward passes and note the tokens that enter, by hooks that are gone afterwards."""
    seen = SeenByModel()

    def on_ids(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen.forwards += 1
        seen.tokens |= set(inputs[0].flatten().tolist())

    hook = loaded.model.get_input_embeddings().register_forward_pre_hook(on_ids)
    try:
        yield seen
    finally:
        hook.remove()


class TrialContext(RunSelectionContext):
    """The run's own context over the small world; `in_probe` tells whether a probe is under way."""

    def __init__(self, loaded: LoadedModel, seed: int) -> None:
        self.watched = WatchedTask(loaded)
        protocol = protocol_from({"batch_size": 4, "steps": 8, "eval_every": 4})
        method = Method(ReferenceMeZO, {}, computation_from({"engine": "flat"}))
        prepared = cast(PreparedTask, self.watched)
        super().__init__(loaded, prepared, method, protocol, lr=1e-3, seed=seed, progress=_quiet)


def _quiet(text: str) -> None:
    """Progress that nobody looks at."""
