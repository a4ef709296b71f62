"""Every family of models on a task: its rows alone, unpadded, by the bare model, or a refusal of one line."""

import itertools
import json
from functools import cache

import pytest
import torch
from kits.consistency import outcome
from kits.families import FAMILIES, available, model_of, save_family
from kits.matrix import named

from zobench.errors import ZobenchError
from zobench.models.blocks import decoder_blocks
from zobench.models.load import load_model
from zobench.tasks.rules import Rules
from zobench.tasks.sampling import split
from zobench.tasks.source import load_pools
from zobench.tasks.task import Task, task_files

WORST = ("gemma3_tower", "xglm", "rwkv", "recurrent_gemma", "gpt_neo", "roberta_decoder", "bert")
"""Windows in nested configs, places counted from the left edge, masks ignored, no cache, windows in every other block,
places counted from ids, not causal."""
RULES = {
    "choices": Rules(max_length=512, train_loss="classification"),
    "answers": Rules(max_length=512, max_new_tokens=5),
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """Choices and free answers to prompts of many lengths, all longer than the window of a windowed model."""
    root = tmp_path_factory.mktemp("data")
    more = ("", " at last", " when the rain had stopped", " because the night was long and cold")
    items = {
        "copa": lambda i: {
            "premise": f"The man number {i} ran{more[i % 4]}.",
            "choice1": f"He was late{more[(i + 1) % 4]}.",
            "choice2": f"It was {i}{more[(i + 2) % 3]}.",
            "question": "cause" if i % 3 else "effect",
            "label": i % 2,
        },
        "squad": lambda i: {
            "title": "Film",
            "context": f"The film{more[i % 4]} won prize {i}.",
            "question": f"What did it win{more[(i + 1) % 3]}?",
            "answers": {"text": [f"prize {i}"]},
        },
    }
    out = {}
    for kind, name in (("choices", "copa"), ("answers", "squad")):
        (root / name).mkdir()
        for part, numbers in (("train", range(14)), ("validation", range(14, 22))):
            (root / name / f"{part}.jsonl").write_text("".join(json.dumps(items[name](i)) + "\n" for i in numbers))
        task = Task.load(task_files("zobench_tasks")[name])
        out[kind] = task, split(load_pools(task, root), num_train=4, num_dev=6, num_test=5, seed=0)
    return out


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """A function that gives the model of a family, loaded once for all kinds of tasks, or why it is refused."""

    @cache
    def loaded(name):
        try:
            return load_model(str(save_family(name, tmp_path_factory.mktemp(name) / name)), device="cpu")
        except ZobenchError as e:
            return str(e)

    return loaded


CASES = list(itertools.product(FAMILIES, RULES))


@pytest.mark.parametrize(
    ("name", "kind"), named(CASES, [(name, list(RULES)[i % len(RULES)]) for i, name in enumerate(WORST)])
)
def test_a_family_gives_what_its_rows_alone_give_or_is_refused(name, kind, tasks, read):
    if name not in available():
        pytest.skip(f"this transformers has no {FAMILIES[name].model_type}")
    loaded = read(name)
    refused, far = (loaded, {}) if isinstance(loaded, str) else outcome(loaded, *tasks[kind], RULES[kind])
    if FAMILIES[name].causal:
        assert refused is None and not far
    else:
        assert refused is not None and "\n" not in refused and "causal" in refused


@pytest.mark.parametrize("name", named([n for n in FAMILIES if not n.startswith("xlm")], WORST))
def test_blocks_run_once_each_in_their_order(name):
    if name not in available():
        pytest.skip(f"this transformers has no {FAMILIES[name].model_type}")
    model, ran = model_of(name), []
    blocks = decoder_blocks(model)
    for block in blocks:
        block.module.register_forward_hook(lambda *_, i=block.index: ran.append(i))
    with torch.no_grad():
        model(input_ids=torch.tensor([[3, 4, 5]]))
    assert ran == list(range(model.config.get_text_config().num_hidden_layers)) == [b.index for b in blocks]


def test_the_zoo_is_large():
    assert len(available()) >= 40
