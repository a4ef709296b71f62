"""What a user may get wrong, through the real command line: one clear line that names the mend, and nothing made."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from kits.faulty_kit import WAITING, in_training
from kits.matrix import covering, named
from kits.processes import ended, started
from kits.run_kit import QUICK, World, plan, plugin_file
from zobench_plugins.estimators.zo_act import ZOAct

from zobench import Planned
from zobench.cli import main
from zobench.errors import ZobenchError
from zobench.plugins.registry import load_plugins
from zobench.report import store

TOLD = "zobench: error: "


@pytest.fixture
def command(world, tmp_path):
    """The words of a run that would succeed, with some of them changed."""

    def words(*more: str, **changes: object) -> list[str]:
        options = {
            "estimator": "mezo",
            "selector": "layer",
            "tasks": "sst2",
            "model": world.model,
            "data-dir": world.data,
            "results": tmp_path / "r",
            "device": "cpu",
            "lr": "1e-3",
        }
        options.update({key.replace("_", "-"): value for key, value in changes.items()})
        given = {word.partition("=")[0] for word in more if "=" in word}
        settings = {"layer.index": "1", **QUICK} if options["selector"] == "layer" else QUICK
        out = ["run", "--offline", *more]
        out += [x for key, value in options.items() if value is not None for x in (f"--{key}", str(value))]
        owned = {k: f"protocol.{k}" if k == "batch_size" else k for k in settings}  # selectors have one too
        out += [x for k, v in settings.items() if k not in given for x in ("--set", f"{owned[k]}={v}")]
        return out

    return words


def sets(*items: str) -> list[str]:
    return [x for item in items for x in ("--set", item)]


def refused(capsys, words, message, results: Path | None = None):
    """Exit 2, one line on stderr, nothing on stdout, and no results."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert err.startswith(TOLD) and err.count("\n") == 1 and message in err, err
    assert out == ""
    assert results is None or not results.exists()


def test_the_words_that_are_changed_below_do_run(command, tmp_path, capsys):
    assert main(command()) == 0
    (record,), _ = store.read(tmp_path / "r")
    assert record["status"] == "ok"
    board = capsys.readouterr().out
    assert "\nmezo / layer" in board and "Traceback" not in board
    assert main(["leaderboard", str(tmp_path / "r"), "--check"]) == 0


