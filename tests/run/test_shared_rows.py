"""What candidates have in common once in a forward: on by default, recorded, and never with the official engine."""

from __future__ import annotations

import pytest
import torch
from kits.matrix import covering
from kits.run_kit import carry_out, plan, run

from zobench import Estimator
from zobench.errors import ZobenchError
from zobench.models.capabilities import Capabilities
from zobench.protocol.protocol import Computation, computation_from
from zobench.run import speed
from zobench.run.method import Method, keeper
from zobench.run.selection import RunSelectionContext, everything
from zobench.run.train import Feed


def told(record):
    return record["cell"]["run_settings"].get("rows", "replicated")


def test_it_is_the_default_but_for_the_official_engine():
    assert computation_from({}).rows == computation_from({"engine": "flat"}).rows == "auto"
    assert computation_from({"engine": "official"}).rows == "replicated"
    assert computation_from({"engine": "official", "rows": "replicated"}).rows == "replicated"
    with pytest.raises(ZobenchError, match="engine=official knows rows=replicated only; leave rows=shared out"):
        computation_from({"engine": "official", "rows": "shared"})
    assert Method.official(Estimator, Computation()).computation.rows == "replicated"


def test_records_from_before_the_setting_had_replicated_rows():
    assert "rows" not in computation_from({"rows": "replicated"}).record()
    assert computation_from({}).record()["rows"] == "auto"


@pytest.mark.parametrize(("other", "estimator"), covering(["shared", "packed"], ["mezo", "adamw"]))
def test_a_cell_gives_the_same_numbers_either_way(world, tmp_path, other, estimator):
    """Losses and scores agree, identities do not; shared takes fewer forwards to score."""
    made, own = {}, {"engine": "flat", "lrs": (1e-3,)}
    for rows in (other, "replicated"):
        (made[rows],) = run(world, tmp_path / rows, [estimator], **own, rows=rows)
        assert made[rows]["status"] == "ok" and told(made[rows]) == rows
    shared, plain = made[other], made["replicated"]
    assert shared["id"] != plain["id"]
    for metric in ("dev", "test", "zero_shot"):
        assert shared["metrics"][metric]["items"] == plain["metrics"][metric]["items"]
    curves = [[loss for _, loss in record["trials"][0]["curve"]] for record in (shared, plain)]
    assert curves[0] == pytest.approx(curves[1], abs=1e-4) and len(curves[0]) == 2
    assert shared["forwards"]["train"] == plain["forwards"]["train"]
    assert shared["forwards"]["eval"] < plain["forwards"]["eval"]


@pytest.mark.parametrize(("can", "want"), [(True, "packed"), (False, "shared")])
def test_auto_is_packed_where_the_model_keeps_rows_apart(world, tmp_path, monkeypatch, can, want):
    monkeypatch.setattr(Capabilities, "packs_rows_of", lambda self, length: can)
    (record,) = run(world, tmp_path, ["mezo"])
    assert record["status"] == "ok" and told(record) == "auto" and record["engine"]["rows"] == want


def test_a_model_that_would_mix_packed_rows_is_refused(world, tmp_path, monkeypatch):
    monkeypatch.setattr(Capabilities, "packs_rows_of", lambda self, length: False)
    (record,) = run(world, tmp_path, ["mezo"], rows="packed")
    assert record["status"] == "error" and "cannot keep packed rows apart: use --set rows=shared" in record["error"]


@pytest.mark.parametrize(("engine", "rows"), [("official", 2 * 3), ("flat", 3)])
def test_what_the_model_is_called_on(world, tmp_path, engine, rows):
    """RTE-like prompts of a yes and a no: 3 examples are 6 rows as MeZO has them, one forward row each here."""
    made, _ = plan(world, tmp_path, ["mezo"], engine=engine)
    cell, session = made.todo[0], made.session
    prepared, _ = session.prepared(cell.task, cell.protocol, cell.computation.rows)
    prepared._train = [one_token(encoded) for encoded in prepared._train]
    sizes = []
    session.loaded.model.register_forward_pre_hook(
        lambda m, args, kw: sizes.append(kw["input_ids"].shape[0]), with_kwargs=True
    )
    Feed(session.loaded, prepared, 3, 0).objective()()
    assert sizes == [rows]


def one_token(encoded):
    """The example with answers of one token."""
    from dataclasses import replace

    rows = [replace(row, ids=(*encoded.rows[0].ids[:-4], 7 + i), option_len=1) for i, row in enumerate(encoded.rows)]
    return replace(encoded, rows=tuple(rows))


def test_the_baseline_of_the_speed_keeps_mezos_rows(world, tmp_path, monkeypatch):
    made, _ = plan(world, tmp_path, ["mezo"], speed_steps=1, speed_warmup=1)
    cell, session, seen = made.todo[0], made.session, []
    original = speed.timed_step

    def spied(estimator, objective):
        seen.append((type(estimator.engine).__name__, objective.batch.shared is not None))
        return original(estimator, objective)

    monkeypatch.setattr(speed, "timed_step", spied)
    prepared, _ = session.prepared(cell.task, cell.protocol)
    mezo = session.plugins.estimator("mezo")
    sides = speed.Sides(
        Method.official(mezo, cell.computation),
        everything(session.loaded),
        Method(mezo, {}, cell.computation),
        everything(session.loaded),
    )
    speed.measure(sides, session.loaded, prepared, cell.protocol, seed=0, keep=keeper(session.loaded, 1))
    assert set(seen) == {("Official", False), ("Flat", True)}


def test_layers_and_selectors_see_every_row(world, tmp_path):
    """What is shown to enter a linear layer is of all candidates' rows however they pass, without the last tokens and
    padding; calibration batches have every row whole.
    """
    made, _ = plan(world, tmp_path, ["mezo"])
    cell, session = made.todo[0], made.session
    prepared, _ = session.prepared(cell.task, cell.protocol)
    seen = []
    for task in (prepared, prepared.replicated()):
        objective = Feed(session.loaded, task, 3, 0).objective()
        name = next(n for n, _ in session.loaded.model.named_parameters() if n.endswith("q_proj.weight"))
        loss = objective.with_inputs([name], lambda n, x: seen.append(x))
        assert loss.item() == pytest.approx(objective().item(), abs=1e-5)
    assert torch.allclose(*seen, atol=1e-5)
    assert seen[0].shape[0] == objective.batch.tokens - objective.batch.rows < objective.batch.input_ids.numel()
    method = Method(session.plugins.estimator("mezo"), {}, cell.computation)
    context = RunSelectionContext(session.loaded, prepared, method, cell.protocol, lr=1e-3, seed=0, progress=print)
    (batch,) = context.calibration(1, 3)
    assert batch.rows == 6


def test_one_session_keeps_both_kinds_apart(world, tmp_path):
    made, place = plan(world, tmp_path, ["zero_shot"])
    carry_out(made, place)
    cell, session = made.todo[0], made.session
    both = [session.prepared(cell.task, cell.protocol, rows)[0].scoring_in("auto") for rows in ("auto", "replicated")]
    assert [one.rows for one in both] == ["packed", "replicated"]
    calls: list[int] = []
    taken = [session.untouched(cell.task, cell.protocol, one, lambda done, _: calls.append(done)) for one in both]
    assert taken[0] is not taken[1] and taken[1].forwards > taken[0].forwards > 0
    assert calls == list(range(1, 6))  # the cell has scored with shared rows; one at a time is scored anew
