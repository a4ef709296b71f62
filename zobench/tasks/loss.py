"""The losses of a batch, as MeZO trains on them (utils.py, forward_wrap_with_option_len; trainer.py).

Every loss takes a `Forward` (zobench.models.forward), the calls of a model or of what an engine makes of one. None
looks at a value of a logit, so all but `non_diff` work under torch.func.functional_call and vmap. All return a 0-dim
tensor, in the logits' dtype unless the forward converts them.

Options are right-aligned, so their tokens are known from their number alone; no token is dropped for having the pad
token's id, unless `dropped` names it. all_positions: the loss is summed over complete rows, with nothing outside the
options: the sums round as MeZO's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.forward import Forward
from .batch import Batch

IGNORED = -100


Loss: TypeAlias = Callable[..., Tensor]
"""`loss(forward, batch, all_positions=False, dropped=None)`. dropped: the id of a token that counts in no answer."""


def option_window(forward: Forward, batch: Batch, width: int, masked: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (rows, width, vocabulary) and targets (rows, width) of the last `width` tokens, and which of them
    belong to the row's option (bool). masked False: of rows without padding, of which the model is told no mask.
    """
    logits = forward.rows(batch.input_ids, batch.attention_mask if masked else None, width + 1)[:, :-1]
    places = torch.arange(width, device=batch.option_len.device)
    inside = places >= width - batch.option_len[:, None]
    return logits, batch.input_ids[:, -width:], inside


def option_loss(forward: Forward, batch: Batch, *, all_positions: bool = False, dropped: int | None = None) -> Tensor:
    """Cross-entropy of the option tokens, pooled over the batch: long options weigh more.

    Of a batch with `shared` rows one pass over these.
    """
    if batch.shared is not None:
        selected = batch.shared.log_probs(forward)
        inside = _counted(batch.shared.targets, batch.shared.inside, dropped)
        return -torch.where(inside, selected, 0).sum() / inside.sum()
    logits, targets, inside = option_window(forward, batch, _width(batch, all_positions))
    inside = _counted(targets, inside, dropped)
    return F.cross_entropy(logits.flatten(0, 1), targets.masked_fill(~inside, IGNORED).flatten(), ignore_index=IGNORED)


def _width(batch: Batch, all_positions: bool) -> int:
    """The tokens that a training loss looks at, from the end of each row."""
    return batch.input_ids.shape[1] - 1 if all_positions else batch.width


def _counted(targets: Tensor, inside: Tensor, dropped: int | None) -> Tensor:
    """The places in the option whose tokens count."""
    return inside if dropped is None else inside & (targets != dropped)


def option_log_probs(
    forward: Forward, batch: Batch, width: int | None = None, masked: bool = True
) -> tuple[Tensor, Tensor]:
    """Log-probabilities (rows, width) of the last `width` tokens (none: those of the longest option), 0 outside the
    row's option, and the places (bool) inside it. masked: as for `option_window`.
    """
    logits, targets, inside = option_window(forward, batch, batch.width if width is None else width, masked)
    selected = F.log_softmax(logits, dim=-1).gather(-1, targets[..., None])[..., 0]
    return torch.where(inside, selected, 0), inside


def classification_loss(
    forward: Forward, batch: Batch, *, all_positions: bool = False, dropped: int | None = None
) -> Tensor:
    """Cross-entropy over each example's candidates of their mean log-probabilities; mean over examples.

    Of a batch with `shared` rows one pass over what the candidates have in common, else one over every row.
    """
    if batch.shared is not None:
        selected = batch.shared.log_probs(forward)
        targets, inside = batch.shared.targets, batch.shared.inside
    else:
        width = _width(batch, all_positions)
        selected, inside = option_log_probs(forward, batch, width)
        targets = batch.input_ids[:, -width:]
    if dropped is None:
        scores = selected.sum(-1) / batch.option_len
    else:
        inside = _counted(targets, inside, dropped)
        scores = torch.where(inside, selected, 0).sum(-1) / inside.sum(-1)
    first = batch.num_options[0]
    if all(n == first for n in batch.num_options):
        return F.cross_entropy(scores.view(-1, first), batch.labels)
    groups = torch.split(scores, list(batch.num_options))
    losses = [F.cross_entropy(g[None], batch.labels[i : i + 1]) for i, g in enumerate(groups)]
    return torch.stack(losses).mean()


def lm_loss(forward: Forward, batch: Batch, *, all_positions: bool = False, dropped: int | None = None) -> Tensor:
    """Cross-entropy of every token that is not padding, prompts included.

    As in MeZO, the first token of a padded row counts too. It is predicted from padding, so its part of the loss
    depends on how the attention kernel treats rows of nothing but padding; of models that see padding it is that of
    equal logits.
    """
    logits = forward.rows(batch.input_ids, batch.attention_mask)[:, :-1]
    targets = batch.input_ids.masked_fill(batch.attention_mask == 0, IGNORED)[:, 1:]
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


def weight(batch: Batch, name: str, dropped: int | None = None) -> float:
    """What the loss `name` of a batch weighs where it is a part of a larger one: by its weighted mean over the parts
    the loss of the whole is had, for those of `PARTS`.
    """
    if name != "option":
        return float(batch.examples)
    if batch.shared is not None:
        return float(_counted(batch.shared.targets, batch.shared.inside, dropped).sum())
    places = torch.arange(batch.width, device=batch.option_len.device)
    inside = places >= batch.width - batch.option_len[:, None]
    return float(_counted(batch.input_ids[:, -batch.width :], inside, dropped).sum())


PARTS = frozenset({"classification", "option"})
"""The losses that are means over examples, or over their tokens: `lm` counts a token of padded rows, so that it depends
on what stands beside a row, and `non_diff` generates a batch together.
"""

LOSSES: dict[str, Loss] = {"classification": classification_loss, "option": option_loss, "lm": lm_loss}
"""The losses that are functions of logits alone, by name; `non_diff` is PreparedTask's, as it needs the tokenizer."""
