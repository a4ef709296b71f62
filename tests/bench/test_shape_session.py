"""What `--dry-run` says of shapes, against the paper's own step times; it needs no weights, data or network."""

from __future__ import annotations

import socket
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM

from zobench.bench.lengths import Lengths
from zobench.bench.shape_session import _rows, session_of
from zobench.cli import main
from zobench.cli.dry_run import clock
from zobench.errors import ZobenchError
from zobench.models.placement import room
from zobench.models.shapes import SHAPES
from zobench.plugins.registry import load_plugins
from zobench.run import device_pace
from zobench.run.device_pace import LAUNCHES_A_TENSOR, Pace, named
from zobench.run.estimate import Estimate
from zobench.run.place import Place
from zobench.run.plan import make_plan
from zobench.run.wish import Wish

PAPER = tomllib.loads((Path(__file__).parents[2] / "zobench/report/papers/dominant-layer.toml").read_text())
TASKS = ("sst2", "cb", "wsc", "copa", "drop")


def planned(shape, tmp_path, selectors=("all", "layer:1"), tasks=TASKS, dtype="float16", **settings):
    plugins = load_plugins()
    session = session_of(shape, plugins, dtype=dtype, device="cpu")
    given = {"run.dtype": dtype, **settings}
    wish = Wish(("mezo",), tuple(selectors), tuple(tasks), (0,), "paper", None, given)
    return make_plan(wish, Place(f"shape:{shape}", None, tmp_path / "r"), plugins, session)


def test_step_times_of_the_paper_within_a_quarter(tmp_path):
    """Table 4, an A6000, LLaMA2-7B in float16, MeZO's own order, batch 16: five tasks, all weights and one block."""
    printed = {row["method"]: row["tasks"] for row in PAPER["speed"]["rows"]}
    plan = planned("llama2-7b", tmp_path, engine="official")
    estimate = Estimate(plan.outline, named("A6000", plan.outline.loaded))
    for cell in plan.todo:
        row = printed["MeZO full" if cell.selector == "all" else "MeZO dominant layer"][cell.task]
        cost = estimate.of(cell)
        assert cost.step_s == pytest.approx(row["total_s"], rel=0.25), (cell.task, cell.selector)
        assert cost.step_s - cost.forward_s == pytest.approx(row["perturb_s"] + row["update_s"], rel=0.2)
    assert len(plan.todo) == 10


def test_our_engines_are_faster_and_philox_the_fastest(tmp_path):
    def seconds(**settings):
        plan = planned("llama2-7b", tmp_path, ["all"], ["copa"], **settings)
        return Estimate(plan.outline, named("h100", plan.outline.loaded)).of(plan.todo[0]).step_s

    official, drawn, fused = seconds(engine="official"), seconds(engine="flat"), seconds(engine="flat", noise="philox")
    assert official > drawn > fused


