"""Learning rates of committed runs: collected from records, given to the preset of the embedded model alone."""

import json
from types import SimpleNamespace

import pytest

from zobench.errors import ZobenchError
from zobench.plugins import declared
from zobench.plugins.registry import load_plugins
from zobench.run import rates
from zobench.run.cells import grid
from zobench.run.rates import checked_rates
from zobench.run.wish import Wish

METHOD = SimpleNamespace(lr_grid=(1e-6, 1e-7), small_lrs=(1e-3, 1e-4))
NAMES = ("mezo", "all", "sst2")


STEPS = 200


def trial(lr, loss, steps=STEPS):
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
def table(tmp_path):
    """Writes a file of rates for the preset `small`, and gives the plugins with the one that names it."""

    def write(found, name="mine"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"from": "runs", "rates": found}))
        (tmp_path / f"{name}.py").write_text(
            "from pathlib import Path\nfrom zobench import hookimpl\n\n@hookimpl\n"
            f"def zobench_rates():\n    return {{'small': Path(__file__).with_name('{name}.json')}}\n"
        )
        return load_plugins(sorted(tmp_path.glob("*.py")), only="")

    return write


def collected(monkeypatch, tmp_path, *made, problems=()):
    monkeypatch.setattr("zobench.report.store.read", lambda results: (leave(results, *made), list(problems)))
    return rates.collect([tmp_path], "embedded", STEPS)


def test_a_rate_that_is_given_twice_is_tried_once():
    assert checked_rates((1e-3, 1e-2, 1e-3)) == (1e-3, 1e-2)


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
    assert rates.collect([tmp_path], "embedded", STEPS)["rates"] == {"mezo": {"all": {"sst2": 1e-3}}}


def test_what_had_one_rate_alone_chose_nothing(monkeypatch, tmp_path):
    grid, alone = leave(tmp_path, (*NAMES, "ok", 1e-3), (*NAMES, "ok", 1e-2))
    del alone["trials"][1]
    alone["trials"][0] |= {"lr": 1e-2, "dev_loss": 0.0}
    monkeypatch.setattr("zobench.report.store.read", lambda results: ([grid, alone], []))
    assert rates.collect([tmp_path], "embedded", STEPS)["rates"] == {"mezo": {"all": {"sst2": 1e-3}}}


def test_other_numbers_of_steps_chose_nothing_for_the_preset(monkeypatch, tmp_path):
    short, failed = leave(tmp_path, (*NAMES, "ok", 1e-3), ("lozo", "all", "sst2", "ok", 1e-2))
    short["trials"][0]["steps"] = 44
    failed["trials"][1] |= {"status": "diverged", "steps": 3}
    monkeypatch.setattr("zobench.report.store.read", lambda results: ([short, failed], []))
    assert rates.collect([tmp_path], "embedded", STEPS)["rates"] == {"lozo": {"all": {"sst2": 1e-2}}}


def test_the_first_folder_that_knows_a_rate_says_it(monkeypatch, tmp_path):
    of = {
        "one": leave(tmp_path, (*NAMES, "ok", 1e-3)),
        "two": leave(tmp_path, (*NAMES, "ok", 1.0), ("mezo", "all", "rte", "ok", 2.0)),
    }
    monkeypatch.setattr("zobench.report.store.read", lambda results: (of[results.name], []))
    found = rates.collect([tmp_path / "one", tmp_path / "two"], "embedded", STEPS)
    assert found == {"from": ["one", "two"], "rates": {"mezo": {"all": {"sst2": 1e-3, "rte": 2.0}}}}


def test_what_its_name_no_longer_means_chose_nothing(monkeypatch, tmp_path):
    now, other, older = (leave(tmp_path, ("lozo", "all", task, "ok", 1e-3))[0] for task in ("sst2", "rte", "copa"))
    other["cell"]["estimator_settings"] = {"scale": "paper"}
    older["cell"]["numerics"] = 1
    monkeypatch.setattr("zobench.report.store.read", lambda results: ([now, other, older], []))
    assert rates.collect([tmp_path], "embedded", STEPS)["rates"] == {"lozo": {"all": {"sst2": 1e-3}}}


def test_nothing_to_collect(monkeypatch, tmp_path):
    assert collected(monkeypatch, tmp_path)["rates"] == {}


def test_a_record_that_cannot_be_read_stops_the_collecting(tmp_path):
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "broken.json").write_text("{")
    with pytest.raises(SystemExit, match=r"cells/broken\.json"):
        rates.collect([tmp_path], "embedded", STEPS)
    with pytest.raises(ZobenchError):
        rates.collect([tmp_path / "nowhere"], "embedded", STEPS)


