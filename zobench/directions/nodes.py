"""The nodes of lazy expressions, and plans that compute them one tensor at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

from torch import Tensor

from .coefficients import Scalar
from .handle import Handle

Get: TypeAlias = "Callable[[Node, Handle], Tensor | None]"


class Node:
    """One term of a direction. Nodes are compared by identity."""

    seeded: ClassVar[bool] = False  # pure noise: closes over nothing, so it may outlive a step

    @property
    def key(self) -> Hashable | None:
        """What makes its values what they are, wherever it was written; None where that cannot be said."""
        return None

    @property
    def pure(self) -> bool:
        """Whether it is made of noise and numbers alone, so that its values stay what they are."""
        return self.seeded

    def value(self, p: Handle, get: Get) -> Tensor | None:
        """The node's value on one tensor, None where it has none; `get` computes the nodes it is made of."""
        raise NotImplementedError

    def parts(self) -> Iterator[Lazy]:
        """The expressions this node is made of."""
        return iter(())

    def storage(self, p: Handle) -> Tensor | None:
        """The tensor the node itself holds for `p`, which its value may share memory with."""
        return None

    def size(self, handles: Sequence[Handle]) -> int:
        """Bytes of a pure node's values on these tensors, together."""
        raise NotImplementedError

    def walk(self) -> Iterator[Node]:
        """The node and all below it."""
        yield self
        for d in self.parts():
            yield from d.nodes()


class Lazy:
    """A sum of scalar x node, not computed yet."""

    terms: Mapping[Node, Scalar]

    def evaluate(self, p: Handle, get: Get) -> Tensor | None:
        """The sum of the terms that have a value on `p`."""
        raise NotImplementedError

    def nodes(self) -> Iterator[Node]:
        """All nodes the expression is made of, with repetition."""
        for n in self.terms:
            yield from n.walk()


class Op(Node):
    """A function of expressions and numbers, applied tensor by tensor."""

    def __init__(self, symbol: str, fn: Callable[..., Tensor], args: tuple[Any, ...]) -> None:
        self.symbol, self.fn, self.args = symbol, fn, args

    def parts(self) -> Iterator[Lazy]:
        return (a for a in self.args if isinstance(a, Lazy))

    @property
    def pure(self) -> bool:
        return all(n.pure for part in self.parts() for n in part.terms)

    def size(self, handles: Sequence[Handle]) -> int:
        # values of a displacement have the tensors' shapes
        return sum(math.prod(p.shape) * p.dtype.itemsize for p in handles)

    def value(self, p: Handle, get: Get) -> Tensor | None:
        values: list[Any] = []
        for a in self.args:
            v = a.evaluate(p, get) if isinstance(a, Lazy) else a
            if v is None and a is not None:
                return None
            values.append(v)
        try:
            return self.fn(*values)
        except RuntimeError as e:
            raise RuntimeError(f"while computing {self!r} for {p!r}: {e}") from e

    def __repr__(self) -> str:
        shown = [f"{a!r}" for a in self.args]
        return (
            f"({shown[0]} {self.symbol} {shown[1]})" if self.symbol in "+-*/@" else f"{self.symbol}({', '.join(shown)})"
        )


class Kept(Op):
    """An Op whose result is stored per tensor until a seed under it changes. The store is its noise source's."""

    def __init__(self, symbol: str, fn: Callable[..., Tensor], args: tuple[Any, ...]) -> None:
        super().__init__(symbol, fn, args)
        self._noises: list[Any] = [n for n in self.walk() if n.seeded]
        self._store: dict[Any, Any] = self._noises[0].source.kept

    def value(self, p: Handle, get: Get) -> Tensor | None:
        seeds = [(n.seed, n.shape_on(p)) for n in self._noises]
        if self._store.get(self._slot(p), (None,))[0] != seeds:
            value = super().value(p, get)
            if value is None:
                return None
            self._store[self._slot(p)] = (seeds, value)
        return self.storage(p)

    def storage(self, p: Handle) -> Tensor | None:
        result: Tensor | None = self._store.get(self._slot(p), (None, None))[1]
        return result

    def _slot(self, p: Handle) -> tuple[Any, ...]:
        return self.fn, p.name, *((n.label, n.kind) for n in self._noises)


