"""The noise sources, by name."""

from __future__ import annotations

from ...errors import ZobenchError, unknown
from .philox import Philox
from .source import NoiseSource, OfficialStream, PerTensor

NOISES: dict[str, type[NoiseSource]] = {
    "per_tensor": PerTensor,
    "official": OfficialStream,
    "philox": Philox,
}


def build_source(name: str, seed: int) -> NoiseSource:
    """The noise source of this name; ZobenchError for an unknown one."""
    if name not in NOISES:
        raise ZobenchError(unknown("noise", name, NOISES))
    return NOISES[name](seed)
