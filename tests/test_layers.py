"""The house stands as docs/architecture.md draws it: arrows point downwards, files and functions stay small.

Everything is read from the sources: nothing is imported but the package itself.
"""

from __future__ import annotations

import ast
import importlib
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

import zobench
from zobench.plugins.registry import load_plugins

ROOT = Path(__file__).parent.parent
SOURCES = {
    "zobench": ROOT / "zobench",
    "zobench_plugins": ROOT / "plugins",
    "zobench_tasks": ROOT / "tasks",
    "zobench_world": ROOT / "world",
}

BELOW = {
    "errors": "",
    "forwards": "",
    "deferred": "",
    "devices": "errors",
    "timers": "devices",
    "redact": "",
    "paths": "errors",
    "settings": "errors",
    "reserved": "settings errors",
    "kernels": "",
    "directions": "devices kernels errors",
    "scopes": "directions errors",
    "parameterisations": "devices scopes directions forwards settings errors",
    "models": "deferred devices forwards paths errors",
    "engine": "devices directions models timers errors",
    "tasks": "devices models settings paths errors",
    "estimator": "devices engine scopes directions timers reserved settings errors",
    "report": "redact paths errors reserved",
    "protocol": "report parameterisations engine directions tasks redact settings errors",
    "contracts": "reserved settings errors",
    "plugins": "contracts scopes tasks report reserved redact settings paths errors",
    "run": "devices plugins contracts protocol report estimator engine parameterisations scopes directions models "
    "tasks kernels timers redact settings paths errors",
    "bench": "devices run protocol report engine scopes models tasks settings errors",
    "testing": "devices run protocol contracts estimator engine parameterisations scopes directions models "
    "tasks settings errors",
    "cli": "deferred devices testing bench run protocol report plugins engine models tasks kernels redact settings "
    "paths errors __version__",
    "__main__": "cli",
}
"""Each room of the core, and the rooms it may import."""

NAMED_ONLY = {
    "directions": "timers",
    "estimator": "contracts tasks",
    "contracts": "protocol report tasks models scopes",
    "plugins": "estimator report models",
    "bench": "estimator plugins",
}
"""Further rooms whose names may stand in annotations (imported under TYPE_CHECKING alone)."""

PLUGINS_MAY_IMPORT = {"zobench", "zobench.models.outliers", "zobench.testing"}
"""For plugins, beside what `zobench` exports; docs/library.md names them."""

TESTS = ROOT / "tests"
LONG_TESTS = {
    "": "layers",
    "bench": "bench",
    "engine": "drawn engines",
    "kits": "families mutation",
    "models": "folder_faults load",
    "parameterisations": "parameterisation",
    "plugins": "misdeeds",
    "plugins/estimators": "directions method_facts sensitive_sparse zo_bench",
    "plugins/selectors": "schedules",
    "report": "first_screen integrity leaderboard records_packed shared_folders stats swap",
    "run": "bad_input never_lost replay unchanged",
    "tasks": "share",
    "testing": "kit_bites",
    "world": "embedded_tasks pretrain pretrain_text world",
}
"""Files of tests with more than 300 lines, by folder (but for kits with `test_` before their names)."""
LONG = {
    f"{folder}/{name}.py" if folder == "kits" else f"{folder}/test_{name}.py".removeprefix("/")
    for folder, names in LONG_TESTS.items()
    for name in names.split()
}

HEAVY = {"torch", "transformers", "datasets", "evaluate", "scipy", "matplotlib", "peft", "ray", "safetensors", "triton"}
LIGHT = [
    "__init__",
    "__main__",
    "contracts.",
    "deferred",
    "errors",
    "models.speech",
    "paths",
    "plugins.",
    "protocol.",
    "redact",
    "settings",
    "reserved",
    "engine",
    "parameterisations",
    "cli.",
    "report.",
    "run.account",
    "run.first_order",
    "run.cells",
    "run.rates",
    "run.routing",
    "run.stopping",
    "run.wish",
    "tasks.encode",
    "tasks.example",
    "tasks.kinds",
    "tasks.kinds.",
    "tasks.metrics",
    "tasks.metrics.accuracy",
    "tasks.metrics.em",
    "tasks.metrics.f1",
    "tasks.questions",
    "tasks.render",
    "tasks.parts",
    "tasks.rules",
    "tasks.rows",
    "tasks.sampling",
    "tasks.sandbox",
    "tasks.schema",
    "tasks.source",
    "tasks.task",
    "tasks.template",
    "tasks.values",
]
"""Modules (a dot at the end: all of a package) that commands which need no model import."""


