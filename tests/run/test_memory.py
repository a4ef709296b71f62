"""The peak of a cell's memory, on systems that tell it in different ways."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from zobench.plugins.registry import load_plugins
from zobench.protocol.protocol import computation_from
from zobench.run import memory
from zobench.run.cell_shapes import CellShapes
from zobench.run.memory_account import PlannedMethod
from zobench.settings import resolve


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


def test_an_account_has_two_copies_of_what_moves_and_fits_up_to_its_peak():
    shapes = CellShapes(4000, 4, ((10, 20), (50,)), 1000, 500, 8, 16, 32, tokens=10, answers=2)
    (cls,) = [load_plugins(only="").estimator("mezo")]
    method = PlannedMethod(
        cls, resolve(cls, {}), computation_from({"engine": "flat", "restore": "exact"}), shapes, "cpu"
    )
    roomy, tight = method.account(10**9), method.account(0)
    assert (roomy.device["copies"], roomy.host["copies"], roomy.copies) == (2 * 250 * 4, 0, "device")
    assert (tight.device["copies"], tight.host["copies"], tight.copies) == (0, 2 * 250 * 4, "host")
    assert roomy.device["theta"] == 250 * 4
    assert roomy.device["activations"] == 10 * (6 * 8 + 3 * 16) * 4 + 2 * 32 * (4 + 8)
    assert replace(roomy, room=roomy.peak).fits and not replace(roomy, room=roomy.peak - 1).fits
