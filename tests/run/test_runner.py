"""Cells from start to record: what every end leaves behind, what is read when, and what it is counted as."""

from __future__ import annotations

import io
import json
import math
import shutil
import weakref
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from rich.console import Console
from run_kit import LAYERS, World, assert_untouched, carry_out, numbers, plan, plugin_file, run, save_data, weights

from zobench.engine import ENGINES, Choice
from zobench.errors import ZobenchError
from zobench.plugins import load_plugins
from zobench.report import store
from zobench.run import runner as runner_module
from zobench.run.artefacts import Artefacts
from zobench.run.method import keeper
from zobench.run.outcome import less_memory
from zobench.run.progress import Progress
from zobench.run.runner import Runner
from zobench.run.selection import Context
from zobench.run.train import Feed, Trained
from zobench.tasks.prepared import PreparedTask

FAULTY = """
    import os
    import torch
    from zobench import Selector, hookimpl
    from zobench_plugins.estimators.mezo import MeZO

    class Strange(BaseException):
        pass

    FAULTS = {
        "error": ValueError("a fault of the plugin\\nand more of it"),
        "oom": MemoryError("no room"),
        "exit": SystemExit(3),
        "interrupted": KeyboardInterrupt(),
        "stopped": GeneratorExit(),
        "allocator": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        "windows": RuntimeError("DefaultCPUAllocator: not enough memory: you tried 8 bytes"),
        "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        "wrapped": ValueError("of the plugin"),
        "base": Strange("of the plugin"),
    }
    FAULTS["wrapped"].__cause__ = RuntimeError("of a library")
    FAULTS["wrapped"].__cause__.__cause__ = MemoryError()

    def fail(where):
        kind, _, place = os.environ.get("FAULT", "").partition("@")
        if place == where:
            raise FAULTS[kind]

    class Faulty(MeZO):
        def iterate(self, losses):
            if self.t == 2:
                z = self.noise()
                losses(+self.eps * z, -self.eps * z)
                fail("looks")
            shown = super().iterate(losses)
            if self.t == 2:
                fail("move")
            return shown

    class Block(Selector):
        def select(self, context):
            context.note(seen=1)
            fail("select")
            return context.layers(1)

    class Odd(Selector):
        def select(self, context):
            context.note(blocks=context.blocks)
            return context.layers(1)

    @hookimpl
    def zobench_estimators():
        return {"faulty": Faulty}

    @hookimpl
    def zobench_selectors():
        return {"block": Block, "odd": Odd}

    @hookimpl
    def zobench_eval(step):
        fail("eval")
"""


@pytest.fixture
def faulty(tmp_path):
    return load_plugins([plugin_file(tmp_path, FAULTY)])


@pytest.fixture
def events(monkeypatch):
    """What was read, in order: `step`, `dev loss`, `dev`, `test`."""
    seen: list[str] = []

    def spy(cls, method, name):
        original = getattr(cls, method)

        def spied(*args, **options):
            seen.append(name)
            return original(*args, **options)

        monkeypatch.setattr(cls, method, spied)

    spy(PreparedTask, "dev_loss", "dev loss")
    spy(PreparedTask, "dev_score", "dev")
    spy(PreparedTask, "test_score", "test")
    spy(PreparedTask, "train_batch", "batch")
    return seen


def on_disk(results, record):
    return store.find(results, record["id"])


# ---- how a cell may end


def test_a_finished_cell_is_a_whole_record(world, tmp_path):
    (record,) = run(world, tmp_path, ["mezo"], ["layer"], lrs=(1e-3, 1e-2), layer__index=1)
    assert record["status"] == "ok" and record["error"] is None
    assert on_disk(tmp_path, record) == json.loads(json.dumps(record))
    assert [t["lr"] for t in record["trials"]] == [1e-3, 1e-2] == record["cell"]["lrs"]
    assert [[step for step, _ in t["curve"]] for t in record["trials"]] == [[2, 4], [2, 4]]
    tried = [(loss, t["lr"], step) for t in record["trials"] for step, loss in t["curve"]]
    assert (record["chosen"]["lr"], record["chosen"]["step"]) == min(tried)[1:]
    assert record["metrics"]["dev"]["loss"] == min(tried)[0]
    assert {name: score["n"] for name, score in record["metrics"].items()} == {"dev": 6, "test": 5, "zero_shot": 5}
    assert record["scope"]["layers"] == [1] and 0 < record["scope"]["fraction"] < 1 / LAYERS
    assert record["data"]["sizes"] == {"train": 12, "dev": 6, "test": 5}
    files = sorted(p.name.removeprefix(record["id"]) for p in (tmp_path / "cells").iterdir())
    assert files == [".json", ".replay.bin", ".steps.jsonl"]
    curve = [json.loads(line) for line in (tmp_path / "cells" / f"{record['id']}.steps.jsonl").open()]
    assert {(line["lr"], line["step"]) for line in curve if "dev_loss" in line} == {(lr, s) for _, lr, s in tried}


