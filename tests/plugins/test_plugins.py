"""Discovery, names, load errors and observers. tests/test_docs.py wants one `test_hook_<name>` here for each hook."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
from kits.plugin_kit import Install, installer

from zobench.errors import ZobenchError
from zobench.plugins import declared
from zobench.plugins.registry import Plugins, load_plugins
from zobench.run.rates import tuned
from zobench.settings import settings_of

SELECTORS = """
from zobench import hookimpl
from zobench.contracts.selector import Selector

class First(Selector):
    "The first block."

@hookimpl
def zobench_selectors():
    return {NAMES: First}
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    return installer(tmp_path, monkeypatch)


@pytest.fixture
def local(tmp_path: Path) -> Callable[..., Plugins]:
    """Load a source text as a local plugin file, next to the built-ins."""

    def load(source: str, name: str = "mine.py", **options: object) -> Plugins:
        path = tmp_path / name
        path.write_text(dedent(source))
        return load_plugins([path], only="", **options)

    return load


def selectors(*names: str) -> str:
    return SELECTORS.replace("{NAMES: First}", "{" + ", ".join(f"{name!r}: First" for name in names) + "}")


def errors_of(plugins: Plugins) -> dict[str, str | None]:
    return {info.name: info.error for info in plugins.loaded}


# ---- hooks


def test_hook_zobench_estimators(local):
    plugins = local("""
        import zobench
        class Mine(zobench.Estimator):
            "Mine."
        @zobench.hookimpl
        def zobench_estimators():
            return {"mine": Mine, "other": "zobench_plugins.estimators.mezo:MeZO"}
    """)
    from zobench import Estimator

    assert {"mine", "other"} <= set(plugins.names("estimators"))
    assert issubclass(plugins.estimator("mine"), Estimator) and plugins.estimator("mine").__name__ == "Mine"
    assert plugins.estimator("other").__name__ == "MeZO"


def test_hook_zobench_directions(local):
    plugins = local("""
        import zobench
        class Signs(zobench.Directions):
            "Signs."
            length: zobench.Positive = 2.0
            def draw(self, of):
                return self.length * of.noise("rademacher")
        @zobench.hookimpl
        def zobench_directions():
            return {"signs": Signs, "other": "zobench_plugins.directions.lozo:LOZODirections"}
    """)
    assert {"signs", "other"} <= set(plugins.names("directions"))
    along = plugins.estimator("mezo:signs")
    assert settings_of(along)["directions.length"].default == 2.0 and along.__name__ == "MeZO:Signs"
    assert list(plugins.code([("estimators", "mezo:signs")])) == list(plugins.code([("directions", "signs")])) != []
    assert plugins.code([("estimators", "mezo:other")]).keys() == plugins.code([("directions", "signs")]).keys()
    assert plugins.code([("estimators", "mezo:lozo")]) == {}, "both are built in"


def test_hook_zobench_transforms(local):
    plugins = local("""
        import zobench
        class Silence(zobench.Transform):
            "A channel that is 0."
            block: zobench.Natural = 0
            channel: zobench.Natural = 0
            def output(self, stream, first):
                return stream
        @zobench.hookimpl
        def zobench_transforms():
            return {"silence": Silence, "other": "zobench_plugins.transforms.clamp:Clamp"}
    """)
    from zobench.plugins import transforms

    assert {"silence", "other"} <= set(plugins.names("transforms"))
    assert transforms.canonical(" silence : 1:17+other:2:3:0.50", plugins) == "silence:1:17+other:2:3:0.5"
    one, other = transforms.made_of("silence:1:17+other:2:3:0.5", plugins)
    assert (one.at, one.channel) == (1, 17) and (other.at, other.limit) == (2, 0.5)
    assert list(plugins.code([("transforms", "silence")])) != [] == list(plugins.code([("transforms", "clamp")]))


def test_hook_zobench_selectors(local):
    plugins = local(selectors("first"))
    assert plugins.selector("first").__doc__ == "The first block."
    assert plugins.offer("selectors", "first").by.name == "mine"


def test_hook_zobench_tasks(local, tmp_path):
    import zobench_tasks

    toml = (Path(zobench_tasks.__file__).with_name("sst2.toml")).read_text()
    (tmp_path / "mine.toml").write_text(toml.replace('name = "sst2"', 'name = "mine"'))
    plugins = local("""
        import dataclasses
        from pathlib import Path
        from zobench import Task, hookimpl
        FILE = Path(__file__).with_name("mine.toml")
        MADE = dataclasses.replace(Task.load(FILE), name="made")
        @hookimpl
        def zobench_tasks():
            return {"mine": FILE, "made": MADE, "late": "zobench_file_that_is_not_there:TASK", "other": MADE}
    """)
    assert plugins.task("mine").name == "mine"
    assert plugins.task("mine") is plugins.task("mine")
    assert plugins.task("made").title == plugins.task("mine").title
    with pytest.raises(ZobenchError, match=r"task 'late' of plugin 'mine' .* cannot be imported"):
        plugins.task("late")
    with pytest.raises(ZobenchError, match=r"task 'other' of plugin 'mine' .* calls itself 'made': use that name"):
        plugins.task("other")


