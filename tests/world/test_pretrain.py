"""Trainings: equal bit for bit, resumed as if never stopped, refused in one line."""

import json
import math
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from kits.pretrain_kit import TINY, document, log_of, tiny, train
from safetensors.torch import load_file
from zobench_world.pretrain import checkpoint, export, generated, loop
from zobench_world.pretrain.command import main
from zobench_world.pretrain.feed import StepFeed
from zobench_world.pretrain.model import build
from zobench_world.pretrain.packing import split
from zobench_world.pretrain.progress import TrainingProgress
from zobench_world.pretrain.recipe import PRESETS, recipe_from

from zobench.errors import ZobenchError
from zobench.models.activations import block_activations
from zobench.models.load import load_model

ROWS = 8  # held out


@pytest.fixture(scope="module", autouse=True)
def few_documents():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generated, "TOKENIZER_DOCUMENTS", 300)
        patch.setattr(loop, "VALIDATION_ROWS", ROWS)
        yield


@pytest.fixture(scope="module")
def finished(few_documents, tmp_path_factory):
    """A training that was not interrupted."""
    out = tmp_path_factory.mktemp("finished")
    train(out)
    return out


def same(one, other):
    """Whether two folders hold the same model, bit for bit, and the same log."""
    names = (
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "checkpoint-7/weights.safetensors",
    )
    return log_of(one) == log_of(other) and all((one / n).read_bytes() == (other / n).read_bytes() for n in names)


def test_two_trainings_of_one_recipe_are_equal(finished, tmp_path):
    train(tmp_path / "a")
    assert same(tmp_path / "a", finished)
    train(tmp_path / "b", tiny(seed=1))
    assert not same(tmp_path / "b", finished)


def test_a_training_goes_on_as_if_it_had_not_stopped(finished, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, stop=3)
    assert checkpoint.newest(tmp_path).name == "checkpoint-3" and not (tmp_path / "training.json").exists()
    (tmp_path / "log.jsonl").open("a").write('{"step": 4}\n{"ste')  # of a training that was killed later
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, stop=6)
    watcher, said = train(tmp_path)
    assert len(watcher.losses) == 1 and "step 6" in said[-2]
    assert same(tmp_path, finished)
    facts = json.loads((tmp_path / "training.json").read_text())
    assert [sitting["from_step"] for sitting in facts["sittings"]] == [0, 3, 6]
    assert facts["tokens"] == json.loads((finished / "training.json").read_text())["tokens"]
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-7"]


def test_a_checkpoint_that_was_not_finished_is_none(finished, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, stop=5, save_every=2)
    half = tmp_path / ".checkpoint-6.part"
    half.mkdir()
    (half / "weights.safetensors").write_bytes(b"half")
    train(tmp_path)
    assert same(tmp_path, finished)


def test_a_finished_training_is_left_alone(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    watcher, said = train(finished)
    assert not watcher.losses and "is finished" in said[-1]
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}