class Launches(TorchDispatchMode):
    """Counts what is no view."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen += not func.is_view
        return func(*args, **(kwargs or {}))


def test_kernels_of_a_block_are_about_those_that_are_reckoned_with():
    def launched(blocks):
        sizes = dict(hidden_size=16, intermediate_size=24, num_attention_heads=2, vocab_size=32, pad_token_id=0)
        model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=blocks, **sizes))
        with torch.no_grad(), Launches() as seen:
            model(input_ids=torch.ones(2, 4, dtype=torch.long), use_cache=False)
        return seen.seen

    assert launched(2) - launched(1) == pytest.approx(device_pace.LAUNCHES_A_BLOCK, rel=0.25)


def test_a_step_of_a_tiny_model_on_a_gpu_takes_its_launches(tmp_path):
    """And that of a large one what it took without them."""
    for shape, tiny in (("ci", True), ("llama2-7b", False)):
        plan = planned(shape, tmp_path, ["all"], ["copa"], engine="flat")
        pace = named("h200", plan.outline.loaded)
        cost, without = (
            Estimate(plan.outline, one).of(plan.todo[0]) for one in (pace, replace(pace, least_s=0.0, launch_s=0.0))
        )
        blocks = len(plan.outline.loaded.blocks)
        if tiny:
            assert cost.forward_s == pytest.approx(2 * blocks * device_pace.LAUNCHES_A_BLOCK * 5e-6)
            assert cost.step_s > cost.forward_s > without.forward_s and cost.seconds > without.seconds
        else:
            assert cost.step_s == without.step_s and cost.seconds == pytest.approx(without.seconds, rel=1e-3)


def test_a_speed_up_that_does_not_fit_costs_nothing(tmp_path):
    plan = planned("llama2-7b", tmp_path, ["layer:1"], ["copa"])
    estimate = Estimate(plan.outline, named("h100", plan.outline.loaded))
    (cell,) = plan.todo
    tight = Estimate(plan.outline, replace(estimate.pace, memory=int(1.1 * plan.outline.loaded.weights_bytes)))
    assert estimate.of(cell).forwards["speed"] > 0 and not tight.memory(cell).speed_fits
    assert tight.of(cell).forwards["speed"] == 0


def test_several_gpus_have_the_room_that_weights_are_spread_over(tmp_path):
    """26.9 GB of float32 weights: more than an RTX 3090 has, and half of two."""
    loaded = planned("llama2-7b", tmp_path, dtype="float32").outline.loaded
    one = named("rtx3090", loaded).memory
    rooms = {how: named("2 x RTX 3090", loaded, how).memory for how in ("auto", "balanced", "sequential", "none")}
    assert rooms == {"auto": 2 * one, "balanced": 2 * one, "sequential": 2 * one, "none": one}
    assert named("2xa6000", loaded).memory == named("a6000", loaded).memory, "one of them has the room"
    assert room([24, 40], 30) == 40 and room([24, 40], 50) == 48 and room([24, 40], 50, "sequential") == 64
    for name, how in (("0xa6000", "auto"), ("x", "auto"), ("2xa6000", "evenly")):
        with pytest.raises(ZobenchError, match="unknown device"):
            named(name, loaded, how)


def test_a_plan_for_a_gpu_has_the_defaults_of_a_gpu(tmp_path, capsys):
    """Of the paper's preset float16 and counted noise, with which MeZO over LLaMA2-7B fits on 24 GB."""
    line = ["run", "--dry-run", "--model", "shape:llama2-7b", "-e", "mezo", "-t", "sst2", "--results", str(tmp_path)]
    assert main([*line, "--preset", "paper", "--for-device", "rtx3090"]) == 0
    told = capsys.readouterr().out
    assert "6.74 G" in told and "13.0 GiB" in told and "fit" not in told


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_have_the_parameters_that_their_names_say(shape):
    said = {"llama2-7b": 6.738e9, "llama2-13b": 13.016e9, "llama3-8b": 8.030e9, "mistral-7b": 7.242e9}
    said |= {"qwen3-0.6b": 0.596e9, "qwen3-1.7b": 1.721e9, "qwen3-8b": 8.191e9}
    said |= {"opt-1.3b": 1.316e9, "opt-13b": 12.85e9, "ci": 10.52e6}
    loaded = session_of(shape, load_plugins(), dtype="float16", device="cpu").loaded
    assert loaded.parameters == pytest.approx(said[shape], rel=2e-3)
    assert all(p.is_meta for p in loaded.model.parameters())
    of, config = loaded.model.config, SHAPES[shape][1]
    if SHAPES[shape][0] == "opt":
        assert (of.ffn_dim, of.word_embed_proj_dim) == (4 * of.hidden_size, of.hidden_size)
        assert (of.vocab_size, of.max_position_embeddings, of.hidden_size % of.num_attention_heads) == (50272, 2048, 0)
    assert all(value % 8 == 0 for key, value in config.items() if key.endswith("size")), "as tensor cores want them"


