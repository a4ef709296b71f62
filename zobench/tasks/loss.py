"""The losses of a batch, as MeZO trains on them (utils.py, forward_wrap_with_option_len; trainer.py).

Every loss takes `forward(**kw)`, which returns an object with `.logits` (rows, length, vocabulary): a model, or what
an engine makes of one. None looks at a value of a logit, so all but `non_diff` work under torch.func.functional_call
and vmap. All return a 0-dim tensor, in the logits' dtype unless `Reading.float32`. `attention_mask` is passed,
`position_ids` are not, as in MeZO, but for models that would count padding.

Options are right-aligned, so their tokens are known from their number alone; no token is dropped for having the pad
token's id, unless `Reading.dropped` says so.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ZobenchError
from ..models.positions import counts_from_the_row, position_ids
from ..models.tail import Places, Tail
from .batch import Batch
from .encode import Row
from .pack import pack
from .rules import Rules
from .share import Shared, share

if TYPE_CHECKING:
    from ..models.load import LoadedModel

Forward: TypeAlias = Callable[..., Any]
IGNORED = -100


@dataclass(frozen=True)
class Reading:
    """How logits are asked for and read.

    float32: convert them before log-probabilities are taken. keep: the forward takes `logits_to_keep`, so that the
    vocabulary is projected to at answer positions only. cache: it takes `use_cache` and `past_key_values`.
    whole: training losses are summed over whole rows, with nothing outside the options: the sums round as MeZO's.
    positions: it must be told `position_ids` where rows are padded (see zobench.models.positions). dropped: the id of a
    token that training losses leave out of answers. head: the module that projects to the vocabulary, for packed rows.
    additive: the dtype in which the model adds attention masks; none: it takes them as booleans. tail: the last block,
    which then puts out the places that are looked at of packed rows alone (see zobench.models.tail).
    """

    float32: bool = False
    keep: bool = False
    cache: bool = False
    whole: bool = False
    positions: bool = False
    dropped: int | None = None
    head: Any = None
    additive: torch.dtype | None = None
    tail: Tail | None = None

    @classmethod
    def of(cls, model: Any, rules: Rules) -> Reading:
        """For this model: what its forward takes is read from its signature."""
        takes = inspect.signature(model.forward).parameters
        return cls(
            float32=rules.loss_dtype == "float32",
            keep=rules.logits == "option" and "logits_to_keep" in takes,
            cache="use_cache" in takes and "past_key_values" in takes,
            whole=rules.logits == "all",
            positions=counts_from_the_row(model),
            dropped=getattr(model.config, "pad_token_id", None) if rules.pad_targets == "drop" else None,
            head=model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None,
            additive=None if getattr(model.config, "_attn_implementation", "") == "sdpa" else dtype_of(model),
        )

    def logits(self, forward: Forward, batch: Batch | Shared, last: int | None = None) -> Tensor:
        """Logits (rows, last or length, vocabulary) of the ids, at their `last` positions or at all."""
        extra: dict[str, Any] = {"use_cache": False} if self.cache else {}
        if isinstance(batch, Shared) and batch.at is not None:
            return self.read(self.packed(forward, batch, extra))
        if self.keep and last is not None:
            extra["logits_to_keep"] = last
        if self.positions:
            extra["position_ids"] = position_ids(batch.attention_mask)
        out = forward(input_ids=batch.input_ids, attention_mask=batch.attention_mask, **extra).logits
        return self.read(out if last is None else out[:, -last:])

    def packed(self, forward: Forward, batch: Shared, extra: dict[str, Any]) -> Tensor:
        """Logits (1, n, vocabulary) at the places `batch.at` of packed stems: others do not reach the head.

        Of a forward over several copies of them, one after the other: (copies, n, vocabulary).
        """
        mask, at = batch.attention_mask, batch.at
        assert at is not None and batch.slot is not None
        if self.additive is not None:
            least = torch.finfo(self.additive).min
            mask = torch.zeros(mask.shape, dtype=self.additive, device=mask.device).masked_fill(~mask, least)

        places = Places(at, batch.slot, batch.slots, batch.input_ids.numel())
        tail = self.tail if self.tail is not None and self.tail.free else None
        with _gathered(self.head, places) if tail is None else tail.only(places):
            out: Tensor = forward(
                input_ids=batch.input_ids, attention_mask=mask, position_ids=batch.position_ids, **extra
            ).logits
        return out

    def width(self, batch: Batch) -> int:
        """The tokens that a training loss looks at, from the end of each row."""
        return batch.input_ids.shape[1] - 1 if self.whole else batch.width

    def read(self, logits: Tensor) -> Tensor:
        """The logits in the dtype that log-probabilities are taken in."""
        return logits.float() if self.float32 else logits


def dtype_of(model: Any) -> torch.dtype:
    """That of the model's weights."""
    dtype: torch.dtype = next(model.parameters()).dtype
    return dtype


