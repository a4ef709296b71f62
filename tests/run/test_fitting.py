"""References that learn: what the run gives them, what it keeps from them, and what stands in their records."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from kits.run_kit import assert_untouched, carry_out, numbers, plan, plugin_file, run

from zobench.errors import ZobenchError
from zobench.plugins.registry import load_plugins
from zobench.run.estimate import cost
from zobench.run.whole_run import board
from zobench.tasks.questions import Question

PROBE = {"hidden_probe.epochs": 5, "hidden_probe.width": 4}
REFERENCE = """
    import zobench
    from zobench import hookimpl
    from zobench_plugins.estimators.zero_shot import ZeroShot

    SEEN = {}

    class Notes(ZeroShot):
        answer: str = "first"

        def fit(self, context):
            SEEN.update(context=context, train=list(context.train), dev=list(context.dev), asked=[])
            if self.answer == "refuse":
                raise zobench.ZobenchError(f"notes does not do {context.task}")
            if self.answer == "nothing":
                return None
            out = context.forward([context.train[0][0].prompt, context.dev[0][0].prompt])
            context.note(logits=list(out.logits.shape))

            def answers(questions):
                SEEN["asked"].append(questions)
                context.forward([q.prompt for q in questions])
                return [{"odd": 9, "last": -1}.get(self.answer, 0) for _ in questions]

            return answers

    @hookimpl
    def zobench_estimators():
        return {"notes": Notes}
