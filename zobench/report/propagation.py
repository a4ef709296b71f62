"""What perturbations of single blocks become on their way up, with intervals over directions. Light: no torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import stats, text
from .sensitivity import by_task, plus_minus
from .stats import Effect

Reach = Mapping[str, Any]
"""As zobench.run.propagation.Reached has it."""


@dataclass(frozen=True)
class BlockReach:
    """One perturbed block: the relative change of the stream after each block (0 below it), and from its own output
    to the last block's by what factor it grows. Means over batches, with their uncertainty over directions.
    """

    block: int
    after: tuple[Effect | None, ...]
    growth: Effect | None

    @property
    def own(self) -> Effect | None:
        """After the block itself."""
        return self.after[self.block]

    @property
    def last(self) -> Effect | None:
        """After the last block."""
        return self.after[-1]


def blocks(found: Sequence[Reach]) -> list[BlockReach]:
    """The perturbed blocks of one task, in order."""
    of: dict[int, dict[int, list[Reach]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        of[one["block"]][one["seed"]].append(one)
    out = []
    for block, by_seed in sorted(of.items()):
        means = [_mean([one["change"] for one in group]) for _, group in sorted(by_seed.items())]
        after = tuple(stats.score({0: [m[at] for m in means]}) for at in range(len(means[0])))
        whole = all(m[block] > 0 for m in means)
        growth = stats.score({0: [m[-1] / m[block] for m in means]}) if whole else None
        out.append(BlockReach(block, after, growth))
    return out


def _mean(rows: Sequence[Sequence[float]]) -> list[float]:
    return [stats.mean(column) for column in zip(*rows, strict=True)]


def markdown(found: Sequence[Reach], eps: float, chosen: Mapping[str, int | None]) -> str:
    """A table a task. `chosen`: by task the first outlier block, where there is one."""
    parts = [
        f"One block displaced by {eps:g} times a Gaussian direction: the relative change |h' - h| / |h| of the "
        "residual stream after that block and after the last one, and the factor between them; ± is half of the 95 % "
        "interval over directions, on these batches."
    ]
    for task, mine in by_task(found).items():
        rows = []
        for one in blocks(mine):
            name = f"{one.block} (first outlier)" if one.block == chosen.get(task) else str(one.block)
            rows.append([name, *(plus_minus(effect) for effect in (one.own, one.last, one.growth))])
        heads = ["perturbed block", "change after it", "after the last block", "grows by the factor"]
        parts.append(f"## {task}\n\n{text.table(heads, rows, left=1)}")
    return "\n\n".join(parts) + "\n"
