"""A task made ready for one model: encoded, checked, and able to give batches, losses and scores."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ZobenchError
from ..models.capabilities import check_causal
from ..models.forward import Call, Forward
from ..models.graphs import Graphs, Replayable
from ..models.text import model_type, text_config
from .batch import Batch, Packed, collate
from .demonstrations import for_scoring, rendered
from .encode import PAD_TOKEN, Encoded, Encoder
from .generate import stop_tokens
from .kinds import KINDS
from .loss import weight
from .metrics import mean, standard_error
from .replayable import replayable
from .rules import SCORED_TOKENS, BatchRule, RowsRule, Rules, form_of_rows
from .sampling import Splits
from .score import Evaluated, Layouts, Progress, Score, Scorer
from .spread import Spread, gathered, own_share
from .task import Task

if TYPE_CHECKING:
    from ..models.load import LoadedModel
    from .prefix import PrefixCache


class PreparedTask:
    """A task for one model. All rows are encoded and checked here, so that a bad item shows before a run, not after it.

    rows: "replicated": forwards pass over every candidate's row, as in MeZO, and one item at a time is scored.
    "shared": over what candidates have in common once (zobench.tasks.batch), and items are scored several at a time:
    `eval_batch_size` of them, or `score_batch_size` where that is more. The numbers are the same up to rounding.

    "packed": as shared, and the rows of a batch of training or dev losses stand side by side (zobench.tasks.batch).
    "auto": packed where the model can keep them apart, else shared; `rows` says which.

    Raises ZobenchError for an item that cannot be rendered or encoded, for rules that do not fit the task, and for
    packed rows where the model would not keep them apart.
    """

    prefix: PrefixCache | None = None
    """What training and dev losses take hidden states from (see `above`)."""
    scored_in: BatchRule = "rows"
    """What one forward scores."""
    spread: Spread | None = None
    """Several processes that share the work of losses and scores."""
    graphs: Graphs | None = None
    """What training losses are replayed from (see `in_few_shapes`)."""

    def __init__(
        self,
        task: Task,
        splits: Splits,
        loaded: LoadedModel,
        rules: Rules | None = None,
        rows: RowsRule = "replicated",
    ) -> None:
        self.task, self.rules, self.device = task, rules or Rules(), loaded.device
        check_causal(loaded)
        self.kind, self._full = KINDS[task.kind], loaded.dtype == "float32"
        named = model_type(loaded.model)
        self.tokenizer, self.pad_id = loaded.tokenizer, PAD_TOKEN.get(named, loaded.pad_id)
        self.loss_name = self.rules.loss_of(task)
        self.rules.check(task)
        self.encoder = Encoder(
            loaded.tokenizer,
            max_length=min(self.rules.max_length, loaded.context_length),
            max_new_tokens=self.rules.max_new_tokens,
            model_type=named,
            vocabulary=loaded.vocabulary,
        )
        all_positions = self.rules.logits == "all"
        self.forward = Forward.of(loaded, keep=not all_positions, float32=self.rules.loss_dtype == "float32")
        drops = self.rules.pad_targets == "drop"
        self.counting: dict[str, Any] = {
            "all_positions": all_positions,
            "dropped": getattr(text_config(loaded.model), "pad_token_id", None) if drops else None,
        }
        self.rows = form_of_rows(rows, loaded, self.rules)
        self.says_newline = loaded.capabilities.newline
        self.stop, self._positions = stop_tokens(loaded.tokenizer), loaded.context_length
        self._splits, self._examples = splits, rendered(task, splits)
        same = {example.candidates for example in self._examples["test"]}
        self.answers: tuple[str, ...] = next(iter(same)) if len(same) == 1 else ()
        """The candidates, where all test items have the same: words of the task; else they may be the data's."""
        self._train, self._dev_train = (
            [self.kind.training_rows(self.encoder, e, self.loss_name) for e in self._examples[name]]
            for name in ("train", "dev")
        )
        self._scored = for_scoring(self.encoder, task, splits, self.rules, self._examples)
        self._laid: dict[tuple[int, int], Layouts] = {}

    def scored_by(self, rules: Rules) -> PreparedTask:
        """The same items scored by other rules (demonstrations, demonstration_sets, scoring), trained on as before.

        Raises ZobenchError for rules that do not fit the task.
        """
        out = copy.copy(self)
        out.rules = rules
        rules.check(self.task)
        out._scored = for_scoring(self.encoder, self.task, self._splits, rules, self._examples)
        return out

    def examples(self, name: Literal["train", "dev", "test"]) -> list[Encoded]:
        """A split's examples with all their candidates, without demonstrations: for references that learn from them."""
        return [self.encoder.encode(example) for example in self._examples[name]]

    # ---- training

    @property
    def train_size(self) -> int:
        """Training examples: what `train_batch` may index."""
        return len(self._train)

    @property
    def longest_row(self) -> int:
        """Tokens of the longest training row."""
        return max(len(row.ids) for example in self._train for row in example.rows)

    @property
    def dev_size(self) -> int:
        """Dev examples."""
        return len(self._dev_train)

    def replicated(self) -> PreparedTask:
        """The same task with rows as MeZO has them."""
        out = copy.copy(self)
        out.rows, out.prefix, out.graphs = "replicated", None, None
        return out

    def above(self, prefix: PrefixCache) -> PreparedTask:
        """The same task with losses that start at the cache's block, for batches whose stems it knows."""
        out = copy.copy(self)
        out.prefix = prefix
        return out

    def in_few_shapes(self, graphs: Graphs) -> PreparedTask:
        """The same task with training batches of packed rows padded to few shapes, whose losses `graphs` replay."""
        out = copy.copy(self)
        out.graphs = graphs
        return out

    def replayable(self, batch: Batch) -> Replayable | None:
        """The loss of a training batch as a CUDA graph gives it; None where it has to be computed as it is."""
        return None if self.graphs is None else replayable(self.graphs, self.prefix, self._whole_loss, batch)

    def _whole_loss(self, call: Call, batch: Batch) -> Tensor:
        return self.kind.loss(self, self.forward.through(call), batch)

    def alone(self) -> PreparedTask:
        """The same task in this process alone."""
        out = copy.copy(self)
        out.spread = None
        return out

    def weight(self, batch: Batch) -> float:
        """What a batch weighs in the mean over several that its loss stands for: examples, or tokens of answers."""
        return weight(batch, self.loss_name, self.counting["dropped"])

    def largest_batch(self, size: int) -> tuple[int, int, int]:
        """Sizes of the largest training batch of this many examples.

        Tokens of its rows with shared prefixes once, tokens of its options, and tokens of its rows in full, with
        padding.
        """
        of = [_lengths(example) for example in self._train]
        tokens, answers, longest, rows = (sorted(column, reverse=True)[:size] for column in zip(*of, strict=True))
        return sum(tokens), sum(answers), max(longest) * sum(rows)

    @property
    def together(self) -> int:
        """Rows that are scored in one forward where rows are shared; 0 where they are not."""
        return max(self.rules.eval_batch_size, self.rules.score_batch_size) if self.rows != "replicated" else 0

    @property
    def tokens_together(self) -> int:
        """So many tokens of short rows are scored in one forward, however many rows that is; 0: `together` rows."""
        return SCORED_TOKENS if self.scored_in == "tokens" and self.rows != "replicated" else 0

    def scoring_in(self, scored_in: BatchRule) -> PreparedTask:
        """The same task, of which one forward scores so many rows, or so many tokens; `auto` is settled here."""
        out = copy.copy(self)
        finely = self._full and torch.device(self.device).type == "cpu" and self.rows != "replicated"
        out.scored_in = scored_in if scored_in != "auto" else "tokens" if finely else "rows"
        return out

    def scoring_forwards(self, name: Literal["dev", "test"]) -> int:
        """The calls of the model that scoring this split takes; for generation at most: an answer may stop early."""
        return self.kind.scoring_forwards(self, self._scored[name])

    def tokens(self, name: Literal["dev", "test"]) -> int:
        """Tokens of all rows that scoring this split reads, without calibration texts."""
        return sum(len(row.ids) for encoded, _ in self._scored[name] for row in encoded.rows)

    @property
    def unstable_rows(self) -> int:
        """Number of training rows whose option may begin a token too early or late (see `Row.stable`)."""
        return sum(not row.stable for e in self._train for row in e.rows)

    def train_batch(self, indices: Sequence[int]) -> Batch:
        """The training examples with these indices, on the CPU."""
        return self._collate([self._train[i] for i in indices], few=self.graphs is not None)

    def _collate(self, encoded: Sequence[Encoded], *, few: bool = False) -> Batch:
        multiple = self.rules.pad_to_multiple_of
        fill = 1 if torch.device(self.device).type == "cpu" else multiple  # a CPU has no use for multiples
        taken = self.loss_name in ("classification", "option")
        shared, packed = (fill if taken and self.rows == form else 0 for form in ("shared", "packed"))
        return collate(encoded, self.pad_id, multiple, self._positions, shared=shared, packed=packed, few=few)

    def loss(self, call: Call, batch: Batch) -> Tensor:
        """The training loss of a batch, a 0-dim tensor on its device, by calls of the model or of what an engine makes
        of it.
        """
        if self.prefix is None or batch.shared is None:
            return self._whole_loss(call, batch)
        with self.prefix.over(batch.shared):
            return self._whole_loss(call, batch)

    def calls(self, batch: Batch) -> int:
        """The calls of the model that a loss of the batch takes: of one that sees padding, one for each length."""
        looked = batch if batch.shared is None else batch.shared
        return 1 if isinstance(looked, Packed) else self.forward.calls(looked.attention_mask)

    # ---- evaluation

    @torch.no_grad()
    def dev_loss(self, model: nn.Module) -> Evaluated:
        """The training loss on dev: the mean over examples of their batch's loss, `eval_batch_size` at a time.

        As in MeZO's trainer the last, shorter batch weighs by its size, and the mean is taken by numpy in the dtype
        of the losses: with float16 losses (loss_dtype "model") it is rounded to float16. With `non_diff`, where MeZO
        does not evaluate at all, it is that loss on dev.
        """
        step, forwards = self.rules.eval_batch_size, 0
        parts = [self._dev_train[start : start + step] for start in range(0, self.dev_size, step)]
        if not parts:
            raise ZobenchError(f"task {self.task.name}: there are no dev items to evaluate on; set num_dev")
        mine: dict[int, Any] = {}
        for i in own_share(len(parts), self.spread):
            loss, used = self.kind.dev_loss(self, model, self._collate(parts[i]).to(self.device))
            mine[i] = _numpy(loss)
            forwards += used
        losses, forwards = gathered("dev losses", mine, forwards, self.spread)
        values = [np.repeat(losses[i], len(part)) for i, part in enumerate(parts)]
        return Evaluated(float(np.concatenate(values).mean()), forwards)

    def dev_score(self, model: nn.Module, progress: Progress | None = None) -> Score:
        """The metric on dev."""
        return self._score("dev", model, progress)

    def test_score(self, model: nn.Module, progress: Progress | None = None) -> Score:
        """The metric on test."""
        return self._score("test", model, progress)

    @torch.no_grad()
    def _score(self, name: str, model: nn.Module, progress: Progress | None) -> Score:
        made = self.kind.score(self, self.forward.through(model), self._scored[name], progress)
        metric, items = self.task.metric, made.items
        said = [-1 if p is None else p for p in made.predictions]
        return Score(metric, mean(items), len(items), standard_error(metric, items), items, made.forwards, said)

    def scorer(self, forward: Forward) -> Scorer:
        """Scores rows by their log-probabilities, as the rules and the form of rows have it."""
        sizes = self.together, self.tokens_together
        return Scorer(
            forward,
            self.rules,
            self.pad_id,
            self.device,
            most=self._positions,
            together=sizes[0],
            tokens=sizes[1],
            spread=self.spread,
            packs=self.rows == "packed",
            laid=self._laid.setdefault(sizes, {}),
        )


def _lengths(example: Encoded) -> tuple[int, int, int, int]:
    """Of an example: tokens with the common prompt once, of options, of its longest row; its rows."""
    options = [row.option_len for row in example.rows]
    longest = max(len(row.ids) for row in example.rows)
    return longest - max(options) + sum(options), sum(options), longest, len(options)


def _numpy(loss: Tensor) -> Any:
    """The loss as numpy has it: float16 as it is, bfloat16, which numpy does not know, as float32."""
    loss = loss.detach().cpu()
    return (loss.float() if loss.dtype == torch.bfloat16 else loss).numpy()