@pytest.mark.parametrize(
    ("more", "changes", "message"),
    [
        # names
        ([], {"estimator": "mzo"}, "unknown estimator 'mzo'; did you mean 'mezo'"),
        ([], {"selector": "layr"}, "unknown selector 'layr'; did you mean 'layer'"),
        ([], {"tasks": "sst"}, "unknown task 'sst'; did you mean 'sst2'"),
        ([], {"preset": "big"}, "unknown preset 'big'; known: embedded, paper, small, smoke (see: zobench ls presets)"),
        ([], {"engine": "flatt"}, "unknown engine 'flatt'; did you mean 'flat'"),
        ([], {"executor": "loca"}, "unknown executor 'loca'; did you mean 'local'"),
        ([], {"dtype": "int8"}, "'int8' is not one of 'float16', 'bfloat16', 'float32'"),
        (sets("dtype=int8"), {}, "known: bfloat16, float16, float32"),
        ([], {"rerun": "maybe"}, "'maybe' is not one of 'missing', 'failed', 'always'"),
        ([], {"device": "tpu"}, "unknown device 'tpu'"),
        ([], {"estimator": ""}, "--estimator names none; write for example"),
        ([], {"selector": " , "}, "--selector names none; write for example"),
        ([], {"tasks": ","}, "--tasks names none; write for example"),
        ([], {"estimator": None}, "Missing option '--estimator'"),
        # settings
        (sets("epss=1"), {}, "unknown setting 'epss'; did you mean 'eps'"),
        (sets("mezo.epss=1"), {}, "unknown setting of mezo 'epss'; did you mean 'eps'"),
        (sets("lozo.eps=1"), {}, "unknown estimator or selector of this run 'lozo'"),
        (sets("eps=-1"), {}, "mezo.eps=-1: must be above 0"),
        (sets("eps=nan"), {}, "mezo.eps=nan: must be above 0"),
        (sets("eps=tiny"), {}, "mezo.eps=tiny: not a number"),
        (sets("eval_batch_size=0"), {}, "eval_batch_size=0: must be at least 1"),
        (sets("num_train=1.5"), {}, "num_train=1.5: not a whole number"),
        (sets("eps"), {}, "--set eps: write it as --set name=value"),
        (sets("eps=1e-3", "eps=1e-2"), {}, "--set eps is given twice"),
        (sets("steps=4"), {"steps": 4}, "steps is given twice: by --steps and by --set steps=4"),
        (sets("engine=flat"), {"engine": "pair"}, "engine is given twice"),
        (sets("lr=1e-4"), {}, "lr is given twice: by --lr and by --set lr=1e-4"),
        (sets("eval_every=9"), {}, "eval_every=9 is above steps=4: no checkpoint would ever be evaluated"),
        (sets("engine=streamed", "noise=official"), {}, "engine=streamed draws noise as modules run"),
        (sets("engine=official", "precision=float32"), {}, "engine=official knows precision=native only"),
        (sets("engine=official", "restore=exact"), {}, "engine=official knows restore=arithmetic only"),
        (sets("engine=pair", "restore=arithmetic"), {}, "engine=pair knows restore=exact only"),
        (sets("layer.index=-1"), {}, "layer.index=-1: must be at least 0"),
        (sets("layer.index=one"), {}, "layer.index=one: not a whole number"),
        # learning rates and seeds
        ([], {"lr": "0"}, "learning rates must be above 0"),
        ([], {"lr": "-1e-3"}, "learning rates must be above 0"),
        ([], {"lr": "1e-3,nan"}, "lr=nan: not a number"),
        ([], {"lr": "inf"}, "learning rates must be above 0, and finite"),
        ([], {"lr": "fast"}, "lr=fast: not a number"),
        ([], {"lr": ","}, "no learning rate is given"),
        ([], {"seeds": "zero"}, "--seeds=zero: not a whole number"),
        ([], {"seeds": ""}, "--seeds names none"),
        ([], {"seeds": "-1"}, "--seeds=-1: must be at least 0 and below 4294967296"),
        ([], {"seeds": str(2**70)}, "must be at least 0 and below 4294967296"),
        # the line itself
        (["surplus"], {}, "unexpected extra argument"),
        (["--nonsense"], {}, "No such option"),
        ([], {"data_dir": "/nowhere/at/all"}, "--data-dir /nowhere/at/all: no such folder"),
        ([], {"model": "/nowhere/at/all"}, "--model /nowhere/at/all: no such folder"),
        ([], {"model": "a b"}, "neither a folder nor a hub id"),
        ([], {"tasks": "rte"}, "task rte: no data in"),
        ([], {"plugin": "/nowhere/zo.py"}, "no plugin file '/nowhere/zo.py'"),
    ],
)  # fmt: skip
def test_wrong_words(command, capsys, tmp_path, more, changes, message):
    refused(capsys, command(*more, **changes), message, tmp_path / "r")


def test_settings_of_one_plugin_go_before_those_of_all_whatever_their_order(command, capsys, tmp_path):
    assert main(command(*sets("mezo.eps=0.25", "eps=0.5"), estimator="mezo,lozo")) == 0
    found = {r["cell"]["estimator"]: r["cell"]["estimator_settings"]["eps"] for r in store.read(tmp_path / "r")[0]}
    assert found == {"mezo": 0.25, "lozo": 0.5}