def test_hook_zobench_models(local):
    plugins = local("""
        from zobench import hookimpl
        def load(*, dtype, device):
            return (dtype, device)
        @hookimpl
        def zobench_models():
            return {"tiny-1.5": load}
    """)
    assert plugins.model("tiny-1.5")(dtype="float32", device="cpu") == ("float32", "cpu")


def test_hook_zobench_executors(local):
    plugins = local("""
        from zobench import hookimpl
        class Backwards:
            def run(self, cells, run_cell):
                yield from map(run_cell, reversed(cells))
        @hookimpl
        def zobench_executors():
            return {"backwards": Backwards}
    """)
    assert list(plugins.executor("backwards")().run([1, 2], str)) == ["2", "1"]
    assert "local" in plugins.names("executors")


def test_hook_zobench_data_sources(local):
    plugins = local("""
        from zobench import DataSource, hookimpl
        class Mine(DataSource):
            nature, about = "private", "not for others"
            def tasks(self):
                return ["sst2"]
        class Broken(DataSource):
            def __init__(self):
                raise OSError("no disk")
        @hookimpl
        def zobench_data_sources():
            return {"mine": Mine, "broken": Broken}
    """)
    source = declared.where(plugins, "mine")
    assert (source.name, list(source.tasks()), source.describe("sst2")) == ("mine", ["sst2"], {})
    assert declared.where(plugins, "hub") == "hub" and declared.where(plugins, Path("mine")) == Path("mine")
    assert declared.known(plugins).sources["mine"] == {"nature": "private", "about": "not for others"}
    assert "broken" not in declared.known(plugins).sources
    with pytest.raises(ZobenchError, match=r"data source 'broken' of plugin 'mine' .*OSError: no disk"):
        declared.where(plugins, "broken")


def test_hook_zobench_presets(local):
    plugins = local("""
        from zobench import Preset, hookimpl
        @hookimpl
        def zobench_presets():
            return {"night": Preset({"steps": 5}, models=("lab-1b",)), "day": Preset(models=("lab-1b", "lab-2b"))}
    """)
    assert declared.preset(plugins, "night").settings == {"steps": 5}
    assert [declared.usual_preset(plugins, model) for model in ("lab-2b", "lab-3b")] == ["day", "small"]
    with pytest.raises(ZobenchError, match="presets day and night are both for model lab-1b: name one with --preset"):
        declared.usual_preset(plugins, "lab-1b")
    with pytest.raises(ZobenchError, match="unknown preset 'nigth'; did you mean 'night'"):
        declared.check_preset(plugins, "nigth")


def test_hook_zobench_model_settings(local):
    plugins = local("""
        from zobench import hookimpl
        @hookimpl
        def zobench_model_settings():
            return {"lab-1b": {"first_outlier.ratio": 40.0}, "embedded": {"my.bar": 2, "first_outlier.ratio": 7}}
    """)
    assert declared.model_settings(plugins, "lab-1b") == {"first_outlier.ratio": 40.0}
    assert declared.model_settings(plugins, "other") == {}
    with pytest.raises(ZobenchError, match=r"setting first_outlier.ratio is 25.0 by .*'world' .* and 7 by .*'mine'"):
        declared.model_settings(plugins, "embedded")


def test_hook_zobench_rates(local, tmp_path):
    (tmp_path / "night.json").write_text('{"rates": {"mezo": {"all": {"sst2": 0.5}}}}')
    plugins = local("""
        from pathlib import Path
        from zobench import hookimpl
        @hookimpl
        def zobench_rates():
            return {"night": Path(__file__).with_name("night.json")}
    """)
    assert tuned(plugins, "night", "mezo", "all", "sst2") == (0.5,)
    assert tuned(plugins, "day", "mezo", "all", "sst2") == ()


def test_hook_zobench_revisions(local):
    source = """
        from zobench import hookimpl
        @hookimpl
        def zobench_revisions():
            return {"our-lab/our-model": "0123abcd", "Qwen/Qwen3-8B": "another"}
    """
    plugins = local(source)
    assert declared.revision(plugins, "our-lab/our-model") == "0123abcd"
    assert declared.revision(plugins, "their-lab/model") is None
    with pytest.raises(ZobenchError, match="model Qwen/Qwen3-8B is pinned to b968.* by .* and another by .*'mine'"):
        declared.revision(plugins, "Qwen/Qwen3-8B")