@torch.no_grad()
@contextmanager
def _gathered(head: Any, places: Places) -> Iterator[None]:
    """Inside, the head is given what is at the places alone."""
    hook = head.register_forward_pre_hook(lambda module, args: (places.of(args[0]), *args[1:]))
    try:
        yield
    finally:
        hook.remove()


@torch.no_grad()
def with_tail(reading: Reading, loaded: LoadedModel) -> Reading:
    """The reading, for packed rows, with the model's last block cut to what is looked at, where it is one that can be;
    tried on two short stems.
    """
    try:
        tail = Tail.of(loaded.blocks)
    except ZobenchError:  # no blocks are found
        return reading
    if tail is None:
        return reading
    own = replace(reading, tail=tail)
    rows = [Row((1, 2, 3, 4, 2), 1), Row((3, 1, 2), 1), Row((2, 3, 1, 4), 2)]
    held = pack(rows, 0).to(loaded.device)
    try:
        whole, cut = (shared_log_probs(loaded.model, held, one).float() for one in (reading, own))
    except (RuntimeError, ValueError, TypeError, IndexError):
        return reading
    close = torch.allclose(whole, cut, rtol=0, atol=64 * torch.finfo(dtype_of(loaded.model)).eps)
    return own if close else reading


def packs(model: Any, rules: Rules) -> bool:
    """Whether the model can be given packed rows: tried on two short stems.

    False for one whose forward takes no places of tokens, that has no head of its own, whose window of attention is
    shorter than rows may be, or that lets stems see each other.
    """
    reading = Reading.of(model, rules)
    window = getattr(model.config, "sliding_window", None)
    if "position_ids" not in inspect.signature(model.forward).parameters or reading.head is None:
        return False
    if window is not None and window < rules.max_length:
        return False
    one, two, other = Row((1, 2, 3, 4, 2), 1), Row((3, 1, 2), 1), Row((4, 1, 1, 2, 2), 1)
    device = next(model.parameters()).device
    try:
        seen, again = (
            shared_log_probs(model, pack(rows, 0, 1).to(device), reading).float() for rows in ((one, two), (other, two))
        )
    except (RuntimeError, ValueError, TypeError, IndexError):
        return False
    alone = [shared_log_probs(model, share([row], 0).to(device), reading).float() for row in (one, two)]
    close = torch.allclose(seen, torch.cat(alone), rtol=0, atol=64 * torch.finfo(dtype_of(model)).eps)
    return close and torch.equal(seen[1], again[1]) and not torch.equal(seen[0], again[0])


