"""The protocol read a second time: MeZO written out plainly for one task and model, against the harness, bit for bit.

The recorded runs of the official code are three tasks on one model in float32. What they do not have is here: OPT with
its first token, a tokenizer without a beginning of sequence, 16 bit, weight decay, the linear schedule, losses by rule.
"""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from kits import task_kit
from kits.matrix import meeting

from zobench.plugins.registry import load_plugins
from zobench.protocol.protocol import Computation, Protocol
from zobench.run.method import Method, applied
from zobench.run.selection import everything
from zobench.run.train import train
from zobench.tasks.prepared import PreparedTask
from zobench.tasks.sampling import split
from zobench.tasks.source import Pools

TESTS = Path(__file__).parents[1]
POOLS = {run["task"]: run for run in json.loads((TESTS / "golden" / "e2e_tf4.json").read_text())}
STEPS, EVERY, BATCH, NEW, EPS, LR = 6, 3, 4, 12, 1e-3, 1e-3
SIZES = {"num_train": 10, "num_dev": 11, "num_test": 4}  # epochs of 4, 4 and 2; dev batches of 8 and 3


class Plain:
    """Malladi et al.'s released run in straight lines: prompts to ids, losses, steps, dev losses, predictions."""

    def __init__(self, model, tokenizer, task, pools, rule):
        self.model, self.tokenizer, self.task = model, tokenizer, task
        self.first = 0 if model.config.model_type == "opt" else None
        self.free, self.rule = task.kind == "generation", task.train_loss if rule == "task" else rule
        chosen = [pools.train[i] for i in permuted(len(pools.train))[: SIZES["num_train"] + SIZES["num_dev"]]]
        self.train, self.dev = chosen[: SIZES["num_train"]], chosen[SIZES["num_train"] :]
        self.test = [pools.validation[i] for i in permuted(len(pools.validation))[: SIZES["num_test"]]]

    def ids(self, text):
        ids = self.tokenizer.encode(text)
        return ids if self.first is None else [self.first, *(ids[1:] if ids[0] == 1 else ids)]

    def rows(self, item, training):
        """(ids, option length) of every candidate, or of the prompt with or without its answer; and the gold place."""
        example = self.task.render(item)
        prompt = self.ids(example.prompt.strip(" "))
        if self.free and not training:
            return [(prompt, 0)], 0
        texts = example.texts if self.free else [t.strip(" ") for t in example.texts]
        made = [(self.ids(("\n\n" + t).lstrip().strip(" ")), len(self.ids(t)) - len(prompt)) for t in texts]
        return made, example.gold or 0

    def loss(self, items):
        made = [self.rows(item, True) for item in items]
        groups = made if self.rule == "classification" else [([rows[gold]], 0) for rows, gold in made]
        rows = [row for group, _ in groups for row in group]
        length = -(-max(len(ids) for ids, _ in rows) // 8) * 8
        ids = torch.tensor([[0] * (length - len(i)) + i for i, _ in rows])
        mask = torch.tensor([[0] * (length - len(i)) + [1] * len(i) for i, _ in rows])
        logits, targets = self.model(input_ids=ids, attention_mask=mask).logits[:, :-1], ids[:, 1:].clone()
        targets[mask[:, 1:] == 0] = -100
        if self.rule != "lm":
            for row, (_, option) in enumerate(rows):
                targets[row, :-option] = -100
        if self.rule != "classification":
            return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)
        asked = targets != -100
        taken = logits.log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
        scores = (taken * asked).sum(-1) / asked.sum(-1)
        return F.cross_entropy(scores.view(len(items), -1), torch.tensor([gold for _, gold in groups]))

    def drawn(self, p):
        return torch.normal(mean=0, std=1, size=p.data.size(), dtype=p.data.dtype)

    def perturb(self, seed, scale):
        torch.manual_seed(seed)
        for p in self.model.parameters():
            p.data = p.data + scale * self.drawn(p) * EPS

    def update(self, seed, slope, lr, decay):
        torch.manual_seed(seed)
        for name, p in self.model.named_parameters():
            spared = any(part in name for part in ("bias", "layer_norm", "layernorm"))
            step = slope * self.drawn(p) if spared else slope * self.drawn(p) + decay * p.data
            p.data = p.data - lr * step

    def dev_loss(self):
        parts = [self.dev[i : i + 8] for i in range(0, len(self.dev), 8)]
        losses = [np.repeat(as_numpy(self.loss(part)), len(part)) for part in parts]
        return float(np.concatenate(losses).mean())

    def predict(self, item):
        rows, _ = self.rows(item, False)
        if self.free:
            ids = torch.tensor([rows[0][0]])
            stop = [self.tokenizer.encode("\n", add_special_tokens=False)[-1], self.tokenizer.eos_token_id]
            out = self.model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, num_beams=1, max_new_tokens=NEW,
                eos_token_id=stop, pad_token_id=0,
            )  # fmt: skip
            return self.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()
        scores = []
        for ids, option in rows:
            log_probs = self.model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
            scores.append(log_probs[range(len(ids) - 1), ids[1:]][-option:].mean().item())
        return int(np.argmax(scores))

    @torch.no_grad()
    def run(self, decay, schedule):
        torch.manual_seed(42)
        numbers = np.random.RandomState(42)
        sampler = torch.Generator().manual_seed(int(torch.empty((), dtype=torch.int64).random_()))
        seen, curve, best, queue = [], [], None, []
        for t in range(STEPS):
            if not queue:
                order = torch.randperm(len(self.train), generator=sampler).tolist()
                torch.randperm(len(self.train), generator=sampler)
                queue = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
            items, seed = [self.train[i] for i in queue.pop(0)], int(numbers.randint(1_000_000_000))
            self.perturb(seed, 1)
            plus = self.loss(items)
            self.perturb(seed, -2)
            minus = self.loss(items)
            self.perturb(seed, 1)
            lr = LR * (1 - t / STEPS) if schedule == "linear" else LR
            self.update(seed, ((plus - minus) / (2 * EPS)).item(), lr, decay)
            seen.append((seed, plus.item(), minus.item()))
            if (t + 1) % EVERY == 0:
                curve.append((t + 1, self.dev_loss()))
                if best is None or curve[-1][1] < best[0]:
                    best = (curve[-1][1], {n: p.data.clone() for n, p in self.model.named_parameters()})
        for name, p in self.model.named_parameters():
            p.data = best[1][name]
        return seen, curve, best[1], [self.predict(item) for item in self.test]


