"""The chosen weights of a finished cell, built again from its record and its replay log, without a forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetensors.torch import load_file

from .. import kernels
from ..errors import ZobenchError
from ..report import store
from ..zo.log import read_log
from ..zo.scope import Scope
from .method import Method, applied, keeper, scope_bytes
from .protocol import computation_from

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from ..models.load import LoadedModel
    from ..plugins import Plugins
    from ..report.record import Record

FOUND_OUT = frozenset({"parameterisation", "prefix", "kernels", "compiled", "last_block", "points"})
"""What a record's engine says that is no setting of a run."""


def rebuild(record: Record, results: Path, loaded: LoadedModel, plugins: Plugins) -> dict[str, Tensor]:
    """The scope's tensors at the checkpoint that test was read at, by name, bit for bit as they were then.

    From the log where the cell kept one, else from the weights it kept. The same build of torch on the same kind of
    device is needed for the same bits. Raises ZobenchError where the cell did not finish, kept neither, `loaded` is
    not the model it ran on, or its noise was drawn by kernels and would not be here, or the other way round.
    """
    cell, files = record["cell"], store.files(results, record)
    if record["status"] != "ok" or "chosen" not in record:
        raise ZobenchError(f"{record['id']}: there are no chosen weights: the cell is {record['status']}")
    if loaded.revision != cell["model_revision"]:
        raise ZobenchError(
            f"{record['id']} ran on {cell['model']} at {cell['model_revision']}, "
            f"which is not {loaded.name} at {loaded.revision}"
        )
    if files.weights.is_file():
        return load_file(files.weights)
    if not files.replay.is_file():
        raise ZobenchError(
            f"{record['id']}: neither {files.replay.name} nor {files.weights.name} lies beside the record"
        )
    drawn, here = record["engine"].get("kernels"), kernels.drawn_by(loaded.device.type)
    if drawn not in (None, here):
        raise ZobenchError(
            f"{record['id']}: its noise was drawn by {drawn}, and would be by {here} here, which rounds it otherwise: "
            f"rebuild it on a machine where records say kernels: {drawn}"
        )
    scope, method = _scope(record, loaded), _method(record, plugins)
    lr, seed = record["chosen"]["lr"], cell["seed"]
    with applied(method, loaded, scope, lr=lr, seed=seed, keep=keeper(loaded, scope_bytes(scope))) as on:
        on.estimator.replay(read_log(files.replay))
        return {handle.name: handle.param.detach().clone() for handle in on.estimator.handles}


def _scope(record: Record, loaded: LoadedModel) -> Scope:
    info = record["scope"]
    assert info is not None  # a cell that chose weights has one
    names = set(info["names"])
    return Scope([(n, p) for n, p in loaded.model.named_parameters() if n in names], layers=info["layers"])


def _method(record: Record, plugins: Plugins) -> Method:
    """The method with the engine that `auto` became."""
    cell = record["cell"]
    computed = {k: v for k, v in record["engine"].items() if k not in FOUND_OUT}
    wish: dict[str, object] = {**cell["run_settings"], **computed}
    decay = float(record["protocol"]["weight_decay"])
    return Method(plugins.estimator(cell["estimator"]), cell["estimator_settings"], computation_from(wish), decay)
