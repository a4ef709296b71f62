"""Counter-based noise: every entry is a function of its tensor's seed and its place, so that kernels draw it anywhere.

Philox4x32 (Salmon et al. 2011) with 7 rounds, the fewest with which it passes the BigCrush tests there; normals by Box
and Muller's method from all four words, 23 bits of each, so that none is beyond 5.65. This is the torch form;
zobench.kernels has the same in Triton, equal up to the rounding of log, sin and cos. On a CPU it is a few times slower
than torch's own generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from ... import kernels
from ...devices import sent
from ..handle import Handle
from ..shapes import Shapes
from .source import PerTensor, mix

ROUNDS = 7
M0, M1 = 0xD2511F53, 0xCD9E8D57
W0, W1 = 0x9E3779B9, 0xBB67AE85
LOW = 0xFFFFFFFF
PART = 1 << 18
"""Entries that a CPU computes at a time: the words are int64, 8 bytes an entry, and a cache should hold them."""
PART_OF_A_GPU = 1 << 23
"""On a GPU: so many that launches are few, and so few that their words take little of its memory."""

Key: TypeAlias = int | Tensor
"""32 bits: one number, or one for each counter (int64)."""


def words(seed: int, counters: Tensor, rounds: int = ROUNDS) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four 32-bit words of each counter (int64 tensors), for a key of 64 bits."""
    (c0, c2), (c1, c3) = _words(seed & LOW, (seed >> 32) & LOW, counters, rounds)
    return c0, c1, c2, c3


