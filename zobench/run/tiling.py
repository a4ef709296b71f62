"""Whether the points of a call can be looked at in one forward, side by side: tried on the model itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ..engine.objective import Objective
from ..errors import ZobenchError
from ..tasks.encode import Row
from ..tasks.loss import shared_log_probs
from ..tasks.pack import pack
from ..tasks.share import share

if TYPE_CHECKING:
    from ..models.load import LoadedModel
    from ..tasks.loss import Reading
    from ..tasks.rules import RowsRule


@torch.no_grad()
def side_by_side(loaded: LoadedModel, loss_name: str, rows: RowsRule, reading: Reading) -> bool:
    """Whether a forward over two copies of a batch, each with all weights of its own, gives what one over it gives.

    False for losses that call the model more than once, and for models with modules that have not the batch first, such
    as experts that are given the tokens chosen for them.
    """
    if loss_name == "non_diff":
        return False
    two = [Row((1, 2, 3, 4, 2), 1), Row((3, 1, 2), 1)]
    batch = (pack(two, 0) if rows == "packed" else share(two, 0)).to(loaded.device)

    def loss(forward: Any, stems: Any) -> torch.Tensor:
        return shared_log_probs(forward, stems, reading).float().sum()

    objective = Objective(loaded.model, loss, batch)
    weights = {name: p.detach() for name, p in loaded.model.named_parameters()}
    try:
        both = torch.stack(objective.many([weights, weights]))
    except (RuntimeError, ValueError, TypeError, IndexError, ZobenchError):
        return False
    eps = torch.finfo(next(loaded.model.parameters()).dtype).eps
    return torch.allclose(both, objective().expand(2), rtol=64 * eps, atol=64 * eps)
