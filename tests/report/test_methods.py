"""Estimators and selectors against controls: who is better than whom, and from whom a control takes it."""

from types import SimpleNamespace

import pytest
from kits.records import items, record

from zobench.cli import main
from zobench.cli import methods as methods_command
from zobench.errors import ZobenchError
from zobench.report import methods, stats, store
from zobench.report.sections import sections
from zobench.report.taken import taken

RIGHT = {
    "mezo": (60, 62, 61),
    "n_spsa": (80, 82, 81),
    "fzoo": (81, 80, 82),
    "lozo": (95, 93, 94),
    "es": (40, 42, 41),
    "hizoo": (61, 61, 61),
}
"""Of 100 items, by estimator and seed."""


def made(right=RIGHT, selector="all", tasks=("copa", "sst2")):
    """Records of which the right items are the first: methods differ in items, and in seeds by a point or two."""
    return [
        record(name, selector, task, seed, test=items(n))
        for name, seeds in right.items()
        for seed, n in enumerate(seeds)
        for task in tasks
    ]


def field(records, controls=("mezo", "n_spsa"), kind="estimator", **more):
    (section,) = sections(records)
    (found,) = methods.fields(section, controls, kind, **more)
    return found


def verdicts(found):
    return {s.name: [a.verdict for a in s.against] for s in found.standings}


better, worse, same, equal = stats.BETTER, stats.WORSE, stats.SAME, stats.EQUAL


def test_every_method_is_held_against_every_control():
    found = field(made())
    assert [s.name for s in found.standings] == ["lozo", "fzoo", "n_spsa", "hizoo", "mezo", "es"]
    assert verdicts(found) == {
        "lozo": [better, better],
        "fzoo": [better, same],
        "n_spsa": [better],
        "hizoo": [equal, worse],
        "mezo": [worse],  # a control is not held against itself
        "es": [worse, worse],
    }
    lozo = found.standings[0].against[0].compared
    assert lozo.mean == pytest.approx(0.94 - 0.61) and lozo.items == 200 and lozo.seeds == 3


def test_the_words_say_where_an_advantage_goes():
    (section,) = sections(made())
    said = methods.markdown(section, ("mezo", "n_spsa"))
    assert "Holm-corrected over all 10 comparisons of this page" in said
    first = (
        "- Better than mezo: lozo, fzoo, n_spsa. Worse: es. As good as it: hizoo. Not told apart: 0 of 5. (At a false"
    )
    assert f"{first} discovery rate of 5 %: 3 better, 1 worse; 3 have the higher average.)" in said
    assert "- Better than n_spsa: lozo. Worse: hizoo, mezo, es. As good as it: none. Not told apart: 1 of 5." in said
    assert "- fzoo is better than mezo, but not told apart from, or worse than, n_spsa." in said
    assert "lozo is better than mezo, but" not in said and "## In all" not in said, "there is one table"
    (section,) = sections([*made(), *made(selector="first_outlier")])
    assert "## In all\n\n- Better than mezo: lozo (all), fzoo (all), " in methods.markdown(section, ("mezo",))
    by_selector = methods.markdown(section, ("all",), "selector")
    assert by_selector.count("- ") >= 1 and by_selector.count("Better than all:") == 1, "once for all, not once a row"
    assert "As good as it: es, fzoo, hizoo, lozo, mezo, n_spsa." in by_selector
    (row,) = [line.split("|") for line in said.splitlines() if line.startswith("| lozo")]
    assert [cell.split(" ±")[0].strip() for cell in row[1:-1]] == ["lozo", "94.0", "94.0", "94.0", "+33.0", "+13.0"]
    assert row[-3].strip().endswith("(+33.0 to +33.0) ▲")


