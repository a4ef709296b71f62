"""Static masks of sensitive entries: where the squared gradient of pre-training data is largest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from zobench import LoadedModel, Objective, ZobenchError, wide

from .files import read, write

KIND = "masks"

Per = Literal["model", "tensor"]


def learn_masks(
    loaded: LoadedModel,
    objectives: Iterable[Objective],
    *,
    density: float = 1e-3,
    per: Per = "model",
    only: Sequence[str] = (),
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Masks of the `density` share of entries with the largest sum of squared gradients over the objectives.

    Paper: Guo et al. (arXiv:2406.02913): the entries with the largest squared gradient of the pre-training loss, on
    C4, 0.1% of them. Whether it takes them of the whole model or of every tensor could not be verified: `per`.

    only: parts of names; where given, other parameters get no mask. One backward pass an objective; memory: one fp32
    value a parameter beside the gradients.

    Returns name -> int64 (n,), the flat indices of the entries in ascending order (names without any are absent), and
    the facts for the file. Entries equal to the last one chosen are all in, those of gradient 0 all out. Raises
    ZobenchError where there is nothing to look at or a gradient is not finite.
    """
    if not 0 < density <= 1:
        raise ZobenchError(f"density={density}: must be above 0 and at most 1")
    chosen = [n for n, _ in loaded.model.named_parameters() if not only or any(part in n for part in only)]
    if not chosen:
        raise ZobenchError(f"{loaded.name} has no parameter with {' or '.join(only)} in its name")
    squares, batches = squared_gradients(chosen, objectives)
    indices = largest(squares, density, per)
    inside = sum(float(wide(squares[n].flatten()[i]).sum()) for n, i in indices.items())
    facts = {
        "model": loaded.name,
        "revision": loaded.revision,
        "density": density,
        "per": per,
        "batches": batches,
        "entries": sum(i.numel() for i in indices.values()),
        "share_of_squares": inside / sum(float(wide(s).sum()) for s in squares.values()),
        "shapes": {n: list(squares[n].shape) for n in indices},
    }
    return {n: i.cpu() for n, i in indices.items()}, facts


def squared_gradients(names: Sequence[str], objectives: Iterable[Objective]) -> tuple[dict[str, Tensor], int]:
    """By name, fp32, of the parameter's shape: the sum over the objectives of their gradient's square; how many."""
    squares: dict[str, Tensor] = {}
    batches = 0
    for objective in objectives:
        _, gradients = objective.gradient(names)
        for name in names:
            square = gradients.pop(name).float().square()
            squares[name] = squares[name].add_(square) if name in squares else square
        batches += 1
    if not batches:
        raise ZobenchError("masks: there is no batch to take a gradient of")
    for name, square in squares.items():
        if not bool(square.isfinite().all()):
            raise ZobenchError(f"masks: the squared gradient of {name} is not finite; load the model in float32")
    return squares, batches


def largest(squares: Mapping[str, Tensor], density: float, per: Per) -> dict[str, Tensor]:
    """By name, the flat indices (n,), ascending, of the largest `density` of entries: of all tensors, or of each."""
    everything = list(squares.values())
    together = kth_largest(everything, _share(everything, density)) if per == "model" else 0.0
    found = {}
    for name, square in squares.items():
        least = together if per == "model" else kth_largest([square], _share([square], density))
        flat = square.flatten()
        index = ((flat >= least) & (flat > 0)).nonzero().flatten()
        if index.numel():
            found[name] = index
    return found


def kth_largest(tensors: Sequence[Tensor], k: int) -> float:
    """The k-th largest entry of all these fp32 tensors, none negative.

    Such floats are ordered as their bits are: two histograms of 16 bits each find it, and nothing is sorted or copied
    as a whole.
    """
    prefix, left = _bin([(t.view(torch.int32) >> 16).flatten() for t in tensors], k)
    inside = [t.view(torch.int32)[t.view(torch.int32) >> 16 == prefix] & 0xFFFF for t in tensors]
    suffix, _ = _bin(inside, left)
    return float(torch.tensor([prefix << 16 | suffix], dtype=torch.int32).view(torch.float32))


def _bin(parts: Iterable[Tensor], k: int) -> tuple[int, int]:
    """The value of the k-th largest of these 16-bit numbers, and its rank among those of that value."""
    counts = sum(
        (torch.bincount(part, minlength=1 << 16).cpu() for part in parts), torch.zeros(1 << 16, dtype=torch.int64)
    )
    above = counts.flip(0).cumsum(0)
    place = int(torch.searchsorted(above, k))
    before = int(above[place - 1]) if place else 0
    return (1 << 16) - 1 - place, k - before


def _share(tensors: Sequence[Tensor], density: float) -> int:
    return max(1, round(density * sum(t.numel() for t in tensors)))


def write_masks(path: str | Path, masks: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    """Write a file of masks; returns its SHA-256 in hex. Indices are stored in 32 bits where they fit."""
    narrow = {n: i.to(torch.int32) if not i.numel() or int(i[-1]) < 2**31 else i for n, i in masks.items()}
    return write(path, KIND, narrow, facts)


def read_masks(path: str | Path, sha256: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """By name, int64 (n,); and the facts: as `learn_masks` returns them. Errors as those of `files.read`."""
    indices, facts = read(path, KIND, sha256)
    return {n: i.to(torch.int64) for n, i in indices.items()}, facts


def file_of_masks(method: str, path: str, sha256: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `read_masks` gives. Raises ZobenchError, beside those of `files.read`, where no file is named."""
    if not path:
        raise ZobenchError(
            f"{method}: set {method}.masks to a file of masks; make one with python -m zobench_plugins.learned masks"
        )
    return read_masks(path, sha256)


def masks_for(method: str, path: str, sha256: str, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Of a file, the masks of these tensors (name -> shape), as `learn_masks` returns them.

    Raises ZobenchError, beside those of `files.read`, where no file is named, none of the tensors has a mask, or one
    has another shape than the tensor its mask was made for.
    """
    indices, facts = file_of_masks(method, path, sha256)
    found = {n: i for n, i in indices.items() if n in shapes}
    if not found:
        raise ZobenchError(
            f"{path} has masks of {facts['model']}, and none of the scope's tensors, such as {next(iter(shapes))}: "
            "make masks of this model's weights, and choose a scope and a parameterisation that move them"
        )
    for name in found:
        if list(shapes[name]) != facts["shapes"][name]:
            raise ZobenchError(
                f"{path}: its mask of {name} is for shape {facts['shapes'][name]}, the tensor has "
                f"{list(shapes[name])}: it was made for {facts['model']}, which is another model"
            )
    return found
