"""One method against another, as a page and as a command."""

from __future__ import annotations

import pytest
from kits.records import PROTOCOL, items, record

from zobench.cli import main
from zobench.errors import ZobenchError
from zobench.report import stats, store, versus
from zobench.report.sections import sections


def made(right=None, tasks=("copa", "sst2"), **more):
    right = right or {"mezo": (60, 62, 61), "lozo": (80, 83, 81)}
    return [
        record(name, "all", task, seed, test=items(n), zero_shot=items(50), **more)
        for name, seeds in right.items()
        for seed, n in enumerate(seeds)
        for task in tasks
    ]


def page(records, a="lozo/all", b="mezo/all", **more):
    (section,) = sections(records)
    first = versus.find(section, a)
    assert first is not None
    return versus.markdown(section, first, versus.find(section, b), **more)


def table(text):
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return {line[0]: line[1:] for line in lines[2:]}


def test_it_says_points_items_seeds_and_p():
    found = table(page(made()))
    assert found["copa"][:2] == ["81.3", "61.0"] and found["copa"][2].startswith("+20.3 ± ")
    assert (
        found["copa"][2].endswith(" ▲")
        and found["copa"][3] == "+20.3 of 100"
        and found["copa"][4] == "+20.0, +21.0, +20.0"
    )
    (section,) = sections(made())
    lozo, mezo = (versus.find(section, name) for name in ("lozo", "mezo"))
    assert lozo is not None and mezo is not None
    each = [lozo.entry(task).minus(mezo.entry(task)) for task in section.tasks]
    known = [one for one in each if one is not None]
    whole = stats.combine(known)
    corrected = stats.holm([*(one.p for one in known), whole.p])
    assert found["copa"][5] == f"{known[0].p:.2g}" and found["copa"][6] == f"{corrected[0]:.2g}"
    assert found["average"][5] == f"{whole.p:.2g}" and found["average"][6] == f"{corrected[2]:.2g}"


def test_what_it_says_of_the_average():
    said = page(made())
    assert "on the average over 2 tasks is +20.3 ± " in said and "Without any one task it is +20.3 to +20.3." in said
    assert "This comparison alone, the difference is beyond chance" in said
    assert "within 2 points: not shown" in said and "3 seeds find it in 100 % of runs" in said
    close = page(made({"mezo": (60, 60, 60), "lozo": (61, 60, 59)}), margin=0.05)
    assert "Not told apart, which is not the same as equal." in close and "within 5 points: yes" in close


def test_how_many_seeds_a_difference_needs():
    noisy = page(made({"mezo": (50, 60, 70), "lozo": (75, 55, 65)}))
    assert "Not told apart" in noisy and " would in four of five." in noisy and "3 seeds find " in noisy
    few = page(made({"mezo": (60,), "lozo": (90,)}))
    assert "Nothing is claimed: 3 seeds are needed, and there are 1." in few and "▲" not in "".join(table(few)["copa"])
    assert "What more seeds would find cannot be said" in few


def test_the_untouched_model_is_in_every_record():
    found = table(page(made(), b="zero_shot"))
    assert found["copa"][1] == "50.0" and found["average"][2].startswith("+31.3 ± ")
    one = table(page(made(tasks=("copa",)), b="zero_shot"))
    assert list(one) == ["copa"], "one task is its own average"


def test_what_lacks_a_seed_is_left_out():
    records = [
        r for r in made() if (r["cell"]["estimator"], r["cell"]["task"], r["cell"]["seed"]) != ("lozo", "copa", 2)
    ]
    said = page(records)
    assert "Left out, as a seed is missing or failed, or items are not kept: copa." in said
    assert table(said)["copa"][2:] == ["-"] * 5 and "average" not in table(said)
    untouched = table(page(records, b="zero_shot"))
    assert untouched["copa"][2:] == ["-"] * 5 and untouched["sst2"][2].startswith("+31.3 ± ")
    lost = [r for r in made() if (r["cell"]["estimator"], r["cell"]["seed"]) != ("lozo", 2)]
    with pytest.raises(ZobenchError, match="cannot be compared: there is no task"):
        page(lost)


def test_items_are_those_of_one_split():
    each = [made(tasks=("copa",), protocol={**PROTOCOL, "data_seed": seed}) for seed in (0, 1)]
    records = [{**one, "role": {"seed": "report", "splits": [0, 1]}} for of_split in each for one in of_split]
    found = table(page(records))
    assert found["copa"][3] == "+20.3 of 100"


def test_methods_are_named():
    (section,) = sections([*made(), record("mezo", "layer")])
    with pytest.raises(ZobenchError, match="mezo is 2 methods here: name one of mezo/all, mezo/layer"):
        versus.find(section, "mezo")
    with pytest.raises(ZobenchError, match="unknown method of these records 'mezzo/all'; did you mean 'mezo/all'"):
        versus.find(section, "mezzo/all")
    found = versus.find(section, "mezo / layer")
    assert found is not None and found.selector == "layer" and versus.find(section, "zero_shot") is None


def test_the_command(tmp_path, capsys):
    for one in made():
        store.write(tmp_path / "r", one)
    out = tmp_path / "x.md"
    assert main(["compare", "lozo", "mezo", "--results", str(tmp_path / "r"), "--out", str(out), "--margin", "30"]) == 0
    printed = capsys.readouterr().out
    assert (
        printed == out.read_text()
        and printed.startswith("# lozo / all against mezo / all")
        and "within 30 points: yes" in printed
    )
    assert main(["compare", "zero_shot", "mezo", "--results", str(tmp_path / "r")]) == 2
    assert "write it second" in capsys.readouterr().err
    assert main(["compare", "lozo", "sgd", "--results", str(tmp_path / "r")]) == 2
    assert main(["compare", "lozo", "mezo", "--results", str(tmp_path / "none")]) == 2