def spoil_data(folder: Path, how: str) -> Path:
    path = folder / "sst2"
    path.mkdir(parents=True)
    good = json.dumps({"sentence": "fine", "label": 1})
    text = {
        "broken": good + '\n{"sentence": "cut',
        "halved": good + '\n{"sentence": "\\ud83d", "label": 1}',
        "deep": f"{good}\n{'[' * 100_000}",
        "array": f"{good}\n[1]",
        "lacking": good + '\n{"label": 1}',
        "empty": "",
    }
    (path / "train.jsonl").write_text(text.get(how, good))
    if how != "half":
        (path / "validation.jsonl").write_text(good)
    return folder  # fmt: skip


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("broken", "train.jsonl: line 2 is not valid JSON"),
        ("halved", "train.jsonl: line 2 has half a letter"),
        ("deep", "train.jsonl: line 2 is not valid JSON: nested too deeply"),
        ("array", "train.jsonl: line 2 is not a JSON object"),
        ("lacking", "train.jsonl: line 2 lacks sentence; it has label"),
        ("empty", "train.jsonl: holds no items"),
        ("half", "has no validation.jsonl"),
    ],
)
def test_wrong_data(command, capsys, tmp_path, how, message):
    data = spoil_data(tmp_path / "data", how)
    refused(capsys, command(data_dir=data), message, tmp_path / "r")


def spoil_model(world: World, folder: Path, how: str) -> Path:
    shutil.copytree(world.model, folder)
    weights = folder / "model.safetensors"
    if how == "no weights":
        weights.unlink()
    elif how == "pickled":
        weights.rename(folder / "pytorch_model.bin")
    elif how == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "other shape":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 5}))
    elif how == "no config":
        (folder / "config.json").unlink()
    elif how == "broken config":
        (folder / "config.json").write_text("{")
    elif how == "no tokenizer":
        for path in folder.glob("tokenizer*"):
            path.unlink()
    return folder


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no weights", "(no weights): weights are read from safetensors alone"),
        ("pickled", "(only pytorch_model.bin): weights are read from safetensors alone"),
        ("cut", "download or copy it again"),
        ("other shape", "tensors are missing or of another shape"),
        ("no config", "has no config.json"),
        ("broken config", "config.json: not valid JSON"),
        ("no tokenizer", "no tokenizer in"),
    ],
)
def test_wrong_models(world, command, capsys, tmp_path, how, message):
    model = spoil_model(world, tmp_path / "model", how)
    refused(capsys, command(model=model), message, tmp_path / "r")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nowhere_at_all", "No module named 'nowhere_at_all' (plugin_under_test.py:1)"),
        ("def f(:", "SyntaxError: invalid syntax (plugin_under_test.py:1)"),
        ("import sys\nsys.exit(1)", "SystemExit"),
        ("x = 1", "plugin_under_test.py could not be loaded"),
        (
            "from zobench import hookimpl\n\n@hookimpl\ndef zobench_estimator():\n    return {}",
            "zobench_estimator",
        ),
    ],
)
def test_wrong_plugins(command, capsys, tmp_path, source, message):
    refused(capsys, command(plugin=plugin_file(tmp_path, source)), message, tmp_path / "r")


# ---- results


def test_results_that_are_a_file_or_lie_in_one(command, capsys, tmp_path):
    (tmp_path / "file").write_text("mine")
    for results in (tmp_path / "file", tmp_path / "file" / "r"):
        for more in ([], ["--dry-run"]):
            refused(capsys, command(*more, results=results), "file is a file; name a folder")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that nobody can write to")
def test_results_that_cannot_be_made(command, capsys):
    assert main(command(results="/proc/zobench")) == 2
    err = capsys.readouterr().err.splitlines()
    assert err[-1].startswith(TOLD) and "--results /proc/zobench: " in err[-1]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_results_that_may_not_be_written(command, capsys, tmp_path):
    (tmp_path / "r").mkdir(mode=0o500)
    refused(capsys, command(), "cannot be written to; name another folder")


