"""What is shipped: the wheel, built without a network, and the dependencies that it declares."""

from __future__ import annotations

import ast
import configparser
import contextlib
import email
import itertools
import re
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from kits.plugin_kit import wheel_of

import zobench
from zobench.protocol.cell import NUMERICS
from zobench.protocol.protocol import VERSION

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = {
    "zobench": ROOT,
    "zobench_plugins": ROOT / "plugins",
    "zobench_tasks": ROOT / "tasks",
    "zobench_world": ROOT / "world",
}

UNSEEN = {"accelerate"}
"""Dependencies that no line of ours imports: transformers imports it to place weights (`device_map`)."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return zipfile.ZipFile(wheel_of(ROOT, tmp_path_factory.mktemp("wheel")))


def info(wheel: zipfile.ZipFile, name: str) -> str:
    return wheel.read(f"zobench-{zobench.__version__}.dist-info/{name}").decode()


def test_the_wheel_has_every_file_of_the_packages_and_no_other(wheel):
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    sources = {
        path.relative_to(base).as_posix()
        for package, base in PACKAGES.items()
        for path in (base / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped == sources


def test_the_wheel_has_what_is_no_python(wheel):
    names = set(wheel.namelist())
    tasks = {f"zobench_tasks/{path.name}" for path in (ROOT / "tasks" / "zobench_tasks").glob("*.toml")}
    assert len(tasks) >= 11 and tasks <= names
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert "zobench/report/papers/dominant-layer.toml" in names
    weights = {f"zobench_world/weights/{name}" for name in ("model.safetensors", "config.json", "tokenizer.json")}
    assert weights | {"zobench_world/rates.json"} <= names
    made = {"estimator.py", "selector.py", "task.py", "task.toml"}
    assert {f"zobench/cli/templates/{name}.txt" for name in made} <= names
    assert not [n for n in names if n.startswith(("tests/", "results/", "docs/")) or "test_" in n or "golden" in n]


def test_the_wheel_says_what_it_is(wheel):
    said = email.message_from_string(info(wheel, "METADATA"))
    assert (said["Name"], said["Version"], said["License-Expression"]) == ("zobench", zobench.__version__, "Apache-2.0")
    assert said["Requires-Python"] == ">=3.11"
    assert len(said.get_all("Requires-Dist") or []) >= len(PROJECT["dependencies"])
    assert "Apache License" in info(wheel, "licenses/LICENSE")
    points = configparser.ConfigParser()
    points.read_string(info(wheel, "entry_points.txt"))
    assert dict(points["console_scripts"]) == {"zobench": "zobench.cli:main"}
    modules = dict(points["zobench"])
    assert set(modules) == {"estimators", "selectors", "executors", "models", "presets", "tasks", "world"}
    for module in modules.values():
        path = module.replace(".", "/")
        assert {f"{path}.py", f"{path}/__init__.py"} & set(wheel.namelist()), module


def imported() -> set[str]:
    """Top-level names of everything that the packages import, anywhere in their code."""
    found: set[str] = set()
    for package, base in PACKAGES.items():
        for path in (base / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    found.add((node.module or "").partition(".")[0])
                elif isinstance(node, ast.Call) and ast.unparse(node.func) == "library":  # of zobench.errors
                    if isinstance(node.args[0], ast.Constant):
                        found.add(str(node.args[0].value).partition(".")[0])
    return found - set(PACKAGES) - set(sys.stdlib_module_names)


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=\[; ]", one, maxsplit=1)[0].replace("-", "_") for one in requirements}


def test_dependencies_are_what_is_imported():
    optional = PROJECT["optional-dependencies"]
    declared, extra = names(PROJECT["dependencies"]), names([*optional["plots"], *optional["gpu"], *optional["gguf"]])
    executors = names([*optional["ray"], *optional["slurm"]])  # not pinned: the tests do not install them
    assert imported() == (declared - UNSEEN) | extra | executors
    assert all(">=" in one for one in PROJECT["dependencies"])
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = names([line for line in pins if not line.startswith("#")])
    assert pinned == declared | extra | {"scipy"}  # the extra's, and what the tests compare our statistics with
    assert pinned - declared <= names(PROJECT["optional-dependencies"]["test"])


def test_the_workflow_runs_what_a_maintainer_runs():
    """And the other machines' jobs are on the first and the last Python that the classifiers name."""
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
    assert [step["run"] for step in jobs["run"]["steps"] if "run" in step] == [".ci/run"]
    matrix = jobs["elsewhere"]["strategy"]["matrix"]
    named = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert matrix["python"] == [named[0], named[-1]]
    assert {os.partition("-")[0] for os in matrix["os"]} == {"ubuntu", "macos", "windows"}


