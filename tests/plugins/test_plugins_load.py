"""What loads, what is said of a plugin that cannot, and that observers do not matter to a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from kits.plugin_kit import selectors

from zobench.errors import ZobenchError
from zobench.plugins.registry import Plugins, load_plugins


def errors_of(plugins: Plugins) -> dict[str, str | None]:
    return {info.name: info.error for info in plugins.loaded}


# ---- what loads


@pytest.mark.parametrize(
    ("only", "loaded"),
    [
        (None, {"one", "two"}),
        ("", set()),
        ("one", {"one"}),
        ("two-entry", {"two"}),
        ("two:two-entry , one", {"one", "two"}),
        ("-one", {"two"}),
        ("one,two,-one", {"two"}),
        ("one,-two", {"one"}),
        ("two,-zobench:estimators", {"two"}),
    ],
)
def test_zobench_plugins_limits_what_loads(install, monkeypatch, only, loaded):
    install("one", selectors("a"))
    install("two", selectors("b"), entry="two-entry")
    if only is None:
        monkeypatch.delenv("ZOBENCH_PLUGINS", raising=False)
    else:
        monkeypatch.setenv("ZOBENCH_PLUGINS", only)
    plugins = load_plugins()
    assert {info.dist for info in plugins.loaded} & {"one", "two"} == loaded
    assert "zobench" in {info.dist for info in plugins.loaded}


def test_zobench_plugins_leaves_a_builtin_out_or_names_an_unknown_one(install):
    plugins = load_plugins(only="-executors")
    assert plugins.names("executors") == [] and plugins.names("tasks")
    with pytest.raises(ZobenchError, match="ZOBENCH_PLUGINS: unknown plugin 'estimatrs'; did you mean 'estimators'"):
        load_plugins(only="estimatrs")


# ---- broken plugins

BROKEN = {
    "import error": ("import not_a_module_xyz", "ModuleNotFoundError: No module named 'not_a_module_xyz' (mine.py:1)"),
    "syntax error": ("x = 1\ndef f(:\n", "SyntaxError: invalid syntax (mine.py:2)"),
    "exits": ("import sys\nsys.exit('bye')", "SystemExit: bye (mine.py:2)"),
    "no hooks": ("x = 1", "it has no hook"),
    "misspelt": (
        "from zobench import hookimpl\n@hookimpl\ndef zobench_estimator(): return {}",
        "unknown hook 'zobench_estimator'; did you mean 'zobench_estimators' or",
    ),
    "unmarked": ("def zobench_tasks(): return {}", "zobench_tasks is not marked with @zobench.hookimpl (mine.py:1)"),
    "wrong argument": (
        "from zobench import hookimpl\n@hookimpl\ndef zobench_step(stap): ...",
        "unknown argument of zobench_step 'stap'; did you mean 'step'? (see: docs/plugins.md) (mine.py:2)",
    ),
    "wrapper": (
        "from zobench import hookimpl\n@hookimpl(wrapper=True)\ndef zobench_tasks(): yield",
        "zobench_tasks is a hook wrapper, which zobench does not use (mine.py:2)",
    ),
    "returns a list": (
        "from zobench import hookimpl\n@hookimpl\ndef zobench_tasks(): return ['x']",
        "zobench_tasks returned ['x'], not a mapping of names",
    ),
    "wrong kind": (
        "from zobench import hookimpl\n@hookimpl\ndef zobench_selectors(): return {'x': dict}",
        "zobench_selectors: x: <class 'dict'> is not a subclass of zobench.Selector, nor 'module:Name'",
    ),
    "text without a colon": (
        "from zobench import hookimpl\n@hookimpl\ndef zobench_tasks(): return {'x': 'x.toml'}",
        "zobench_tasks: x: 'x.toml' does not read 'module:Name'",
    ),
    "bad name": (
        "from zobench import hookimpl\n@hookimpl\ndef zobench_models(): return {'a,b': dict}",
        "zobench_models: 'a,b' is no name: use letters, digits and _ - .",
    ),
    "bad column": (
        "from zobench import hookimpl\n@hookimpl\ndef zobench_leaderboard_columns(): return {'n': 3}",
        "zobench_leaderboard_columns: 'n': 3 is not a heading and a function",
    ),
    "executor without run": (
        "from zobench import hookimpl\n@hookimpl\ndef zobench_executors(): return {'x': dict}",
        "is not a class with a method `run`",
    ),
    "raises": (
        "from zobench import hookimpl\n@hookimpl\ndef zobench_models():\n    return 1 / 0",
        "ZeroDivisionError: division by zero (mine.py:4)",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_local_file_is_one_line_with_the_place(local, case):
    source, message = BROKEN[case]
    with pytest.raises(ZobenchError) as e:
        local(source)
    assert message in str(e.value)
    assert "mine.py could not be loaded: " in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_installed_plugin_is_skipped_whole(install, case):
    source, message = BROKEN[case]
    install("broken", source)
    install("sound", selectors("fine"))
    warnings: list[str] = []
    plugins = load_plugins(only="broken,sound", warn=warnings.append)
    message = message.replace("mine.py", "broken_module.py")
    assert [message in w for w in warnings] == [True] and "\n" not in warnings[0]
    assert message in str(errors_of(plugins)["broken"])
    assert plugins.selector("fine")
    assert all(offer.by.dist != "broken" for kind in plugins._offers.values() for o in kind.values() for offer in o)
    plugins.fire_step({}, step=0, lr=0.0, loss=0.0)
    assert plugins._manager.get_plugin("broken:broken") is None


def test_an_entry_point_without_its_module(install):
    install("hollow", None)
    plugins = load_plugins(only="hollow", warn=lambda message: None)
    assert errors_of(plugins)["hollow"] == "ModuleNotFoundError: No module named 'hollow_module'"


def test_a_module_behind_two_entry_points_loads_once(install, tmp_path):
    install("one", selectors("fine"))
    (tmp_path / "one-1.0.dist-info" / "entry_points.txt").write_text("[zobench]\na = one_module\nb = one_module\n")
    plugins = load_plugins(only="one", warn=lambda message: None)
    assert errors_of(plugins) | {"a": None, "b": "the same module is already loaded under another name"} == errors_of(
        plugins
    )
    assert plugins.selector("fine")


# ---- local files


def test_a_local_file_is_named_by_its_path_and_its_content(local, tmp_path):
    info = local(selectors("first")).loaded[-1]
    assert (info.name, info.dist, info.hooks) == ("mine", str(tmp_path / "mine.py"), ("zobench_selectors",))
    assert len(info.version) == 12 and int(info.version, 16) >= 0
    assert local(selectors("first", "second")).loaded[-1].version != info.version


def test_a_local_file_given_twice_loads_once(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(selectors("first"))
    plugins = load_plugins([path, tmp_path / "." / "mine.py"], only="")
    assert len(plugins.offers("selectors", "first")) == 1
    assert load_plugins(plugins.files, only=plugins.only).names("selectors") == plugins.names("selectors")


def test_a_local_file_that_is_missing_or_no_python(tmp_path):
    with pytest.raises(ZobenchError, match="no plugin file 'nowhere.py': --plugin takes the path of a Python file"):
        load_plugins(["nowhere.py"], only="")
    (tmp_path / "mine.txt").write_text("x = 1")
    with pytest.raises(ZobenchError, match="not a Python file: its name must end in .py"):
        load_plugins([tmp_path / "mine.txt"], only="")


def test_a_local_file_clashes_with_a_builtin(local):
    with pytest.raises(ZobenchError, match=r"'layer' is registered by plugin 'selectors' \(zobench .*mine.py"):
        local(selectors("layer")).selector("layer")


def test_a_local_file_that_cannot_be_read(local, monkeypatch):
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ZobenchError, match=r"the plugin file .*mine.py: cannot be read: Permission denied"):
        local("x = 1")


# ---- observers must not matter


def test_an_observer_that_raises_is_reported_once_and_the_others_go_on(local):
    warnings: list[str] = []
    plugins = local(
        """
        from zobench import hookimpl
        @hookimpl
        def zobench_step(step):
            raise ValueError("no room")
        """,
        warn=warnings.append,
    )
    seen: list[int] = []

    class Other:
        from zobench import hookimpl

        @hookimpl
        def zobench_step(self, step: int) -> None:
            seen.append(step)

    plugins._manager.register(Other(), "other")
    for step in range(3):
        plugins.fire_step({}, step=step, lr=0.0, loss=0.0)
    assert seen == [0, 1, 2]
    assert len(warnings) == 1
    assert "zobench_step raised ValueError: no room (mine.py:5)" in warnings[0]


def test_an_observer_cannot_change_the_run(local):
    plugins = local("""
        import sys
        from zobench import hookimpl
        @hookimpl
        def zobench_run_start(cells):
            cells.clear()
        @hookimpl
        def zobench_run_end(records):
            sys.exit(3)
    """)
    cells = [{"task": "rte"}]
    plugins.fire_run_start(cells)
    plugins.fire_run_end([])
    assert cells == [{"task": "rte"}]


# ---- what a plugin raises, whatever it is, is its own

ANYTHING = """
class Odd(BaseException):
    pass
