"""Names: the nearest to an unknown one, clashes, lazy ones, and those that are taken."""

from __future__ import annotations

import pytest
from kits.plugin_kit import selectors

from zobench.errors import ZobenchError
from zobench.plugins.registry import load_plugins
from zobench.reserved import name_fault


def test_builtins_come_in_by_entry_points_alone():
    plugins = load_plugins(only="")
    assert {"mezo", "sparse_mezo", "lora_zo", "zero_shot", "adamw"} <= set(plugins.names("estimators"))
    assert {"all", "layer", "first_outlier", "exhaustive_sweep"} <= set(plugins.names("selectors"))
    assert {"sst2", "squad", "drop"} <= set(plugins.names("tasks"))
    assert {info.dist for info in plugins.loaded} == {"zobench"}
    none = load_plugins(only="-zobench")
    assert none.loaded == [] and none.names("estimators") == []
    with pytest.raises(ZobenchError, match="zobench's own plugins were not found"):
        none.estimator("mezo")


def test_an_unknown_name_gets_the_nearest_and_the_broken_plugins(install, capsys):
    install("brittle", "import module_that_is_not_there")
    plugins = load_plugins(only="brittle")
    with pytest.raises(ZobenchError) as e:
        plugins.selector("first_outlir")
    assert "unknown selector 'first_outlir'; did you mean 'first_outlier'?" in str(e.value)
    assert "not loaded: plugin 'brittle' (brittle 1.0) (see: zobench plugins)" in str(e.value)
    warning = capsys.readouterr().err
    assert warning.count("\n") == 1
    assert warning.startswith(
        "zobench: warning: plugin 'brittle' (brittle 1.0) could not be loaded: ModuleNotFoundError"
    )


def test_a_clash_names_both_and_hurts_only_who_uses_the_name(install):
    install("one", selectors("twice", "fine"))
    install("two", selectors("twice"), version="2.5")
    plugins = load_plugins(only="one,two")
    assert plugins.selector("fine")
    with pytest.raises(ZobenchError, match=r"plugin 'one' \(one 1.0\) and plugin 'two' \(two 2.5\).*ZOBENCH_PLUGINS"):
        plugins.selector("twice")
    assert load_plugins(only="one,-two").selector("twice")


def test_a_clash_of_columns_names_both(install):
    source = """
        from zobench import hookimpl
        @hookimpl
        def zobench_leaderboard_columns():
            return {"n": len}
    """
    install("one", source), install("two", source)
    with pytest.raises(ZobenchError, match=r"column 'n' is registered by .*one 1.0.* and .*two 1.0"):
        load_plugins(only="one,two").leaderboard_columns()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module_at_all:X", "cannot be imported: ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("lazy_module:Missing", "cannot be imported: AttributeError"),
        ("lazy_module:Wrong", "is not a subclass of zobench.Selector"),
        ("lazy_module:function", "is not a subclass of zobench.Selector"),
    ],
)
def test_a_lazy_name_is_imported_on_use_and_checked(install, value, message):
    install(
        "lazy",
        f"""
        from zobench import hookimpl
        class Wrong: ...
        def function(): ...
        @hookimpl
        def zobench_selectors():
            return {{"late": {value!r}}}
        """,
    )
    plugins = load_plugins(only="lazy")
    assert "late" in plugins.names("selectors")
    with pytest.raises(ZobenchError, match="selector 'late' of plugin 'lazy'") as e:
        plugins.selector("late")
    assert message in str(e.value)


# ---- names that are taken

MINE = """
import zobench

class Mine(zobench.{base}):
    "Mine."

    eps: float = 1e-3
    {body}

@zobench.hookimpl
def zobench_{kind}():
    return {{{name!r}: Mine}}
"""


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("estimators", "all", "'all' means something else there; reserved: all, auto, lr, none, protocol, run"),
        ("estimators", "none", "'none' means something else there"),
        ("estimators", "run", "'run' means something else there"),
        ("selectors", "none", "'none' means something else there"),
        ("selectors", "protocol", "'protocol' means something else there"),
        ("selectors", "7", "'7' is a number, which stands for no selector; begin it with a letter"),
        ("estimators", "a" * 65, "has 65 characters; at most 64 make names of files"),
        ("estimators", "-", "'-' is no name: use letters, digits and _ -"),
        ("estimators", "a:b", "'a:b' is no name"),
        ("selectors", "a+b", "'a+b' is no name"),
        ("estimators", "métho", "'métho' is no name"),
        ("estimators", "", "'' is no name"),
        ("estimators", "a b", "'a b' is no name"),
    ],
)
def test_a_name_that_means_something_else_is_refused_at_load(local, kind, name, says):
    base = "Estimator" if kind == "estimators" else "Selector"
    with pytest.raises(ZobenchError) as e:
        local(MINE.format(base=base, body="", kind=kind, name=name))
    assert f"mine.py could not be loaded: zobench_{kind}: " in str(e.value) and says in str(e.value)


@pytest.mark.parametrize(
    ("base", "body", "says"),
    [
        ("Estimator", "lr: float = 1.0", "a setting of Mine may not be called 'lr'"),
        ("Estimator", "noise: str = 'gaussian'", "a setting of Mine may not be called 'noise'"),
        ("Estimator", "t = 0", "a name of Mine may not be called 't'"),
        ("Estimator", "def buffer(self): ...", "a method of Mine may not be called 'buffer'"),
        ("Estimator", "verified: bool = True", "verified of Mine is a fact, and declared as a setting"),
        ("Estimator", "rate: dict = {}", "setting rate of Mine: nothing can be set that is <class 'dict'>"),
        ("Selector", "settings: int = 1", "a setting of Mine may not be called 'settings'"),
        ("Selector", "select: int = 1", "a setting of Mine may not be called 'select'"),
        ("Selector", "share: zobench.Fraction = 2.0", "setting share of Mine: its own default does not fit: share=2.0"),
    ],
)
def test_what_a_class_may_not_call_its_own_is_refused_at_load_with_the_line(local, base, body, says):
    kind = f"{base.lower()}s"
    source = MINE.format(base=base, body=body, kind=kind, name="mine_zo")
    with pytest.raises(ZobenchError) as e:
        local(source)
    assert says in str(e.value) and "(mine.py:8)" in str(e.value) and "\n" not in str(e.value)


def test_a_lazy_class_is_checked_when_it_is_imported(install):
    source = MINE.format(base="Estimator", body="seed: int = 0", kind="estimators", name="mine_zo")
    install("lazy", source.replace(": Mine}", ": 'lazy_module:Mine'}"))
    plugins = load_plugins(only="lazy")
    with pytest.raises(ZobenchError, match=r"a setting of Mine may not be called 'seed'.*\(lazy_module.py:8\)"):
        plugins.estimator("mine_zo")


@pytest.mark.parametrize(("kind", "fits"), [("selectors", False), ("estimators", True), ("tasks", True)])
def test_a_number_is_no_name_of_a_selector_alone(kind, fits):
    assert (name_fault(kind, "7") == "") == fits