def test_an_unreadable_record_is_named_and_the_rest_goes_on(command, capsys, tmp_path):
    cells = tmp_path / "r" / "cells"
    cells.mkdir(parents=True)
    (cells / "odd.json").write_text("{")
    assert main(command()) == 0
    out, err = capsys.readouterr()
    assert "cells/odd.json: not JSON" in err and "Traceback" not in err
    assert "could not be read" in out and "odd.json" in out and "\nmezo / layer" in out
    assert (cells / "odd.json").read_text() == "{"
    assert main(["leaderboard", str(tmp_path / "r"), "--check"]) == 2


def test_records_of_other_data_are_refused_before_anything_runs(command, capsys, tmp_path, world):
    """No table may hold both; a board that cannot be made is better known before than after the run."""
    assert main(command()) == 0
    before = sorted(p.name for p in (tmp_path / "r" / "cells").iterdir())
    data = tmp_path / "data"
    shutil.copytree(world.data, data)
    with (data / "sst2" / "train.jsonl").open("a") as file:
        file.write(json.dumps({"sentence": "one more", "label": 0}) + "\n")
    capsys.readouterr()
    refused(capsys, command(data_dir=data), "is of other data, or another version, of task sst2")
    assert sorted(p.name for p in (tmp_path / "r" / "cells").iterdir()) == before
    assert main(command(data_dir=data, results=tmp_path / "other")) == 0
    assert main(command(*sets("eps=0.5"))) == 0  # another setting stands beside it


# ---- what settings, task files and the model's shape refute: before anything runs


REFUTED = [
    # selectors against the model's blocks
    (sets("layer.index=7"), {}, "layer.index=7: the model has decoder blocks 0 to 2, not 7"),
    (sets("layer.index="), {}, "no block named; --set layer.index=K with K from 0 to 2"),
    ([], {"selector": "layer:99"}, "the model has decoder blocks 0 to 2, not 99"),
    ([], {"selector": "layer:1+layer:3"}, "decoder blocks 0 to 2, not 3"),
    ([], {"selector": "all_but:layer:3"}, "decoder blocks 0 to 2, not 3"),
    ([], {"selector": "all,max_jump+layer:3"}, "decoder blocks 0 to 2, not 3"),
    ([], {"selector": "lisa:4"}, "lisa.gamma=4: the model has 3 decoder blocks; set it to at most 3"),
    ([], {"selector": "round_robin:4"}, "round_robin.count=4: the model has 3 decoder blocks"),
    (sets("random_layers.count=4"), {"selector": "random_layers"}, "random_layers.count=4: the model has 3"),
    (sets("owlore.gamma=4"), {"selector": "owlore"}, "owlore.gamma=4: the model has 3 decoder blocks"),
    (sets("outlier_channels.index=3"), {"selector": "outlier_channels"}, "outlier_channels.index=3: the model has"),
    ([], {"selector": "all_but:lisa"}, "all_but:lisa: what lisa chooses changes with the step"),
    # rules against tasks and data
    (sets("max_length=1"), {}, "max_length=1: rows of at least 2 tokens are needed"),
    (sets("max_new_tokens=2048"), {"tasks": "squad"}, "max_new_tokens=2048 leaves no room for a prompt"),
    (sets("max_new_tokens=127"), {"tasks": "sst2,squad"}, "leaves no room for a prompt in 128 tokens"),
    (sets("train_loss=non_diff"), {}, "train_loss=non_diff is for generation tasks; use classification"),
    (sets("train_loss=classification"), {"tasks": "sst2,squad"}, "squad: train_loss=classification needs candidat"),
    (sets("scoring=sfc"), {"tasks": "squad"}, "scoring=sfc needs candidates; use mean"),
    (sets("demonstrations=13"), {}, "demonstrations=13, but there are 12 items to show"),
    (sets("demonstrations=24", "demonstration_sets=per_item"), {}, "demonstrations=24, but there are 23 items"),
    # estimators against settings, tasks and the model
    (sets("icl.demonstrations=13"), {"estimator": "mezo,icl"}, "demonstrations=13, but there are 12 items to show"),
    (sets("lora_zo.targets=nothing"), {"estimator": "lora_zo"}, "has no linear module called nothing"),
    (sets("train_loss=non_diff"), {"estimator": "adamw", "tasks": "squad"}, "AdamW takes derivatives of the loss"),
    (sets("train_loss=non_diff"), {"estimator": "sgd", "tasks": "squad"}, "SGD takes derivatives of the loss"),
    (sets("train_loss=non_diff"), {"estimator": "forward_grad", "tasks": "squad"}, "takes derivatives of the loss"),
    (sets("es.mirrored=true", "es.n=3"), {"estimator": "mezo,es"}, "n=3 is odd; set n to an even number"),
    (sets("batch_size=1"), {"estimator": "grzo"}, "one has a single example"),
    (sets("batch_size=11"), {"estimator": "grzo"}, "(12 examples, batch_size=11)"),
    (sets("dizo.targets=nothing"), {"estimator": "dizo"}, "no tensor of the model has nothing in its name"),
    ([], {"estimator": "sensitive_sparse"}, "set sensitive_sparse.masks to a file of masks"),
    (sets("sensitive_sparse.masks=nowhere"), {"estimator": "sensitive_sparse"}, "nowhere: no such file"),
    (sets("sensitive_sparse.masks=random", "weight_decay=0.1"), {"estimator": "sensitive_sparse"}, "weight decay"),
    ([], {"estimator": "zo_fine_tuner"}, "set zo_fine_tuner.scales to a file of networks"),
    ([], {"estimator": "hidden_probe", "tasks": "squad"}, "squad is a generation task"),
    (sets("hidden_probe.rates=0"), {"estimator": "hidden_probe"}, "some rates above 0"),
    ([], {"estimator": "prompt_zo", "selector": "layer:1"}, "input embeddings, which are not in the chosen"),
    ([], {"estimator": "prompt_zo", "selector": "first_outlier"}, "not in the chosen scope (blocks [0, 1"),
    (sets("lora_zo.targets=lm_head"), {"estimator": "lora_zo", "selector": "layer:0"}, "modules lm_head lies in"),
]  # fmt: skip