def test_a_record_says_which_test_items_are_of_one_text(world, tmp_path):
    """Of SQuAD's eight items to test on three are of a text that another has; sst2 asks one thing of a sentence."""
    lines = (world.data / "squad" / "validation.jsonl").read_text().splitlines()
    shared = [json.loads(line) | {"context": f"The film won prize {24 + i}. {i % 5}"} for i, line in enumerate(lines)]
    for i, item in enumerate(shared):
        item["context"] = shared[i % 5]["context"]
    data = tmp_path / "data"
    shutil.copytree(world.data, data)
    (data / "squad" / "validation.jsonl").write_text("".join(json.dumps(item) + "\n" for item in shared))
    records = run(
        replace(world, data=data), tmp_path / "runs", ["zero_shot", "mezo"], tasks=("squad", "sst2"), num_test=8
    )
    of = {(r["cell"]["task"], r["cell"]["estimator"]): r for r in records}
    made = of["squad", "mezo"]["metrics"]["test"]["clusters"]
    assert len(made) == 8 and sorted(Counter(made).values()) == [1, 1, 2, 2, 2] and set(made) == set(range(5))
    assert of["squad", "zero_shot"]["metrics"]["test"]["clusters"] == made
    assert of["squad", "mezo"]["metrics"]["zero_shot"]["clusters"] == made
    assert (
        "clusters" not in of["squad", "mezo"]["metrics"]["dev"]
        and "clusters" not in of["sst2", "mezo"]["metrics"]["test"]
    )
    assert on_disk(tmp_path / "runs", of["squad", "mezo"])["metrics"]["test"]["clusters"] == made


@pytest.mark.parametrize(
    ("engine", "fault", "status", "message"),
    [
        *((engine, "error@looks", "error", "ValueError: a fault of the plugin") for engine in ENGINES),
        *((engine, "oom@move", "oom", "MemoryError: no room") for engine in ENGINES),
        ("auto", "exit@move", "error", "SystemExit: 3"),
        ("auto", "oom@select", "oom", "MemoryError: no room"),
        ("auto", "allocator@move", "oom", "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory"),
        ("auto", "allocator@select", "oom", "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory"),
        ("pair", "windows@looks", "oom", "RuntimeError: DefaultCPUAllocator: not enough memory: you tried 8 bytes"),
        ("auto", "cuda@move", "oom", "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"),
        ("auto", "wrapped@move", "oom", "ValueError: of the plugin"),
        ("auto", "base@move", "error", "Strange: of the plugin"),
        ("auto", "base@select", "error", "Strange: of the plugin"),
    ],
)
def test_a_failed_cell_is_a_record_and_the_next_one_runs(
    world, tmp_path, faulty, monkeypatch, engine, fault, status, message
):
    monkeypatch.setenv("FAULT", fault)
    selectors = ["block", "layer"] if fault.endswith("select") else ["layer"]
    estimators = ["mezo"] if fault.endswith("select") else ["faulty", "mezo"]
    made, place = plan(world, tmp_path, estimators, selectors, plugins=faulty, engine=engine, layer__index=1)
    failed, after = carry_out(made, place)
    assert failed["status"] == status
    if status == "oom":
        assert failed["error"].startswith(f"{message}; less memory is taken with batch_size=1 (another protocol), ")
        assert "--dtype bfloat16" in failed["error"]
    else:
        assert failed["error"] == message
    assert failed == on_disk(tmp_path, failed)
    trace = (tmp_path / "cells" / f"{failed['id']}.error.txt").read_text()
    assert "plugin_under_test.py" in trace and message.split(": ")[1] in trace
    assert "test" not in failed["metrics"]
    assert_untouched(made.session.loaded, world)
    (alone,) = run(world, tmp_path / "alone", ["mezo"], ["layer"], engine=engine, layer__index=1)
    assert after["status"] == "ok" and numbers(after) == numbers(alone)


