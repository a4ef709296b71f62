"""`zobench doctor`: what is installed, which devices there are, what would be chosen, what is missing, and the mend."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from ..errors import ZobenchError
from .common import AsJson, PluginFiles, plugins_of, print_json, print_table

if TYPE_CHECKING:
    import torch

    from ..plugins.registry import Plugins

NEEDED = ("torch", "transformers", "tokenizers", "accelerate", "peft", "safetensors", "huggingface_hub", "numpy")
EXTRAS = {
    "datasets": ("data of the hub", "datasets"),
    "evaluate": ("metrics of evaluate", "evaluate"),
    "matplotlib": ("--plot", "'zobench[plots]'"),
    "gguf": ("models in GGUF files", "'zobench[gguf]'"),
}
"""Library -> what needs it, and what pip is told."""
ROOM = 10 * 2**30
"""Bytes of free disk below which it is said that there are few."""


class Diagnosis(NamedTuple):
    """One line: what was looked at, what there is, and what to do; `bad`: no run can do without."""

    what: str
    found: str
    mend: str = ""
    bad: bool = False


def doctor(plugin: PluginFiles = None, json: AsJson = False) -> None:
    """Say what is installed, which devices there are, which engine would be chosen, what is missing, and the mend.

    Exit status 1 where something is missing that every run needs. No network is asked.
    """
    found = list(findings(plugins_of(plugin, quiet=True)))
    if json:
        print_json([one._asdict() for one in found])
    else:
        print_table(("", "FOUND", "MEND"), [(one.what, one.found, one.mend) for one in found])
    if any(one.bad for one in found):
        raise typer.Exit(1)


def findings(plugins: Plugins) -> Iterator[Diagnosis]:
    """All that there is to say, what is needed first."""
    from .. import __version__

    yield Diagnosis("zobench", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    for name in NEEDED:
        version = _version(name)
        yield Diagnosis(name, version or "missing", "" if version else f"pip install {name}", version is None)
    for name, (needs, install) in {**EXTRAS, **_of_executors(plugins)}.items():
        version = _version(name)
        yield Diagnosis(name, version or "not installed", "" if version else f"for {needs}: pip install {install}")
    for info in plugins.loaded:
        if info.error:
            yield Diagnosis(
                f"plugin {info.name}", info.error, f"pip install -U {info.dist}, or ZOBENCH_PLUGINS=-{info.name}"
            )
    if _version("torch"):
        yield from _devices()
    yield from _places()


def _of_executors(plugins: Plugins) -> dict[str, tuple[str, str]]:
    """The libraries that executors say they need, as EXTRAS."""
    out = {}
    for name in plugins.names("executors"):
        with suppress(ZobenchError):  # of a plugin that cannot be imported, which is told elsewhere
            if (needs := getattr(plugins.executor(name), "needs", None)) is not None:
                out[needs[0]] = (f"--executor {name}", f"'{needs[1]}'")
    return out


def _devices() -> Iterator[Diagnosis]:
    import torch

    from .. import devices, kernels

    kinds = [kind for kind in (*devices.GPUS, "mps") if devices.count(kind)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free = devices.free(torch.device("cpu")) / 2**30
    yield Diagnosis("cpu", f"{cores} cores, {torch.get_num_threads()} threads, {free:.1f} GiB of memory free")
    for kind in kinds:
        for i in range(devices.count(kind)):
            device = torch.device(kind, i)
            yield Diagnosis(f"{kind}:{i}", f"{devices.name(device)}, {devices.free(device) / 2**30:.1f} GiB free")
    if not kinds:
        seen = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi")
        mend = "a driver is here: install torch for CUDA (pytorch.org)" if seen and torch.version.cuda is None else ""
        yield Diagnosis("GPUs", "none that torch sees", mend)
    best = devices.best()
    yield Diagnosis("--device auto", best)
    why = kernels.why_not(best)
    mend = "pip install 'zobench[gpu]', and a C compiler (gcc)" if best == "cuda" and why else ""
    yield Diagnosis(
        "kernels", "noise is drawn where it is added" if why is None else f"noise is drawn by torch: {why}", mend
    )
    yield from _engines(torch.device(best))


def _engines(device: torch.device) -> Iterator[Diagnosis]:
    """What `--engine auto` would come to for a 7B model in 16 bits, all weights and one block."""
    from .. import devices
    from ..engine import choose

    numel, block = 6_738_415_616, 202_383_360  # LLaMA2-7B and one of its blocks
    left = devices.free(device) - 2 * numel
    if left < 0:
        lack = (
            f"a 7B model in 16 bits needs {2 * numel / 2**30:.1f} GiB, {devices.free(device) / 2**30:.1f} GiB are free"
        )
        yield Diagnosis("--engine auto", lack, "a smaller model, or another device: --dry-run says what fits")
        return
    for said, scope in (("all weights", numel), ("one block", block)):
        engine, restore = choose(scope, numel, left, layer_numel=block, itemsize=2)
        yield Diagnosis("--engine auto", f"{said} of a 7B model in 16 bits: {engine}, restore {restore}")


def _places() -> Iterator[Diagnosis]:
    """Where the hub's files lie, with what room, and whether a token is there; whether files can be written here."""
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")).expanduser()
    standing = next((p for p in (home, *home.parents) if p.exists()), Path("/"))
    free = shutil.disk_usage(standing).free
    yield Diagnosis(
        "hub cache", f"{home}, {free / 2**30:.0f} GiB free", "" if free > ROOM else "free some, or set HF_HOME"
    )
    token = "HF_TOKEN" in os.environ or (home / "token").is_file()
    mend = "" if token else "for gated models: huggingface-cli login"
    yield Diagnosis("hub token", "there" if token else "none", mend)
    writable = os.access(Path.cwd(), os.W_OK)
    mend = "" if writable else "not writable: --results elsewhere"
    yield Diagnosis("this folder", str(Path.cwd()), mend, not writable)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
