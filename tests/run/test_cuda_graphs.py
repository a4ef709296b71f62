"""CUDA graphs: a cell of its own, refused in one line where there can be none. What they compute: tests/pretend."""

import pytest
import torch
from kits.run_kit import plan

from zobench.engine import ENGINES, engine_class
from zobench.errors import ZobenchError
from zobench.plugins.registry import load_plugins
from zobench.protocol.protocol import computation_from
from zobench.run.graphs import check, check_rows, graphed
from zobench.run.method import Method

ON = {"cuda_graphs": "on"}


def test_it_is_off_unless_asked_for_and_then_in_the_identity():
    assert "cuda_graphs" not in computation_from({}).record()
    assert computation_from(ON).record()["cuda_graphs"] == "on"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"rows": "shared"}, "cuda_graphs=on is of packed rows; leave rows=shared out"),
        ({"compile": "blocks"}, "cuda_graphs=on is of blocks as they are; leave compile=blocks out"),
        ({"engine": "streamed"}, "engine=streamed has weights elsewhere at each look; leave cuda_graphs=on out"),
        ({"engine": "official"}, "engine=official has weights elsewhere at each look; leave cuda_graphs=on out"),
    ],
)
def test_what_does_not_go_with_it_is_named(settings, why):
    with pytest.raises(ZobenchError) as told:
        computation_from({**ON, **settings})
    assert str(told.value) == why


def test_the_baseline_of_a_cell_has_none():
    mezo = load_plugins().estimator("mezo")
    assert Method.official(mezo, computation_from(ON)).computation.cuda_graphs == "off"
    assert {name for name in ENGINES if engine_class(name).captures} == {"flat", "deferred", "pair"}


def test_a_run_on_a_cpu_is_refused_before_it_begins(world, tmp_path):
    with pytest.raises(ZobenchError, match="cuda_graphs=on needs a GPU of CUDA or ROCm, the model is on cpu: leave"):
        plan(world, tmp_path, ["mezo"], **ON)


@pytest.mark.parametrize(("devices", "ranks"), [(("cuda:0", "cuda:1"), False), (("cuda:0",), True)])
def test_it_is_of_one_gpu_in_one_process(devices, ranks):
    places = [torch.device(name) for name in devices]
    with pytest.raises(ZobenchError, match="one GPU, in one process"):
        check(computation_from(ON), places, ranks=ranks)
    check(computation_from(ON), places[:1])
    check(computation_from({}), places, ranks=ranks)


@pytest.mark.parametrize(("rows", "loss", "why"), [("shared", None, "rows=shared"), ("packed", "lm", "train_loss=lm")])
def test_a_task_whose_rows_are_not_packed_is_refused(world, tmp_path, rows, loss, why):
    made, _ = plan(world, tmp_path, ["mezo"], **({} if loss is None else {"train_loss": loss}))
    session, cell = made.session, made.todo[0]
    prepared, _ = session.prepared(cell.task, cell.protocol, rows)
    assert graphed(prepared, session.loaded, computation_from({})) is prepared
    with pytest.raises(ZobenchError, match=f"not {why}: leave cuda_graphs=on out"):
        check_rows(prepared)
