"""The sentence that answers an unknown name, and the public names of the package."""

from __future__ import annotations

import pytest

import zobench
from zobench.errors import ZobenchError, library, unknown


def test_the_nearest_names_come_first():
    message = unknown("estimator", "mzo", ["adamw", "mezo", "lozo"], see="zobench ls estimators")
    assert message.startswith("unknown estimator 'mzo'; did you mean 'mezo'")
    assert message.endswith("? (see: zobench ls estimators)") and "adamw" not in message


def test_all_names_if_none_is_near_and_few_of_many():
    assert unknown("task", "xyz", ["sst2", "copa"]) == "unknown task 'xyz'; known: copa, sst2"
    assert unknown("task", "?", [f"t{i:02}" for i in range(20)]).endswith("t10, t11, ...")
    assert unknown("task", "?", [f"t{i:02}" for i in range(12)]).endswith("t10, t11")
    assert unknown("task", "?", [f"t{i:02}" for i in range(13)]).endswith("t10, t11, ...")
    assert unknown("model", "x", []) == "unknown model 'x'; none is registered"


def test_public_names_can_be_imported():
    for name in zobench.__all__:
        assert getattr(zobench, name) is not None, name
    assert dir(zobench) == sorted(zobench.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Estimatr'"):
        _ = zobench.Estimatr


def test_a_library_that_is_not_there_is_one_line_with_the_mend(monkeypatch, tmp_path):
    with pytest.raises(ZobenchError, match=r"^this needs the package no_such_thing: pip install no_such_thing$"):
        library("no_such_thing.part", "this")
    with pytest.raises(ZobenchError, match=r"^--plot needs the package no_such: pip install 'z\[p\]', or look away$"):
        library("no_such", "--plot", install="'z[p]'", instead="look away")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "zobench_misses_one.py").write_text("import no_such_dependency")
    with pytest.raises(ZobenchError, match="needs zobench_misses_one, which misses no_such_dependency: pip install"):
        library("zobench_misses_one", "this")
    (tmp_path / "zobench_does_not_fit.py").write_text("raise ImportError('cannot import name x\\nand more')")
    with pytest.raises(ZobenchError, match=r"cannot be imported \(cannot import name x\): pip install -U zobench_does"):
        library("zobench_does_not_fit", "this")
    assert library("json.decoder", "this").JSONDecoder
