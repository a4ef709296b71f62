"""Learning rates of committed runs: collected from records, given to the preset of the embedded model alone."""

import json
from types import SimpleNamespace

import pytest

from zobench.errors import ZobenchError
from zobench.protocol.protocol import PRESETS, usual_preset
from zobench.run import rates
from zobench.run.plan import Wish, grid

METHOD = SimpleNamespace(lr_grid=(1e-6, 1e-7), small_lrs=(1e-3, 1e-4))
NAMES = ("mezo", "all", "sst2")


def trial(lr, loss, steps=rates.STEPS):
    return {"lr": lr, "dev_loss": loss, "steps": steps, "status": "ok"}


def leave(results, *made):
    """Records in little: the keys that are collected from, under a shape that is not checked here."""
    return [
        {
            "id": f"{number}",
            "status": status,
            "cell": {"model": "embedded", "estimator": estimator, "selector": selector, "task": task, "numerics": 2},
            "forwards": {"train": 400},
            "trials": [] if lr is None else [trial(lr, 0.5), trial(9 * lr, None)],
        }
        for number, (estimator, selector, task, status, lr) in enumerate(made)
    ]


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Writes a file of rates that is read instead of the committed one."""
    path = tmp_path / "rates.json"
    monkeypatch.setattr(rates, "FILE", path)
    rates._table.cache_clear()
    yield lambda found: path.write_text(json.dumps({"from": "runs", "rates": found}))
    rates._table.cache_clear()


def collected(monkeypatch, tmp_path, *made, problems=()):
    monkeypatch.setattr("zobench.report.store.read", lambda results: (leave(results, *made), list(problems)))
    return rates.collect([tmp_path])


def test_what_dev_chose_is_collected_by_estimator_selector_and_task(monkeypatch, tmp_path):
    found = collected(
        monkeypatch,
        tmp_path,
        ("mezo", "all", "sst2", "ok", 1e-3),
        ("mezo", "layer", "sst2", "ok", 1e-2),
        ("mezo", "all", "rte", "ok", 3e-3),
        ("lozo", "all", "sst2", "ok", 1e-4),
        ("lozo", "all", "rte", "diverged", 1.0),
        ("fzoo", "all", "rte", "interrupted", None),
        ("zero_shot", "-", "rte", "ok", None),
    )
    assert found["rates"] == {
        "mezo": {"all": {"sst2": 1e-3, "rte": 3e-3}, "layer": {"sst2": 1e-2}},
        "lozo": {"all": {"sst2": 1e-4}},
    }


def test_what_probed_chose_nothing(monkeypatch, tmp_path):
    plain, probed = leave(tmp_path, (*NAMES, "ok", 1e-3), ("mezo", "sweep", "sst2", "ok", 1e-2))
    probed["forwards"]["probe"] = 100
    monkeypatch.setattr("zobench.report.store.read", lambda results: ([plain, probed], []))
    assert rates.collect([tmp_path])["rates"] == {"mezo": {"all": {"sst2": 1e-3}}}


def test_what_had_one_rate_alone_chose_nothing(monkeypatch, tmp_path):
    grid, alone = leave(tmp_path, (*NAMES, "ok", 1e-3), (*NAMES, "ok", 1e-2))
    del alone["trials"][1]
    alone["trials"][0] |= {"lr": 1e-2, "dev_loss": 0.0}
    monkeypatch.setattr("zobench.report.store.read", lambda results: ([grid, alone], []))
    assert rates.collect([tmp_path])["rates"] == {"mezo": {"all": {"sst2": 1e-3}}}


def test_other_numbers_of_steps_chose_nothing_for_the_preset(monkeypatch, tmp_path):
    short, failed = leave(tmp_path, (*NAMES, "ok", 1e-3), ("lozo", "all", "sst2", "ok", 1e-2))
    short["trials"][0]["steps"] = 44
    failed["trials"][1] |= {"status": "diverged", "steps": 3}
    monkeypatch.setattr("zobench.report.store.read", lambda results: ([short, failed], []))
    assert rates.collect([tmp_path])["rates"] == {"lozo": {"all": {"sst2": 1e-2}}}


def test_the_first_folder_that_knows_a_rate_says_it(monkeypatch, tmp_path):
    of = {
        "one": leave(tmp_path, (*NAMES, "ok", 1e-3)),
        "two": leave(tmp_path, (*NAMES, "ok", 1.0), ("mezo", "all", "rte", "ok", 2.0)),
    }
    monkeypatch.setattr("zobench.report.store.read", lambda results: (of[results.name], []))
    found = rates.collect([tmp_path / "one", tmp_path / "two"])
    assert found == {"from": ["one", "two"], "rates": {"mezo": {"all": {"sst2": 1e-3, "rte": 2.0}}}}


def test_what_its_name_no_longer_means_chose_nothing(monkeypatch, tmp_path):
    now, other, older = (leave(tmp_path, ("lozo", "all", task, "ok", 1e-3))[0] for task in ("sst2", "rte", "copa"))
    other["cell"]["estimator_settings"] = {"scale": "paper"}
    older["cell"]["numerics"] = 1
    monkeypatch.setattr("zobench.report.store.read", lambda results: ([now, other, older], []))
    assert rates.collect([tmp_path])["rates"] == {"lozo": {"all": {"sst2": 1e-3}}}


def test_nothing_to_collect(monkeypatch, tmp_path):
    assert collected(monkeypatch, tmp_path)["rates"] == {}


def test_a_record_that_cannot_be_read_stops_the_collecting(tmp_path):
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "broken.json").write_text("{")
    with pytest.raises(SystemExit, match=r"cells/broken\.json"):
        rates.collect([tmp_path])
    with pytest.raises(ZobenchError):
        rates.collect([tmp_path / "nowhere"])


def test_the_command_writes_what_is_read(monkeypatch, tmp_path, table, capsys):
    monkeypatch.setattr("zobench.report.store.read", lambda results: (leave(results, (*NAMES, "ok", 2e-3)), []))
    rates.main([str(tmp_path)])
    assert str(rates.FILE) in capsys.readouterr().out and rates.tuned(*NAMES) == (2e-3,)
    with pytest.raises(SystemExit, match="usage"):
        rates.main([])


def test_a_rate_that_no_run_tried_is_none(table):
    assert rates.tuned(*NAMES) == ()  # there is no file
    rates._table.cache_clear()
    table({"mezo": {"all": {"sst2": 2e-3}}})
    assert rates.tuned(*NAMES) == (2e-3,)
    for other in (("lozo", "all", "sst2"), ("mezo", "layer", "sst2"), ("mezo", "all", "rte")):
        assert rates.tuned(*other) == ()


@pytest.mark.parametrize(
    ("preset", "names", "lrs", "expected"),
    [
        ("embedded", NAMES, None, (2e-3,)),
        ("embedded", ("mezo", "layer", "sst2"), None, METHOD.small_lrs),
        ("embedded", NAMES, (0.5,), (0.5,)),
        ("small", NAMES, None, METHOD.small_lrs),
        ("smoke", NAMES, None, METHOD.small_lrs),
        ("paper", NAMES, None, METHOD.lr_grid),
    ],
)
def test_the_grid_of_a_cell(table, preset, names, lrs, expected):
    table({"mezo": {"all": {"sst2": 2e-3}}})
    wish = Wish(names[:1], names[1:2], names[2:], preset=preset)
    assert grid(wish, SimpleNamespace(lrs=lrs), METHOD, names) == expected


def test_the_usual_preset_is_of_the_model():
    assert [usual_preset(name) for name in ("embedded", "embedded_random")] == ["embedded", "embedded"]
    for other in ("opt-125m", "facebook/opt-125m", "./embedded_2", "", "my/embedded"):
        assert usual_preset(other) == "small"
    assert {"embedded", "small"} <= set(PRESETS)
