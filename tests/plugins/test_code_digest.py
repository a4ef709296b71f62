"""Digests of plugins' code: what changes them, what does not, and what a plan makes of that."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from kits.plugin_kit import install_example, installer

from zobench.plugins import code_digest
from zobench.plugins.registry import load_plugins

SELECTOR = """
    import {helper}
    from zobench import Selector, hookimpl

    class Mine(Selector):
        def select(self, context):
            return context.layers({helper}.LAYER)

    @hookimpl
    def zobench_selectors():
        return {{"{name}": Mine}}
"""
TASK = """
    from pathlib import Path
    from zobench import hookimpl

    @hookimpl
    def zobench_tasks():
        return {"mine": Path(__file__).parent / "mine.toml"}
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a plugin file, a module that it imports, and one that that imports."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "lab.py").write_text(dedent(SELECTOR.format(helper="lab_helper", name="mine")))
    (tmp_path / "lab_helper.py").write_text("def late():\n    from lab_deep.inner import x\n\nLAYER = 1\n")
    (tmp_path / "lab_deep").mkdir()
    (tmp_path / "lab_deep" / "__init__.py").write_text("")
    (tmp_path / "lab_deep" / "inner.py").write_text("x = 1\n")
    (tmp_path / "lab_deep" / "table.json").write_text("[1]")
    (tmp_path / "bystander.py").write_text("y = 1\n")
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("lab_")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("lab.py", True),
        ("lab_helper.py", True),
        ("lab_deep/inner.py", True),
        ("lab_deep/table.json", True),
        ("bystander.py", False),
        ("lab_deep/__pycache__/inner.cpython-311.pyc", False),
    ],
)
def test_a_file_is_itself_and_the_local_modules_that_it_imports(lab: Path, file: str, counts: bool):
    before = code_digest.of_file(lab / "lab.py")
    assert before == code_digest.of_file(lab / "lab.py") and len(before) == code_digest.DIGITS
    path = lab / file
    path.parent.mkdir(exist_ok=True)
    path.write_text((path.read_text() if path.exists() else "") + "\n# another byte\n")
    assert (code_digest.of_file(lab / "lab.py") != before) == counts


def test_a_file_elsewhere_with_the_same_bytes_is_the_same_code(lab: Path, tmp_path_factory: pytest.TempPathFactory):
    import shutil

    other = tmp_path_factory.mktemp("other") / "there"
    shutil.copytree(lab, other)
    for name in ("lab_helper.py", "lab_deep"):  # so that the copy's own are those it finds
        target = lab / name
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    moved = code_digest.of_file(other / "lab.py")
    shutil.copytree(other, lab, dirs_exist_ok=True)
    shutil.rmtree(other)
    assert code_digest.of_file(lab / "lab.py") == moved


def test_a_module_on_the_path_that_is_not_installed_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "lib").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    (tmp_path / "plugins" / "lab.py").write_text("import lab_library, json, numpy, zobench\n")
    (tmp_path / "lib" / "lab_library.py").write_text("x = 1\n")
    before = code_digest.of_file(tmp_path / "plugins" / "lab.py")
    (tmp_path / "lib" / "lab_library.py").write_text("x = 2\n")
    assert code_digest.of_file(tmp_path / "plugins" / "lab.py") != before


def test_plugins_tell_the_code_of_what_is_used_and_of_nothing_built_in(lab: Path):
    plugins = load_plugins([lab / "lab.py"], only="")
    built_in = [("estimators", "mezo"), ("selectors", "layer:1"), ("tasks", "sst2"), ("models", "embedded")]
    assert plugins.code(built_in) == {}
    found = plugins.code([*built_in, ("selectors", "mine")])
    assert found == {"lab.py": code_digest.of_file(lab / "lab.py")}
    assert plugins.code([("selectors", "all_but:mine")]) == found
    assert plugins.code([("selectors", "layer:1+mine")]) == found


def test_a_task_file_is_told_of_apart(tmp_path: Path):
    (tmp_path / "tasks.py").write_text(dedent(TASK))
    toml = tmp_path / "mine.toml"
    toml.write_text("version = 1\n")
    first = load_plugins([tmp_path / "tasks.py"], only="").code([("tasks", "mine")])
    assert set(first) == {"tasks.py", "task mine"}
    toml.write_text("version = 1 \n")
    second = load_plugins([tmp_path / "tasks.py"], only="").code([("tasks", "mine")])
    assert second["tasks.py"] == first["tasks.py"] and second["task mine"] != first["task mine"]


def test_a_distribution_is_all_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    site = install_example(tmp_path)
    monkeypatch.syspath_prepend(str(site))
    names = {path.name for path in site.iterdir() if path.suffix == ".dist-info"}
    assert names
    before = code_digest.of_distribution("zobench-example", ["zobench_example"])
    for name, counts in (("zobench_example/greedy.py", True), ("zobench_example/__pycache__/x.pyc", False)):
        path = site / name
        path.parent.mkdir(exist_ok=True)
        old = path.read_bytes() if path.exists() else None
        path.write_bytes((old or b"") + b"\n#\n")
        assert (code_digest.of_distribution("zobench-example", ["zobench_example"]) != before) == counts
        if old is not None:
            path.write_bytes(old)
    toml = next((p for p in (site / "zobench_example").rglob("*.toml")), None)
    assert toml is not None
    toml.write_text(toml.read_text() + "\n")
    assert code_digest.of_distribution("zobench-example", ["zobench_example"]) != before


def test_a_distribution_without_a_list_of_its_files_is_its_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    install: Any = installer(tmp_path, monkeypatch)
    module = install("lab", SELECTOR.format(helper="os", name="mine").replace("os.LAYER", "1"))
    before = load_plugins(only="lab").code([("selectors", "mine")])
    assert set(before) == {"lab"}
    module.write_text(module.read_text() + "\n")
    assert load_plugins(only="lab").code([("selectors", "mine")]) != before


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("lab/method.py", True),
        ("lab/data.toml", True),
        ("lab.py", True),
        ("lab/__pycache__/method.cpython-311.pyc", False),
        ("lab/__pycache__/notes.txt", False),
        ("lab/method.pyc", False),
        ("lab-1.0.dist-info/RECORD", False),
        ("__editable__.lab.pth", False),
        ("../../../bin/lab", False),
    ],
)
def test_of_a_distribution_what_its_installation_left_does_not_count(name, counts):
    assert code_digest._counts(name) is counts