@dataclass(frozen=True)
class Import:
    """One imported module or name, as a whole dotted path."""

    path: str
    line: int
    deferred: bool  # inside a function: imported when it is called
    typing_only: bool


@dataclass(frozen=True)
class Module:
    """A file of the sources, parsed where a test asks for it: each process of the tests collects them all."""

    name: str
    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"))

    @property
    def room(self) -> str:
        """`zo` of zobench.directions.noise.source; empty for the package's own __init__."""
        return self.name.partition(".")[2].partition(".")[0]

    @cached_property
    def imports(self) -> list[Import]:
        package = self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]
        return list(self._below(self.tree, package, deferred=False, typing_only=False))

    def _below(self, node: ast.AST, package: str, *, deferred: bool, typing_only: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(alias.name, child.lineno, deferred, typing_only)
            elif isinstance(child, ast.ImportFrom):
                parts = package.split(".")[: len(package.split(".")) - child.level + 1] if child.level else []
                home = ".".join([*parts, *([child.module] if child.module else [])])
                for alias in child.names:
                    yield Import(f"{home}.{alias.name}", child.lineno, deferred, typing_only)
            checks_types = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from self._below(child, package, deferred=deferred or inside, typing_only=typing_only or checks_types)


def modules(package: str) -> list[Module]:
    base = SOURCES[package] if package == "zobench" else SOURCES[package] / package
    found = []
    for path in sorted(base.rglob("*.py")):
        parts = [package, *path.relative_to(base).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path))
    return found


CORE = modules("zobench")
PLUGINS = [*modules("zobench_plugins"), *modules("zobench_tasks"), *modules("zobench_world")]
EXAMPLE = [
    Module(f"zobench_example.{path.stem}", path)
    for path in sorted((ROOT / "tests" / "example_plugin" / "zobench_example").glob("*.py"))
]


def test_the_sources_are_found():
    names = {module.name for module in [*CORE, *PLUGINS, *EXAMPLE]}
    assert {"zobench", "zobench.directions.noise.source", "zobench.cli.run", "zobench_plugins.estimators.mezo"} <= names
    assert {"zobench_tasks", "zobench_example.greedy"} <= names
    assert {module.room for module in CORE if module.room} == set(BELOW)


def test_arrows_point_downwards():
    wrong = []
    for module in CORE:
        if not module.room:
            continue  # the package's __init__ names what it exports
        allowed = {module.room, *BELOW[module.room].split()}
        named = allowed | set(NAMED_ONLY.get(module.room, "").split())
        for one in module.imports:
            top, _, rest = one.path.partition(".")
            room = rest.partition(".")[0]
            if (
                top == "zobench"
                and room in BELOW | {"__version__": ""}
                and room not in (named if one.typing_only else allowed)
            ):
                wrong.append(f"{module.path.relative_to(ROOT)}:{one.line} imports {one.path}")
    assert not wrong


def test_the_core_imports_no_plugin_and_the_report_no_torch():
    for module in CORE:
        for one in module.imports:
            top = one.path.partition(".")[0]
            assert not top.startswith("zobench_"), (module.name, one)
            assert not (module.room == "report" and top in HEAVY), (module.name, one)


WORDS = {
    "zero_shot": "the key of the untouched model's score in every record",
    "all": "on the command line, every one of a kind; of logits, at all positions",
    "layer": "a part of the name of a size in a config; the scope of a bench",
    "record": "what a cell leaves behind",
    "drop": "to leave out",
    "small": "a font's size; the grid of an estimator's small runs",
    "paper": "the grid of an estimator's paper; the bench of the paper's sizes",
    "local": "on this machine",
    "sparse": "of few entries",
    "gaussian": "a kind of noise, N(0, 1)",
    "rademacher": "a kind of noise, signs",
    "sensitivity": "an analysis",
}
"""Names of built-ins that are also words of the core, with what they mean there."""

NAMED = {
    "cli": "examples of commands, in help and in what is said to be done next",
    "plugins.along": "examples in an error",
    "plugins.expressions": "examples in an error",
    "protocol.protocol": "the version of the protocol is mezo-1, after the paper whose rules it is",
}
"""Where the core still names built-ins, and what for: nothing there depends on them."""


def words_of(tree: ast.AST) -> set[str]:
    """Names in the texts of the code, without docstrings: whole words, also within longer texts."""
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in docs]
    return {word for text in texts if isinstance(text, str) for word in re.findall(r"[A-Za-z_][A-Za-z0-9_]*", text)}


