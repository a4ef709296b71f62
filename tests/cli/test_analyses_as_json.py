"""`--json` of the analyses of records: every one has it, and its numbers are those of the page."""

import json

import pytest
from kits.records import record

from zobench.cli import main
from zobench.cli.analyze import EXAMPLES
from zobench.report import store


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three blocks alone, their sum, all weights and an outlier block on two tasks; the blocks transformed, too."""
    plain, moved = (tmp_path_factory.mktemp(name) for name in ("plain", "moved"))
    scopes = {"all": [0, 1, 2], "first_outlier": [2], "first_outlier+layer:0": [0, 2]}
    scopes |= {f"layer:{n}": [n] for n in range(3)}
    scores = dict(zip(scopes, (90, 80, 85, 60, 70, 80), strict=True))
    for folder, protocol in ((plain, {}), (moved, {"transform": "plant:2:6:9"})):
        (folder / "cells").mkdir()
        for selector, layers in scopes.items():
            for task in ("rte", "sst2"):
                for seed in range(3):
                    said = {"test": scores[selector] + seed, "ms": 10.0 + 2 * len(layers), "protocol": protocol}
                    one = record(selector=selector, task=task, seed=seed, **said)
                    one["scope"] |= {"layers": layers, "parameters": 1000 * len(layers)}
                    one["metrics"]["dev"] = {**one["metrics"]["test"], "loss": 1 - scores[selector] / 100}
                    store.write(folder, one)
    for dtype in ("float16", "bfloat16"):
        for seed in range(3):
            store.write(plain, record(task="rte", seed=seed, test=50, run={"dtype": dtype}))
    return plain, moved


def test_every_analysis_writes_its_numbers():
    """What typer knows: no command of `analyze` is without the three files."""
    import typer

    from zobench.cli.analyze import app

    group = typer.main.get_command(app)
    commands = {**group.commands, **group.commands["controls"].commands}
    del commands["controls"]
    assert len(commands) == len(EXAMPLES) + 4
    for name, command in commands.items():
        assert {"--json", "--out", "--plot"} <= {o for p in command.params for o in p.opts}, name


def test_the_numbers_are_those_of_the_pages(runs, tmp_path, capsys):
    plain, moved = map(str, runs)

    def found(*line):
        file = tmp_path / "facts.json"
        assert main(["analyze", *line, "--json", str(file)]) == 0, line
        capsys.readouterr()
        return json.loads(file.read_text())

    sweep = found("layers", moved)["sweeps"][1]
    assert (sweep["task"], sweep["chosen"], sweep["outlier"]) == ("sst2", 2, [2])
    assert [round(one["test"]["mean"], 6) for one in sweep["blocks"]] == [0.61, 0.71, 0.81]
    assert sweep["against"][0]["difference"]["mean"] == pytest.approx(0.1)
    assert [one["transform"] for one in found("transforms", plain, moved)["sweeps"][:2]] == ["", "plant:2:6:9"]
    (fit,) = found("cost", moved)["fits"]
    assert [fit["gamma"], fit["gamma_low"], fit["gamma_high"]] == pytest.approx([2e-6] * 3)
    first = fit["measured"][0]
    assert [first[key] for key in ("parameters", "step_s", "fitted_s")] == pytest.approx([1000, 0.012, 0.012])
    (field,) = found("methods", moved, "--by", "selector", "--against", "all")["fields"]
    best, *_, last = field["methods"]
    assert best["average"]["mean"] == pytest.approx(0.91) and best["against"] == []
    assert last["against"][0]["difference"]["mean"] == pytest.approx(-0.3)
    ranks = found("ranks", moved)
    assert ranks["ranks"][0]["selector"] == "all" and ranks["friedman"] is None
    assert ranks["profile"]["methods"]["mezo / all"][0] == 1.0
    factors = found("factors", moved)
    assert factors["levels"]["task"] == ["rte", "sst2"] and factors["sources"][0]["name"] == "selector"
    (group,) = found("controls", "selection", moved)["groups"]
    assert group["against"] == "mezo / first_outlier" and len(group["rows"]) == 6
    rates = found("controls", "rate", moved)["rates"][0]
    assert rates["rates"][1]["dev_loss"]["mean"] == pytest.approx(0.5) and rates["best"] == 1e-4
    budget = found("controls", "budget", moved)["budgets"][0]
    assert budget["target"] == 0.5 and budget["methods"][0]["runs"][0]["steps_to_target"] == 75
    assert found("combine", moved)["methods"][0]["rows"][1]["selector"] == "first_outlier+layer:0"


def test_a_group_held_in_its_precisions(runs, tmp_path, capsys):
    file = tmp_path / "facts.json"
    only = tmp_path / "rte"
    (only / "cells").mkdir(parents=True)
    for one in store.read(runs[0])[0]:
        if one["cell"]["task"] == "rte" and one["cell"]["selector"] == "all":
            store.write(only, one)
    assert main(["analyze", "controls", "precision", str(only), "--json", str(file)]) == 0
    (group,) = json.loads(file.read_text())["groups"]
    assert group["against"].startswith("float32") and [one["verdict"] for one in group["rows"]][0] is None
    assert group["rows"][1]["difference"]["mean"] == pytest.approx(-0.41)
