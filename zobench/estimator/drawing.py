"""The words of the vocabulary that draw: noise, along the directions that the user chose if any, and other choices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..directions.algebra import Direction
from ..directions.noise.source import KINDS, RECALLED, Noise, mix
from ..directions.shapes import Shapes
from ..errors import ZobenchError, unknown
from .families import Draws, ShapeOf, Where
from .vocabulary import Vocabulary


class Drawing(Vocabulary):
    """Words that give a new random direction or choice, each a function of seed, step and label alone."""

    def noise(
        self,
        kind: str = "gaussian",
        *,
        shape: ShapeOf | None = None,
        on: Where | None = None,
        every: int = 0,
        ago: int = 0,
        label: str = "",
    ) -> Direction:
        """A new seeded direction: gaussian N(0, 1) or rademacher +-1 entries.

        Plain, without shape, every and label, it is what the method looks along: a direction of the family that the
        user chose, if one was (zobench.Directions). Noise for anything else, such as a mask, is given a label.

        shape: its shape on each tensor, if not the tensor's. on: the tensors where it has a value. every=k: the same
        draw for k steps, held under `label` (once a step for each label: TypeError otherwise). ago=k: the first draw
        of the step k before, again, on those tensors that moved in it (ValueError where there is none so far back).
        """
        if kind not in KINDS:
            raise ValueError(unknown("noise kind", kind, KINDS))
        if self._family is not None and shape is None and not every and not label:
            return self._along(on, ago)
        label = label or "z"
        if every:
            if label in self._held_labels:
                raise TypeError(f"two draws are held under the label {label!r} in one step: give each its own label=")
            self._held_labels.add(label)
            self.engine.drawn.recalls = True
            seed = mix(self.seed, "held", label, self.t // every)
        elif ago:
            self.engine.drawn.recalls = True
            then = self._moved(ago)
            seed = self.source.step_seed(self.t - ago)
            if any(p.name not in then for p in self.active):
                there, on = on, lambda p: p.name in then and (there is None or there(p))
        else:
            seed = self._next_seed()
        shapes = self._shapes_on(shape, on)
        return Direction({Noise(seed, kind, self.source, shapes, label): 1.0}, shapes)

    def _along(self, on: Where | None, ago: int) -> Direction:
        """A direction of the family that was chosen; ago=k: the first one of the step k before, again."""
        family = self._family
        assert family is not None
        if ago and not family.recalled:
            raise ZobenchError(
                f"{type(self).__name__} needs the directions of earlier steps, which {type(family).__name__} "
                "cannot draw again; choose other directions"
            )
        if ago:
            then = self._moved(ago)
            there, on = on, lambda p: p.name in then and (there is None or there(p))
        self._keep(_asked_family=True)
        return family.draw(Draws(self, on, ago))

    # ---- for families

    def _next_seed(self) -> int:
        """The seed of the step's next new draw."""
        self._keep(_drawn=self._drawn + 1)
        return self._step_seed if self._drawn == 1 else mix(self._step_seed, self._drawn)

    def _shapes_on(self, shape: ShapeOf | None, on: Where | None) -> Shapes:
        """The shapes of a draw on the step's tensors."""
        confined = self._confined
        if shape is None and on is None and confined is None:
            return self.space.full
        chosen = (p for p in self.active if (on is None or on(p)) and (confined is None or p.name in confined))
        return self.space.make({p.name: tuple(shape(p) if shape else p.shape) for p in chosen})

    def _claim(self, label: str) -> None:
        """A family holds a draw under this label; TypeError where the method itself does in the same step."""
        mark = f"directions.{label}"
        if mark not in self._held_labels and label in self._held_labels:
            raise TypeError(
                f"the directions hold a draw under {label!r}, and so does {type(self).__name__}: rename its"
            )
        self._held_labels.update((mark, label))

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives the first time in a step."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def _losses_of_step(self) -> Any:
        """The losses of the batch of the step under way."""
        if self._losses is None:
            raise ZobenchError(f"{type(self).__name__}: there are losses within a step only")
        return self._losses

    def _moved(self, ago: int) -> set[str]:
        """Names of the tensors that moved in the step so long before; errors where its draws cannot be had again."""
        if not 0 < ago <= min(self.t, RECALLED):
            raise ValueError(f"noise(ago={ago}) in step {self.t}: from 1 to {min(self.t, RECALLED)} steps back")
        was, on = self.scope.active(self.t - ago), self.scope.active(self.t)
        then = {p.name for p in self.handles if was(p.name)}
        if not self.source.apart and then != {p.name for p in self.handles if on(p.name)}:
            raise ZobenchError(
                f"{type(self).__name__} needs the draws of earlier steps, which {self.source.name} noise cannot give "
                "again under a scope that changes over the steps: use noise per_tensor"
            )
        return then

    def confine(self, weights: Mapping[str, float]) -> None:
        """For the rest of the step, restrict noise to these tensors and multiply their moves by these weights.

        For a method that wraps another one's step. weights: by name of the tensor.
        """
        self._keep(_confined=dict(weights))

    def generator(self, label: str, *, every: int = 1) -> torch.Generator:
        """A CPU generator for random choices that are no directions, such as which block to train.

        Its stream depends on (seed, label, t // every) alone: it is the same after an interruption and in a replay, and
        using it changes no direction. every=k: the same stream in each of k steps.
        """
        return torch.Generator().manual_seed(mix(self.seed, "choice", label, self.t // every))
