"""The model in the package: its files, its words, and that it has learnt what its control has not."""

import functools
import itertools
import json
from random import Random

import pytest
import torch
from kits.matrix import named
from kits.world_kit import joined, words
from safetensors.torch import load_file
from zobench_world import lexicon, recall, text, wordings
from zobench_world import model as embedded
from zobench_world.events import CHAINS
from zobench_world.model import WEIGHTS
from zobench_world.pretrain.model import build
from zobench_world.pretrain.recipe import PRESETS
from zobench_world.tasks import TASKS, task_data

from zobench.cli import main
from zobench.plugins.registry import load_plugins
from zobench.report import store
from zobench.tasks.encode import Encoder
from zobench.tasks.prepared import PreparedTask
from zobench.tasks.sampling import Splits
from zobench.tasks.task import Task, task_files

PASSAGES = ("sentence", "premise", "passage", "text", "sentence1", "sentence2", "paragraph", "context")
ITEMS = 150  # of each pool


@pytest.fixture(scope="module")
def model():
    return embedded.load(device="cpu")


@pytest.fixture(scope="module")
def control():
    return embedded.load_random(device="cpu")


@functools.cache
def items(name):
    train, validation, _ = task_data(name)
    return [*train[:ITEMS], *validation[:ITEMS]]


# ---- files


def test_the_files_are_there_and_small():
    files = {name: WEIGHTS / name for name in ("model.safetensors", "config.json", "tokenizer.json", "MODEL_CARD.md")}
    assert all(path.stat().st_size > 0 for path in files.values())
    assert files["model.safetensors"].stat().st_size + files["tokenizer.json"].stat().st_size < 6e6
    stored = load_file(files["model.safetensors"])
    assert {weight.dtype for weight in stored.values()} == {torch.float16}
    assert all(weight.isfinite().all() for weight in stored.values())


def test_the_config_is_that_of_the_recipe(model):
    config, recipe = json.loads((WEIGHTS / "config.json").read_text(encoding="utf-8")), PRESETS["embedded"]
    assert config["model_type"] == "llama" and config["vocab_size"] == len(model.tokenizer) <= recipe.vocab
    shape = tuple(config[k] for k in ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size"))
    assert shape == (recipe.blocks, recipe.hidden, recipe.heads, recipe.intermediate) and len(model.blocks) == 8
    assert config["max_position_embeddings"] == model.context_length == recipe.context
    assert 1.5e6 < model.parameters < 2.5e6


def test_it_is_the_packages_model_and_loads_by_its_name(model):
    assert (model.name, model.dtype) == ("embedded", "float32") and model.revision.startswith("sha256:")
    loaders = load_plugins()
    assert {"embedded", "embedded_random"} <= set(loaders.names("models"))
    stored = load_file(WEIGHTS / "model.safetensors")
    assert all(torch.equal(p, stored[name].float()) for name, p in model.model.named_parameters())
    half = embedded.load(dtype="float16", device="cpu")
    assert half.dtype == "float16" and {p.dtype for p in half.model.parameters()} == {torch.float16}


# ---- its control


def test_the_control_is_what_training_began_with(model, control):
    assert (control.name, control.revision) == ("embedded_random", None)
    begun = build(PRESETS["embedded"], len(model.tokenizer)).state_dict()
    own, trained = control.model.state_dict(), model.model.state_dict()
    assert all(torch.equal(own[name], begun[name]) for name in begun) and list(own) == list(trained)
    assert {n: w.shape for n, w in own.items()} == {n: w.shape for n, w in trained.items()}
    assert not any(torch.equal(own[name], trained[name]) for name in own)
    assert control.tokenizer.get_vocab() == model.tokenizer.get_vocab()
    recipe = PRESETS["embedded"]
    for name, weight in own.items():
        if name.endswith("bias"):
            block, projection = int(name.split(".")[2]), name.split(".")[4]
            first = block < recipe.bias_blocks and projection in ("q_proj", "k_proj")
            assert float(weight.std()) == (pytest.approx(recipe.bias_std, rel=0.25) if first else 0)
        elif weight.ndim == 1:
            assert (weight == 1).all()
        else:
            std = recipe.embed_std if "embed_tokens" in name or "lm_head" in name else recipe.init_std
            std *= recipe.mimetic if "q_proj" in name or "k_proj" in name else 1
            assert float(weight.std()) == pytest.approx(std, rel=0.05)
    assert not control.model.training and not any(p.requires_grad for p in control.model.parameters())


def test_it_knows_its_text_and_the_control_does_not(model, control):
    """The mean cross-entropy of the tokens that what was said before tells."""
    answers = {"trained": 0.0, "control": 0.0}
    documents = [text.answered(Random(f"known {i}"), 0.9) for i in range(12)]
    for name, loaded in (("trained", model), ("control", control)):
        values = []
        for pieces in documents:
            before = ""
            for part, weight in pieces:
                if weight == text.KNOWN:
                    values.append(_surprise(loaded, before, before + part.rstrip("\n.")))
                before += part
        answers[name] = sum(values) / len(values)
    assert answers["trained"] < 1.5 < 4 < answers["control"]


@torch.no_grad()
def _surprise(loaded, before, whole):
    """Minus the log-likelihood of a token of `whole` after `before`, in nats."""
    known, ids = loaded.tokenizer(before).input_ids, loaded.tokenizer(whole).input_ids
    assert ids[: len(known)] == known and len(ids) > len(known)
    logits = loaded.model(input_ids=torch.tensor([ids])).logits[0, len(known) - 1 : -1]
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(ids[len(known) :])))


