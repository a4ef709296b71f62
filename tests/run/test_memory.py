"""The peak of a cell's memory, on systems that tell it in different ways."""

from __future__ import annotations

import importlib
import sys
from types import SimpleNamespace

import pytest
import torch

from zobench.run import memory


def test_it_is_imported_and_measures_where_there_is_no_resource(monkeypatch, tmp_path):
    """As on Windows: neither the module, nor /proc; psutil knows the peak of the working set."""
    monkeypatch.setitem(sys.modules, "resource", None)
    module = importlib.reload(memory)
    monkeypatch.setattr(module, "_STATUS", tmp_path / "none")
    monkeypatch.setattr(module, "_CLEAR", tmp_path / "none" / "none")
    told = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=12345))
    monkeypatch.setattr(module.psutil, "Process", lambda: told)
    peak = module.PeakMemory([torch.device("cpu")])
    assert peak.kind.endswith("since its start") and peak.peak() == 12345


@pytest.mark.parametrize(("system", "unit"), [("linux", 1024), ("darwin", 1)])
def test_without_proc_it_is_in_the_units_of_the_system(monkeypatch, tmp_path, system, unit):
    resource = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda who: SimpleNamespace(ru_maxrss=777))
    monkeypatch.setitem(sys.modules, "resource", resource)
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "none")
    monkeypatch.setattr(memory.sys, "platform", system)
    assert memory.PeakMemory([torch.device("cpu")]).peak() == 777 * unit
