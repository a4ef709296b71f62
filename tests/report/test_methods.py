"""Estimators and selectors against controls: who is better than whom, and from whom a control takes it."""

import pytest
from factory import items, record

from zobench.cli import main
from zobench.errors import ZobenchError
from zobench.report import methods, rows, store

RIGHT = {"mezo": (60, 62), "n_spsa": (80, 82), "fzoo": (81, 80), "lozo": (95, 93), "es": (40, 42), "hizoo": (61, 61)}
"""Of 100 items, by estimator and seed."""


def made(right=RIGHT, selector="all", tasks=("copa", "sst2")):
    return [
        record(name, selector, task, seed, test=items(n, shuffle=task))
        for name, seeds in right.items()
        for seed, n in enumerate(seeds)
        for task in tasks
    ]


def field(records, controls=("mezo", "n_spsa"), kind="estimator"):
    (section,) = rows.sections(records)
    (found,) = methods.fields(section, controls, kind)
    return found


def test_every_method_is_held_against_every_control():
    found = field(made())
    assert [s.name for s in found.standings] == ["lozo", "n_spsa", "fzoo", "hizoo", "mezo", "es"]
    verdicts = {s.name: [a.verdict for a in s.against] for s in found.standings}
    better, worse, same = methods.BETTER, methods.WORSE, methods.SAME
    assert verdicts["lozo"] == [better, better]
    assert verdicts["fzoo"] == [better, same]
    assert verdicts["hizoo"] == [same, worse]
    assert verdicts["es"] == [worse, worse]
    assert verdicts["mezo"] == [worse], "a control is not held against itself"
    lozo = found.standings[0].against[0].compared
    assert lozo.difference == pytest.approx(0.94 - 0.61) and lozo.items == 200


def test_the_words_say_where_an_advantage_goes():
    (section,) = rows.sections(made())
    said = methods.markdown(section, ("mezo", "n_spsa"))
    assert "- Better than mezo: lozo, n_spsa, fzoo. Worse: es. Not told apart: 1 of 5." in said
    assert "- Better than n_spsa: lozo. Worse: hizoo, mezo, es. Not told apart: 1 of 5." in said
    assert "- fzoo is better than mezo, but not than n_spsa." in said
    assert "lozo is better than mezo, but" not in said
    (row,) = [line.split("|") for line in said.splitlines() if line.startswith("| lozo")]
    assert [cell.split(" ±")[0].strip() for cell in row[1:-1]] == ["lozo", "94.0", "94.0", "94.0", "+33.0", "+13.0"]


def test_one_lucky_seed_is_no_advantage():
    found = field(made({"mezo": (60, 60), "lozo": (61, 99)}), ("mezo",))
    (lozo, _) = found.standings
    assert lozo.against[0].compared.p < 1e-6 and lozo.against[0].verdict == methods.SAME


def test_who_lacks_a_task_has_no_average_and_references_are_no_rivals():
    records = [*made(), record("subzero", "all", "copa", 0), record("adamw", "all", "copa", 0, test=99)]
    records += [record("adamw", "all", "sst2", 0, test=99)]
    found = field(records)
    assert found.partial == ("subzero",) and found.standings[0].name == "adamw"
    (section,) = rows.sections(records)
    said = methods.markdown(section, ("mezo",))
    assert "*adamw*" in said and "no average" in said and "Better than mezo: lozo, n_spsa, fzoo." in said


def test_selectors_are_held_against_each_other_the_same_way():
    records = [*made({"mezo": (60, 62)}), *made({"mezo": (90, 91)}, "first_outlier"), *made({"mezo": (61, 60)}, "lisa")]
    found = field(records, ("all",), "selector")
    assert found.shared == "mezo"
    assert [(s.name, [a.verdict for a in s.against]) for s in found.standings] == [
        ("first_outlier", [methods.BETTER]),
        ("all", []),
        ("lisa", [methods.SAME]),
    ]


def test_faults_are_named():
    (section,) = rows.sections(made())
    with pytest.raises(ZobenchError, match="unknown estimator of these records 'mezzo'; did you mean 'mezo'"):
        methods.fields(section, ("mezzo",))
    with pytest.raises(ZobenchError, match="there are no two selectors with the same other half"):
        methods.markdown(section, ("all",), "selector")


@pytest.fixture
def results(tmp_path):
    for one in [*made(), *made(selector="first_outlier")]:
        store.write(tmp_path / "r", one)
    return tmp_path / "r"


def test_the_command_prints_writes_and_draws(results, tmp_path, capsys):
    out, plot = tmp_path / "out.md", tmp_path / "out.png"
    told = ["analyze", "methods", str(results), "--against", "mezo, n_spsa", "--out", str(out), "--plot", str(plot)]
    assert main(told) == 0
    printed = capsys.readouterr().out
    assert out.read_text() == printed and printed.count("## ") == 2 and "fzoo is better than mezo" in printed
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert main(["analyze", "methods", str(results), "--by", "selector"]) == 0
    assert "## fzoo" in capsys.readouterr().out


def test_its_faults_are_one_line(results, tmp_path, capsys):
    assert main(["analyze", "methods", str(results), "--against", "sgd"]) == 2
    assert "unknown estimator of these records 'sgd'" in capsys.readouterr().err
    store.write(results, record(model="another/model"))
    assert main(["analyze", "methods", str(results)]) == 2
    assert "has 2 sections, one for each model" in capsys.readouterr().err


def test_what_they_took_stands_beside_their_cards(tmp_path, capsys):
    adam = record("zo_adam", "all", "copa", 0, lrs=(1e-3, 1e-2))
    adam["memory"]["state_bytes"] = 8 * adam["scope"]["parameters"]
    adam["forwards"] |= {"extra": 50}
    for one in (adam, record("mezo", "all", "copa", 0), record("of_a_plugin", "all", "copa", 0)):
        store.write(tmp_path, one)
    assert main(["analyze", "methods", str(tmp_path), "--cards"]) == 0
    table = capsys.readouterr().out.split("## What they took")[1]
    rows = {
        line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:-1]]
        for line in table.splitlines()
        if "|" in line
    }
    assert rows["zo_adam"] == ["all", "yes", "2", "2", "0", "0.25", "225", "8", "8"]
    assert rows["mezo"][:4] == ["all", "yes", "2", "2"] and "of_a_plugin" not in rows


def test_what_selectors_chose_and_what_that_took(tmp_path, capsys):
    found = [record("mezo", "sweep", "copa", seed) for seed in range(5)] + [record("mezo", "all", "copa", 0)]
    for one, layers in zip(found, ([1], [1], [0, 2], [3], [4], list(range(8))), strict=True):
        one["scope"]["layers"], one["scope"]["fraction"] = layers, len(layers) / 10
        one["forwards"] |= {"calibration": 2, "probe": 100 * len(layers)}
        one["time"]["select_s"] = 1.5
        store.write(tmp_path, one)
    assert main(["analyze", "methods", str(tmp_path), "--by", "selector", "--cards"]) == 0
    table = capsys.readouterr().out.split("## What they chose")[1]
    rows = {c[1].strip(): [x.strip() for x in c[2:-1]] for line in table.splitlines() if len(c := line.split("|")) > 3}
    assert rows["sweep"] == ["mezo", "122", "1.5", "12.0 %", "1 (2); 0, 2 (1); 3 (1); 1 others"]
    assert rows["all"] == ["mezo", "802", "1.5", "80.0 %", "0-7 (1)"]