def test_one_lucky_seed_is_no_advantage():
    found = field(made({"mezo": (60, 60, 60), "lozo": (61, 60, 99)}), ("mezo",))
    (lozo, _) = found.standings
    assert lozo.against[0].compared.mean > 0.1 and lozo.against[0].verdict == same


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_carry_no_mark(seeds):
    records = made({"mezo": (10, 11)[:seeds], "lozo": (99, 98)[:seeds]})
    assert verdicts(field(records, ("mezo",))) == {"lozo": [stats.UNTESTED], "mezo": []}
    (section,) = sections(records)
    said = methods.markdown(section, ("mezo",))
    assert "▲ (" not in said and "Nobody can be compared with mezo: 3 seeds of both are needed." in said
    assert not any("▲" in line for line in said.splitlines() if line.startswith("|"))


def test_the_page_is_one_family():
    """A difference that a column alone would mark is not marked among forty."""
    edge = {"mezo": (60, 60, 60), "lozo": (64, 65, 64)}
    assert verdicts(field(made(edge), ("mezo",)))["lozo"] == [better]
    crowd = edge | {f"other{k}": (59 + k % 2, 60, 60) for k in range(40)}
    assert verdicts(field(made(crowd), ("mezo",)))["lozo"] == [same]
    two = [*made(crowd), *made({k: edge[k] for k in edge}, "first_outlier")]
    (section,) = sections(two)
    by = {
        family: {f.shared: verdicts(f)["lozo"] for f in methods.fields(section, ("mezo",), family=family)}
        for family in ("board", "claim", "column")
    }
    assert by["board"] == by["claim"] == {"all": [same], "first_outlier": [same]}
    assert by["column"] == {"all": [same], "first_outlier": [better]}
    apart = set()
    for k in range(2, 40, 4):
        some = edge | {f"other{j}": (59 + j % 2, 60, 60) for j in range(k)}
        (section,) = sections(made(some))
        both = ("mezo", "other0")
        told = {f: methods.fields(section, both, family=f)[0] for f in ("board", "claim")}
        apart.add(tuple(verdicts(told[f])["lozo"][0] for f in ("board", "claim")))
    assert (same, better) in apart, "a second control makes the page's family larger, not the claim's"
    (section,) = sections(two)
    assert "the comparisons of one column, 41 at most" in methods.markdown(section, ("mezo",), family="column")


def test_counts_are_at_a_false_discovery_rate():
    """Half of many methods are a little better: the counts find more of them than the marks may claim."""
    many = {"mezo": (60, 60, 60)} | {f"m{k}": (60, 60, 60) if k % 2 else (65, 66, 65) for k in range(40)}
    found = field(made(many), ("mezo",))
    against = [s.against[0] for s in found.standings if s.against]
    marked, counted = (sum(getattr(a, which) == better for a in against) for which in ("verdict", "counted"))
    assert counted == 20 and marked <= counted


def test_as_good_as_is_a_claim_of_its_own():
    found = field(made({"mezo": (60, 60, 60), "same": (60, 60, 60), "far": (62, 66, 58)}), ("mezo",))
    told = verdicts(found)
    assert told["same"] == [equal] and told["far"] == [same]
    wide = field(made({"mezo": (60, 60, 60), "far": (62, 66, 58)}), ("mezo",), margin=0.5)
    assert verdicts(wide)["far"] == [equal]


def test_who_lacks_a_task_or_a_seed_has_no_average_and_references_are_no_rivals():
    records = [*made(), record("subzero", "all", "copa", 0), *made({"adamw": (99, 99, 99)}), *made({"dizo": (99, 99)})]
    found = field(records)
    assert found.partial == ("dizo", "subzero") and found.standings[0].name == "adamw"
    (section,) = sections(records)
    said = methods.markdown(section, ("mezo",))
    assert "*adamw*" in said and "no average" in said and "Better than mezo: lozo, fzoo, n_spsa." in said


def test_a_control_without_an_average_is_held_against_nobody():
    records = [*made({"mezo": (60, 62, 61), "lozo": (90, 91, 92)}), *made({"n_spsa": (80, 81)})]
    found = field(records, ("mezo", "n_spsa"))
    assert verdicts(found) == {"lozo": [better], "mezo": []} and found.partial == ("n_spsa",)
    (section,) = sections(records)
    said = methods.markdown(section, ("mezo", "n_spsa"))
    assert "lozo is better than mezo, but" not in said, "nothing is known of n_spsa"


