"""`zobench bench`: its models, batches, sides, interleaving, cost model, tables and JSON. No test looks at a speed."""

import dataclasses
import json
import math
import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import typer

from zobench.bench import lengths, random_models, report, work
from zobench.bench.ceilings import Ceilings, ceilings
from zobench.bench.further import further
from zobench.bench.measure import PHASES, Timed, measure
from zobench.bench.minutes import planned, step_s
from zobench.bench.sides import (
    BASELINES,
    OFFICIAL_FULL,
    OFFICIAL_LAYER,
    Side,
    Timing,
    filled_cache,
    objective,
    sides,
    standing,
)
from zobench.cli import bench_picture, main
from zobench.cli.bench import DEFAULT_TASKS, ModelOptions, bench
from zobench.errors import ZobenchError
from zobench.models.shapes import SHAPES
from zobench.plugins.registry import load_plugins
from zobench.protocol.protocol import Computation
from zobench.report.cost_model import fit
from zobench.run.device_pace import Pace

TINY = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=2,
    num_key_value_heads=1,
    vocab_size=128,
    max_position_embeddings=512,
)
MADE = [lengths.Lengths(9, (1, 1), 0), lengths.Lengths(14, (3, 2), 1), lengths.Lengths(5, (2, 4), 0)]


@pytest.fixture(autouse=True)
def tiny_shape(monkeypatch):
    monkeypatch.setattr(random_models, "SHAPES", {"ci": ("llama", TINY, 1), "qwen3-8b": ("qwen3", TINY, 2)})


@pytest.fixture
def loaded():
    return random_models.random_model("ci", dtype="float32", device="cpu")


@pytest.fixture
def mezo():
    return load_plugins().estimator("mezo")


def a_task(loaded, loss="classification", batches=4):
    return work.made_up("sst2", loss, MADE, loaded, batch_size=3, batches=batches)


# ---- models and batches


