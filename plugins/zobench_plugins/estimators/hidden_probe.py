"""A small network on hidden states: what a user could do instead of fine-tuning."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from zobench import Answers, Count, FitContext, Planned, Positive, Question, ZobenchError

from .zero_shot import ZeroShot


class HiddenProbe(ZeroShot):
    """A reference, no ZO method: an MLP of one hidden layer on the last token's hidden states; the weights stay.

    Where all questions have the same candidates (classification) the MLP has an output for each and sees the state at
    the last token of the prompt. Where candidates differ (multiple choice) the prompt cannot tell them apart: it sees
    the state at the last token of every candidate's row and has one output, its score. The loss is cross-entropy over
    candidates. States are standardised by the training examples' mean and deviation. A network is trained with AdamW
    on all of them at once for each of `depths` and `rates`, and kept at the epoch of its lowest dev loss; the lowest
    of all is taken. Generation tasks are refused: there is nothing to choose from.

    Source: probing classifiers (Alain and Bengio 2016, arXiv:1610.01644), with MeZO's linear probing (Malladi et al.
    2023, arXiv:2305.17333, appendix E) as its neighbour; the recipe and its defaults are ours. It is the same at every
    seed. Forwards: one pass over training and dev examples, counted as calibration, whatever `steps` is; then one a
    question, `eval_batch_size` rows at once. Hidden states are held for as many depths as are tried.
    """

    reference: ClassVar[str] = "a probe on hidden states, after Alain and Bengio 2016, arXiv:1610.01644 (no ZO method)"
    public_code: ClassVar[str] = "none: the recipe is zobench's own"
    verified: ClassVar[bool | None] = True

    width: Count = 64
    """Units of the hidden layer."""
    depths: tuple[float, ...] = (0.5, 0.75, 1.0)
    """Which hidden states are tried: the share of the model's blocks that they are behind; 0: the embeddings."""
    rates: tuple[float, ...] = (1e-3, 1e-2)
    """Learning rates of AdamW that are tried."""
    epochs: Count = 200
    """The most epochs of one network."""
    decay: Positive = 1e-2
    """Its weight decay."""

    @classmethod
    def check(cls, settings: Mapping[str, Any], planned: Planned) -> None:
        """ZobenchError for a generation task, and for depths or rates that are none."""
        super().check(settings, planned)
        _some(settings["depths"], settings["rates"])
        _candidates(planned.kind, planned.task)

    def setup(self) -> None:
        _some(self.depths, self.rates)

    def fit(self, context: FitContext) -> Answers:
        _candidates(context.kind, context.task)
        train, dev = context.train, context.dev
        if not dev:
            raise ZobenchError(f"hidden_probe is chosen on dev, and {context.task} has no dev items; set num_dev")
        sizes = {len(question.candidates) for question, _ in (*train, *dev)}
        classes = sizes.pop() if context.kind == "classification" and len(sizes) == 1 else 0

        def states(questions: Sequence[Question]) -> Tensor:
            rows = [row for q in questions for row in ([q.prompt] if classes else q.candidates)]
            parts = [rows[i : i + context.batch_size] for i in range(0, len(rows), context.batch_size)]
            return torch.cat([self.last(context.forward(part, output_hidden_states=True)) for part in parts])

        seen, held = (SplitStates(states([q for q, _ in part]), part) for part in (train, dev))
        tried = [Probe(seen, at, classes, self.width) for at in range(len(self.depths)) for _ in self.rates]
        losses = [
            probe.learn(seen, held, rate, self.decay, self.epochs)
            for probe, rate in zip(tried, self.rates * len(self.depths), strict=True)
        ]
        best = tried[losses.index(min(losses))]
        rate = self.rates[losses.index(min(losses)) % len(self.rates)]
        context.note(depth=self.depths[best.at], rate=rate, epoch=best.epoch, dev_loss=min(losses))
        return lambda asked: best.scores(states(asked), [len(q.candidates) for q in asked]).argmax(1).tolist()

    def last(self, output: Any) -> Tensor:
        """States (rows, depths, channels) of the last tokens, float32 on the CPU. ZobenchError unless finite."""
        every = output.hidden_states
        chosen = [every[round(depth * (len(every) - 1))][:, -1].cpu().float() for depth in self.depths]
        out = torch.stack(chosen, 1)
        if not bool(out.isfinite().all()):
            raise ZobenchError("hidden_probe: the model's hidden states are no numbers; try another --dtype")
        return out


class SplitStates:
    """A split's states (rows, depths, channels), its numbers of candidates, and the right ones (int64)."""

    def __init__(self, states: Tensor, examples: Sequence[tuple[Question, int]]) -> None:
        self.states, self.counts = states, [len(question.candidates) for question, _ in examples]
        self.gold = torch.tensor([gold for _, gold in examples])


class Probe:
    """An MLP on the states of one depth. classes: its outputs; 0: one, the score of a candidate."""

    def __init__(self, seen: SplitStates, at: int, classes: int, width: int) -> None:
        x = seen.states[:, at]
        self.at, self.classes, self.epoch, self.mean = at, classes, 0, x.mean(0)
        deviation = x.std(0, correction=0)
        self.deviation = deviation.clamp(min=max(1e-5 * float(deviation.max()), 1e-12))  # channels may be constant
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Linear(x.shape[1], width), nn.GELU(), nn.Linear(width, classes or 1))

    def scores(self, states: Tensor, counts: Sequence[int]) -> Tensor:
        """Of every candidate (questions, candidates), -inf where a question has fewer than others."""
        out: Tensor = self.net((states[:, self.at] - self.mean) / self.deviation)
        if self.classes:
            return out
        return pad_sequence(list(torch.split(out[:, 0], list(counts))), batch_first=True, padding_value=-torch.inf)

    def learn(self, seen: SplitStates, held: SplitStates, rate: float, decay: float, epochs: int) -> float:
        """The lowest dev loss; the network is that of its epoch."""
        optimizer = torch.optim.AdamW(self.net.parameters(), rate, weight_decay=decay)
        lowest, best = math.inf, copy.deepcopy(self.net.state_dict())
        for epoch in range(epochs + 1):
            if epoch:
                with torch.enable_grad():
                    loss = cross_entropy(self.scores(seen.states, seen.counts), seen.gold)
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            with torch.no_grad():
                dev = float(cross_entropy(self.scores(held.states, held.counts), held.gold))
            if dev < lowest:
                lowest, self.epoch, best = dev, epoch, copy.deepcopy(self.net.state_dict())
        self.net.load_state_dict(best)
        return lowest


def _some(depths: Sequence[float], rates: Sequence[float]) -> None:
    """ZobenchError unless there are depths and rates, within their bounds."""
    if not (depths and rates and all(0 <= d <= 1 for d in depths) and 0 < min(rates) <= max(rates) < math.inf):
        raise ZobenchError(
            f"hidden_probe: give some depths from 0 to 1 and some rates above 0, not {depths} and {rates}"
        )


def _candidates(kind: str, task: str) -> None:
    """ZobenchError for a task without candidates."""
    if kind not in ("classification", "multiple_choice"):
        raise ZobenchError(f"hidden_probe chooses among candidates, and {task} is a {kind} task")
