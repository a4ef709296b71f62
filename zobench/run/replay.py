"""The chosen weights of a finished cell, built again from its record and its replay log, without a forward pass."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import repeat
from typing import TYPE_CHECKING

from safetensors.torch import load_file

from .. import kernels
from ..devices import processors
from ..errors import ZobenchError
from ..estimator.log import Log, load_log
from ..protocol.protocol import computation_from
from ..report import store
from ..scopes.scope import Scope
from .artefacts import MASK
from .checksum import checksums
from .computed import settings
from .device_defaults import COUNTED
from .environment import device_facts
from .method import Method, applied, keeper, scope_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from ..models.load import LoadedModel
    from ..plugins.registry import Plugins
    from ..report.record import Record


def rebuild(record: Record, results: Path, loaded: LoadedModel, plugins: Plugins) -> dict[str, Tensor]:
    """The scope's tensors at the checkpoint that test was read at, by name, bit for bit as they were then.

    From the log where the cell kept one, else from the weights it kept. The same build of torch on the same kind of
    device is needed for the same bits. Raises ZobenchError where the cell did not finish or kept neither, `loaded` is
    not the model it ran on or lies on another kind of device, the log is damaged, short, or of another run than the
    chosen one, or it leads to other weights here.
    """
    cell, files = record["cell"], store.files(results, record)
    if record["status"] != "ok" or "chosen" not in record:
        why = "it trains nothing" if record["status"] == "ok" else f"the cell is {record['status']}"
        raise ZobenchError(f"{record['id']}: there are no chosen weights: {why}")
    if loaded.revision != cell["model_revision"]:
        raise ZobenchError(
            f"{record['id']} ran on {cell['model']} at {cell['model_revision']}, "
            f"which is not {loaded.name} at {loaded.revision}"
        )
    if files.weights.is_file():
        return {name: t for name, t in load_file(files.weights).items() if not name.startswith(MASK)}
    data = store.side(results, files.replay)
    if data is None:
        raise ZobenchError(
            f"{record['id']}: neither {files.replay.name} nor {files.weights.name} lies beside the record"
        )
    _same_device(record, loaded)
    scope, method = scope_of(record, loaded), method_of(record, plugins)
    lr, seed, log = record["chosen"]["lr"], cell["seed"], _log(record, files.replay, data)
    with applied(method, loaded, scope, lr=lr, seed=seed, keep=keeper(loaded, scope_bytes(scope))) as on:
        on.estimator.replay(log.steps)
        rebuilt = {handle.name: handle.param.detach().clone() for handle in on.estimator.handles}
    want = log.facts.get("weights")
    if want is not None and checksums(rebuilt.items()) != want:
        raise ZobenchError(
            f"{record['id']}: its log leads to other weights here than test was read at: replay it with the versions "
            "of torch and zobench that its record names under environment, or run the cell again"
        )
    return rebuilt


def _same_device(record: Record, loaded: LoadedModel) -> None:
    """ZobenchError where this is not the kind of device that the cell ran on: noise and rounding are others."""
    environment, here = record["environment"], device_facts(loaded.device)
    ran, name = str(environment.get("device", "")), environment.get("device_name")
    other_card = name != here["device_name"]
    ours, theirs = processors(loaded.device), environment.get("multiprocessors")
    if record["engine"]["noise"] == COUNTED and loaded.device.type != "cpu":
        other_card = False  # counters draw alike on every card: the checksums of the log say whether all else does
    elif None not in (ours, theirs) and ours != theirs:
        other_card, name = True, f"{name}, of {theirs} multiprocessors"
    if ran.partition(":")[0] != loaded.device.type or other_card:
        raise ZobenchError(
            f"{record['id']} ran on {ran or 'a device that it does not name'} ({name}); {here['device']} "
            f"({here['device_name']}) would draw and round otherwise: replay it there, with --device"
        )
    drawn, kernel = record["engine"].get("kernels"), kernels.drawn_by(loaded.device.type)
    if drawn not in (None, kernel):
        raise ZobenchError(
            f"{record['id']}: its noise was drawn by {drawn}, and would be by {kernel} here, which rounds it "
            f"otherwise: rebuild it on a machine where records say kernels: {drawn}"
        )


def _log(record: Record, path: Path, data: bytes | None = None) -> Log:
    """The replay log, if it is whole and that of the checkpoint that the record names."""
    chosen, again = record["chosen"], f"run the cell {record['id']} again (--rerun always)"
    try:
        log = load_log(path, data=data)
    except ZobenchError as e:
        raise ZobenchError(f"{e}; {again}") from e
    if len(log.steps) != chosen["step"]:
        raise ZobenchError(
            f"{path} is not the log of the chosen checkpoint: it holds {len(log.steps)} steps, and test was read at "
            f"step {chosen['step']}; {again}"
        )
    expected = _rates(record)
    for step, want in zip(log.steps, expected, strict=False):
        if any(not math.isclose(lr, want, rel_tol=1e-12) for lr in step.lr):
            raise ZobenchError(
                f"{path} is not the log of the chosen learning rate: step {step.step} moved at lr {step.lr[0]:g}, not "
                f"at {want:g}; {again}"
            )
    _same_run(record, log, path, again)
    return log


def _same_run(record: Record, log: Log, path: Path, again: str) -> None:
    """ZobenchError where the log says of its run what the record does not say of the chosen one."""
    if not log.facts:  # of the first version, which says nothing
        return
    engine = log.facts["engine"]
    ours = {"cell": record["id"], "seed": record["cell"]["seed"], "lr": record["chosen"]["lr"]}
    ours |= {k: record["environment"].get(k) for k in ("device", "device_name")}
    ours |= {k: record["engine"].get(k) for k in engine}
    theirs = {**{k: log.facts.get(k) for k in ("cell", "seed", "lr", "device", "device_name")}, **engine}
    for said in (ours, theirs):  # a log names the GPU of its scope, a record the first of the model
        said["device"] = str(said["device"]).partition(":")[0]
    if odd := next((k for k in theirs if theirs[k] != ours[k]), None):
        raise ZobenchError(
            f"{path} is not the log of the chosen run: its {odd} is {theirs[odd]}, the record's {ours[odd]}; {again}"
        )


def _rates(record: Record) -> Iterator[float]:
    """The learning rate of each step, where the protocol alone decides it; else that of the first."""
    lr, protocol = float(record["chosen"]["lr"]), record["protocol"]
    if protocol.get("lr_schedule", "constant") == "constant":
        yield from repeat(lr)
    elif protocol.get("train_forwards") or protocol.get("train_seconds"):
        yield lr
    else:
        yield from (lr * (1.0 - step / protocol["steps"]) for step in range(protocol["steps"]))


def masks_of(record: Record, results: Path) -> dict[str, Tensor]:
    """The masks that stand beside the weights a cell kept, by tensor: of those whose weights do not show them."""
    path = store.files(results, record).weights
    kept = load_file(path) if path.is_file() else {}
    return {name.removeprefix(MASK): t for name, t in kept.items() if name.startswith(MASK)}


def scope_of(record: Record, loaded: LoadedModel, masks: Mapping[str, Tensor] | None = None) -> Scope:
    """What could move, on a model that was loaded anew; masks are in no record."""
    info = record["scope"]
    assert info is not None  # a cell that chose weights has one
    names = set(info["names"])
    return Scope([(n, p) for n, p in loaded.model.named_parameters() if n in names], layers=info["layers"], masks=masks)


def method_of(record: Record, plugins: Plugins) -> Method:
    """The method with the engine that `auto` became."""
    cell = record["cell"]
    wish: dict[str, object] = {**cell["run_settings"], **settings(record["engine"])}
    decay = float(record["protocol"]["weight_decay"])
    return Method(plugins.estimator(cell["estimator"]), cell["estimator_settings"], computation_from(wish), decay)