class Drawn:
    """Values of seeded noise, kept from their first use in a step to its end: drawn once, the same bits. Likewise what
    is computed of noise alone, where a step looks along it (`look`).

    Of a direction every tensor is kept or none: one stream of noise for all cannot go on from the middle. A value that
    was changed in place is drawn again. `room`: bytes that may still be kept.

    recalls: what the last step had of noise is kept until the next step has it again, or needs the room.
    """

    def __init__(self) -> None:
        self._handles: Sequence[Handle] = ()
        self.room = 0
        self.recalls = False
        self._kept: dict[Node, dict[str, tuple[Tensor, int]]] = {}
        self._past: dict[Hashable, tuple[int, dict[str, tuple[Tensor, int]]]] = {}  # key -> bytes, and the values

    def begin(self, handles: Sequence[Handle], limit: int) -> None:
        """A step begins on these tensors; keep at most `limit` bytes of its directions, the first ones first."""
        self.end()
        self._handles, self.room = handles, limit - sum(size for size, _ in self._past.values())

    def end(self) -> None:
        """A step is over; until another begins nothing is kept, but what is recalled."""
        if self._kept and self.recalls:
            mine = ((n, of) for n, of in self._kept.items() if n.key is not None)
            self._past = {n.key: (n.size(self._handles), of) for n, of in mine}
        self._kept.clear()
        self.room = 0

    def clear(self) -> None:
        """Forget everything; until a step begins nothing is kept."""
        self._kept.clear()
        self._past.clear()
        self.room = 0

    def look(self, points: Iterable[Lazy]) -> None:
        """The step looks at these points, and will move: what their terms are, made of noise alone, is kept too."""
        for node in dict.fromkeys(n for point in points for n in point.terms):
            if type(node) is Op and node.pure and node not in self._kept:
                self._admitted(node)

    def value(self, node: Node, p: Handle, get: Get) -> Tensor | None:
        """The node's value on one tensor, not to be changed."""
        if not self.keeps(node):
            return node.value(p, get)
        value = self.kept(node, p)
        if value is None:
            value = node.value(p, get)
            if value is not None:
                self.keep(node, p, value)
        return value

    def keeps(self, node: Node) -> bool:
        """Whether values of this node are kept, as they are drawn."""
        return node in self._kept or (node.seeded and self._admitted(node) is not None)

    def kept(self, node: Node, p: Handle) -> Tensor | None:
        """The value that is kept; None where there is none yet, or it was changed."""
        value, version = self._kept.get(node, {}).get(p.name, (None, 0))
        return value if value is not None and value._version == version else None

    def keep(self, node: Node, p: Handle, value: Tensor) -> None:
        """Keep a value of a node that is kept."""
        if not value.is_inference():  # these count no versions
            self._kept[node][p.name] = value, value._version

    def _admitted(self, node: Node) -> dict[str, tuple[Tensor, int]] | None:
        before = self._past.pop(node.key, None) if self._past and node.key is not None else None
        if before is not None:
            self._kept[node] = before[1]
            return before[1]
        size = node.size(self._handles) if self.room or self._past else 0
        while size > self.room and self._past:  # what the step before had last is the least likely to be had again
            freed, _ = self._past.pop(next(reversed(self._past)))
            self.room += freed
        if not 0 < size <= self.room:
            return None
        self.room -= size
        return self._kept.setdefault(node, {})

    def apart(self, p: Handle, value: Tensor | None) -> Tensor | None:
        """`value` of an expression on one tensor, or a copy if it shares memory with one that is kept."""
        if value is None:
            return value
        memory = value.untyped_storage().data_ptr()
        kept = (of[p.name][0] for of in self._kept.values() if p.name in of)
        return value.clone() if any(t.untyped_storage().data_ptr() == memory for t in kept) else value

    def nbytes(self) -> int:
        """Bytes kept now."""
        every = (*self._kept.values(), *(of for _, of in self._past.values()))
        return sum(t.numel() * t.element_size() for of in every for t, _ in of.values())


class Plan:
    """Expressions to be computed together, tensor by tensor.

    A node that several of them share is computed once a tensor, and freed after its last use; seeded noise is taken
    from `drawn`, where that keeps it. `fuse` makes of an expression on a tensor what stands for its value without
    having been computed; None: it has to be.
    """

    def __init__(
        self, *roots: Lazy, drawn: Drawn | None = None, fuse: Callable[[Lazy, Handle], Any] | None = None
    ) -> None:
        self.roots, self._drawn, self._fuse = roots, drawn, fuse
        uses: dict[Node, int] = {}
        for r in roots:
            _count(r, uses)
        self._shared = {n: k for n, k in uses.items() if k > 1}
        self._left: dict[Node, int] = {}
        self._memo: dict[Node, Tensor | None] = {}

    def on(self, p: Handle) -> list[Any]:
        """The value of each expression on `p`, a Tensor, or what `fuse` gave for all of them (None: it has none there).

        Tensors may share storage with buffers.
        """
        if self._fuse is not None:
            fused = [self._fuse(r, p) if r.terms else None for r in self.roots]
            if all(f is not None or not r.terms for f, r in zip(fused, self.roots, strict=True)):
                return fused
        self._left = dict(self._shared)
        try:
            return [r.evaluate(p, self._of) for r in self.roots]
        finally:
            self._memo.clear()

    def _of(self, node: Node, p: Handle) -> Tensor | None:
        if node not in self._shared:
            return self._value(node, p)
        if node not in self._memo:
            self._memo[node] = self._value(node, p)
        self._left[node] -= 1
        return self._memo[node] if self._left[node] else self._memo.pop(node)

    def _value(self, node: Node, p: Handle) -> Tensor | None:
        if self._drawn is not None and (node.seeded or self._drawn.keeps(node)):
            return self._drawn.value(node, p, self._of)
        return node.value(p, self._of)


def _count(d: Lazy, uses: dict[Node, int]) -> None:
    for n in d.terms:
        uses[n] = uses.get(n, 0) + 1
        if uses[n] == 1:
            for part in n.parts():
                _count(part, uses)