def test_the_command_prints_a_line_a_cell_without_files_or_network(monkeypatch, capsys, tmp_path):
    def refused(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    line = ["run", "--dry-run", "--model", "shape:qwen3-8b", "-e", "mezo,zero_shot", "-s", "all,first_outlier"]
    line += ["--tasks", "copa,cb", "--preset", "paper", "--for-device", "h100", "--results", str(tmp_path / "r")]
    assert main(line) == 0
    out = capsys.readouterr().out
    assert len([row for row in out.splitlines() if "| mezo" in row]) == 4
    assert "~193 M" in out and "8.19 G" in out and "6 cells to run" in out and "on h100" in out and "~: which" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--model", "shape:llama-7b", "--dry-run"], "did you mean 'llama2-7b'"),
        (["--model", "shape:llama2-7b"], "has no weights: it is for --dry-run"),
        (["--model", "shape:llama2-7b", "--dry-run", "--for-device", "a600"], "did you mean 'a6000'"),
        (["--model", "shape:llama2-7b", "--for-device", "a6000", "--results", "x"], "add --dry-run"),
    ],
)
def test_what_cannot_be_told_is_said(words, says, capsys):
    assert main(["run", "-e", "mezo", "--tasks", "copa", *words]) == 2
    assert says in capsys.readouterr().err


def test_every_task_with_lengths_has_its_size_and_clocks_read_well():
    from zobench.bench.lengths import hub_items, measured_tasks

    assert all(min(hub_items(task)) > 0 for task in measured_tasks()) and hub_items("another") is None
    assert (clock(59.6), clock(3600 * 30)) == ("1 min 00 s", "30 h 00 min")


def test_memory_is_told_with_the_mend_and_what_does_not_fit_can_be_left_out(capsys, tmp_path):
    line = [
        "run",
        "--dry-run",
        "--model",
        "shape:llama2-7b",
        "-e",
        "mezo,zo_adam",
        "-s",
        "all,layer:1",
        "--tasks",
        "copa",
    ]
    line += ["--preset", "paper", "--dtype", "float16", "--results", str(tmp_path / "r")]
    assert main([*line, "--for-device", "a6000"]) == 0
    out = capsys.readouterr().out
    over = [row for row in out.splitlines() if " ! " in row]
    assert over and all("| zo_adam" in row and "| all" in row for row in over)
    assert "!: zo_adam/all does not fit: " in out and " GiB less" in out
    assert main([*line, "--for-device", "a6000", "--max-memory", "48GB"]) == 0
    out, err = capsys.readouterr()
    assert "3 cells to run" in out and "1 cells hold more than --max-memory 48GB" in err
    assert main([*line, "--max-memory", "1GB"]) == 2
    assert "none of 4 cells fits" in capsys.readouterr().err


def test_the_baseline_of_the_speed_passes_four_times_over_all_weights(tmp_path):
    """z added, taken off twice, added again, the update; its own passes and forwards take no time here."""
    plan = planned("llama2-7b", tmp_path, ["layer:1"], ["sst2"], engine="flat", speed_steps=20, speed_warmup=4)
    free = Pace("free", 0.0, 0.0, dict.fromkeys(LAUNCHES_A_TENSOR, 0.0) | {"official": 1.0}, memory=2**50)
    cost = Estimate(plan.outline, free).of(plan.todo[0])
    steps = cost.forwards["speed"] / 4
    assert steps > 24 and cost.seconds == pytest.approx(steps * 4 * plan.outline.loaded.parameters)


def test_examples_are_of_lengths_from_all_over_the_list_and_all_different():
    lengths = [Lengths(n, (1, 2), 1) for n in range(10, 20)]

    def prompts(count, longest=99):
        made = _rows(lengths, count, longest, gold_alone=False)
        assert len({one.rows[1].ids for one in made}) == count
        return [len(one.rows[1].ids) - 2 for one in made]

    assert prompts(5) == [10, 12, 14, 16, 18] and prompts(9) == list(range(10, 19)) and prompts(3) == [10, 13, 16]
    assert prompts(10) == list(range(10, 20)) and prompts(12) == [*range(10, 20), 10, 11]
    assert prompts(2, longest=12) == [10, 10], "cut, as a row is"
    (alone,) = _rows(lengths, 1, 99, gold_alone=True)
    assert [row.option_len for row in alone.rows] == [2] and (alone.gold, alone.correct) == (0, (0,))