@pytest.mark.parametrize("method", ["lora_zo", "adamw", "sparse_mezo", "hizoo", "zero_shot"])
def test_weights_and_modules_are_as_they_were_after_a_cell(world, tmp_path, method):
    made, place = plan(world, tmp_path, [method], speed_steps=2, speed_warmup=1)
    (record,) = carry_out(made, place)
    assert record["status"] == "ok"
    assert_untouched(made.session.loaded, world)


@pytest.mark.parametrize("lrs", [(1e60,), (1e-3, 1e60), (1e60, 1e-3)])
def test_an_absurd_learning_rate_is_diverged_and_stays_in_the_record(world, tmp_path, events, lrs):
    made, place = plan(world, tmp_path, ["mezo"], lrs=lrs)
    (record,) = carry_out(made, place)
    assert [t["status"] for t in record["trials"]] == ["diverged" if lr == 1e60 else "ok" for lr in lrs]
    wild = next(t for t in record["trials"] if t["lr"] == 1e60)
    assert wild["message"].startswith("at step ") and wild["dev_loss"] is None
    assert_untouched(made.session.loaded, world)
    if lrs == (1e60,):
        assert record["status"] == "diverged" and record["error"].startswith("lr 1e+60: at step ")
        assert "test" not in record["metrics"] and "test" not in events
    else:
        assert record["status"] == "ok" and record["chosen"]["lr"] == 1e-3


@pytest.mark.parametrize("what", ["test", "dev", "zero_shot"])
@pytest.mark.parametrize("method", ["mezo", "zero_shot"])
def test_scores_that_are_no_numbers_are_diverged(world, tmp_path, monkeypatch, what, method):
    name = "dev_score" if what == "dev" else "test_score"
    original, calls = getattr(PreparedTask, name), []

    def nan(self, model, progress=None):
        calls.append(1)
        score = original(self, model, progress)
        hit = what == "dev" or len(calls) == (2 if what == "zero_shot" and method == "mezo" else 1)
        return replace(score, value=math.nan, stderr=math.nan, items=[math.nan] * score.n) if hit else score

    monkeypatch.setattr(PreparedTask, name, nan)
    first, second = run(world, tmp_path, [method, "sparse_mezo"])
    assert first["status"] == "diverged" and "no numbers" in first["error"]
    assert on_disk(tmp_path, first)["status"] == "diverged"
    assert second["status"] in ("ok", "diverged")  # it ran


@pytest.mark.parametrize("where", ["move", "select"])
def test_what_stops_an_executor_goes_on_up_and_leaves_a_record_that_runs_again(
    world, tmp_path, faulty, monkeypatch, where
):
    monkeypatch.setenv("FAULT", f"stopped@{where}")
    made, place = plan(world, tmp_path, ["faulty"], ["block"], plugins=faulty)
    with pytest.raises(GeneratorExit):
        Runner(made.session, tmp_path, Progress(faulty, 1, Console(file=io.StringIO())))(made.todo[0])
    (cut,), problems = store.read(tmp_path)
    assert cut["status"] == "interrupted" and not problems
    assert_untouched(made.session.loaded, world)


