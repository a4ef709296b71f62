"""The hooks. tests/test_docs.py wants one `test_hook_<name>` here for each."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from kits.plugin_kit import selectors

from zobench.errors import ZobenchError
from zobench.plugins import declared
from zobench.plugins.registry import Plugins, load_plugins
from zobench.run.rates import tuned
from zobench.settings import settings_of


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