def test_random_weights_are_a_function_of_the_seed(loaded):
    again, other = (random_models.random_model("ci", dtype="float32", device="cpu", seed=seed) for seed in (0, 1))
    pairs = list(zip(loaded.model.parameters(), again.model.parameters(), other.model.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs) and not all(torch.equal(a, c) for a, _, c in pairs)
    ids = torch.arange(20)[None]
    assert torch.equal(loaded.model(input_ids=ids).logits, again.model(input_ids=ids).logits)
    assert not loaded.model.training and len(loaded.blocks) == 3


def test_lengths_are_there_for_every_built_in_task():
    tasks = lengths.measured_tasks()
    assert set(tasks) == set(load_plugins().names("tasks")) and lengths.source()
    for name in tasks:
        found = lengths.shipped(name)
        assert len(found) >= 30 and all(one.prompt > 1 and min(one.options) >= 1 for one in found)
        assert all(0 <= one.gold < len(one.options) for one in found)


def test_batches_have_the_lengths_asked_for(loaded):
    made = a_task(loaded)
    assert [batch.examples for batch in made.batches] == [3] * 4
    (batch, *_) = made.batches
    assert batch.attention_mask.sum(1).tolist() == [10, 10, 17, 16, 7, 9]
    assert batch.option_len.tolist() == [1, 1, 3, 2, 2, 4] and batch.labels.tolist() == [0, 1, 0]
    prompts = [row[row.shape[0] - n : row.shape[0] - o] for row, n, o in
               zip(batch.input_ids, (10, 10, 17, 16, 7, 9), batch.option_len, strict=True)]  # fmt: skip
    assert all(torch.equal(prompts[i], prompts[i + 1]) for i in (0, 2, 4))
    assert made.padded_tokens == 6 * 24 and made.rows == "packed"
    assert (
        made.unique_tokens == 9 + (16 + 15) + (6 + 8)
        and made.unique_tokens <= made.engine_tokens < 2 * made.unique_tokens
    )


def test_a_loss_of_the_gold_option_has_its_row_alone(loaded):
    made = a_task(loaded, "option")
    assert made.batches[0].option_len.tolist() == [1, 2, 2] and made.batches[0].shared.tokens == 9 + 15 + 6


@pytest.mark.parametrize("loss", ["classification", "option"])
def test_both_losses_are_the_same_up_to_rounding(loaded, loss):
    made = a_task(loaded, loss)
    for batch in made.batches:
        official = objective(OFFICIAL_FULL, made, loaded, batch)()
        ours = objective(Side("flat", "full", True), made, loaded, batch)()
        assert float(ours) == pytest.approx(float(official), rel=1e-6)


def test_the_official_loss_asks_for_logits_at_all_positions_and_ours_does_not(loaded):
    """Else the baseline that everything is compared with would be too fast."""
    made, seen = a_task(loaded), []
    loaded.model.register_forward_hook(lambda module, args, output: seen.append(output.logits.shape[:2].numel()))
    objective(OFFICIAL_FULL, made, loaded, made.batches[0])()
    assert seen == [made.batches[0].input_ids.numel()]
    objective(Side("flat", "full", True), made, loaded, made.batches[0])()
    assert seen[1] < seen[0]


def test_a_ratio_is_how_many_times_as_long_the_baseline_takes(loaded):
    fast, slow = timed(Side("flat", "layer", True), [0.5], 10), timed(OFFICIAL_FULL, [4.0], 100)
    one = report.TaskMeasurement(a_task(loaded), [fast, slow])
    assert one.ratio(fast, OFFICIAL_FULL) == 8 and one.ratio(slow, OFFICIAL_FULL) == 1
    assert one.ratio(fast, OFFICIAL_LAYER) is None


# ---- sides


def test_every_engine_stands_on_every_scope_beside_the_baselines():
    names = [side.name for side in sides(["auto", "flat"], ("full", "layer"))]
    assert names == [
        "official full",
        "official layer",
        "official layer, our forward",
        "auto full",
        "flat full",
        "auto layer",
        "flat layer",
    ]
    assert sides(["auto"], ("layer",)) == [*BASELINES, Side("auto", "layer", True)]


@pytest.mark.parametrize("side", [*BASELINES, Side("auto", "layer", True), Side("auto", "full", True)])
def test_a_side_moves_nothing(side, loaded, mezo):
    made, before = a_task(loaded), {n: p.clone() for n, p in loaded.model.named_parameters()}
    with standing(side, Timing(loaded, mezo, 1, Computation(rows="packed"))) as (estimator, engine):
        for batch in made.batches:
            estimator.step(objective(side, made, loaded, batch))
        names = {handle.name for handle in estimator.handles}
    layer = set(loaded.blocks[1].parameter_names())
    assert names == (layer if side.scope == "layer" else set(before))
    assert engine == {"auto": "pair" if side.scope == "layer" else "flat"}.get(side.engine, side.engine)
    after = dict(loaded.model.named_parameters())
    assert all(torch.equal(before[n], after[n]) for n in set(before) - names)
    exact = side.engine != "official"
    for n in names:
        torch.testing.assert_close(after[n], before[n], rtol=0, atol=0 if exact else 1e-6)


def test_all_sides_see_the_same_losses(loaded, mezo):
    """Same seed, same z: what official and our engines see on a layer differs by rounding alone."""
    made, seen = a_task(loaded), []
    for side in (*BASELINES[1:], Side("auto", "layer", True), Side("flat", "layer", True)):
        with standing(side, Timing(loaded, mezo, 1, Computation(rows="packed", noise="official"))) as (estimator, _):
            cache, seconds = filled_cache(side, made, Timing(loaded, mezo, 1, Computation()))
            assert (cache is None) == (side in BASELINES) == (seconds == 0.0)
            looks = [objective(side, made, loaded, batch, cache) for batch in made.batches]
            seen.append([float(estimator.step(look)) for look in looks])
    for others in seen[1:]:
        assert others == pytest.approx(seen[0], rel=1e-5)


def test_further_rows_are_of_any_method_on_any_selector_s_scope(loaded):
    """Of a block's channels 1 %, at least one: the entries that move are masked."""
    given = {"outlier_channels.index": "1", "sparse_mezo.sparsity": "0.5"}
    names = ["sparse_mezo/all", "mezo/outlier_channels:top"]
    rows = further(names, given, load_plugins(), loaded, a_task(loaded))
    assert list(rows) == names and rows[names[0]].settings["sparsity"] == 0.5
    channels = rows[names[1]].scope
    assert channels.layers == (1,) and 0 < channels.numel() < 0.05 * loaded.blocks[1].numel()
    timing = Timing(loaded, load_plugins().estimator("mezo"), 1, Computation(noise="philox"), rows)
    compared = sides(["auto"], ("full",), names)
    assert [s.name for s in compared if "/" in s.scope] == [
        f"{e} {name}" for name in names for e in ("official", "auto")
    ]
    made = measure([s for s in compared if "/" in s.scope], a_task(loaded), timing, steps=1, warmup=0)
    assert [one.numel for one in made[:2]] == [loaded.parameters] * 2
    assert made[3].first_block == 1 and made[2].first_block == 0  # the official order has no prefix cache
    for one in made:
        assert one.median("step_s") > 0


@pytest.mark.parametrize(
    ("names", "given", "fault"),
    [
        (["mezo"], {}, "write ESTIMATOR/SELECTOR"),
        (["zero_shot/all"], {}, "makes no steps"),
        (["mezo/exhaustive_sweep"], {}, "without probes"),
        (["mezo/layer:9"], {}, "blocks"),
        (["mezo/all"], {"epss": "1"}, "eps"),
        ([], {"eps": "1"}, "--also"),
    ],
)
def test_rows_that_cannot_be_timed_are_told(loaded, names, given, fault):
    with pytest.raises(ZobenchError, match=fault) as told:
        further(names, given, load_plugins(), loaded, a_task(loaded))
    assert "\n" not in str(told.value)


def test_as_many_steps_are_planned_as_there_is_time_for(loaded, mezo):
    """By the account of a dry run: two forwards and four passes of the official order, which has no cache."""
    timing, made = Timing(loaded, mezo, 1, Computation()), a_task(loaded)
    pace = Pace("x", 1.0, 0.0, {"drawn": 3.0, "kept": 1.0, "fused": 1.0, "official": 1e-3})
    one = step_s(OFFICIAL_FULL, timing, made, loaded, pace, "per_tensor")
    assert one == pytest.approx(2 * 1.0 + 4 * 1e-3 * loaded.parameters)
    layer = step_s(Side("flat", "layer", True), timing, made, loaded, pace, "per_tensor")
    below = 1 / len(loaded.blocks)
    assert layer == pytest.approx(2 * (1 - below) + (3 + 2) * loaded.blocks[1].numel())
    sizes = dict(steps=30, warmup=3)
    plan = planned([OFFICIAL_FULL], timing, [made], loaded, pace, "per_tensor", **sizes, minutes=12 * one / 60)
    assert plan.steps == 6 and plan.fits and plan.seconds["sst2"] == pytest.approx((3 + 1 + 6 + 2) * one)
    assert "6 steps of each, not 30" in plan.line(1.0, 30)
    more = planned([OFFICIAL_FULL], timing, [made], loaded, pace, "per_tensor", **sizes, minutes=13.5 * one / 60)
    assert more.steps == 7, "one step more, and no warming up more"
    both = [OFFICIAL_FULL, Side("flat", "layer", True)]  # the second fills a prefix cache before its first step
    cached = planned(both, timing, [made], loaded, pace, "per_tensor", **sizes, minutes=1e9)
    assert cached.seconds["sst2"] == pytest.approx((3 + 1 + 30 + 6) * (one + layer) + (len(made.batches) + 1) * 1.0)
    none = planned([OFFICIAL_FULL], timing, [made], loaded, pace, "per_tensor", **sizes, minutes=0.001)
    assert none.steps == 1 and not none.fits and "more than there is" in none.line(0.001, 30)


# ---- measuring


def test_steps_are_interleaved_and_warm_up_is_not_counted(loaded, mezo):
    told = []
    found = measure(
        sides(["auto"], ("full", "layer")),
        a_task(loaded),
        Timing(loaded, mezo, 1, Computation()),
        steps=7,
        warmup=2,
        progress=told.append,
    )
    assert [len(one.phases) for one in found] == [7] * 5
    turns = [re.fullmatch(r"sst2: (.+), step (\d+) of 9", line).groups() for line in told]
    names = [one.side.name for one in found]
    assert turns == [(name, str(at)) for at in (0, 2, 7) for name in names]
    for one in found:
        assert one.median("step_s") > 0 and one.iqr("step_s") >= 0 and one.peak_bytes > 0
    by = {one.side.name: one for one in found}
    assert by["official full"].sweeps == 4 and by["official layer"].numel == loaded.blocks[1].numel()
    assert by["auto full"].engine == "flat" and by["auto layer"].engine == "pair"
    assert by["auto full"].sweeps < 4 and {one.forwards for one in found} == {2}


def test_ceilings_are_measured():
    found = ceilings(torch.device("cpu"), torch.float32)
    assert found.copy_gbs > 0 and found.gemm_tflops > 0


def test_ceilings_count_bytes_read_and_written_and_both_halves_of_a_product(monkeypatch):
    monkeypatch.setattr("zobench.bench.ceilings._seconds", lambda work, device: 0.5)
    found = ceilings(torch.device("cpu"), torch.float32)
    assert found == Ceilings(copy_gbs=2 * 2**27 / 0.5 / 1e9, gemm_tflops=2 * 1024**3 / 0.5 / 1e12)


def timed(side, seconds, numel):
    phases = [dict.fromkeys(PHASES, s) | {"step_s": s} for s in seconds]
    return Timed(side, engine=side.engine, phases=phases, numel=numel, sweeps=2, forwards=2, peak_bytes=2**30)


def test_medians_and_quartiles():
    one = timed(OFFICIAL_FULL, [1.0, 2.0, 3.0, 4.0, 100.0], 10)
    assert one.median("step_s") == 3 and one.iqr("step_s") == 2
    assert timed(OFFICIAL_FULL, [1.0], 10).iqr("step_s") == 0


# ---- the cost model


def test_the_cost_model_finds_what_made_the_times():
    def step(forward, n):
        return 2 * forward + 5e-9 * n

    forward, sizes = {"copa": 0.1, "drop": 3.0}, (7_000_000_000, 200_000_000)
    model = fit({task: {n: step(f, n) for n in sizes} for task, f in forward.items()})
    assert model.gamma == pytest.approx(5e-9) and model.forward_s == pytest.approx(forward)
    assert model.ratio("copa", *sizes) == pytest.approx(step(0.1, sizes[0]) / step(0.1, sizes[1]))
    with pytest.raises(ValueError, match="two scopes"):
        fit({"copa": {5: 1.0}})


def test_the_cost_model_fits_the_papers_own_table():
    """LLaMA2-7B, Table 13: full model and single layer of COPA and SST-2."""
    full, layer = 6_738_415_616, 202_383_360
    model = fit({"copa": {full: 0.8701, layer: 0.1923}, "sst2": {full: 1.1341, layer: 0.4629}})
    assert model.ratio("copa", full, layer) == pytest.approx(4.52, rel=0.02)
    assert model.ratio("sst2", full, layer) == pytest.approx(2.45, rel=0.02)


# ---- what is said of it


FACTS = report.Facts("random ci", "float32", 4, 1000, 800, 4, 1)


def found(loaded):
    engine = Side("auto", "layer", True), Side("auto", "full", True)
    out = [timed(OFFICIAL_FULL, [8.0], 1000), timed(OFFICIAL_LAYER, [4.0], 100), timed(BASELINES[2], [2.0], 100)]
    return report.TaskMeasurement(a_task(loaded), [*out, timed(engine[0], [1.0], 100), timed(engine[1], [4.0], 1000)])


def test_ratios_are_of_medians_and_means_of_tasks_geometric(loaded):
    one = found(loaded)
    assert report.ratios([one], "auto") == pytest.approx(
        {
            "layer_engine_vs_official_full": 8,
            "layer_engine_vs_official_layer": 4,
            "layer_engine_vs_official_layer_our_forward": 2,
            "full_engine_vs_official_full": 2,
            "official_layer_vs_official_full": 2,
        }
    )
    slow = report.TaskMeasurement(
        one.work, [t if t.side.engine == "official" else timed(t.side, [4.0], 100) for t in one.timed]
    )
    both = report.ratios([one, slow], "auto")
    assert both["layer_engine_vs_official_full"] == pytest.approx(math.sqrt(8 * 2))
    assert "layer_engine_vs_official_full" not in report.ratios([one], "flat")


def test_throughput_is_of_what_was_passed_over(loaded):
    one = found(loaded)
    first = one.timed[0]
    assert one.weight_gbs(first, FACTS) == pytest.approx(2 * 4 * 1000 * 2 / 16.0 / 1e9)
    assert one.block_tflops(first, FACTS) == pytest.approx(4 * 800 * one.work.padded_tokens / 8.0 / 1e12)
    ours = next(t for t in one.timed if t.side == Side("auto", "full", True))
    per_token = 4 * 800 / ours.median("forward_s") / 1e12
    assert one.work.engine_tokens < one.work.padded_tokens
    assert one.block_tflops(ours, FACTS) == pytest.approx(per_token * one.work.engine_tokens)
    first.cache = SimpleNamespace(at=1)  # of four blocks three are passed through
    assert one.block_tflops(first, FACTS) == pytest.approx(4 * 600 * one.work.padded_tokens / 8.0 / 1e12)


def test_the_cache_is_filled_before_the_first_step(loaded, mezo):
    made = a_task(loaded)
    side = Side("auto", "layer", True)
    (one,) = measure([side], made, Timing(loaded, mezo, 1, Computation()), steps=3, warmup=1)
    assert one.first_block == 1 and one.fill_s > 0 and one.cache.nbytes() == made_bytes(made)
    assert one.cache.misses == 2, "the first batch, whose examples all others have again, and the check"
    assert one.cache.hits == len(made.batches) - 1 + 2 * (1 + 3 + 2), "two looks a step, and the first of each turn"
    said = report.markdown(
        [report.TaskMeasurement(made, [*found(loaded).timed[:3], one])], FACTS, Ceilings(10.0, 0.05), "auto"
    )
    assert "begin at block 1" in said and "filled once before the timed steps" in said


def test_engines_with_cuda_graphs_are_sides_of_their_own(loaded):
    made = sides(["auto", "streamed"], ("full",), graphs=True)
    assert [side.name for side in made if side.graphs] == ["auto full, graphs"]
    assert not any(side.graphs for side in sides(["auto"], ("full", "layer")))
    assert len(a_task(loaded).few) == 0


def made_bytes(made):
    """Of float32 hidden states of all different stems."""
    return 4 * TINY["hidden_size"] * sum(len(ids) for ids in {s.ids for b in made.batches for s in b.shared.stems})


def test_the_tables_and_the_json_say_the_same(loaded):
    one, machine = found(loaded), Ceilings(10.0, 0.05)
    said = report.markdown([one], FACTS, machine, "auto")
    assert "| official layer, our forward |" in said and "8.00x" in said and "Cost model" in said
    made = report.as_json([one], FACTS, machine, "auto", {"steps": 1}, {"cores": 2})
    assert made == json.loads(json.dumps(made)) and made["schema"] == report.SCHEMA
    assert made["ratios"]["layer_engine_vs_official_layer"] == 4
    assert [s["name"] for s in made["tasks"]["sst2"]["sides"]] == [t.side.name for t in one.timed]


# ---- the command


def test_the_command_prints_tables_and_writes_json(tmp_path, capsys):
    out = tmp_path / "bench.json"
    sizes = ["--steps", "2", "--warmup", "1", "--batch-size", "2", "--tasks", "copa,sst2", "--threads", "1"]
    picture = tmp_path / "bench.png"
    assert main(["bench", "--preset", "ci", *sizes, "--json", str(out), "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "**copa** (option loss, packed rows" in said and "**sst2** (classification loss, packed rows" in said
    made = json.loads(out.read_text())
    assert set(made["tasks"]) == {"copa", "sst2"} and made["settings"]["data"] == "shipped lengths"
    assert made["ratios"]["layer_engine_vs_official_full"] > 0 and made["environment"]["threads"] == 1
    assert all(side["steps"] == 2 for task in made["tasks"].values() for side in task["sides"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "paper"], "name a model: --model DIR, or --random-weights llama2-7b"),
        (["--random-weights", "lama2-7b"], "unknown shape of --random-weights 'lama2-7b'; did you mean 'llama2-7b'"),
        (["--preset", "ci", "--engine", "flta"], "unknown engine to compare with official 'flta'; did you mean 'flat'"),
        (["--preset", "ci", "--layer", "3"], "--layer 3: random ci has decoder blocks 0 to 2"),
        (["--preset", "ci", "--estimator", "zero_shot"], "is a reference that makes no steps"),
        (["--preset", "ci", "--model", "x", "--random-weights", "ci"], "name two models"),
        (["--preset", "ci", "--tasks", "sst3"], "unknown task 'sst3'; did you mean 'sst2'"),
        (["--preset", "ci", "--plot", "bench.txt"], "--plot bench.txt: name a .png, .pdf or .svg file"),
        (["--preset", "ci", "--data-dir", "."], "random weights have no tokenizer"),
    ],
)
def test_what_cannot_be_timed_is_said_in_a_line(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(random_models, "SHAPES", {"ci": ("llama", TINY, 1), "llama2-7b": ("llama", TINY, 1)})
    assert main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_script_for_a_gpu_asks_for_what_bench_has(tmp_path):
    """What it would run: for each shape the four kinds of rows on the paper's layer, then the tests."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    python.chmod(0o755)
    script = Path(__file__).parents[2] / "results" / "speed" / "gpu.sh"
    environment = {**os.environ, "PYTHON": str(python), "OUT": str(tmp_path / "out")}
    subprocess.run([script], env=environment, check=True, capture_output=True, timeout=60)
    *benches, tests = [line.split() for line in (tmp_path / "asked").read_text().splitlines()]
    assert [words[:5] for words in benches] == [
        ["-m", "zobench", "bench", "--random-weights", shape] for shape in ("llama2-7b", "qwen3-8b", "ci")
    ]
    app = typer.Typer()
    app.command()(bench)
    options = {option for parameter in typer.main.get_command(app).params for option in parameter.opts}
    for shape, words in zip(("llama2-7b", "qwen3-8b", "ci"), benches, strict=True):
        assert {word for word in words if word.startswith("--")} <= options
        assert f"outlier_channels.index={SHAPES[shape][2]}" in words
        assert words[words.index("--tasks") + 1] == DEFAULT_TASKS
        names = words[words.index("--also") + 1].split(",")
        assert [load_plugins().estimator(name.partition("/")[0]).trains for name in names] == [True, True]
        assert "--cuda-graphs" in words
    assert "gpu" in tests and "tests/kernels" in tests
    ours, tests_minutes = map(float, re.findall(r"MINUTES:-([\d.]+)", script.read_text()))
    assert 2 * ours + ours / 3 + tests_minutes <= 10  # two large shapes, a small one, and the tests


@pytest.mark.parametrize("tasks", [("copa",), ("copa", "sst2")])
def test_the_picture_has_a_panel_a_task(tmp_path, tasks):
    side = SimpleNamespace(side=SimpleNamespace(name="flat full"), median=lambda phase: 0.002)
    of = {"timed": [side], "ratio": lambda one, base: 2.0}
    found = [SimpleNamespace(work=SimpleNamespace(task=task), **of) for task in tasks]
    text = bench_picture.drawn(tmp_path / "bench.svg", found).decode()
    assert [task for task in ("copa", "sst2") if f"<!-- {task} -->" in text] == list(tasks)
    assert text.count("<!--  2.0x -->") == len(tasks) and "<!-- flat full -->" in text


@pytest.mark.parametrize(("blocks", "layer", "at"), [(3, None, 1), (1, None, 0), (3, 2, 2), (3, 0, 0), (3, 3, None)])
def test_the_block_of_a_model_of_ones_own_is_the_second_if_it_has_one(monkeypatch, blocks, layer, at):
    held = SimpleNamespace(name="m", blocks=[None] * blocks)
    monkeypatch.setattr("zobench.models.load.load_model", lambda *_, **__: held)
    options = ModelOptions(model="m", layer=layer, device="cpu")
    if at is None:
        with pytest.raises(ZobenchError, match="--layer 3: m has decoder blocks 0 to 2"):
            options.load(load_plugins(), None)
    else:
        assert options.load(load_plugins(), None) == (held, at)


def test_what_was_not_measured_is_nothing():
    numbers = {f.name: f.default for f in dataclasses.fields(Timed) if f.type in ("int", "float")}
    assert set(numbers.values()) == {0} and {"fill_s", "capture_s", "peak_bytes"} <= set(numbers)


def test_cuda_graphs_need_packed_rows():
    for rows, graphs in (("packed", True), ("packed", False), ("shared", False)):
        assert work.check_packed(rows, graphs) == rows
    with pytest.raises(ZobenchError, match="leave --cuda-graphs out"):
        work.check_packed("shared", True)