def test_a_probe_that_runs_out_of_memory_is_oom(world, tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    monkeypatch.setattr("zobench.run.selection.train", full)
    made, place = plan(world, tmp_path, ["mezo"], ["exhaustive_sweep"])
    (record,) = carry_out(made, place)
    assert record["status"] == "oom" and "; less memory is taken with batch_size=1" in record["error"]
    assert_untouched(made.session.loaded, world)


def test_what_takes_less_memory_is_what_the_cell_does_not_do_yet(world, tmp_path):
    made, _ = plan(world, tmp_path, ["mezo"], ["all"], speed_steps=3)
    assert less_memory(made.todo[0]) == (
        "batch_size=1 (another protocol), eval_batch_size=2, speed_steps=0 (the baseline moves all weights), "
        "engine=flat with restore=arithmetic (no copy of what moves), --dtype bfloat16, a smaller scope (-s layer:0)"
    )
    small = dict(batch_size=1, eval_batch_size=1, restore="arithmetic", engine="flat", dtype="bfloat16")
    made, _ = plan(world, tmp_path, ["mezo"], ["layer:0"], **small)
    assert less_memory(made.todo[0]) == "a smaller model, or a larger machine"


@pytest.mark.parametrize("seen", ["looked", "returned"])
def test_a_loss_that_is_no_number_is_diverged_also_where_it_is_only_returned(world, tmp_path, seen):
    source = f"""
        import torch
        from zobench import hookimpl
        from zobench_plugins.estimators.mezo import MeZO

        class Lost(MeZO):
            def iterate(self, losses):
                shown = super().iterate(losses)
                if self.t == 0 and {seen == "returned"}:
                    return shown * float("nan")
                if self.t == 0:
                    losses(float("inf") * self.noise())
                return shown

        @hookimpl
        def zobench_estimators():
            return {{"lost": Lost}}
    """
    plugins = load_plugins([plugin_file(tmp_path, source)])
    (record,) = run(world, tmp_path, ["lost"], plugins=plugins)
    assert record["status"] == "diverged" and record["error"].startswith("lr 0.001: at step 1: ")


def test_the_curve_is_json_whatever_the_numbers(tmp_path):
    artefacts = Artefacts(tmp_path, "a-cell")
    for value in (1.5, math.nan, math.inf, -math.inf):
        artefacts.log(lr=1e-3, step=1, loss=value)
    artefacts._steps.close()

    def strict(constant):
        raise AssertionError(f"{constant} is no JSON")

    lines = artefacts.files.steps.read_text().splitlines()
    assert [json.loads(line, parse_constant=strict)["loss"] for line in lines] == [1.5, None, None, None]


@pytest.mark.parametrize("where", ["looks", "move", "eval", "select"])
def test_an_interrupt_leaves_a_record_and_the_cell_runs_again_to_the_same_numbers(
    world, tmp_path, faulty, monkeypatch, where
):
    want = run(world, tmp_path / "whole", ["mezo", "faulty"], ["block"], plugins=faulty)
    monkeypatch.setenv("FAULT", f"interrupted@{where}")
    only = ["faulty"] if where in ("looks", "move") else ["mezo"]
    made, place = plan(world, tmp_path / "cut", only, ["block"], plugins=faulty)
    with pytest.raises(KeyboardInterrupt):
        carry_out(made, place)
    (cut,), problems = store.read(tmp_path / "cut")
    assert cut["status"] == "interrupted" and not problems
    assert cut["selection"] == {"seen": 1}
    assert_untouched(made.session.loaded, world)
    monkeypatch.delenv("FAULT")
    again = run(world, tmp_path / "cut", ["mezo", "faulty"], ["block"], plugins=faulty)
    assert len(again) == 2 and cut["id"] in {r["id"] for r in again}
    assert [numbers(r) for r in again] == [numbers(r) for r in want]


def test_a_note_that_is_no_json_fails_its_cell_alone(world, tmp_path, faulty):
    odd, after = run(world, tmp_path, ["mezo"], ["odd", "block"], plugins=faulty)
    assert odd["status"] == "error" and "context.note(blocks=...)" in odd["error"]
    assert after["status"] == "ok"


# ---- which cells run


def test_done_cells_are_not_run_again_unless_asked(world, tmp_path, faulty, monkeypatch):
    def todo(rerun):
        return [c.estimator for c in plan(world, tmp_path, ["faulty", "mezo"], plugins=faulty, rerun=rerun)[0].todo]

    assert todo("missing") == ["faulty", "mezo"]
    monkeypatch.setenv("FAULT", "error@move")
    run(world, tmp_path, ["faulty", "mezo"], plugins=faulty)
    assert todo("missing") == []
    assert todo("failed") == ["faulty"]
    assert todo("always") == ["faulty", "mezo"]
    monkeypatch.delenv("FAULT")
    (mended,) = run(world, tmp_path, ["faulty", "mezo"], plugins=faulty, rerun="failed")
    assert mended["status"] == "ok" == on_disk(tmp_path, mended)["status"]
    assert not (tmp_path / "cells" / f"{mended['id']}.error.txt").exists()
    assert todo("failed") == []


def test_a_cell_run_always_gives_the_same_numbers(world, tmp_path):
    first = run(world, tmp_path, ["mezo", "lora_zo"], seeds=(0, 1))
    second = run(world, tmp_path, ["mezo", "lora_zo"], seeds=(0, 1), rerun="always")
    assert [numbers(r) for r in first] == [numbers(r) for r in second]
    assert len({r["metrics"]["dev"]["loss"] for r in first}) == 4


def test_cells_go_task_by_task(world, tmp_path):
    made, _ = plan(world, tmp_path, ["zero_shot", "mezo"], ["all", "layer:1"], ["sst2", "copa"], seeds=(0, 1))
    assert [c.task for c in made.todo] == ["sst2"] * 5 + ["copa"] * 5
    assert [c.estimator for c in made.todo[:5]] == ["zero_shot"] + ["mezo"] * 4


def test_an_unreadable_record_counts_as_missing_and_is_told_of(world, tmp_path, capsys):
    (record,) = run(world, tmp_path, ["mezo"])
    path = tmp_path / "cells" / f"{record['id']}.json"
    path.write_text(path.read_text()[:200])
    (again,) = run(world, tmp_path, ["mezo"])
    assert numbers(again) == numbers(record)
    warning = capsys.readouterr().err
    assert "warning" in warning and path.name in warning and warning.count("\n") == 1


# ---- what is read, and when


def test_test_is_read_once_a_cell_after_training_and_the_untouched_model_once_a_task(world, tmp_path, events):
    run(world, tmp_path, ["mezo", "adamw"], tasks=["sst2", "copa"], lrs=(1e-3, 1e-4))
    cell = ["batch", "batch", "dev loss"] * 4 + ["dev", "test"]
    task = [*cell, "test", *cell]
    assert events == task * 2


def test_the_untouched_score_is_that_of_a_zero_shot_cell(world, tmp_path):
    zero, mezo, lora = run(world, tmp_path, ["zero_shot", "mezo", "lora_zo"], tasks=["copa"])
    assert zero["metrics"]["test"] == zero["metrics"]["zero_shot"]
    assert mezo["metrics"]["zero_shot"] == lora["metrics"]["zero_shot"] == zero["metrics"]["test"]
    (alone,) = run(world, tmp_path / "alone", ["lora_zo"], tasks=["copa"])
    assert alone["metrics"] == lora["metrics"]
    assert alone["forwards"] == lora["forwards"]  # the score is counted also where it was taken before
    assert mezo["forwards"]["eval"] - zero["forwards"]["eval"] == 4 - 2 + 2  # test twice and dev losses, to dev's score


def test_test_items_change_nothing_but_the_test_scores(world, tmp_path):
    """Other test items altogether: selection, trials and choice stay, to the last bit."""
    other = save_data(tmp_path / "data")
    lines = [json.dumps({"sentence": f"terrible, {i} times awful", "label": 0}) for i in range(8)]
    (other / "sst2" / "validation.jsonl").write_text("\n".join(lines))
    settings = {"exhaustive_sweep__steps": 2, "exhaustive_sweep__by": "dev_metric"}
    (one,) = run(world, tmp_path / "one", ["mezo"], ["exhaustive_sweep"], **settings)
    (two,) = run(World(world.model, other), tmp_path / "two", ["mezo"], ["exhaustive_sweep"], **settings)
    assert one["cell"]["data_revision"] != two["cell"]["data_revision"]
    for key in ("selection", "trials", "chosen", "scope"):
        assert one[key] == two[key]
    assert one["metrics"]["dev"] == two["metrics"]["dev"]


def test_a_selector_sees_training_items_and_no_test_item(world, tmp_path, events):
    run(world, tmp_path, ["mezo"], ["exhaustive_sweep"], exhaustive_sweep__steps=2, exhaustive_sweep__by="dev_metric")
    selecting = ["batch", "batch", "dev loss", "dev"] * LAYERS
    assert events[: len(selecting)] == selecting
    public = {name for name in dir(Context) if not name.startswith("_")}
    assert public == {"blocks", "calibration", "count", "everything", "layers", "loss", "note", "probe"}


def test_calibration_is_the_training_order(world, tmp_path):
    made, _ = plan(world, tmp_path, ["mezo"])
    cell = made.todo[0]
    prepared, _ = made.session.prepared("sst2", cell.protocol)
    loaded = made.session.loaded
    context = Context(loaded, prepared, None, cell.protocol, lr=1e-3, seed=0, progress=str)
    whole = [b.input_ids for b in context.calibration(4, 3)]
    text = [loaded.tokenizer.decode(row, skip_special_tokens=True) for ids in whole for row in ids]
    assert len(set(text)) == 24  # 12 training items, two candidates each: one epoch
    assert not {t for t in text for i in range(24, 32) if f"film {i} " in t}
    assert set(vars(context)) == {
        "loaded", "seed", "forwards", "facts", "_prepared", "_method", "_protocol", "_lr", "_progress", "_guard"
    }  # fmt: skip
    with pytest.raises(ZobenchError, match="has decoder blocks 0 to 2, not 3"):
        context.layers(3)
    with pytest.raises(ZobenchError, match="no decoder blocks"):
        context.layers()


# ---- what is chosen


def test_the_engine_is_chosen_once_a_cell_and_is_that_of_every_rate_of_the_reading_and_of_the_record(
    world, tmp_path, monkeypatch
):
    """Memory comes and goes between learning rates; `auto` may not."""
    choices, used = iter([Choice("flat", "arithmetic"), Choice("pair", "exact"), Choice("flat", "exact")] * 5), []
    original = runner_module.applied

    @contextmanager
    def spied(*args, **options):
        with original(*args, **options) as on:
            used.append((on.info["engine"], on.info["restore"]))
            yield on

    monkeypatch.setattr("zobench.run.method.choose", lambda *_args, **_options: next(choices))
    monkeypatch.setattr(runner_module, "applied", spied)
    (record,) = run(world, tmp_path, ["mezo"], lrs=(1e-3, 1e-2, 1e-1), dtype="bfloat16")
    assert record["status"] == "ok" and len(record["trials"]) == 3
    assert used == [("flat", "arithmetic")] * 4  # three rates and the reading
    assert (record["engine"]["engine"], record["engine"]["restore"]) == used[0]


def test_a_rate_is_gone_before_the_next_one_is_put_on(world, tmp_path, monkeypatch):
    """Buffers and copies of one rate beside those of the next would double what a cell takes."""
    original, alive = runner_module.applied, []

    @contextmanager
    def spied(*args, **options):
        assert not [e for e in (ref() for ref in alive) if e is not None], "an estimator of an earlier rate lives"
        with original(*args, **options) as on:
            alive.append(weakref.ref(on.estimator))
            yield on

    monkeypatch.setattr(runner_module, "applied", spied)
    (record,) = run(world, tmp_path, ["zo_adam"], lrs=(1e-3, 1e-2, 1e-4))
    assert record["status"] == "ok", record["error"]
    assert len(alive) == 4


# ---- what is counted


@pytest.mark.parametrize(
    ("estimator", "selector", "settings", "want"),
    [
        ("mezo", "all", {}, {"train": 8}),
        ("mezo", "all", {"rows": "replicated"}, {"train": 8}),
        ("fzoo", "all", {"fzoo__n": 3}, {"train": 16}),
        ("adamw", "layer", {}, {"train": 4, "backward": 4}),
        ("lora_zo", "layer", {"speed_steps": 3, "speed_warmup": 4}, {"train": 8, "speed": (7 + 2) * 4}),
        ("mezo", "first_outlier", {"first_outlier__rule": "ratio", "first_outlier__ratio": "0.01",
                                   "first_outlier__batches": 3}, {"train": 8, "calibration": 3}),
        ("mezo", "exhaustive_sweep", {"exhaustive_sweep__steps": 2}, {"train": 8, "probe": LAYERS * (2 * 2 + 1)}),
        ("mezo", "exhaustive_sweep", {"exhaustive_sweep__steps": 2, "exhaustive_sweep__by": "dev_metric"},
         {"train": 8, "probe": LAYERS * (2 * 2 + 1 + 2)}),
        ("zero_shot", "all", {}, {}),
    ],
)  # fmt: skip
def test_forwards_by_purpose_are_those_that_were_made(
    world, tmp_path, estimator, selector, settings, want, monkeypatch
):
    index = {"layer__index": 1} if selector == "layer" else {}
    made, place = plan(world, tmp_path, [estimator], [selector], **index, **settings)
    calls: list[int] = []
    assert made.session.loaded.capabilities.packs  # measured now, by forwards that no cell counts
    made.session.loaded.model.model.register_forward_pre_hook(lambda *_: calls.append(1))
    monkeypatch.setattr(
        "zobench.run.train.points_together", lambda *_: False
    )  # so that each look is a call of the model
    uncounted(monkeypatch, "zobench.run.prefix.cut_at", calls)  # a few tokens
    (record,) = carry_out(made, place)
    assert record["status"] == "ok"
    trained = estimator != "zero_shot"
    # 6 dev and 5 test items of two candidates each: 8 rows in a forward, or each in its own
    dev, test = (2 * 6, 2 * 5) if settings.get("rows") == "replicated" else (2, 2)
    evaluated = (2 + dev + test if trained else dev) + test  # dev losses, dev, test, the untouched model's test
    forwards = {k: v for k, v in record["forwards"].items() if v}
    assert forwards == {**want, "eval": evaluated}
    assert len(calls) == sum(n for purpose, n in forwards.items() if purpose != "backward")


def uncounted(monkeypatch, name, calls):
    """Let the function of this name make calls that leave no trace in `calls`."""
    module, _, function = name.rpartition(".")
    original = getattr(import_module(module), function)

    def trial(*args):
        before = len(calls)
        try:
            return original(*args)
        finally:
            del calls[before:]

    monkeypatch.setattr(name, trial)


# ---- who hears of it


def test_observers_are_called(world, tmp_path):
    source = """
        from zobench import hookimpl

        SEEN = []

        @hookimpl
        def zobench_run_start(cells):
            SEEN.append(("start", [c["estimator"] for c in cells]))

        @hookimpl
        def zobench_step(cell, step, lr, loss):
            SEEN.append(("step", cell["estimator"], step, lr, type(loss)))

        @hookimpl
        def zobench_eval(cell, step, lr, dev_loss):
            SEEN.append(("eval", cell["estimator"], step, lr, dev_loss))

        @hookimpl
        def zobench_run_end(records):
            SEEN.append(("end", [r["status"] for r in records]))
    """
    plugins = load_plugins([plugin_file(tmp_path, source)])
    (seen,) = [p.SEEN for p in plugins._manager.get_plugins() if hasattr(p, "SEEN")]
    _, mezo = run(world, tmp_path, ["zero_shot", "mezo"], plugins=plugins, steps=12, eval_every=6)
    curve = mezo["trials"][0]["curve"]
    assert seen == [
        ("start", ["zero_shot", "mezo"]),
        ("step", "mezo", 1, 1e-3, float),
        ("eval", "mezo", 6, 1e-3, curve[0][1]),
        ("step", "mezo", 10, 1e-3, float),
        ("eval", "mezo", 12, 1e-3, curve[1][1]),
        ("end", ["ok", "ok"]),
    ]


def test_an_observer_that_raises_disturbs_nothing(world, tmp_path, faulty, monkeypatch, capsys):
    (want,) = run(world, tmp_path / "a", ["mezo"], plugins=faulty)
    monkeypatch.setenv("FAULT", "error@eval")
    (got,) = run(world, tmp_path / "b", ["mezo"], plugins=faulty)
    assert numbers(got) == numbers(want)
    assert capsys.readouterr().err.count("zobench_eval raised") == 1


# ---- the disk


def test_a_record_that_cannot_be_written_is_one_clear_error(world, tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runner_module.store, "write", full)
    made, place = plan(world, tmp_path, ["mezo"])
    with pytest.raises(ZobenchError, match="cannot write the record of sst2-mezo.*No space left"):
        carry_out(made, place)
    assert_untouched(made.session.loaded, world)


def test_a_model_in_half_precision_is_untouched_too(world, tmp_path):
    made, place = plan(world, tmp_path, ["mezo"], dtype="bfloat16", engine="flat", restore="arithmetic")
    before = weights(made.session.loaded)
    (record,) = carry_out(made, place)
    assert record["status"] == "ok" and record["engine"]["restore"] == "arithmetic"
    assert all(torch.equal(p, before[n]) for n, p in made.session.loaded.model.named_parameters())


def test_a_record_says_what_is_not_verified(world, tmp_path):
    verified, guessed = run(world, tmp_path, ["mezo", "agzo"], ["random_layers"])
    assert verified["status"] == guessed["status"] == "ok"
    assert (verified["unverified"], guessed["unverified"]) == (["random_layers"], ["agzo", "random_layers"])
    (plain,) = run(world, tmp_path, ["mezo"], ["all"])
    assert "unverified" not in plain


def test_a_sum_is_verified_where_its_parts_are(world, tmp_path):
    sure, guessed = run(world, tmp_path, ["mezo"], ["layer:0+layer:1", "layer:0+random_layers"])
    assert "unverified" not in sure and guessed["unverified"] == ["layer:0+random_layers"]


def test_a_record_says_what_the_last_block_passed_over(world, tmp_path):
    for parameterisation, said in (("full", "answers"), ("prefix", None)):
        told = {"layer__index": LAYERS - 1, "parameterisation": parameterisation}
        (record,) = run(world, tmp_path / parameterisation, ["mezo"], ["layer"], **told)
        assert record["status"] == "ok" and record["engine"].get("last_block") == said


# ---- whose seed, and which of equals


def test_selectors_have_the_seed_of_the_cell(world, tmp_path, monkeypatch):
    seeds: list[int] = []
    made, place = plan(world, tmp_path / "told", ["mezo"], seeds=(5,))

    class Told(runner_module.Context):
        def __init__(self, *args, **options):
            seeds.append(options["seed"])
            super().__init__(*args, **options)

    monkeypatch.setattr(runner_module, "Context", Told)
    carry_out(made, place)
    assert seeds == [5]


def test_further_batches_are_not_those_of_the_steps(world, tmp_path):
    made, _ = plan(world, tmp_path, ["mezo"])
    cell, loaded = made.todo[0], made.session.loaded
    prepared, _ = made.session.prepared("sst2", cell.protocol, "replicated")
    feed = Feed(loaded, prepared, 3, seed=0)
    own = [feed.objective() for _ in range(4)]
    further = own[0].fresh().batch, own[1].fresh().batch
    assert not any(same_batch(f, o.batch) for f, o in zip(further, own, strict=False))
    orders = Feed(loaded, prepared, 3, seed=0)
    assert [next(orders.order) for _ in range(4)] != [next(orders.extra_order) for _ in range(4)]


def same_batch(a, b):
    return a.input_ids.shape == b.input_ids.shape and torch.equal(a.input_ids, b.input_ids)


def ended(lr, loss, status="ok"):
    return Trained(lr, status=status, best_loss=loss, best_step=2)


def test_a_run_that_diverged_after_a_checkpoint_is_never_chosen_and_of_equals_the_first_is():
    better = runner_module._better
    assert not better(ended(1e-3, 0.1, "diverged"), None)
    assert not better(ended(1e-3, 0.1, "diverged"), ended(1e-4, 0.9))
    assert not better(ended(1e-3, None), None)
    assert better(ended(1e-3, 0.5), None) and better(ended(1e-3, 0.4), ended(1e-4, 0.5))
    assert not better(ended(1e-3, 0.5), ended(1e-4, 0.5))


def test_a_diverged_rate_with_the_lowest_loss_is_not_read(world, tmp_path, monkeypatch):
    original = runner_module.train

    def spoilt(*args, lr, **options):
        out = original(*args, lr=lr, **options)
        if lr == 1e-2:
            out.status, out.message, out.best_loss = "diverged", "at step 4: the loss is nan", 1e-9
        else:
            out.best_loss = 0.5
        return out

    monkeypatch.setattr(runner_module, "train", spoilt)
    (record,) = run(world, tmp_path, ["mezo"], lrs=(1e-2, 1e-3, 1e-4))
    assert record["status"] == "ok" and record["chosen"]["lr"] == 1e-3


def test_the_first_steps_are_left_out_of_the_medians():
    def phase(s):
        return {"forward_s": s, "perturb_s": s, "update_s": s, "step_s": s}

    slow = Trained(1e-3, phases=[phase(100.0)] * 3 + [phase(1.0), phase(2.0)])
    assert slow.medians()["step_s"] == 1.5
    assert Trained(1e-3, phases=[phase(100.0)]).medians()["step_s"] == 100.0


def test_copies_stay_on_the_device_where_four_more_fit(world, tmp_path, monkeypatch):
    loaded = plan(world, tmp_path, ["mezo"])[0].session.loaded
    monkeypatch.setattr("zobench.run.method.free_bytes", lambda device: 401)
    made: list[dict[str, object]] = []

    class Seen:
        def clone(self):
            made.append({"clone": True})

        def to(self, *where, **how):
            made.append({"to": where, **how})

    for size in (100, 101, 400):
        keeper(loaded, size)(Seen())
    assert made == [{"clone": True}, {"to": ("cpu",), "copy": True}, {"to": ("cpu",), "copy": True}]