def test_the_core_names_no_method_model_task_preset_or_data_set():
    plugins = load_plugins(only="")
    kinds = ("estimators", "selectors", "tasks", "models", "data_sources", "presets", "executors", "directions")
    names = {name for kind in kinds for name in plugins.names(kind)} - set(WORDS)
    assert len(names) > 50 and {"embedded", "ray", "sphere"} <= names
    found = {module.name.partition(".")[2]: words_of(module.tree) & names for module in CORE}
    named = {name for name, words in found.items() if words}
    homes = {name: next((home for home in NAMED if f"{name}.".startswith(f"{home}.")), None) for name in named}
    assert {name: found[name] for name, home in homes.items() if home is None} == {}
    assert set(homes.values()) <= set(NAMED)


def test_the_core_names_no_family_of_models():
    """transformers' modules of one family are found by the config of a model."""
    family = re.compile(r"transformers\.models\.(?!auto\b)\w")
    assert {module.name for module in CORE if family.search(module.path.read_text(encoding="utf-8"))} == set()
    assert family.search("transformers.models.llama") and not family.search("transformers.models.auto.modeling_auto")


def test_names_in_code_are_found():
    tree = ast.parse('def f(name="mezo"):\n    "sst2, in words"\n    return {"embedded": name, **g("-e icl,lozo")}')
    assert words_of(tree) == {"mezo", "embedded", "e", "icl", "lozo"}


def test_plugins_import_only_public_names():
    for module in [*PLUGINS, *EXAMPLE]:
        own = module.name.partition(".")[0]
        for one in module.imports:
            home, _, name = one.path.rpartition(".")
            if one.path.partition(".")[0] != "zobench" or own == "zobench":
                continue
            assert home in PLUGINS_MAY_IMPORT and not name.startswith("_"), (module.name, one)
            assert home != "zobench" or name in zobench.__all__, (module.name, one)


def left_in_circles(graph: dict[str, set[str]]) -> set[str]:
    """The nodes that stand in a circle, or between two."""
    left = {node: {to for to in wanted if to != node} for node, wanted in graph.items()}
    while ends := {node for node, wanted in left.items() if not wanted & set(left)}:
        for node in ends:
            del left[node]
    while starts := {node for node in left if not any(node in wanted for wanted in left.values())}:
        for node in starts:
            del left[node]
    return set(left)


def test_circles_are_found():
    """Each shorter than the other: a circle of two, what leads to it, what it leads to."""
    graph = {"a": {"b"}, "b": {"c", "end"}, "c": {"b"}, "end": set()}
    assert left_in_circles(graph) == {"b", "c"}
    assert left_in_circles({**graph, "c": set()}) == set()


def test_no_modules_import_each_other_in_a_circle():
    """However they do: when they are executed, within a function, or for annotations alone."""
    names = {module.name for module in CORE}
    graph: dict[str, set[str]] = {}
    for module in CORE:
        homes = (one.path if one.path in names else one.path.rpartition(".")[0] for one in module.imports)
        graph[module.name] = set(homes) & names - {"zobench"}  # the package names what it exports
    assert left_in_circles(graph) == set()


def test_no_rooms_import_each_other_in_a_circle():
    """By any import, for annotations too: so every arrow of the page runs down."""
    graph: dict[str, set[str]] = {}
    for module in CORE:
        for one in module.imports:
            top, _, rest = one.path.partition(".")
            room, to = module.room, rest.partition(".")[0]
            if top == "zobench" and room and to in BELOW and room != to:
                graph.setdefault(room, set()).add(to)
    assert left_in_circles(graph) == set()


def light(module: Module) -> bool:
    name = module.name.partition(".")[2] or "__init__"
    return any(name == one.rstrip(".") or (one.endswith(".") and name.startswith(one)) for one in LIGHT)


def test_light_modules_import_nothing_heavy():
    chosen = [module for module in CORE if light(module)]
    assert {name.rstrip(".") for name in LIGHT if not name.endswith(".")} <= {
        module.name.partition(".")[2] or "__init__" for module in chosen
    }
    by_name = {module.name: module for module in CORE}
    for module in chosen:
        for one in module.imports:
            if one.deferred or one.typing_only:
                continue
            assert one.path.partition(".")[0] not in HEAVY, (module.name, one)
            home = by_name.get(one.path) or by_name.get(one.path.rpartition(".")[0])
            in_core = one.path.startswith("zobench.")
            assert not in_core or home is None or light(home) or not home.tree.body, (module.name, one)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_files_and_functions_are_small():
    long = [one.name for one in (*CORE, *PLUGINS) if len(one.path.read_text(encoding="utf-8").splitlines()) > 300]
    long += [
        f"{module.name}: {function.name}"
        for module in (*CORE, *PLUGINS)
        for function in functions(module.tree)
        if (function.end_lineno or 0) - function.lineno >= 70
    ]
    assert long == []