def permuted(n):
    return np.random.RandomState(0).permutation(n)


def as_numpy(loss):
    return (loss.float() if loss.dtype == torch.bfloat16 else loss).numpy()


CASES = [
    ("SST2", "opt", "bos", torch.float32, "task", 10.0, "linear"),
    ("Copa", "opt", "nobos", torch.float16, "task", 0.0, "constant"),
    ("SQuAD", "llama", "nobos", torch.float32, "task", 10.0, "constant"),
    ("SST2", "llama", "bos", torch.bfloat16, "lm", 0.0, "linear"),
    ("Copa", "llama", "bos", torch.float16, "classification", 0.0, "constant"),
]


@pytest.mark.parametrize(
    ("name", "family", "kind", "dtype", "rule", "decay", "schedule"), meeting(CASES, lambda case: case, ids=None)
)
def test_a_run(one_thread, name, family, kind, dtype, rule, decay, schedule):
    model = (task_kit.opt() if family == "opt" else task_kit.llama()).to(dtype)
    pools = Pools(POOLS[name]["train_pool"], POOLS[name]["valid_pool"], "folder", {})
    loaded, plugins = task_kit.loaded(model, kind), load_plugins()
    protocol = Protocol(
        **SIZES, batch_size=BATCH, steps=STEPS, eval_every=EVERY, max_new_tokens=NEW, train_loss=rule,
        weight_decay=decay, lr_schedule=schedule, logits="all",
    )  # fmt: skip
    plain = Plain(copy.deepcopy(model), loaded.tokenizer, plugins.task(name.lower()), pools, rule)
    seen, curve, best, predictions = plain.run(decay, schedule)

    prepared = PreparedTask(plain.task, split(pools, **SIZES, seed=0), loaded, protocol)
    computation = Computation(engine="official", noise="official", restore="arithmetic")
    method = Method(plugins.estimator("mezo"), {"eps": EPS}, computation, decay)
    with applied(method, loaded, everything(loaded), lr=LR, seed=42, keep=torch.clone) as on:
        run = train(on.estimator, loaded, prepared, protocol, lr=LR, seed=42, keep=torch.clone)
        assert [(s.seed, *map(float, s.seen)) for s in on.estimator.log] == seen
        assert run.curve == curve
        assert all(torch.equal(run.best[n], value) for n, value in best.items())
        on.put(run.best)
        assert prepared.test_score(model).predictions == predictions


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
