"""Modules that are imported when something of them is used."""

from __future__ import annotations

import builtins
import json
import subprocess
import sys

import pytest
import transformers

from zobench.deferred import NotImported, Used, put_off

MODULE = "zobench_test_deferred"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A module `heavy`, and one that imports it in every way there is."""
    folder = tmp_path / MODULE
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "heavy.py").write_text(
        "class Thing:\n    def __init__(self, n=0):\n        self.n = n\n\n"
        "def twice(f):\n    return lambda *a: 2 * f(*a)\n"
    )
    (folder / "user.py").write_text(
        "from .heavy import Thing, twice\n"
        f"import {MODULE}.heavy as by_name\n"
        "default = Thing(3)\n\nclass Method:\n    @twice\n    def answer(self):\n        return 21\n\n"
        "def is_thing(x):\n    return isinstance(x, Thing)\n\n"
        "def of_module():\n    return by_name.Thing(7)\n\ndef made():\n    return Thing(5)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield f"{MODULE}.heavy"
    for name in [name for name in sys.modules if name.partition(".")[0] == MODULE]:
        del sys.modules[name]


def _user():
    import importlib

    return importlib.import_module(f"{MODULE}.user")


def test_a_module_is_imported_when_something_of_it_is_used(package):
    with put_off(package, within=(MODULE,)) as deferral:
        user = _user()
        assert not user.is_thing(object()) and isinstance(user.default, NotImported)
    assert package not in sys.modules and not deferral.used
    assert user.default.n == 3 and user.Method().answer() == 42 and user.made().n == 5
    assert user.of_module().n == 7
    assert package in sys.modules and user.is_thing(user.made()) and not user.is_thing(3)
    assert deferral.used


def test_calls_within_functions_are_made_at_once_and_the_module_itself_is_there_afterwards(package):
    with put_off(package, within=(MODULE,)):
        user = _user()
        made = user.made()
    assert type(made).__name__ == "Thing" and made.n == 5
    from importlib import import_module

    assert import_module(package).Thing is type(made)


def test_what_was_put_off_is_imported_when_others_read_it_of_the_module_that_it_lies_in(package):
    """As peft reads torch.distributed.tensor, which transformers imports."""
    for _ in range(2):
        with put_off(package, f"{MODULE}.other", within=(MODULE,)):
            _user()
    above = sys.modules[MODULE]
    with pytest.raises(AttributeError, match=f"module '{MODULE}' has no attribute 'nothing'"):
        _ = above.nothing
    assert not hasattr(above, "other"), "it cannot be imported"
    assert package not in sys.modules and above.heavy.Thing(4).n == 4 and package in sys.modules


def test_others_than_those_within_import_as_ever(package):
    from importlib import import_module

    with put_off(package, within=("another",)):
        assert not isinstance(_user().Thing, NotImported)
    assert import_module(package).Thing


def test_where_nothing_may_be_imported_use_is_refused(package):
    with put_off(package, imports=False) as deferral:
        user = _user()
        assert not deferral.used
        assert "heavy.Thing" in repr(user.default) and deferral.used, "what shows it is told of"
    with pytest.raises(Used, match=r"heavy\.Thing"):
        user.default.n  # noqa: B018
    assert deferral.used and package not in sys.modules
    assert deferral.importers == {f"{MODULE}.user"}


def test_imports_are_as_before_even_after_an_error(package):
    before = builtins.__import__
    with pytest.raises(ZeroDivisionError), put_off(package):
        raise ZeroDivisionError
    assert builtins.__import__ is before


HEAVY = ("torch._dynamo", "torch.distributed.tensor", "scipy", "sympy")
PROGRAM = f"""
import json, sys
import torch
from zobench import Scope, load_model
from zobench_world.model import WEIGHTS
from zobench_plugins.estimators.mezo import MeZO
from zobench.models.outline import outline
loaded = load_model(str(WEIGHTS), device="cpu")
outlined = outline(str(WEIGHTS), device="cpu")
MeZO(Scope(loaded.named_parameters()), 1e-3)
kinds = sorted({{str(p.device) for p in outlined.model.parameters()}})
found = [name for name in {HEAVY} if name in sys.modules]
logits = loaded.model(torch.arange(8)[None]).logits
sharded = torch.distributed.tensor.DTensor.__name__
import torch._dynamo
print(json.dumps([kinds, found, logits.double().sum().item(), hasattr(torch._dynamo, "optimize"), sharded]))
"""


@pytest.mark.skipif(
    tuple(map(int, transformers.__version__.split(".")[:2])) < (5, 20), reason="earlier ones import otherwise"
)
def test_a_model_is_loaded_and_an_estimator_made_without_compilers_and_sharding():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    kinds, found, total, compiler, sharded = json.loads(done.stdout)
    assert (kinds, found, compiler, sharded) == (["meta"], [], True, "DTensor")
    import torch
    from zobench_world.model import WEIGHTS

    model = transformers.AutoModelForCausalLM.from_pretrained(str(WEIGHTS), dtype=torch.float32)
    with torch.no_grad():
        assert model(torch.arange(8)[None]).logits.double().sum().item() == pytest.approx(total, rel=1e-9)
