"""A small text, a small recipe, and a watcher that can press Ctrl-C."""

import json
import signal

from zobench_world.pretrain.job import Job, pretrain
from zobench_world.pretrain.loop import KeepingPace
from zobench_world.pretrain.recipe import recipe_from

NAMES = "Anna Ben Clara David Emma Frank".split()
THINGS = "apple book chair drum engine fork".split()
TINY = {
    "steps": 7,
    "cycles": (),
    "blocks": 2,
    "hidden": 16,
    "heads": 2,
    "intermediate": 24,
    "vocab": 330,
    "context": 64,
    "tie": False,
    "bias_std": 0.0,
    "mimetic": 0.0,
    "warmup": 2,
    "batch": 4,
    "length": 48,
}


SMALL_EXTENSION = {"steps": 12, "cycles": (7,)}


def document(rng, progress):
    """Who has what, asked again; the second half of training is told apart by a word."""
    pairs = list(zip(rng.sample(NAMES, 3), rng.sample(THINGS, 3), strict=True))
    said = " ".join(f"{name} has a {thing}." for name, thing in pairs[: rng.choice((1, 2, 3))])
    name, thing = pairs[0]
    when = "later" if progress >= 0.5 else "early"
    return [(said, 0.25), (f" {when}, {name}:", 0.0), (f" {thing}.", 1.0)]


def tiny(**given):
    return recipe_from("embedded", {**TINY, **given})


class Watcher:
    """Remembers what it is told; presses Ctrl-C after step `stop`."""

    def __init__(self, stop=None):
        self.stop, self.losses, self.lines = stop, [], []

    def step(self, counts, loss):
        self.losses.append(loss)
        if counts.step == self.stop:
            signal.raise_signal(signal.SIGINT)

    def line(self, line):
        self.lines.append(line)


def train(out, recipe=None, *, stop=None, text=document, save_every=100, eval_every=2, extend=None):
    watcher, said = Watcher(stop), []
    pace = KeepingPace(save_every=save_every, eval_every=eval_every)
    job = Job(out=out, recipe=recipe or tiny(), text=text, device="cpu", pace=pace, extend=extend)
    pretrain(job, watcher, said.append)
    return watcher, said


def log_of(out):
    """The lines of the log without their times."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