def test_selectors_are_held_against_each_other_the_same_way():
    records = [
        *made({"mezo": (60, 62, 61)}),
        *made({"mezo": (90, 91, 90)}, "first_outlier"),
        *made({"mezo": (61, 60, 62)}, "lisa"),
    ]
    found = field(records, ("all",), "selector")
    assert found.shared == "mezo"
    assert [(s.name, [a.verdict for a in s.against]) for s in found.standings] == [
        ("first_outlier", [better]),
        ("all", []),
        ("lisa", [equal]),
    ]


def test_faults_are_named():
    (section,) = sections(made())
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
    assert out.read_text() == printed and printed.count("## ") == 3 and "fzoo is better than mezo" in printed
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert main(["analyze", "methods", str(results), "--by", "selector"]) == 0
    assert "## fzoo" in capsys.readouterr().out
    assert main(["analyze", "methods", str(results), "--family", "column", "--margin", "50"]) == 0
    printed = capsys.readouterr().out
    assert "within 50 points" in printed and "the comparisons of one column, 5 at most" in printed and "≈ |" in printed


def test_the_picture_has_the_pages_verdicts_against_the_first_control(tmp_path, monkeypatch):
    """Two controls are more comparisons than one: fzoo is better than mezo only where no other is asked for."""
    records = made({"mezo": (60, 62, 61), "n_spsa": (80, 82, 81), "fzoo": (70, 80, 63)})
    for one in records:
        store.write(tmp_path, one)
    assert verdicts(field(records, ("mezo",)))["fzoo"] == [better]
    assert verdicts(field(records))["fzoo"] == [same, same]
    figures = []
    monkeypatch.setattr("zobench.cli.methods.picture", lambda figure, path: figures.append(figure) or b"")
    plot = ["--plot", str(tmp_path / "out.png")]
    assert main(["analyze", "methods", str(tmp_path), "--against", "mezo,n_spsa", *plot]) == 0
    (axes,) = figures[0].axes
    drawn = {t.get_text(): c.lines[0].get_color() for t, c in zip(axes.get_yticklabels(), axes.containers, strict=True)}
    assert drawn == {"fzoo": "tab:gray", "n_spsa": "tab:green"}, (
        "and not mezo, which the second control is held against"
    )


def test_a_reference_is_marked_as_one_in_the_picture():
    for name, reference in (("mezo", False), ("sgd", True)):
        standing = SimpleNamespace(name=name, row=SimpleNamespace(reference=reference))
        assert methods_command._label(standing) == (f"{name} (reference)" if reference else name)


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
    assert rows["sweep"] == ["mezo", "122", "1.5", "12.0 %", "1 (2); 0, 2 (1); 3 (1); 1 other"]
    assert rows["all"] == ["mezo", "802", "1.5", "80.0 %", "0-7 (1)"]


def test_what_is_counted_is_judged_apart_from_what_is_claimed(monkeypatch):
    monkeypatch.setattr(stats, "discoveries", lambda found: dict.fromkeys(found, worse))
    found = field(made())
    assert {a.counted for s in found.standings for a in s.against} == {worse}
    assert verdicts(found)["lozo"] == [better, better]


def test_what_was_taken_is_known_of_what_was_measured():
    def of(**more):
        made = [record(seed=seed) for seed in (0, 1)]
        for one in made:
            one["forwards"] = {"train": 400, "extra": 100, "backward": 50, "dev": 9, **more}
            one["trials"] = [{**one["trials"][0], "steps": 100}, {**one["trials"][0], "steps": 100}]
        return made

    def taken_of(made):
        (row,) = sections(made)[0].rows
        return taken(row)

    made = of()
    for one, state in zip(made, (4, 8), strict=True):
        one["memory"]["state_bytes"] = state * one["scope"]["parameters"]
    assert taken_of(made) == {"train": 2.0, "extra": 0.5, "backward": 0.25, "run": 300.0, "state": 8.0}
    for one in made:
        del one["memory"]["state_bytes"]
    assert "state" not in taken_of(made)
    made[0]["memory"]["state_bytes"], made[0]["scope"] = 12, None
    assert "state" not in taken_of(made)