def test_hook_zobench_roles(local):
    plugins = local("""
        from zobench import hookimpl
        @hookimpl
        def zobench_roles():
            return {"reference": ["bound", "icl"], "baseline": ["mine"]}
    """)
    assert declared.role(plugins, "reference")[-1] == "bound" and "icl" in declared.role(plugins, "reference")
    assert declared.known(plugins).stands["bound"] == "reference"
    assert declared.one(plugins, "everything", "--selector") == "all"
    said = "several estimators are named as the baseline: mezo by .* and mine by .*: name one with --against"
    with pytest.raises(ZobenchError, match=said):
        declared.one(plugins, "baseline", "--against")
    none = load_plugins(only="-estimators", warn=lambda line: None)
    with pytest.raises(ZobenchError, match="no plugin names any estimator as the baseline: name one with --against"):
        declared.one(none, "baseline", "--against")


@pytest.mark.parametrize(
    ("hook", "given", "says"),
    [
        ("roles", {"king": ["mezo"]}, "unknown role 'king'"),
        ("roles", {"baseline": "mezo"}, "baseline: 'mezo' is not a list of names"),
        ("rates", {"small": "rates.json"}, "small: 'rates.json' is not a pathlib.Path of a JSON file"),
        ("revisions", {"a/b": 3}, "a/b: 3 is not a commit, as text"),
        ("model_settings", {"a": [1]}, "a: [1] is not a mapping of settings to values"),
        ("model_settings", {"a\nb": {}}, "'a\\nb' is no name"),
        ("presets", {"a": {}}, "a: {} is not a zobench.Preset, nor 'module:Name'"),
        ("presets", {"none": "a:B"}, "'none' means something else there"),
        ("data_sources", {"hub": "a:B"}, "'hub' means something else there; reserved: folder, hub"),
        ("data_sources", {"a": int}, "a: <class 'int'> is not a subclass of zobench.DataSource, nor 'module:Name'"),
    ],
)
def test_what_a_table_may_not_hold(tmp_path, hook, given, says):
    shown = "{'a': int}" if given == {"a": int} else repr(given)
    path = tmp_path / "mine.py"
    path.write_text(f"from zobench import hookimpl\n@hookimpl\ndef zobench_{hook}(): return {shown}\n")
    with pytest.raises(ZobenchError) as e:
        load_plugins([path], only="")
    assert f"zobench_{hook}: {says}" in str(e.value)


OBSERVER = """
    from zobench import hookimpl
    seen = []
    @hookimpl
    def HOOK(ARGUMENTS):
        seen.append((ARGUMENTS))
"""


def observed(local, hook: str, arguments: str, fire: Callable[[Plugins], None]) -> list[object]:
    plugins = local(OBSERVER.replace("HOOK", hook).replace("ARGUMENTS", arguments))
    fire(plugins)
    module = next(m for name, m in sys.modules.items() if name.startswith("zobench_file_mine") and hasattr(m, "seen"))
    return module.seen


@pytest.fixture(autouse=True)
def _forget_files():
    yield
    for name in [name for name in sys.modules if name.startswith("zobench_file_")]:
        del sys.modules[name]


def test_hook_zobench_run_start(local):
    assert observed(local, "zobench_run_start", "cells", lambda p: p.fire_run_start([{"task": "sst2"}])) == [
        [{"task": "sst2"}]
    ]


def test_hook_zobench_step(local):
    seen = observed(
        local, "zobench_step", "step, loss", lambda p: p.fire_step({"task": "rte"}, step=3, lr=0.1, loss=2.0)
    )
    assert seen == [(3, 2.0)]


def test_hook_zobench_eval(local):
    fire = lambda p: p.fire_eval({"task": "rte"}, step=3, lr=0.1, dev_loss=2.0)  # noqa: E731
    assert observed(local, "zobench_eval", "cell, step, lr, dev_loss", fire) == [({"task": "rte"}, 3, 0.1, 2.0)]


def test_hook_zobench_run_end(local):
    assert observed(local, "zobench_run_end", "records", lambda p: p.fire_run_end([])) == [[]]


def test_hook_zobench_leaderboard_columns(local):
    plugins = local("""
        from zobench import hookimpl
        @hookimpl
        def zobench_leaderboard_columns():
            return {"cells": lambda records: str(len(records))}
    """)
    assert plugins.leaderboard_columns()["cells"]([{}, {}]) == "2"


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


# ---- names


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
