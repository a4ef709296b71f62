"""The mutants that are kept still fit the sources, and their tests notice them."""

import ast
import os

import pytest
from kits.mutation import ROOT, Mutant, read, remembered, verdicts

MUTANTS = read()


def statements(tree, first, last):
    """Those of a module that lie on these lines, which a change on them alone can change."""
    begins = {n: min((d.lineno for d in getattr(n, "decorator_list", ())), default=n.lineno) for n in tree.body}
    return [ast.dump(n) for n, begin in begins.items() if begin <= last and n.end_lineno >= first]


def test_each_stands_where_it_is_said_to_and_changes_the_program():
    wrong, sources = [], {}
    for one in MUTANTS:
        if one.file not in sources:
            text = (ROOT / one.file).read_text(encoding="utf-8")
            sources[one.file] = text, ast.parse(text)
        text, tree = sources[one.file]
        if text.count(one.old) != 1:
            wrong.append(f"{one}: stands there {text.count(one.old)} times")
            continue
        line = 1 + text.count("\n", 0, text.index(one.old))
        was, now = ((line, line + part.count("\n")) for part in (one.old, one.new))
        if statements(ast.parse(one.applied(text)), *now) == statements(tree, *was):
            wrong.append(f"{one}: changes nothing")
    assert not wrong, "\n".join(wrong)


def test_a_change_that_is_none_is_seen():
    text = "import a\n\n@b\n@c\ndef f():\n    return (1)\n\nx = 2\n"
    tree, bare, undecorated = (ast.parse(one) for one in (text, text.replace("(1)", "1"), text.replace("@c\n", "")))
    assert len(statements(tree, 1, 8)) == 3 and statements(tree, 2, 2) == []
    assert len(statements(tree, 3, 3)) == len(statements(tree, 4, 4)) == len(statements(tree, 6, 7)) == 1
    assert statements(bare, 6, 6) == statements(tree, 6, 6)
    assert statements(undecorated, 3, 4) != statements(tree, 3, 4)


def test_their_tests_are_there():
    known = {}
    for name in {test for one in MUTANTS for test in one.tests}:
        file, _, function = name.partition("[")[0].partition("::")
        if file not in known:
            known[file] = {
                n.name for n in ast.parse((ROOT / file).read_text(encoding="utf-8")).body if hasattr(n, "name")
            }
        assert function in known[file], f"{name} is not there"
    assert all(one.tests for one in MUTANTS)


def test_a_mutant_is_applied_in_its_one_place():
    one = Mutant("a.py", "1", "2", ())
    assert one.applied("x = 1") == "x = 2"
    for text in ("x = 3", "x = 1 + 1"):
        with pytest.raises(ValueError, match="stands there (0|2) times"):
            one.applied(text)


@pytest.mark.slow
def test_each_kind_of_verdict_is_told_written_and_not_asked_for_twice(tmp_path):
    """In a copy: nothing is changed here."""
    test, kept = ("tests/run/test_grid.py::test_a_grid_alone_is_what_it_says",), tmp_path / "verdicts"
    seen = Mutant("zobench/run/grid.py", "yield from self._rates", "yield from self._rates[1:]", test)
    unseen = Mutant("zobench/run/grid.py", ":.1e}", ":.2e}", test)
    lame = Mutant("zobench/run/grid.py", ":.1e}", ":.2e}", ("tests/run/test_grid.py::test_that_is_not_there",))
    broken = Mutant("zobench/run/grid.py", "from __future__ import annotations", "import nothing_like_it", test)
    before = (ROOT / seen.file).read_bytes()
    found = {one.mutant: one for one in remembered([seen, unseen, lame, broken], 1, kept)}
    assert {mutant: one.word for mutant, one in found.items()} == {
        seen: "killed",
        unseen: "survived",
        lame: "not judged",
        broken: "not judged",
    }
    assert found[seen].how.startswith(f"{test[0]}: assert [") and "nothing_like_it" in found[broken].how
    assert f"{lame.tests[0]} of the sources as they are: " in found[lame].how and "not found" in found[lame].how
    assert (ROOT / seen.file).read_bytes() == before
    assert next(remembered([seen, unseen], 1, kept)) == found[seen]  # without a process of its own
    assert len(kept.read_text(encoding="utf-8").splitlines()) == 4


@pytest.mark.slow
def test_all_are_noticed():
    left = [str(one) for one in verdicts(MUTANTS, jobs=os.cpu_count() or 1) if one.word != "killed"]
    assert not left, "\n".join(left)