def _words(k0: Key, k1: Key, counters: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
    """The words 0 and 2, and the words 1 and 3, of each counter: int64 (2, n) both.

    Two words are computed at once, as most of the time goes into passes over memory, on a GPU into launches.
    """
    nothing = torch.zeros_like(counters)
    a = torch.stack((counters & LOW, nothing))  # what is multiplied: words 0 and 2, or 2 and 0
    b = torch.stack((counters >> 32, nothing))  # what is mixed in: words 1 and 3, or 3 and 1
    factors = (M0, M1)
    if isinstance(k0, Tensor) and isinstance(k1, Tensor):
        k0, k1 = k0.clone(), k1.clone()
    for i in range(rounds):
        # products of 64 bits wrap in int64, but keep their bits: those above the low 32 are masked away when a round is
        # over, and of what is mixed in a round later
        products = a
        for row in range(2):
            products[row].mul_(factors[row])
        a, keys = products >> 32, ((k1, k0) if i % 2 == 0 else (k0, k1))
        for row in range(2):
            a[row].bitwise_xor_(b[1 - row]).bitwise_xor_(keys[row])
        a, b, factors = a.bitwise_and_(LOW), products, factors[::-1]
        k0, k1 = _next(k0, W0), _next(k1, W1)
    b = b.bitwise_and_(LOW)
    return (a.flip(0), b.flip(0)) if rounds % 2 else (a, b)


def _next(key: Key, by: int) -> Key:
    return key.add_(by) if isinstance(key, Tensor) else (key + by) & LOW


def normals(seed: int, n: int, device: torch.device, *, begin: int = 0, rounds: int = ROUNDS) -> Tensor:
    """float32 (n,): standard normals number `begin` (a multiple of 4) and on."""
    counters = torch.arange(begin // 4, begin // 4 + -(-n // 4), device=device)
    return _normals(_words(seed & LOW, (seed >> 32) & LOW, counters, rounds))[:n]


def _normals(drawn: tuple[Tensor, Tensor]) -> Tensor:
    """float32: four normals of the four words of each counter."""
    cos, sin = _box_muller(*(_one_to_two(pair) for pair in drawn))
    return torch.stack((cos[0], sin[0], cos[1], sin[1]), dim=-1).flatten()


def signs(seed: int, n: int, device: torch.device, *, begin: int = 0, rounds: int = ROUNDS) -> Tensor:
    """float32 (n,): signs number `begin` (a multiple of 128) and on, a bit each."""
    counters = torch.arange(begin // 128, begin // 128 + -(-n // 128), device=device)
    four = torch.stack(words(seed, counters, rounds), dim=-1).flatten()
    bits = (four[:, None] >> torch.arange(32, device=device)) & 1
    return (2.0 * bits.float() - 1.0).flatten()[:n]


def _one_to_two(word: Tensor) -> Tensor:
    """The high 23 bits as a float32 in [1, 2): put into a mantissa."""
    return ((word >> 9) | 0x3F800000).to(torch.int32).view(torch.float32)


def _box_muller(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    radius = (2.0 - a).log_().mul_(-2.0).sqrt_()
    angle = (b * (2 * math.pi)).sub_(3 * math.pi)
    return radius * angle.cos(), radius.mul_(angle.sin_())


class Philox(PerTensor):
    """Noise by counters. Seeds as per_tensor's: 63 bits of blake2b of (step seed, kind, tensor name)."""

    name: ClassVar[str] = "philox"
    rounds: ClassVar[int] = ROUNDS

    def key(self, seed: int, kind: str, name: str) -> int:
        """The own seed of the tensor of this name."""
        return mix(seed, kind, name)

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._ahead = Ahead(self.rounds)

    def draw(
        self, seed: int, kind: str, p: Handle, shape: tuple[int, ...], *, full_shape: bool, among: Shapes | None = None
    ) -> Tensor:
        device, key, n = p.param.device, self.key(seed, kind, p.name), math.prod(shape)
        if kernels.usable(device.type) and n:
            from ...kernels.adding import add

            zeros, one = torch.zeros(shape, device=device), torch.ones(1, 1, device=device)
            add(zeros, zeros, [key], [kind], one, self.rounds)
            return zeros
        if kind == "gaussian" and device.type != "cpu" and among is not None:
            found = self._ahead.find(partial(self.key, seed, kind), (seed, kind), p.name, among, device)
            if found is not None:
                return found
        out, part = torch.empty(n, device=device), PART if device.type == "cpu" else PART_OF_A_GPU
        for begin in range(0, n, part):
            size = min(part, n - begin)
            out[begin : begin + size] = numbers(kind, key, size, device, begin=begin, rounds=self.rounds)
        return out.view(shape)


def numbers(kind: str, key: int, n: int, device: torch.device, *, begin: int = 0, rounds: int = ROUNDS) -> Tensor:
    """float32 (n,): normals or signs number `begin` and on, of one tensor."""
    return (normals if kind == "gaussian" else signs)(key, n, device, begin=begin, rounds=rounds)


class Ahead:
    """Normals of several small tensors, drawn together on a GPU when the first of them is asked for: a launch for each
    of a hundred tensors would take longer than all that they compute.
    """

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self._groups: tuple[Shapes, dict[str, Group]] | None = None
        self._kept: dict[tuple[object, ...], tuple[Tensor, int]] = {}

    def find(
        self, key: Callable[[str], int], of: tuple[int, str], name: str, among: Shapes, device: torch.device
    ) -> Tensor | None:
        """What is drawn on the tensor of this name; None for one that is large, or alone. Not to be changed."""
        if self._groups is None or self._groups[0] is not among:
            self._groups = among, grouped(among)
            self._kept.clear()
        group = self._groups[1].get(name)
        if group is None:
            return None
        at = (of, group.first, device)
        flat, version = self._kept.get(at, (None, 0))
        if flat is None or flat._version != version:
            flat = group.draw([key(name) for name in group.begins], device, self.rounds)
            while len(self._kept) >= kernels.MOST_TERMS:
                del self._kept[next(iter(self._kept))]
            self._kept[at] = flat, flat._version
        begin, shape = group.begins[name]
        return flat[begin : begin + math.prod(shape)].view(shape)


class Group:
    """Tensors that are drawn together, each from an entry on whose number is a multiple of 4."""

    def __init__(self) -> None:
        self.begins: dict[str, tuple[int, tuple[int, ...]]] = {}
        self.size = 0
        self._places: dict[torch.device, tuple[Tensor, Tensor]] = {}

    @property
    def first(self) -> str:
        """The name of its first tensor."""
        return next(iter(self.begins))

    def add(self, name: str, shape: tuple[int, ...]) -> None:
        """One more."""
        self.begins[name] = self.size, shape
        self.size += -(-math.prod(shape) // 4) * 4

    def draw(self, keys: Sequence[int], device: torch.device, rounds: int) -> Tensor:
        """float32 (size,): the normals of all, by the key of each."""
        counters, which = self._on(device)
        halves = sent(torch.tensor([[key & LOW for key in keys], [(key >> 32) & LOW for key in keys]]), device)
        return _normals(_words(halves[0][which], halves[1][which], counters, rounds))

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The counter of every four entries, and which tensor they are of: made once, and not to be changed."""
        if device not in self._places:
            sizes = [-(-math.prod(shape) // 4) for _, shape in self.begins.values()]
            counters = torch.cat([torch.arange(size) for size in sizes])
            which = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
            self._places[device] = sent(counters, device), sent(which, device)
        return self._places[device]


def grouped(among: Shapes) -> dict[str, Group]:
    """Of the tensors that have a shape, and are small, the group that each is in, in their order."""
    out: dict[str, Group] = {}
    group = Group()
    for name, shape in among.of.items():
        if not isinstance(shape, tuple) or not 0 < math.prod(shape) <= PART_OF_A_GPU // 8:
            continue
        if group.size + math.prod(shape) > PART_OF_A_GPU:
            group = Group()
        group.add(name, shape)
        out[name] = group
    return out