def option_window(forward: Forward, batch: Batch, reading: Reading, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (rows, width, vocabulary) and targets (rows, width) of the last `width` tokens, and which of them
    belong to the row's option (bool).
    """
    logits = reading.logits(forward, batch, width + 1)[:, :-1]
    places = torch.arange(width, device=batch.option_len.device)
    inside = places >= width - batch.option_len[:, None]
    return logits, batch.input_ids[:, -width:], inside


def option_loss(forward: Forward, batch: Batch, reading: Reading) -> Tensor:
    """Cross-entropy of the option tokens, pooled over the batch: long options weigh more.

    Of a batch with `shared` rows one pass over these.
    """
    if batch.shared is not None:
        selected = shared_log_probs(forward, batch.shared, reading)
        inside = _counted(batch.shared.targets, batch.shared.inside, reading)
        return -torch.where(inside, selected, 0).sum() / inside.sum()
    logits, targets, inside = option_window(forward, batch, reading, reading.width(batch))
    inside = _counted(targets, inside, reading)
    return F.cross_entropy(logits.flatten(0, 1), targets.masked_fill(~inside, IGNORED).flatten(), ignore_index=IGNORED)


def _counted(targets: Tensor, inside: Tensor, reading: Reading) -> Tensor:
    """The places in the option whose tokens count."""
    return inside if reading.dropped is None else inside & (targets != reading.dropped)


def option_log_probs(
    forward: Forward, batch: Batch, reading: Reading, width: int | None = None
) -> tuple[Tensor, Tensor]:
    """Log-probabilities (rows, width) of the last `width` tokens (none: those of the longest option), 0 outside the
    row's option, and the places (bool) inside it.
    """
    logits, targets, inside = option_window(forward, batch, reading, batch.width if width is None else width)
    selected = F.log_softmax(logits, dim=-1).gather(-1, targets[..., None])[..., 0]
    return torch.where(inside, selected, 0), inside


def shared_log_probs(forward: Forward, shared: Shared, reading: Reading) -> Tensor:
    """Log-probabilities (rows, width) of the option tokens, 0 outside the row's option: one pass over the stems."""
    log_probs = F.log_softmax(reading.logits(forward, shared, shared.last), dim=-1)
    return torch.where(shared.inside, log_probs[shared.stem, shared.place, shared.targets], 0)


def classification_loss(forward: Forward, batch: Batch, reading: Reading) -> Tensor:
    """Cross-entropy over each example's candidates of their mean log-probabilities; mean over examples.

    Of a batch with `shared` rows one pass over what the candidates have in common, else one over every row.
    """
    if batch.shared is not None:
        selected = shared_log_probs(forward, batch.shared, reading)
        targets, inside = batch.shared.targets, batch.shared.inside
    else:
        width = reading.width(batch)
        selected, inside = option_log_probs(forward, batch, reading, width)
        targets = batch.input_ids[:, -width:]
    if reading.dropped is None:
        scores = selected.sum(-1) / batch.option_len
    else:
        inside = _counted(targets, inside, reading)
        scores = torch.where(inside, selected, 0).sum(-1) / inside.sum(-1)
    first = batch.num_options[0]
    if all(n == first for n in batch.num_options):
        return F.cross_entropy(scores.view(-1, first), batch.labels)
    groups = torch.split(scores, list(batch.num_options))
    losses = [F.cross_entropy(g[None], batch.labels[i : i + 1]) for i, g in enumerate(groups)]
    return torch.stack(losses).mean()


def lm_loss(forward: Forward, batch: Batch, reading: Reading) -> Tensor:
    """Cross-entropy of every token that is not padding, prompts included.

    As in MeZO, the first token of a padded row counts too. It is predicted from padding, so its part of the loss
    depends on how the attention kernel treats rows of nothing but padding.
    """
    logits = reading.logits(forward, batch)[:, :-1]
    targets = batch.input_ids.masked_fill(batch.attention_mask == 0, IGNORED)[:, 1:]
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


LOSSES: dict[str, Callable[[Forward, Batch, Reading], Tensor]] = {
    "classification": classification_loss,
    "option": option_loss,
    "lm": lm_loss,
}
"""The losses that are functions of logits alone, by name; `non_diff` is PreparedTask's, as it needs the tokenizer."""