@pytest.mark.parametrize(("refuted", "dry"), covering(REFUTED, [[], ["--dry-run"]]))
def test_what_configuration_refutes(command, capsys, tmp_path, refuted, dry):
    more, changes, message = refuted
    refused(capsys, command(*more, *dry, **changes), message, tmp_path / "r")


def test_a_method_of_linear_layers_is_refused_where_there_are_none():
    """GPT-2's layers are Conv1D, whose inputs nobody is shown."""
    names = ("h.0.attn.c_attn.weight",)
    planned = Planned("", "", "lm", train=1, batch_size=1, weight_decay=0.0, parameterisation="full", names=names)
    with pytest.raises(ZobenchError, match="none is one .GPT-2's are Conv1D.; use parameterisation lora, basis=random"):
        ZOAct.check({"basis": "inputs"}, planned)
    ZOAct.check({"basis": "random"}, planned)
    ZOAct.check({"basis": "inputs"}, replace(planned, linear=frozenset(names)))


def test_what_all_names_and_cannot_run_is_left_out_and_said(world, tmp_path, capsys):
    """`all` means all that can run; what is named must run, or nothing does."""
    plugin = plugin_file(tmp_path, ODD_CHECK)
    warned: list[str] = []
    found = load_plugins([plugin], only="-estimators", warn=warned.append)
    made, _ = plan(world, tmp_path / "r", ["fussy"], ("all",), ("sst2", "squad"), plugins=found, rules="free")
    assert [cell.task for cell in made.todo] == ["sst2", "squad"]
    with pytest.raises(ZobenchError, match="squad: no generation, please"):
        plan(world, tmp_path / "r", ["fussy"], ("all",), ("sst2", "squad"), plugins=found)
    with pytest.raises(ZobenchError, match="estimator fussy: its `check` raised ValueError: odd .*test.py:"):
        plan(world, tmp_path / "r", ["fussy"], ("all",), ("sst2",), plugins=found, rules="odd")
    assert warned == [] and not (tmp_path / "r").exists()
    made, _ = plan(world, tmp_path / "r", ["all"], ("all",), ("sst2", "squad"), plugins=found)
    assert [cell.task for cell in made.todo] == ["sst2"]
    assert warned == ["left out of `all`, 1 cell: squad: no generation, please"]
    with pytest.raises(ZobenchError, match="squad: no generation, please"):
        plan(world, tmp_path / "r", ["all"], ("all",), ("squad",), plugins=found)
    assert len(warned) == 1, "of all, none can run"


