"""A language-modelling task of one's own, from the guide's file to the board, beside a task of another metric."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from kits.run_kit import QUICK, plugin_file

from zobench.cli import main
from zobench.report import store

GUIDE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
PLUGIN = """
    from pathlib import Path

    from zobench import hookimpl


    @hookimpl
    def zobench_tasks():
        return {"prose": Path(__file__).with_name("prose.toml")}
"""


@pytest.fixture
def plugin(tmp_path):
    (toml,) = [b for b in re.findall(r"^```toml\n(.*?)^```$", GUIDE, re.S | re.M) if '"language_modelling"' in b]
    (tmp_path / "prose.toml").write_text(toml)
    (tmp_path / "prose").mkdir()
    for split, n in (("train", 24), ("validation", 8)):
        lines = [json.dumps({"text": f"the {split} story number {i} is {'very ' * (i % 4)}short ."}) for i in range(n)]
        (tmp_path / "prose" / f"{split}.jsonl").write_text("\n".join(lines))
    return plugin_file(tmp_path, PLUGIN)


def words(world, plugin, results, estimators, *more):
    sizes = [x for key, value in QUICK.items() for x in ("--set", f"{key}={value}")]
    place = ["--model", world.model, "--results", results, "--device", "cpu", "--offline", "--lr", "1e-3"]
    return [str(w) for w in ["run", "--plugin", plugin, "--estimator", estimators, *place, *sizes, *more]]


def test_from_the_guide_to_the_board(world, tmp_path, plugin, capsys):
    results = tmp_path / "r"
    given = ["--tasks", "prose,sst2", "--data-dir", world.data, "--set", "icl.demonstrations=2"]
    assert main(words(world, plugin, results, "mezo,zero_shot,icl", *given)) == 0
    records, problems = store.read(results)
    assert len(records) == 6 and not problems and {r["status"] for r in records} == {"ok"}
    prose = {r["cell"]["estimator"]: r for r in records if r["cell"]["task"] == "prose"}
    test = prose["mezo"]["metrics"]["test"]
    assert test["metric"] == "log_prob" and test["n"] == len(test["items"]) == 5
    assert all(x < 0 for x in test["items"]) and test["value"] != prose["mezo"]["metrics"]["zero_shot"]["value"]
    assert prose["icl"]["metrics"]["test"]["value"] != prose["zero_shot"]["metrics"]["test"]["value"]
    board = (results / "leaderboard.md").read_text()
    fractions, log_prob = re.sub(" +", " ", board).split("\n## ")[1:]
    assert "prose" not in fractions and "log_prob" not in fractions and "| sst2 |" in fractions
    assert "(metric=log_prob)" in log_prob and "sst2" not in log_prob and "| prose (log_prob) |" in log_prob
    assert "Scores are 100 × log_prob, the mean log-probability of a token in nats" in log_prob
    assert f"{100 * test['value']:.1f}" in log_prob
    assert main(["leaderboard", str(results), "--check", "--plugin", str(plugin)]) == 0
    said = capsys.readouterr()
    assert f"log_prob {test['value']:.3f} ± " in said.out + said.err


def test_what_answers_with_candidates_is_refused(world, tmp_path, plugin, capsys):
    assert main(words(world, plugin, tmp_path / "r", "hidden_probe", "--tasks", "prose")) != 0
    assert "hidden_probe chooses among candidates, and prose is a language_modelling task" in capsys.readouterr().err