# ---- its words


def world_words():
    """Every word of the lexicon, the events, the text's verdicts and the tasks' answers."""
    forms = [form for relation in lexicon.RELATIONS.values() for form in (*relation.says, *relation.asks)]
    said = [*lexicon.PRAISE, *lexicon.BLAME, *lexicon.WORKS, *lexicon.PARTS, *lexicon.DEGREES, *lexicon.MEETINGS]
    said += [*lexicon.MOODS, *lexicon.AMBIGUOUS, *lexicon.KNOWN, *lexicon.DENIED, *lexicon.OPEN, *recall.ALL_WORDS]
    said += [word for verdicts in wordings.VERDICTS for word in verdicts] + [verb for verb, _ in lexicon.DEALS]
    said += [part.replace("{p}", "she") for chain in CHAINS for part in chain]
    said += [form.format(p="Anna", v="Rome") for form in forms]
    return sorted({word for line in said for word in words(line)})


def test_each_word_of_the_world_is_one_token(model):
    pieces = {word: model.tokenizer.tokenize(f"and {word}")[1:] for word in world_words()}
    assert {word: found for word, found in pieces.items() if len(found) != 1} == {}
    assert len(pieces) > 500


def test_a_word_is_one_token_wherever_it_stands(model):
    for word in ("Anna", "Rome", "True", "Yes", "tennis"):
        for before in ("", "and ", "and\n", 'and "'):
            assert model.tokenizer.tokenize(before + word)[-1] == f"Ġ{word}"


# ---- the tasks


@pytest.mark.parametrize(("name", "every"), named(itertools.product(TASKS, (8, 1)), [(name, 8) for name in TASKS]))
def test_prompts_encode_stably_and_fit(model, name, every):
    task, some = Task.load(task_files("zobench_tasks")[name]), items(name)[::every]
    prepared = PreparedTask(task, Splits(some, some[:1], some[:1], {}), model)
    assert prepared.unstable_rows == 0 and prepared.train_size == len(some)
    encoder = Encoder(model.tokenizer, max_length=10**6, model_type="llama")
    for item in some:
        rows = encoder.encode(task.render(item), training=True).rows
        assert max(len(row.ids) for row in rows) + prepared.rules.max_new_tokens <= model.context_length
        if not task.kind == "generation" and task.train_loss == "classification":
            assert {row.option_len for row in rows} == {1}  # the answers are told apart by one token each


@pytest.mark.parametrize("name", TASKS)
def test_passages_are_short(model, name):
    said = [item[field] for item in items(name) for field in PASSAGES if field in item]
    assert len(said) >= len(items(name))
    assert max(len(ids) - 1 for ids in model.tokenizer(said).input_ids) <= 60


def test_documents_fit_into_a_row_of_training(model):
    rng = Random("fit")
    sizes = [len(model.tokenizer(joined(text.document(rng, 4 * i / 500))).input_ids) for i in range(500)]
    assert sum(size >= PRESETS["embedded"].length for size in sizes) <= len(sizes) / 50


def test_the_tasks_are_run_with_nothing_downloaded(tmp_path, capsys, monkeypatch):
    """The command of the README on one task, in small."""
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection was asked for"))
    arguments = ["run", "--estimator", "mezo", "--selector", "first_outlier", "--tasks", "sst2", "--steps", "2"]
    sizes = ["num_train=32", "num_dev=8", "num_test=8", "speed_steps=0"]
    arguments += [x for size in sizes for x in ("--set", size)]
    assert main([*arguments, "--results", str(tmp_path)]) == 0
    (record,) = store.read(tmp_path)[0]
    assert record["status"] == "ok" and record["cell"]["data"] == record["cell"]["model"] == "embedded"
    (block,) = record["scope"]["layers"]
    row = record["selection"]["activations"][block]
    least = record["cell"]["selector_settings"]["ratio"]
    assert row["position"] == 0 and row["max"] >= least * row["median"] and least == 25
    assert "synthetic" in capsys.readouterr().out
