"""transformers' list of its models, made of each file once."""

import builtins
import gc
import importlib
import importlib.util
import sys
from pathlib import Path

import pytest
import transformers.utils.import_utils as plain

from zobench.models import listing
from zobench.models.lightly import lightly

MODELS = Path(plain.__file__).parents[1] / "models"


@pytest.fixture
def quick():
    """transformers' module again, quickened, that counts how often it opens each file."""
    spec = importlib.util.spec_from_file_location("transformers.utils.again", plain.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.opened = []
    module.open = lambda path, *a, **k: module.opened.append(str(path)) or builtins.open(path, *a, **k)
    listing.quicken(module)
    return module


def test_the_list_is_the_same_and_each_file_is_read_once(quick):
    as_ever = plain.define_import_structure.__wrapped__(MODELS, prefix="models")  # transformers adds to its own
    assert sum(len(files) for files in as_ever.values()) > 500
    assert quick.define_import_structure(MODELS, prefix="models") == as_ever
    assert quick.define_import_structure(str(MODELS / "__init__.py"))  # as the package of the models itself asks
    below = [path for path in quick.opened if Path(path).parent != MODELS]
    assert len(below) > 500 and len(set(below)) == len(below)


def test_names_are_read_in_the_last_lines_alone(quick, monkeypatch):
    seen = []
    monkeypatch.setattr(quick, "fetch__all__", lambda text: seen.append(text) or [])
    listing.quicken(quick)
    for text, read in [
        ("a\n__all__ = 1\nb\n__all__ = 2\n", "__all__ = 2\n"),
        ("__all__ = 3\n", "__all__ = 3\n"),
        ("", ""),
    ]:
        quick.fetch__all__(text)
        assert seen[-1] == read


def test_a_release_that_lists_in_another_way_is_left_alone():
    class Other:
        pass

    listing.quicken(Other)
    assert not [name for name in vars(Other) if not name.startswith("__")]


def test_the_module_is_quickened_as_it_is_imported_and_not_afterwards(tmp_path, monkeypatch):
    name = "zobench_test_lists"
    (tmp_path / f"{name}.py").write_text("def fetch__all__(text):\n    return text\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(listing, "LISTS", name)
    finders = list(sys.meta_path)
    try:
        with listing.listed_quickly():
            module = importlib.import_module(name)
        assert module.fetch__all__("a\n__all__") == "__all__"
        assert module.__spec__.loader is module.__loader__ and module.__loader__.get_source(name)
        with listing.listed_quickly():
            assert sys.meta_path == finders, "it is there already"
    finally:
        sys.modules.pop(name, None)
    assert sys.meta_path == finders


def test_nothing_is_collected_while_models_are_imported():
    before = gc.isenabled()
    gc.enable()
    try:
        with lightly():
            assert not gc.isenabled()
            with lightly():
                pass
            assert not gc.isenabled()
        assert gc.isenabled()
        gc.disable()
        with lightly():
            pass
        assert not gc.isenabled(), "whoever had it off has it off"
    finally:
        (gc.enable if before else gc.disable)()
