"""Where a limit lies, which facts a record has of its machine, and what a planned device counts with."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from kits.records import record

from zobench import ZobenchError
from zobench.protocol.protocol import protocol_from
from zobench.run import device_pace, environment, estimate, export, export_card, group
from zobench.run.artefacts import Artefacts
from zobench.run.diary import Diary


class GoesOn(Exception):
    """A snapshot would be written now."""


@pytest.mark.parametrize(("limit", "kept"), [(115, True), (114, False), (60, False)])
def test_a_snapshot_is_of_its_limit_at_most(limit, kept):
    """Of weights, state and what the engine holds, together; where it is not kept, that is told once."""

    def state() -> None:
        raise GoesOn

    engine = SimpleNamespace(at_rest=True, held_bytes=lambda: 5)
    handles = [SimpleNamespace(name="w", param=torch.zeros(25))]
    estimator = SimpleNamespace(handles=handles, state_bytes=lambda: 10, engine=engine, settled_outside=False)
    estimator.state_dict = state
    told: list[str] = []
    diary = SimpleNamespace(_snapshot_at=0.0, limit=limit, warn=told.append, journal=SimpleNamespace(cell_id="c"))
    out = SimpleNamespace(best={}, best_step=0, steps=1)
    if kept:
        with pytest.raises(GoesOn):
            Diary._take_snapshot(diary, estimator, out)
        return
    assert Diary._take_snapshot(diary, estimator, out) is None and Diary._take_snapshot(diary, estimator, out) is None
    (line,) = told
    assert f"115 bytes of weights and state are over snapshot_limit={limit}" in line


def test_a_model_over_several_cards_names_all_of_them(monkeypatch):
    monkeypatch.setattr(environment.devices, "processors", lambda device: 84)
    monkeypatch.setattr(environment.devices, "driver", lambda: "550.1")
    one, two = torch.device("cuda", 0), torch.device("cuda", 1)
    card = {"multiprocessors": 84, "driver": "550.1"}
    assert environment.card_facts([torch.device("cpu")]) == {} and environment.card_facts([one]) == card
    assert environment.card_facts([one, two]) == {**card, "devices": ["cuda:0", "cuda:1"]}


@pytest.mark.parametrize(
    ("dtype", "tflops", "size"), [("float16", 154.8, 2), ("bfloat16", 154.8, 2), ("float32", 38.7, 4)]
)
def test_a_planned_card_computes_as_fast_as_its_sheet_says_for_the_dtype(dtype, tflops, size):
    config = SimpleNamespace(num_hidden_layers=2, hidden_size=8)
    blocks = [SimpleNamespace(numel=lambda: 1000)] * 2
    model = SimpleNamespace(config=config)
    loaded = SimpleNamespace(dtype=dtype, blocks=blocks, model=model, weights_bytes=4000)
    pace = device_pace.named("A6000", loaded)
    assert pace.name == "a6000" and pace.token_s == pytest.approx(2 * 2000 / (tflops * 0.54e12))
    assert pace.call_s == pytest.approx(2000 * size / (768 * 0.94e9))
    assert pace.attend_s == pytest.approx(4 * 2 * 8 / (tflops * 0.54e12))


@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        ({}, 100),
        ({"train_forwards": 90}, 22),
        ({"train_forwards": 3}, 1),
        ({"train_seconds": 6.0}, 12),
        ({"train_seconds": 0.1}, 1),
    ],
)
def test_steps_are_planned_by_what_a_run_may_spend(budget, steps):
    protocol = SimpleNamespace(**{"train_forwards": 0, "train_seconds": 0.0, "steps": 100, **budget})
    assert estimate._steps(protocol, forwards=4, seconds=0.5) == steps


@pytest.mark.parametrize(("size", "threads"), [(2, 4), (3, 2), (16, 1)])
def test_ranks_share_the_threads_of_a_process(monkeypatch, size, threads):
    told, set_to = [], []
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setattr(group.torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(group.torch, "set_num_threads", set_to.append)
    monkeypatch.setattr(group, "_started", lambda rank, size, folder, threads: told.append((rank, threads)))
    monkeypatch.setattr(group, "_meet", lambda *given: None)
    monkeypatch.setattr(group, "_part", lambda others: None)
    with group.joined(size) as ranks:
        assert (ranks.rank, ranks.size) == (0, size)
    assert told == [(rank, threads) for rank in range(1, size)] and set_to == [threads]


@pytest.mark.parametrize(("there", "refused"), [("nothing", False), ("empty", False), ("full", True), ("file", True)])
def test_an_export_takes_a_new_folder_or_an_empty_one(monkeypatch, tmp_path, there, refused):
    out = tmp_path / "out"
    if there == "file":
        out.write_text("")
    elif there != "nothing":
        out.mkdir()
    if there == "full":
        (out / "x").write_text("")

    def rebuild(*given: object) -> None:
        raise GoesOn

    monkeypatch.setattr(export, "rebuild", rebuild)
    with pytest.raises(ZobenchError if refused else GoesOn, match="not an empty folder" if refused else None):
        export.export({}, tmp_path, None, None, out)


@pytest.mark.parametrize(
    ("kind", "library", "loads"),
    [
        ("full", "transformers", "AutoModelForCausalLM.from_pretrained"),
        ("lora", "peft", "PeftModel.from_pretrained"),
        ("prefix", "peft", "PeftModel.from_pretrained"),
        ("prompt", "peft", "PeftModel.from_pretrained"),
    ],
)
def test_a_card_names_the_library_that_loads_its_files(kind, library, loads):
    lines = export_card.card(record(), kind).splitlines()
    assert f"library_name: {library}" in lines and any(loads in line and "this folder" in line for line in lines)


@pytest.mark.parametrize(("limit", "kept"), [(40, "weights"), (39, "nothing: 40 bytes of weights are over ")])
def test_weights_are_kept_up_to_their_limit(tmp_path, limit, kept):
    artefacts = Artefacts(tmp_path, "c")
    assert artefacts.keep_weights({"w": torch.zeros(10)}, limit).startswith(kept)
    assert artefacts.files.weights.exists() is (kept == "weights")


def test_a_checkpoint_may_be_the_last_step_alone():
    assert protocol_from({"steps": 10, "eval_every": 10}).eval_every == 10
    with pytest.raises(ZobenchError, match="eval_every=11 is above steps=10"):
        protocol_from({"steps": 10, "eval_every": 11})