"""


@pytest.fixture
def notes(tmp_path):
    plugins = load_plugins([plugin_file(tmp_path, REFERENCE)])
    return plugins, plugins.estimator("notes").fit.__globals__["SEEN"]


def test_a_probe_stands_once_and_leaves_the_model_as_it_is(world, tmp_path):
    made, place = plan(
        world, tmp_path / "r", ["hidden_probe"], ["all", "layer"], ["sst2", "copa"], seeds=(0, 1), **PROBE
    )
    probe, copa = records = carry_out(made, place)
    assert [r["status"] for r in records] == ["ok", "ok"], [r["error"] for r in records]
    for r, rows in ((probe, 1), (copa, 2)):
        assert r["cell"]["selector"] == "-" and r["cell"]["lrs"] == [] and r["trials"] == [] and r["scope"] is None
        assert set(r["metrics"]) == {"zero_shot", "dev", "test"} and "chosen" not in r
        assert len(r["metrics"]["test"]["items"]) == r["metrics"]["test"]["n"] == 5
        assert set(r["selection"]) == {"depth", "rate", "epoch", "dev_loss"}
        assert r["forwards"]["calibration"] == -(-12 * rows // 8) + -(-6 * rows // 8)
        assert r["forwards"].get("train", 0) == 0 and r["time"]["train_s"] > 0
    assert_untouched(made.session.loaded, world)
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in board(made, place).markdown.splitlines()]
    assert ["*hidden_probe*", "-"] in rows, "a reference of the board"
    (again,) = run(world, tmp_path / "s", ["hidden_probe"], seeds=(7,), **PROBE)
    assert numbers(again)["metrics"] == numbers(probe)["metrics"], "the same at every seed"


def test_a_generation_task_is_refused_before_anything_is_run(world, tmp_path):
    with pytest.raises(ZobenchError, match="hidden_probe chooses among candidates, and squad is a generation task"):
        plan(world, tmp_path / "r", ["hidden_probe"], tasks=["squad"], **PROBE)
    assert not (tmp_path / "r").exists()


def test_a_probe_learns_what_the_states_tell(world, tmp_path):
    """The label of SST-2 in little is written into the weights: an embedding that says which word stands last."""
    made, place = plan(
        world, tmp_path / "r", ["hidden_probe"], **{**PROBE, "hidden_probe.epochs": 60, "scored_in": "rows"}
    )
    prepared, _ = made.session.prepared("sst2", made.todo[0].protocol, made.todo[0].computation.rows)
    model, real = made.session.loaded.model, made.session.loaded.model.forward
    labels = {Question.of(e).prompt: e.gold for name in ("train", "dev", "test") for e in prepared.examples(name)}

    def telling(*args, input_ids, attention_mask=None, **kw):
        attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        out = real(*args, input_ids=input_ids, attention_mask=attention_mask, **kw)
        for row, mask, *states in zip(input_ids, attention_mask, *(out.hidden_states or ()), strict=True):
            gold = labels.get(tuple(row[mask.bool()].tolist()), 0)
            for state in states:
                state[-1, 0] += 20.0 * gold
        return out

    model.forward = telling
    try:
        (record,) = carry_out(made, place)
    finally:
        model.forward = real
    assert record["metrics"]["test"]["value"] == 1.0 > record["metrics"]["zero_shot"]["value"]


def test_what_a_reference_sees_has_no_test_item_and_no_answer(world, tmp_path, notes):
    plugins, seen = notes
    made, place = plan(world, tmp_path / "r", ["notes"], tasks=["copa"], plugins=plugins, eval_batch_size=4)
    (record,) = carry_out(made, place)
    assert record["status"] == "ok", record["error"]
    cell = made.todo[0]
    prepared, _ = made.session.prepared("copa", cell.protocol, cell.computation.rows)
    test = [Question.of(e) for e in prepared.examples("test")]
    told = [q for q, _ in (*seen["train"], *seen["dev"])]
    assert len(seen["train"]) == 12 and len(seen["dev"]) == 6 and not set(told) & set(test)
    assert [len(batch) for batch in seen["asked"]] == [4, 2, 4, 1] and seen["asked"][2] + seen["asked"][3] == test
    assert {f.name for f in dataclasses.fields(Question)} == {"prompt", "candidates"}
    assert all(len(q.candidates) == 2 and all(c[: len(q.prompt)] == q.prompt for c in q.candidates) for q in told)
    public = {name for name in dir(seen["context"]) if not name.startswith("_")}
    assert not public & {"prepared", "loaded", "test", "model", "examples"}


def test_right_answers_are_counted_by_the_run(world, tmp_path, notes):
    plugins, _ = notes
    made, place = plan(world, tmp_path / "r", ["notes"], plugins=plugins)
    (record,) = carry_out(made, place)
    prepared, _ = made.session.prepared("sst2", made.todo[0].protocol, made.todo[0].computation.rows)
    prepared = prepared.scoring_in("auto")
    test = prepared.examples("test")
    assert record["metrics"]["test"]["items"] == [float(e.gold == 0) for e in test]
    assert record["metrics"]["test"]["predicted"] == [0] * len(test)
    before = record["metrics"]["zero_shot"]
    assert before["items"] == [float(p == e.gold) for p, e in zip(before["predicted"], test, strict=True)]
    assert record["data"]["answers"] == ["terrible", "great"] and "predicted" not in record["metrics"]["dev"]
    assert record["selection"]["logits"][0] == 2
    untouched = prepared.scoring_forwards("test")
    assert record["forwards"] == {"calibration": 1, "eval": 2 + untouched}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("refuse", "notes does not do sst2"),
        ("odd", "6 questions of sst2 were answered by [9, 9, 9, 9, 9, 9]"),
        ("last", "6 questions of sst2 were answered by [-1, -1, -1, -1, -1, -1]"),
        ("nothing", "Notes.fit returned no function that answers questions"),
    ],
)
def test_a_reference_that_does_not_answer_is_a_failed_cell(world, tmp_path, notes, answer, error):
    (record,) = run(world, tmp_path / "r", ["notes"], plugins=notes[0], **{"notes.answer": answer})
    assert record["status"] == "error" and record["error"].endswith(error)


def test_the_dry_run_knows_the_forwards_of_a_probe_and_of_further_batches(world, tmp_path):
    wish = {**PROBE, "speed_steps": 2, "speed_warmup": 1}
    made, place = plan(world, tmp_path / "r", ["hidden_probe", "mezo_svrg"], **wish)
    with torch.no_grad():
        expected = [cost(cell, made.session).forwards for cell in made.todo]
    probe, svrg = carry_out(made, place)
    assert expected[0] == {"train": 0, **probe["forwards"]}
    assert {k: expected[1][k] for k in ("train", "extra")} == {k: svrg["forwards"][k] for k in ("train", "extra")}