def test_the_command_writes_what_is_read(monkeypatch, tmp_path, table, capsys):
    monkeypatch.setattr("zobench.report.store.read", lambda results: (leave(results, (*NAMES, "ok", 2e-3)), []))
    plugins, out = table({}), tmp_path / "mine.json"
    assert rates.tuned(plugins, "small", *NAMES) == ()
    rates.main([str(tmp_path), "--model", "embedded", "--steps", str(STEPS), "--out", str(out)])
    assert str(out) in capsys.readouterr().out
    rates._rates.cache_clear()
    assert rates.tuned(plugins, "small", *NAMES) == (2e-3,)
    with pytest.raises(SystemExit):
        rates.main([])


def test_the_committed_file_is_what_the_records_give():
    """Of the embedded model, by the command that its package names."""
    from zobench_world import RATES

    told = json.loads(RATES.read_text())
    known = load_plugins(only="")
    assert told["from"] == ["embedded", "forwards", "selectors"]
    assert rates.tuned(known, "embedded", "mezo", "all", "sst2") == (told["rates"]["mezo"]["all"]["sst2"],)


def test_a_rate_that_no_run_tried_is_none(table):
    plugins = table({"mezo": {"all": {"sst2": 2e-3}}})
    assert rates.tuned(plugins, "small", *NAMES) == (2e-3,)
    assert rates.tuned(plugins, "smoke", *NAMES) == ()
    for other in (("lozo", "all", "sst2"), ("mezo", "layer", "sst2"), ("mezo", "all", "rte")):
        assert rates.tuned(plugins, "small", *other) == ()


def test_two_plugins_may_know_rates_of_one_preset_but_not_two_of_one_method(table):
    table({"mezo": {"all": {"sst2": 2e-3}}})
    plugins = table({"mezo": {"all": {"rte": 1.0}}, "lozo": {"all": {"sst2": 3.0}}}, "theirs")
    assert rates.tuned(plugins, "small", *NAMES) == (2e-3,)
    assert rates.tuned(plugins, "small", "lozo", "all", "sst2") == (3.0,)
    plugins = table({"mezo": {"all": {"sst2": 2.0}}}, "third")
    with pytest.raises(ZobenchError, match=r"mezo / all on sst2: tuned .* 0.002 by .*mine.* and 2 by .*third.*--lr"):
        rates.tuned(plugins, "small", *NAMES)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rates": 3}', '{"rates": {"mezo": {"all": {"sst2": -1}}}}'])
def test_a_file_that_holds_no_rates_is_one_line(table, tmp_path, text):
    plugins = table({})
    (tmp_path / "mine.json").write_text(text)
    with pytest.raises(ZobenchError, match=r"mine\.json: no file of learning rates"):
        rates.tuned(plugins, "small", *NAMES)
    (tmp_path / "mine.json").unlink()
    with pytest.raises(ZobenchError, match="mine.json"):
        rates.tuned(plugins, "small", *NAMES)


@pytest.mark.parametrize(
    ("preset", "names", "lrs", "expected"),
    [
        ("small", NAMES, None, (2e-3,)),
        ("small", ("mezo", "layer", "sst2"), None, METHOD.small_lrs),
        ("small", NAMES, (0.5,), (0.5,)),
        ("embedded", ("lozo_x", "all", "sst2"), None, METHOD.small_lrs),
        ("smoke", NAMES, None, METHOD.small_lrs),
        ("paper", NAMES, None, METHOD.lr_grid),
    ],
)
def test_the_grid_of_a_cell(table, preset, names, lrs, expected):
    plugins = table({"mezo": {"all": {"sst2": 2e-3}}})
    wish = Wish(names[:1], names[1:2], names[2:], preset=preset)
    assert grid(wish, SimpleNamespace(lrs=lrs), plugins, METHOD, names) == expected
    if lrs is None:
        own = METHOD.lr_grid if preset == "paper" else METHOD.small_lrs
        assert grid(wish, SimpleNamespace(lrs=None), plugins, METHOD, names, known=False) == own


def test_the_usual_preset_is_of_the_model():
    plugins = load_plugins(only="")
    assert [declared.usual_preset(plugins, name) for name in ("embedded", "embedded_random")] == ["embedded"] * 2
    for other in ("opt-125m", "facebook/opt-125m", "./embedded_2", "", "my/embedded"):
        assert declared.usual_preset(plugins, other) == "small"
