"""Perturbation networks: one small perceptron a tensor, from what is known of the tensor to the scale of its direction.

Paper: Learning a Zeroth-Order Optimizer for Fine-Tuning LLMs (arXiv:2510.00419), PertNN.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from zobench import ZobenchError, wide

from .files import read, write

KIND = "scales"
FEATURES, WIDTH = 5, 64

Network: TypeAlias = dict[str, Tensor]
"""w1 (64, 5), b1 (64,), w2 (64,), b2 (), of one dtype on one device."""


def fresh(name: str, seed: int) -> Network:
    """The untrained network of a tensor, fp32 on the CPU: a function of (seed, name), uniform as torch's layers are."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)

    def uniform(*shape: int, fan_in: int) -> Tensor:
        return (torch.rand(shape, generator=generator) * 2 - 1) / math.sqrt(fan_in)

    return {
        "w1": uniform(WIDTH, FEATURES, fan_in=FEATURES),
        "b1": uniform(WIDTH, fan_in=FEATURES),
        "w2": uniform(WIDTH, fan_in=WIDTH),
        "b2": uniform(fan_in=WIDTH),
    }


def moved(network: Network, like: Tensor, dtype: torch.dtype) -> Network:
    """The network in this dtype, where `like` is."""
    return {part: t.to(device=like.device, dtype=dtype) for part, t in network.items()}


def features(weights: Tensor, seen: Tensor, before: Tensor) -> Tensor:
    """What a network is told (5,), in the dtype of `weights`.

    Their mean and variance (over n - 1; of a single entry 0), and of the step before the two losses `seen` (2,) and
    the scale (0-dim).
    """
    variance = weights.var(correction=min(1, weights.numel() - 1))
    return torch.cat([torch.stack([weights.mean(), variance]), seen.to(weights), before.to(weights)[None]])


def scale_of(network: Network, x: Tensor) -> Tensor:
    """The scale |w2 . tanh(w1 x + b1) + b2|, 0-dim, of the features x (5,)."""
    hidden = torch.tanh(network["w1"] @ x + network["b1"])
    return (network["w2"] @ hidden + network["b2"]).abs()


def to_norm_of_mezo(scales: Sequence[Tensor], sizes: Iterable[Tensor | float]) -> Tensor:
    """The kappa (0-dim, `wide`) with kappa^2 sum n s^2 = sum n: the direction is expected to be as long as MeZO's."""
    first = scales[0].device
    s = wide(torch.stack([x.to(first) for x in scales]))
    n = torch.stack([wide(x.to(first)) if isinstance(x, Tensor) else torch.full_like(s[0], x) for x in sizes])
    return (n.sum() / (n * s.square()).sum()).sqrt()


def write_networks(path: str | Path, networks: Mapping[str, Network], facts: Mapping[str, Any]) -> str:
    """Write a file of networks; returns its SHA-256 in hex."""
    return write(path, KIND, {f"{n}/{part}": t for n, one in networks.items() for part, t in one.items()}, facts)


def file_of_networks(method: str, path: str, sha256: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The file's tensors and facts. Raises ZobenchError, beside those of `files.read`, where no file is named."""
    if not path:
        raise ZobenchError(
            f"{method}: set {method}.scales to a file of networks; make one with "
            "python -m zobench_plugins.learned scales"
        )
    return read(path, KIND, sha256)


def networks_for(method: str, path: str, sha256: str, names: Sequence[str]) -> dict[str, Network]:
    """Of a file, the networks of these tensors.

    Raises ZobenchError, beside those of `files.read`, where no file is named or a tensor has no network.
    """
    tensors, facts = file_of_networks(method, path, sha256)
    missing = next((n for n in names if f"{n}/w1" not in tensors), None)
    if missing is not None:
        raise ZobenchError(
            f"{path} has networks of {facts['model']}, and none for {missing}: make them of this model, with the "
            "parameterisation that is trained"
        )
    return {n: {part: tensors[f"{n}/{part}"] for part in ("w1", "b1", "w2", "b2")} for n in names}