def test_a_gradient_in_parts_is_that_of_the_whole_batch(finished, tmp_path):
    train(tmp_path, tiny(accumulate=4))
    for one, other in zip(log_of(tmp_path), log_of(finished), strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
def test_compiled_steps_are_the_same_but_for_rounding(finished, tmp_path):
    train(tmp_path / "a", tiny(compile=True))
    for one, other in zip(log_of(tmp_path / "a"), log_of(finished), strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
        assert one["validation_loss"] == pytest.approx(other["validation_loss"], rel=1e-3)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "b", tiny(compile=True), stop=3)
    train(tmp_path / "b", tiny(compile=True))
    assert same(tmp_path / "b", tmp_path / "a")
    assert load_model(str(tmp_path / "a"), device="cpu").model.config._attn_implementation == "sdpa"


def test_compiling_needs_a_compiler(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ZobenchError, match="--compile needs a C[+][+] compiler"):
        train(tmp_path, tiny(compile=True))


def test_the_log(finished):
    lines, recipe = log_of(finished), tiny()
    assert [line["step"] for line in lines] == [2, 4, 6, 7]
    assert [line["lr"] for line in lines] == [recipe.learning_rate(step - 1) for step in (2, 4, 6, 7)]
    assert all(row["block"] == i for line in lines for i, row in enumerate(line["blocks"]))
    assert lines[0]["train_loss"] == pytest.approx(math.log(330), rel=0.1)
    assert lines[-1]["validation_loss"] < lines[0]["validation_loss"]
    tokens = [line["tokens"] for line in lines]
    assert tokens == sorted(tokens) and 0.8 < tokens[-1] / (7 * 4 * 48) <= 1


def test_the_last_line_is_of_the_last_weights(finished):
    """Computed again from the checkpoint, without what the loop computes with."""
    loaded = load_model(str(finished), device="cpu")
    weights = load_file(finished / "checkpoint-7" / "weights.safetensors")
    loaded.model.load_state_dict(weights, strict=True)
    source = generated.Generated(document, loaded.tokenizer, tiny())
    held_out = source.validation(ROWS)
    ids, counted = torch.from_numpy(held_out.ids), torch.from_numpy(held_out.weights)[:, 1:]
    with torch.no_grad():
        logits = loaded.model(input_ids=ids).logits[:, :-1]
        each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    line = log_of(finished)[-1]
    plain = float((each.view_as(counted) * counted).sum() / counted.sum())
    assert line["validation_loss"] == pytest.approx(plain, rel=1e-5)
    for row, seen in zip(line["blocks"], block_activations(loaded, split(held_out, 1)), strict=True):
        assert row["max"] == pytest.approx(seen.max, rel=1e-4) and row["median"] == pytest.approx(seen.median, rel=2e-3)
        assert (row["position"], row["channel"]) == (seen.position, seen.channel)
        assert row["bos"] == (seen.position == 0) == (row["token"] == "<s>")


def test_the_finished_folder_is_a_model(finished):
    loaded = load_model(str(finished), device="cpu")
    assert loaded.parameters == sum(p.numel() for p in build(tiny(), len(loaded.tokenizer)).parameters())
    assert loaded.context_length == 64 and loaded.pad_id == 2
    assert loaded.tokenizer("Anna has").input_ids[0] == 0
    stored, trained = (
        load_file(finished / "model.safetensors"),
        load_file(finished / "checkpoint-7" / "weights.safetensors"),
    )
    assert all(stored[name].dtype == torch.float16 for name in stored)
    assert all(torch.equal(stored[name], trained[name].half()) for name in trained)
    facts = json.loads((finished / "training.json").read_text())
    assert facts["parameters"] == loaded.parameters and facts["vocabulary"] == len(loaded.tokenizer)
    assert facts["settings"]["lr"] == 2e-3 and facts["settings"]["dtype"] == "float32" and facts["steps"] == 7
    assert facts["sittings"][0]["packages"]["torch"] == torch.__version__
    assert facts["losses"]["validation_loss"] == log_of(finished)[-1]["validation_loss"]
    assert facts["activations"] == log_of(finished)[-1]["blocks"] and facts["seconds"] > 0


def test_it_learns(tmp_path):
    """What a name has stands before the question; after it little is left to guess but the passage."""
    watcher, _ = train(tmp_path, tiny(steps=80, lr=1e-2, warmup=10), eval_every=80)
    assert watcher.lines[-1]["validation_loss"] < 2.2 < 5 < watcher.losses[0]


# ---- what is refused


def test_other_settings_in_the_same_folder(finished):
    with pytest.raises(ZobenchError, match=r"was begun with lr 0.002 and not 0.001, steps 7 and not 9: give the same"):
        train(finished, tiny(steps=9, lr=1e-3))


def test_a_folder_of_something_else(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"mine")
    with pytest.raises(ZobenchError, match="files that are not of a pre-training"):
        train(tmp_path)
    with pytest.raises(ZobenchError, match="cannot be used"):
        train(tmp_path / "model.safetensors")


def test_other_text(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, stop=2)
    with pytest.raises(ZobenchError, match="trained on other text"):
        train(tmp_path, text=lambda rng, progress: [("Anna has a drum.", 1.0)])


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.pt", "counts.json"])
def test_a_damaged_checkpoint(tmp_path, name):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, stop=1)
    path = tmp_path / "checkpoint-1" / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ZobenchError, match=r"checkpoint-1 cannot be read .*: delete it"):
        train(tmp_path)


def test_a_loss_that_is_not_finite(tmp_path):
    with pytest.raises(ZobenchError, match="not finite by step .*: give a lower --lr"):
        train(tmp_path, tiny(lr=1e30))
    assert checkpoint.newest(tmp_path) is None


def test_weights_too_large_for_float16(tmp_path):
    llama = build(tiny(), 300)
    with torch.no_grad():
        llama.model.norm.weight[3] = 1e6
    with pytest.raises(ZobenchError, match="model.norm.weight is not finite in float16"):
        export.write_model(llama, tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hidden": 30, "heads": 4}, "--hidden 30 is no multiple of --heads 4"),
        ({"hidden": 6, "heads": 2}, "RoPE needs an even number"),
        ({"kv_heads": 3}, "--heads 2 is no multiple of --kv-heads 3"),
        ({"accumulate": 3}, "--batch 4 is no multiple of --accumulate 3"),
        ({"length": 65}, "--context 64 is less than --length 65"),
        ({"lr": math.nan}, "--lr nan is no learning rate"),
        ({"init_std": 0.0}, "--init-std 0.0"),
        ({"weight_decay": -0.1}, "--weight-decay -0.1"),
        ({"beta2": 1.0}, "--beta2 1.0"),
    ],
)
def test_settings_that_do_not_go_together(given, message):
    with pytest.raises(ZobenchError, match=message):
        tiny(**given)


# ---- recipe, feed


def test_the_learning_rate():
    chosen = recipe_from("embedded", {"steps": 1000, "cycles": (), "warmup": 100, "decay_from": 0.6, "lr": 1.0})
    assert [chosen.learning_rate(step) for step in (0, 49, 99, 600)] == [0.01, 0.5, 1, 1]
    assert chosen.learning_rate(800) == pytest.approx(0.51)
    assert chosen.learning_rate(1000) == pytest.approx(0.02)