"""


def test_a_base_exception_of_an_observer_or_at_load_breaks_nothing(local, tmp_path):
    warnings: list[str] = []
    source = f"""
from zobench import hookimpl
{ANYTHING}
@hookimpl
def zobench_step(step):
    raise Odd("no")
"""
    plugins = local(source, warn=warnings.append)
    for step in range(2):
        plugins.fire_step({}, step=step, lr=0.0, loss=0.0)
    assert len(warnings) == 1 and "zobench_step raised Odd: no (mine.py:" in warnings[0]
    with pytest.raises(ZobenchError, match=r"other.py could not be loaded: Odd: no \(other.py:\d+\)"):
        local(ANYTHING + "\nraise Odd('no')\n", name="other.py")


def test_ctrl_c_in_a_plugin_is_the_users(local):
    plugins = local("""
        from zobench import hookimpl
        @hookimpl
        def zobench_step(step):
            raise KeyboardInterrupt
    """)
    with pytest.raises(KeyboardInterrupt):
        plugins.fire_step({}, step=0, lr=0.0, loss=0.0)


@pytest.mark.parametrize("heading", ["state", " State ", "of  model", "method", "peak memory", "", "a\nb", "a\x1b[31m"])
def test_a_column_may_not_have_a_heading_of_the_boards(local, heading):
    with pytest.raises(ZobenchError, match=r"plugin file .*mine.py could not be loaded: zobench_leaderboard_columns: "):
        local(f"""
            from zobench import hookimpl
            @hookimpl
            def zobench_leaderboard_columns():
                return {{{heading!r}: len}}
        """)
