"""The nodes of lazy expressions, and plans that compute them one tensor at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

from torch import Tensor

from .coefficients import Scalar
from .handle import Handle

Get: TypeAlias = "Callable[[Node, Handle], Tensor | None]"


class Node:
    """One term of a direction. Nodes are compared by identity."""

    seeded: ClassVar[bool] = False  # pure noise: closes over nothing, so it may outlive a step

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
        """Bytes of a seeded node's values on these tensors, together."""
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
    """Values of seeded noise, kept from their first use in a step to its end: drawn once, the same bits.

    Of a direction every tensor is kept or none: one stream of noise for all cannot go on from the middle. A value that
    was changed in place is drawn again. `room`: bytes that may still be kept.
    """

    def __init__(self) -> None:
        self._handles: Sequence[Handle] = ()
        self.room = 0
        self._kept: dict[Node, dict[str, tuple[Tensor, int]]] = {}

    def begin(self, handles: Sequence[Handle], limit: int) -> None:
        """A step begins on these tensors; keep at most `limit` bytes of its directions, the first ones first."""
        self.clear()
        self._handles, self.room = handles, limit

    def clear(self) -> None:
        """Forget everything; until a step begins nothing is kept."""
        self._kept.clear()
        self.room = 0

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
        return node in self._kept or self._admitted(node) is not None

    def kept(self, node: Node, p: Handle) -> Tensor | None:
        """The value that is kept; None where there is none yet, or it was changed."""
        value, version = self._kept.get(node, {}).get(p.name, (None, 0))
        return value if value is not None and value._version == version else None

    def keep(self, node: Node, p: Handle, value: Tensor) -> None:
        """Keep a value of a node that is kept."""
        if not value.is_inference():  # these count no versions
            self._kept[node][p.name] = value, value._version

    def _admitted(self, node: Node) -> dict[str, tuple[Tensor, int]] | None:
        size = node.size(self._handles) if self.room else 0
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
        return sum(t.numel() * t.element_size() for of in self._kept.values() for t, _ in of.values())


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
        if node.seeded and self._drawn is not None:
            return self._drawn.value(node, p, self._of)
        return node.value(p, self._of)


def _count(d: Lazy, uses: dict[Node, int]) -> None:
    for n in d.terms:
        uses[n] = uses.get(n, 0) + 1
        if uses[n] == 1:
            for part in n.parts():
                _count(part, uses)