def test_the_presets():
    assert recipe_from("embedded", {}) == PRESETS["embedded"]
    assert recipe_from("embedded", {"length": 1000}).context == 1000
    assert recipe_from("embedded", {"length": 100}).context == 512
    with torch.device("meta"):
        sizes = {
            name: sum(p.numel() for p in build(preset, preset.vocab).parameters()) for name, preset in PRESETS.items()
        }
    assert 1.9e6 < sizes["embedded"] < 2.2e6 and 28e6 < sizes["reference"] < 33e6
    with pytest.raises(ZobenchError, match="unknown preset 'refrence'; did you mean 'reference'"):
        recipe_from("refrence", {})


def test_batches_come_in_order_and_faults_come_with_them():
    def make(step):
        if step == 12:
            raise RuntimeError("no batch 12")
        return step * step

    with StepFeed(make, 3, 20) as feed:
        assert [feed.next() for _ in range(9)] == [step * step for step in range(3, 12)]
        with pytest.raises(RuntimeError, match="no batch 12"):
            feed.next()
    assert not feed.thread.is_alive()
    with StepFeed(lambda step: step, 0, 10**9) as feed:
        assert feed.next() == 0
    assert not feed.thread.is_alive()


# ---- the command


PRESET_ONLY = ("cycles", "tie", "bias_std", "mimetic")
SMALL = [x for key, value in TINY.items() if key not in PRESET_ONLY for x in (f"--{key}", str(value))]


def test_the_embedded_preset_from_the_command_line(tmp_path, capsys):
    assert main(["--out", str(tmp_path), "--threads", "1", "--device", "cpu", "--steps", "2", *SMALL[2:]]) == 0
    told = capsys.readouterr().err
    assert "step 2: loss " in told and f"zobench run --model {tmp_path}" in told
    facts = json.loads((tmp_path / "training.json").read_text())
    assert facts["text"]["text"] == "zobench_world.text.document"


def test_ctrl_c_at_the_command_line(tmp_path, capsys, monkeypatch):
    arguments = ["--out", str(tmp_path), "--device", "cpu", *SMALL]
    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgress, "step", lambda self, counts, loss: signal.raise_signal(signal.SIGINT))
        assert main(arguments) == 130
    told = capsys.readouterr().err
    assert told.splitlines()[-1] == "pretrain: interrupted; the same command goes on"
    assert checkpoint.newest(tmp_path).name == "checkpoint-1"
    assert main(arguments) == 0 and ", step 1\n" in capsys.readouterr().err


def test_the_reference_preset_from_the_command_line(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"Clara has {i % 7} forks and {i % 5} drums." for i in range(300)), encoding="utf-8")
    arguments = ["--out", str(tmp_path / "out"), "--preset", "reference", "--corpus", str(text), "--device", "cpu"]
    arguments += [*SMALL, "--kv-heads", "1", "--tie", "--no-bos", "--accumulate", "2", "--eval-every", "3"]
    assert main(arguments) == 0
    loaded = load_model(str(tmp_path / "out"), device="cpu")
    assert 0 not in loaded.tokenizer("Clara has").input_ids
    assert loaded.model.config.tie_word_embeddings and loaded.model.config.num_key_value_heads == 1
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert "lm_head.weight" not in stored
    facts = json.loads((tmp_path / "out" / "training.json").read_text())
    assert facts["text"]["text"] == "text.txt" and facts["text"]["bytes"] == text.stat().st_size
    assert [line["step"] for line in log_of(tmp_path / "out")] == [3, 6, 7]
    assert not any(row["bos"] for line in log_of(tmp_path / "out") for row in line["blocks"])
    text.write_text("something else", encoding="utf-8")
    capsys.readouterr()
    assert main(arguments) == 0 and "is finished" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "3"], "Missing option '--out'"),
        (["--out", "x", "--preset", "small"], "Invalid value for '--preset'"),
        (["--out", "x", "--batch", "0"], "Invalid value for '--batch'"),
        (["--out", "x", "--preset", "reference"], "--preset reference reads a --corpus FILE"),
        (["--out", "x", "--corpus", "y"], "--preset reference reads a --corpus FILE"),
        (
            ["--out", "x", "--preset", "reference", "--corpus", "none.txt", "--device", "cpu"],
            "none.txt: cannot be read",
        ),
        (["--out", "x", "--device", "tpu"], "unknown device 'tpu'"),
        (["--out", "x", "--heads", "3"], "--hidden 128 is no multiple of --heads 3"),
        (["--out", "x", "--vocab", "100", "--device", "cpu"], "--vocab 100: give at least 259"),
    ],
)
def test_wrong_usage_is_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert message in told and told.startswith("pretrain: error: ") and told.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_help_needs_no_torch():
    program = (
        "import sys; from zobench_world.pretrain.command import main; status = main(['--help']); "
        "sys.exit(status or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "Examples:" in done.stdout and "[embedded 128, reference 512]" in " ".join(done.stdout.split())
