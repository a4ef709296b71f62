"""How a cell may end, and what every end leaves behind: a record, its files, and the model as it was."""

from __future__ import annotations

import io
import re
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from kits.matrix import named
from kits.run_kit import (
    assert_untouched,
    carry_out,
    numbers,
    on_disk,
    plan,
    run,
    weights,
)
from rich.console import Console

from zobench.engine import ENGINES
from zobench.errors import ZobenchError
from zobench.plugins import declared
from zobench.report import store
from zobench.run import cell_runner as runner_module
from zobench.run.cell_runner import Runner
from zobench.run.memory_account import ONE_BLOCK
from zobench.run.outcome import less_memory
from zobench.run.progress import Progress


@pytest.fixture(scope="module")
def alone(world, tmp_path_factory):
    """By engine the numbers of the cell that runs after the failed one, where it is the only one."""

    @cache
    def of(engine):
        (record,) = run(world, tmp_path_factory.mktemp("alone"), ["mezo"], ["layer"], engine=engine, layer__index=1)
        return numbers(record)

    return of


ENDS = [
    ("error@looks", "error", "ValueError: a fault of the plugin"),
    ("oom@move", "oom", "MemoryError: no room"),
]


@pytest.mark.parametrize(
    ("engine", "fault", "status", "message"),
    [
        *named(
            [(engine, *end) for engine in ENGINES for end in ENDS],
            [(engine, *ENDS[i % 2]) for i, engine in enumerate(ENGINES)],
        ),
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
    world, tmp_path, faulty, monkeypatch, alone, engine, fault, status, message
):
    monkeypatch.setenv("FAULT", fault)
    selectors = ["block", "layer"] if fault.endswith("select") else ["layer"]
    estimators = ["mezo"] if fault.endswith("select") else ["faulty", "mezo"]
    made, place = plan(world, tmp_path, estimators, selectors, plugins=faulty, engine=engine, layer__index=1)
    failed, after = carry_out(made, place)
    assert failed["status"] == status
    if status == "oom" and fault.endswith("select"):  # what moves was not known yet: there is no account of its memory
        ways = less_memory(made.todo[0], declared.known(made.plugins))
        assert "batch_size=1 (another protocol)" in ways and "--dtype bfloat16" in ways
        assert failed["error"] == f"{message}; less memory is taken with {ways}"
    elif status == "oom":
        assert failed["error"].startswith(f"{message}; planned were ")
        mends = failed["error"].partition("; less memory is taken with ")[2]
        assert re.search(r"batch_size=1 \(another protocol\) \([\d.]+ .iB less\)", mends)
        assert re.search(r"--dtype bfloat16 \([\d.]+ .iB less\)", mends)
    else:
        assert failed["error"] == message
    assert failed == on_disk(tmp_path, failed)
    trace = (tmp_path / "cells" / f"{failed['id']}.error.txt").read_text()
    assert "plugin_under_test.py" in trace and message.split(": ")[1] in trace
    assert "test" not in failed["metrics"]
    assert_untouched(made.session.loaded, world)
    assert after["status"] == "ok" and numbers(after) == alone(engine)


@pytest.mark.parametrize("method", ["lora_zo", "adamw", "sparse_mezo", "hizoo", "zero_shot"])
def test_weights_and_modules_are_as_they_were_after_a_cell(world, tmp_path, method):
    made, place = plan(world, tmp_path, [method], speed_steps=2, speed_warmup=1)
    (record,) = carry_out(made, place)
    assert record["status"] == "ok"
    assert_untouched(made.session.loaded, world)


def test_a_model_in_half_precision_is_untouched_too(world, tmp_path):
    made, place = plan(world, tmp_path, ["mezo"], dtype="bfloat16", engine="flat", restore="arithmetic")
    before = weights(made.session.loaded)
    (record,) = carry_out(made, place)
    assert record["status"] == "ok" and record["engine"]["restore"] == "arithmetic"
    assert all(torch.equal(p, before[n]) for n, p in made.session.loaded.model.named_parameters())


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
    assert record["status"] == "oom" and "batch_size=1 (another protocol)" in record["error"]
    assert_untouched(made.session.loaded, world)


def test_what_takes_less_memory_is_what_the_cell_does_not_do_yet(world, tmp_path):
    made, _ = plan(world, tmp_path, ["mezo"], ["all"], speed_steps=3)
    assert less_memory(made.todo[0], declared.known(made.plugins)) == (
        "batch_size=1 (another protocol), eval_batch_size=2, speed_steps=0 (the baseline moves all weights), "
        "engine=flat with restore=arithmetic (no copy of what moves), --dtype bfloat16, a smaller scope (-s layer:0)"
    )
    small = dict(batch_size=1, eval_batch_size=1, restore="arithmetic", engine="flat", dtype="bfloat16")
    made, _ = plan(world, tmp_path, ["mezo"], ["layer:0"], **small)
    assert less_memory(made.todo[0], declared.known(made.plugins)) == "a smaller model, or a larger machine"


def test_what_takes_less_memory_by_the_account_is_what_takes_most_off_first(world, tmp_path):
    account = SimpleNamespace(ways={"--dtype bfloat16": 2**30, ONE_BLOCK: 3 * 2**30})
    named = f"{ONE_BLOCK} (-s layer:0) (3.0 GiB less), --dtype bfloat16 (1.0 GiB less)"
    for steps, more in ((3, ", speed_steps=0 (the baseline moves all weights)"), (0, "")):
        made, _ = plan(world, tmp_path, ["mezo"], ["all"], speed_steps=steps)
        assert less_memory(made.todo[0], declared.known(made.plugins), account) == named + more


@pytest.mark.parametrize("where", named(["looks", "move", "eval", "select"], ["move", "select"]))
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


def test_a_record_that_cannot_be_written_is_one_clear_error(world, tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runner_module.store, "write", full)
    made, place = plan(world, tmp_path, ["mezo"])
    with pytest.raises(ZobenchError, match="the record of sst2-mezo.* cannot be written: No space left.*mend that"):
        carry_out(made, place)
    assert_untouched(made.session.loaded, world)