ODD_CHECK = """
from typing import Literal
from zobench import Estimator, ZobenchError, hookimpl

class Fussy(Estimator):
    rules: Literal["strict", "free", "odd"] = "strict"

    @classmethod
    def check(cls, settings, planned):
        super().check(settings, planned)
        assert planned.train == 12 and planned.batches() == {3} and "lm_head.weight" in planned.names
        if settings["rules"] == "odd":
            raise ValueError("odd")
        if settings["rules"] == "strict" and planned.kind == "generation":
            raise ZobenchError(f"{planned.task}: no generation, please")

    def iterate(self, losses):
        z = self.noise()
        plus, minus = losses(z, -z)
        self.descend((plus - minus) * z)
        return plus

@hookimpl
def zobench_estimators():
    return {"fussy": Fussy}
"""


# ---- what only shows in a cell: a record that says it, exit 1


@pytest.mark.parametrize(
    ("more", "changes", "message"),
    [
        (sets("max_length=2"), {}, "max_length"),
        ([], {"selector": "first_outlier"}, "has no outlier block"),
    ],
)
def test_a_cell_that_cannot_run_is_a_record_and_exit_1(command, capsys, tmp_path, more, changes, message):
    assert main(command(*more, **changes)) == 1
    out, err = capsys.readouterr()
    (record,), problems = store.read(tmp_path / "r")
    assert record["status"] == "error" and message in record["error"] and not problems
    assert "Traceback" not in out + err
    (told,) = [line for line in err.splitlines() if line.startswith("failed: ")]
    assert record["id"] in told and message in told
    written = (tmp_path / "r" / "leaderboard.md").read_text()
    assert "has no average: 1 error. 0/1 ok, 1 failed." in out and record["status"] in written.split("### Failed")[1]
    assert main(["leaderboard", str(tmp_path / "r"), "--check"]) == 0


def test_a_failure_is_told_of_and_is_1_also_when_it_was_before(command, capsys, tmp_path):
    """The same command again: one cell is ok, the other failed, and neither runs. Only what failed is a failure."""
    words = command(*sets("layer.index=1"), selector="layer,first_outlier")
    for done in (0, 2):
        assert main(words) == 1
        err = capsys.readouterr().err
        assert f"{2 - done} cells to run, {done} done before" in err
        (told,) = [line for line in err.splitlines() if line.startswith("failed: ")]
        assert "first_outlier" in told and "has no outlier block" in told


@pytest.mark.parametrize(
    ("rerun", "names"), [("missing", []), ("failed", ["first_outlier"]), ("always", ["all", "first_outlier"])]
)
def test_which_cells_run_again(command, monkeypatch, tmp_path, rerun, names):
    main(command(selector="all,first_outlier"))
    todo: list[str] = []
    monkeypatch.setattr("zobench.cli.run._execute", lambda plan, *_: todo.extend(cell.selector for cell in plan.todo))
    assert main(command("--rerun", rerun, selector="all,first_outlier")) == 0
    assert todo == names