def test_files_of_tests_are_small_but_for_these():
    """Those that are longer wait for a second one."""
    long = [path for path in TESTS.rglob("*.py") if len(path.read_text(encoding="utf-8").splitlines()) > 300]
    assert {str(path.relative_to(TESTS)) for path in long} - LONG == set()
    assert [name for name in LONG if not (TESTS / name).is_file()] == []


@cache
def classes() -> dict[str, list[ast.ClassDef]]:
    by_name: dict[str, list[ast.ClassDef]] = {}
    for module in (*CORE, *PLUGINS):
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                by_name.setdefault(node.name, []).append(node)
    return by_name


def inherited(of: ast.ClassDef, method: str) -> bool:
    """Whether a base of that name, or one above it, documents the method."""
    for base in of.bases:
        for parent in classes().get(ast.unparse(base).partition("[")[0].rpartition(".")[2], ()):
            own = [f for f in parent.body if isinstance(f, ast.FunctionDef) and f.name == method]
            if any(ast.get_docstring(f) for f in own) or inherited(parent, method):
                return True
    return False


def test_no_function_is_written_twice():
    """The same statements under two names are one function that one of them does not know of."""
    bodies: dict[str, list[str]] = {}
    for module in [*CORE, *PLUGINS]:
        for one in functions(module.tree):
            body = one.body[1:] if ast.get_docstring(one) else one.body
            text = "\n".join(ast.unparse(statement) for statement in body)
            if len(text) > 60:
                bodies.setdefault(text, []).append(f"{module.name}.{one.name}")
    assert len(bodies) > 1000
    assert [names for names in bodies.values() if len(names) > 1] == []


def undocumented(body: list[ast.stmt], owner: ast.ClassDef | None = None) -> Iterator[str]:
    for node in body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node) and not (owner and inherited(owner, node.name)):
            yield node.name
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node.body, node)


def test_every_public_thing_says_what_it_is():
    modules = (*CORE, *PLUGINS)
    assert [one.name for one in modules if one.tree.body and not ast.get_docstring(one.tree)] == []
    assert [f"{one.name}: {name}" for one in modules for name in undocumented(one.tree.body)] == []


def test_the_public_names_are_there_and_in_their_list():
    """`__init__.pyi` is the list: type checkers and the package read it, and each name is defined where it says."""
    stub = ast.parse((ROOT / "zobench" / "__init__.pyi").read_text(encoding="utf-8"))
    declared = [(one, name) for one in stub.body if isinstance(one, ast.ImportFrom) for name in one.names]
    assert all(one.level == 1 and name.name == name.asname for one, name in declared)  # what type checkers re-export
    names = [name.name for _, name in declared]
    assert len(set(names)) == len(names) > 40
    assert sorted([*names, "__version__"]) == sorted(zobench.__all__) == dir(zobench)
    for one, name in declared:
        assert getattr(zobench, name.name) is getattr(importlib.import_module(f"zobench.{one.module}"), name.name)
    with pytest.raises(AttributeError, match="no attribute 'estimators'"):
        _ = zobench.estimators


def test_no_two_test_files_have_one_name():
    """pytest imports them by it, as folders of tests are no packages."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)


def test_the_choices_of_the_command_line_are_those_of_the_run():
    from zobench.cli.common import Dtype
    from zobench.cli.run import Rerun
    from zobench.models.load import DTYPES
    from zobench.protocol.protocol import Computation
    from zobench.run import place

    assert [one.value for one in Rerun] == list(typing.get_args(place.Rerun))
    dtypes = typing.get_args(typing.get_type_hints(Computation)["dtype"])
    assert [one.value for one in Dtype] == list(dtypes) == list(DTYPES)


def test_the_pages_name_every_room_and_every_public_name():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert set(BELOW) - {"__main__"} <= set(re.findall(r"`([a-z_]+)(?:\.py|/)`", page))
    text = (ROOT / "docs" / "library.md").read_text(encoding="utf-8").partition("## Public names")[2]
    assert PLUGINS_MAY_IMPORT - {"zobench"} <= set(re.findall(r"`([\w.]+)`", text))
    rows = [row.split("|")[2] for row in text.splitlines() if row.startswith("|")][2:]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", row))]
    assert sorted(named) == sorted(zobench.__all__)


def test_no_two_classes_have_one_name():
    """A name of the traceback, the docs or a talk means one thing."""
    twice = {name: len(found) for name, found in classes().items() if len(found) > 1}
    assert twice == {}