def test_a_commit_is_asked_what_ci_asks():
    """The hooks' commands, with the paths of a commit, are those of the test command of the README."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    asked = {hook["entry"].partition(" --force-exclude")[0] for hook in hooks}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    command = readme.partition("<!-- tests -->")[2].partition("```bash\n")[2].partition("\n")[0]
    assert asked == {"ruff check", "ruff format --check", "mypy"}
    assert [tool for tool in asked if f".venv/bin/{tool}" not in command] == []


def test_every_python_that_it_runs_on_is_named():
    named = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert named == ["3.11", "3.12", "3.13", "3.14"]


def test_the_long_description_has_no_dead_link_or_picture(wheel):
    """On an index page nothing of the repository stands beside the text: what has no address must be no link."""
    text = email.message_from_string(info(wheel, "METADATA")).get_payload()
    assert isinstance(text, str) and "## A board" in text and "`docs/protocol.md`" in text
    assert [link for link in re.findall(r"\]\(([^)]*)\)", text) if not link.startswith("https://")] == []
    assert [path for path in re.findall(r"results/[\w/]+\.png", text) if f"`{path}`" not in text] == []


def test_the_sdist_has_what_the_readme_shows(tmp_path):
    built = build_editable_or_sdist(tmp_path, "sdist")
    with tarfile.open(built) as sdist:
        files = {name.partition("/")[2] for name in sdist.getnames()}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = [link for link in re.findall(r"\]\(([^)]*)\)", readme) if "://" not in link]
    assert len(linked) > 10
    assert [link for link in linked if link not in files] == []
    assert built.stat().st_size < 10e6


def test_an_editable_install_offers_the_packages_alone(tmp_path):
    pytest.importorskip("editables")  # comes with an editable install, as CI makes one
    editable = zipfile.ZipFile(build_editable_or_sdist(tmp_path, "editable"))
    [path] = [name for name in editable.namelist() if name.endswith(".pth")]
    assert editable.read(path).decode().split() == ["import", "_editable_impl_zobench"]
    code = editable.read("_editable_impl_zobench.py").decode()
    assert set(re.findall(r"F.map_module\('(\w+)'", code)) == set(PACKAGES)


def build_editable_or_sdist(folder: Path, kind: str) -> Path:
    from hatchling import build

    with contextlib.chdir(ROOT):
        return folder / getattr(build, f"build_{kind}")(str(folder))


def test_the_version_stands_in_one_place(wheel):
    """In `zobench/__init__.py`: what is built and what is released take it from there."""
    assert "version" in PROJECT["dynamic"] and "version" not in PROJECT
    assert email.message_from_string(info(wheel, "METADATA"))["Version"] == zobench.__version__
    files = [ROOT / "pyproject.toml", ROOT / "CITATION.cff", *(ROOT / "zobench").rglob("*.py")]
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files}
    said = re.compile(rf"""^\s*_*version_*\s*[:=]\s*["']?{re.escape(zobench.__version__)}\b""", re.M)
    assert [name for name, text in texts.items() if said.search(text)] == ["zobench/__init__.py"]


def test_every_release_says_whether_it_changes_numbers():
    """The newest section is this version's; numbers change exactly where the protocol or the numerics do."""
    sections = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.M)[1:]
    said = [
        re.match(r"([\d.]+), .+\n\nChanges numbers: (yes|no)\b.* Protocol `(.+)`, numerics (\d+)\.\n", s)
        for s in sections
    ]
    assert all(said)
    found = [one.groups() for one in said if one]
    assert (found[0][0], *found[0][2:]) == (zobench.__version__, VERSION, str(NUMERICS))
    for (_, changes, *now), (_, _, *before) in itertools.pairwise(found):
        assert (changes == "yes") == (now != before)
    assert found[-1][1] == "no"  # the first: nothing to differ from