@pytest.mark.parametrize(("steps", "every"), [(20, 4), (3, 1)])
def test_steps_alone_are_evaluated_five_times(command, monkeypatch, steps, every):
    seen = []
    monkeypatch.setattr("zobench.cli.run._execute", lambda plan, *_: seen.append(plan.todo[0].protocol))
    words = command(steps=steps)
    at = [i for i, word in enumerate(words) if word.startswith(("steps=", "eval_every="))]
    assert main([word for i, word in enumerate(words) if i not in at and i + 1 not in at]) == 0
    assert (seen[0].steps, seen[0].eval_every) == (steps, every)


def test_replay_loads_the_model_where_and_as_it_was_told(command, monkeypatch, tmp_path, capsys, world):
    assert main(command()) == 0
    (record,), _ = store.read(tmp_path / "r")
    asked = []

    def load(place, plugins, dtype):
        asked.append((place.model, place.device, place.offline, dtype))
        raise ZobenchError("enough")

    monkeypatch.setattr("zobench.run.place.load", load)
    words = [
        "replay",
        str(tmp_path / "r"),
        record["id"],
        "--model",
        "M",
        "--out",
        str(tmp_path / "w"),
        "--device",
        "cpu",
    ]
    assert main([*words, "--offline"]) == main(words) == 2
    assert asked == [("M", "cpu", True, "float32"), ("M", "cpu", False, "float32")]


def test_a_candidate_longer_than_the_context(command, capsys, tmp_path, world):
    data = tmp_path / "data"
    shutil.copytree(world.data, data)
    item = {"premise": "It ran.", "choice1": "long " * 400, "choice2": "so.", "question": "cause", "label": 0}
    (data / "copa" / "validation.jsonl").write_text(json.dumps(item))
    assert main(command(tasks="copa,sst2", data_dir=data)) == 1
    records = {r["cell"]["task"]: r for r in store.read(tmp_path / "r")[0]}
    assert records["sst2"]["status"] == "ok"
    assert records["copa"]["status"] == "error" and "candidate 0" in records["copa"]["error"]
    assert "128" in records["copa"]["error"] and "\n" not in records["copa"]["error"]


def test_a_model_without_decoder_blocks(command, capsys, tmp_path, monkeypatch):
    from zobench.errors import ZobenchError
    from zobench.models import load

    def none(model):
        raise ZobenchError(f"found no decoder blocks in {type(model).__name__}; use --selector all")

    monkeypatch.setattr(load, "decoder_blocks", none)
    words = command(*sets("layer.index=1"), selector="layer,all")
    assert main([*words, "--dry-run"]) == 0
    assert main(words) == 1
    records = {r["cell"]["selector"]: r for r in store.read(tmp_path / "r")[0]}
    assert records["layer"]["error"] == "found no decoder blocks in LlamaForCausalLM; use --selector all"
    assert records["all"]["status"] == "ok" and records["all"]["scope"]["layers"] == []


# ---- another process


def test_status_and_stderr_of_a_process(command):
    """tests/cli/test_command_line.py has them of processes that a shell starts."""
    process = started(command(estimator="mzo"))
    out, err = ended(process)
    assert (process.returncode, out) == (2, "")
    assert err.startswith(TOLD + "unknown estimator 'mzo'") and err.count("\n") == 1


@pytest.mark.parametrize("afresh", named([False, True], [False]), ids=["fork", "afresh"])
def test_control_c_is_130_with_a_record_and_the_cell_runs_again(command, tmp_path, afresh):
    results = tmp_path / "r"
    words = command(estimator="waiting", plugin=plugin_file(tmp_path, WAITING))
    process = in_training(words, results, afresh=afresh)
    process.send_signal(signal.SIGINT)
    out, err = ended(process)
    assert process.returncode == 130, err
    told = err.splitlines()[-2:]
    assert told[0].startswith("the same command goes on") and told[1] == "zobench: interrupted"
    assert "Traceback" not in out + err
    (record,), problems = store.read(results)
    assert record["status"] == "interrupted" and not problems
    assert [p.name for p in results.rglob("*.tmp")] == []
    assert main(["leaderboard", str(results), "--check"]) == 0
    assert main([*words, "--dry-run"]) == 0
