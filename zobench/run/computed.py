"""What a record says of how losses were computed: what was chosen, and what was observed. Put together here alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from .. import kernels
from ..report.record import EngineInfo, EngineSettings, Observed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..tasks.prepared import PreparedTask


def draws(noise: str, device: str) -> Observed:
    """What draws the noise on this type of device, where a kernel may."""
    return {"kernels": kernels.drawn_by(device)} if noise == "philox" else {}


def of_forwards(prepared: PreparedTask) -> Observed:
    """What forwards of training and dev losses pass over, and those that score."""
    seen: Observed = {"rows": prepared.rows, "prefix": None if prepared.prefix is None else prepared.prefix.at}
    if prepared.rows == "packed" and prepared.forward.cuts_the_last_block:
        seen["last_block"] = "answers"
    if prepared.tokens_together:
        seen["scored_in"] = "tokens"
    return seen


def engine_info(chosen: EngineSettings, *observed: Observed, before: EngineInfo | None = None) -> EngineInfo:
    """The `engine` of a record. before: as it was after an earlier learning rate; what that says stands."""
    info: dict[str, Any] = dict(before or {})
    for facts in (chosen, *observed):
        for name, value in facts.items():
            info.setdefault(name, value)
    return cast("EngineInfo", info)


def settings(info: Mapping[str, Any]) -> dict[str, object]:
    """The settings in a record's `engine`, for the same computation again; of early records those that they have."""
    return {name: info[name] for name in EngineSettings.__annotations__ if name in info}
