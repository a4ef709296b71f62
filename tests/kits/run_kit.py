"""What the tests of runs share: a tiny random model in a folder, small data, and one call for a whole run."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Any

import torch
from rich.console import Console

from zobench.models.load import LoadedModel, load_model
from zobench.plugins.discovery import ONLY_VARIABLE
from zobench.plugins.registry import Plugins, load_plugins
from zobench.protocol.protocol import Protocol
from zobench.report import store
from zobench.report.record import Record
from zobench.run.place import Place
from zobench.run.plan import RunPlan, make_plan
from zobench.run.progress import Progress
from zobench.run.whole_run import execute
from zobench.run.wish import Wish
from zobench.settings import settings_of

TOKENIZER = Path(__file__).parents[1] / "golden" / "tokenizer" / "tokenizer_bos.json"
LAYERS = 3
PROTOCOL = frozenset(settings_of(Protocol))
QUICK = {
    "num_train": "12",
    "num_dev": "6",
    "num_test": "5",
    "batch_size": "3",
    "steps": "4",
    "eval_every": "2",
    "max_new_tokens": "3",
    "speed_steps": "0",
}
"""Sizes of a cell that takes a fraction of a second."""


@dataclass(frozen=True)
class World:
    """Where the model and the data lie."""

    model: Path
    data: Path


def save_model(folder: Path, *, seed: int = 0, context: int = 128, tokenizer: bool = True) -> Path:
    """A random LLaMA of three narrow blocks with the tokenizer of the golden runs."""
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=context,
        initializer_range=0.2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    if tokenizer:
        special = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>")
        PreTrainedTokenizerFast(tokenizer_file=str(TOKENIZER), **special).save_pretrained(folder)
    return folder


def save_data(folder: Path) -> Path:
    """SST-2 and COPA and SQuAD in little: 24 items to train and choose on, 8 to test on, all different."""
    words = ("fine", "dull", "warm", "flat", "sharp", "slow", "bright", "cold")
    items = {
        "sst2": lambda i: {"sentence": f"a {words[i % 8]} and {words[i // 8]} film {i} ", "label": i % 2},
        "copa": lambda i: {
            "premise": f"The {words[i % 8]} man number {i} ran.",
            "choice1": f"He was {words[(i + 1) % 8]}.",
            "choice2": f"It was {words[(i + 3) % 8]}.",
            "question": "cause" if i % 3 else "effect",
            "label": i % 2,
        },
        "squad": lambda i: {
            "title": "Film",
            "context": f"The {words[i % 8]} film won prize {i}.",
            "question": "What did it win?",
            "answers": {"text": [f"prize {i}"]},
        },
    }
    for task, item in items.items():
        (folder / task).mkdir(parents=True)
        for split, numbers in (("train", range(24)), ("validation", range(24, 32))):
            lines = [json.dumps(item(i)) for i in numbers]
            (folder / task / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def plugin_file(folder: Path, source: str) -> Path:
    """A plugin file, for `--plugin`."""
    path = folder / "plugin_under_test.py"
    path.write_text(dedent(source))
    return path


@cache
def built_in(only: str | None) -> Plugins:
    """The installed plugins, loaded once for all tests that bring none of their own."""
    return load_plugins(only=only)


def plan(
    world: World,
    results: Path,
    estimators: Sequence[str],
    selectors: Sequence[str] = ("all",),
    tasks: Sequence[str] = ("sst2",),
    *,
    plugins: Plugins | None = None,
    seeds: tuple[int, ...] = (0,),
    lrs: tuple[float, ...] | None = (1e-3,),
    rerun: Any = "missing",
    **settings: object,
) -> tuple[RunPlan, Place]:
    """The plan of a quick run."""
    said = {key.replace("__", "."): str(value) for key, value in settings.items()}
    given = {f"protocol.{key}" if key in PROTOCOL else key: value for key, value in {**QUICK, **said}.items()}
    wish = Wish(tuple(estimators), tuple(selectors), tuple(tasks), seeds, "small", lrs, given)
    place = Place(str(world.model), world.data, results, "cpu", True, "local", rerun)
    return make_plan(wish, place, plugins or built_in(os.environ.get(ONLY_VARIABLE))), place


def run(*args: Any, **options: Any) -> list[Record]:
    """The records of a quick run, whose console is thrown away."""
    made, place = plan(*args, **options)
    return carry_out(made, place)


def carry_out(made: RunPlan, place: Place) -> list[Record]:
    """Run a plan in silence."""
    return execute(made, place, Progress(made.session.plugins, len(made.todo), Console(file=io.StringIO())))


def weights(loaded: LoadedModel) -> dict[str, torch.Tensor]:
    """Copies of all parameters."""
    return {name: p.detach().clone() for name, p in loaded.model.named_parameters()}


@cache
def _as_written(model: Path, dtype: str) -> torch.nn.Module:
    """The model in a folder, which no test is given."""
    made: torch.nn.Module = load_model(str(model), dtype=dtype, device="cpu", offline=True).model
    return made


def assert_untouched(loaded: LoadedModel, world: World) -> None:
    """The model is, tensor for tensor, bit for bit and module for module, the one in its folder."""
    fresh = _as_written(world.model, loaded.dtype)
    want, got = dict(fresh.named_parameters()), dict(loaded.model.named_parameters())
    assert list(got) == list(want)
    assert [type(m) for m in loaded.model.modules()] == [type(m) for m in fresh.modules()]
    assert all(torch.equal(got[name], want[name]) for name in want)
    assert not any(p.requires_grad for p in got.values())


def numbers(record: Record) -> dict[str, Any]:
    """What of a record must be the same whenever its cell is run: all but times, memory and the machine."""
    kept = ("id", "status", "protocol", "cell", "scope", "selection", "metrics", "trials", "chosen", "kept", "error")
    return {key: record.get(key) for key in (*kept, "forwards")}


def on_disk(results: Path, record: Record) -> Record | None:
    """The record as it lies there."""
    return store.find(results, record["id"])
