"""Seconds that test items take: zobench's scoring and generation against lm-eval's HFLM and a plain loop, one thread.

    python results/speed/peers/scoring.py --items 400 --out scoring.json

SST-2 by zobench (eight rows a forward, and by tokens, the default here), and by HFLM.loglikelihood of lm-eval at
batch 32, where it is installed: the same requests, and the same predictions are asked for. SQuAD by zobench's greedy
generation and by a plain loop over transformers' forward with its cache, 32 prompts at once, the longest first. The
model and the data are those in the package. Sides take turns; fetches nothing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import machine, model_of, ratios, written

from zobench.models.load import LoadedModel
from zobench.plugins.registry import load_plugins
from zobench.protocol.protocol import protocol_from
from zobench.run.place import Place, data_source
from zobench.run.session import Session
from zobench.tasks.padding import padded
from zobench.tasks.prepared import PreparedTask

BATCH = 32


def ours(prepared: PreparedTask, loaded: LoadedModel) -> list[Any]:
    """The predictions of zobench."""
    return prepared.test_score(loaded.model).predictions


def hflm(loaded: LoadedModel, prepared: PreparedTask) -> Callable[[], list[Any]] | None:
    """The predictions of lm-eval; None where it is not installed."""
    try:
        from lm_eval.models.huggingface import HFLM
    except ImportError:
        return None
    lm = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=BATCH, device="cpu")
    rows = [
        [(list(r.ids[: -r.option_len]), list(r.ids[-r.option_len :])) for r in e.rows]
        for e, _ in prepared._scored["test"]
    ]
    requests = [(("", ""), *row) for item in rows for row in item]

    def predictions() -> list[Any]:
        found = iter(lm._loglikelihood_tokens(requests, disable_tqdm=True))
        scores = [[next(found)[0] / len(answer) for _, answer in item] for item in rows]
        return [one.index(max(one)) for one in scores]

    return predictions


def plain(loaded: LoadedModel, prepared: PreparedTask) -> Callable[[], list[Any]]:
    """Greedy answers by a loop over the model's own forward and cache."""
    prompts = [e.rows[0].ids for e, _ in prepared._scored["test"]]
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))

    @torch.no_grad()
    def answers() -> list[Any]:
        out: list[Any] = [None] * len(prompts)
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            ids, mask = padded([prompts[i] for i in part], prepared.pad_id)
            made: list[list[int]] = [[] for _ in part]
            going, past, feed = set(range(len(part))), None, ids
            for _ in range(prepared.rules.max_new_tokens):
                places = (mask.cumsum(-1) - 1).clamp(min=0)[:, -feed.shape[1] :]
                got = loaded.model(
                    input_ids=feed, attention_mask=mask, position_ids=places, past_key_values=past, use_cache=True,
                    logits_to_keep=1,
                )  # fmt: skip
                past, feed = got.past_key_values, got.logits[:, -1].argmax(-1, keepdim=True)
                mask = torch.cat([mask, mask.new_ones(len(part), 1)], dim=1)
                for i in list(going):
                    made[i].append(int(feed[i]))
                    if made[i][-1] in prepared.stop:
                        going.discard(i)
                if not going:
                    break
            for i, row in zip(part, made, strict=True):
                out[i] = loaded.tokenizer.decode(row, skip_special_tokens=True).strip()
        return out

    return answers


def timed(sides: dict[str, Callable[[], Sequence[Any]]], rounds: int) -> dict[str, Any]:
    """Median process seconds of each side, after one turn that warms up, and whose answers are those of zobench."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    said: dict[str, list[Any]] = {}
    for number in range(rounds + 1):
        for name, side in sides.items():
            start = time.process_time()
            said[name] = list(side())
            if number:
                taken[name].append(time.process_time() - start)
    out = ratios({name: statistics.median(seconds) for name, seconds in taken.items()}, "zobench tokens")
    of = said["zobench rows"]
    out["other answers than zobench's"] = {
        name: sum(a != b for a, b in zip(one, of, strict=True)) for name, one in said.items()
    }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", default="sst2,squad")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    plugins, loaded, found = load_plugins(), model_of("embedded"), {}
    source = data_source(Place(model="embedded", results=Path("none"), device="cpu", data_dir=None), loaded, plugins)
    session = Session(loaded, plugins, source, offline=True)
    rules = protocol_from({"num_train": 8, "num_dev": 8, "num_test": given.items, "steps": 8, "eval_every": 8})
    for task in given.tasks.split(","):
        prepared, _ = session.prepared(task, rules, "packed")
        sides: dict[str, Callable[[], Sequence[Any]]] = {
            f"zobench {by}": partial(ours, prepared.scoring_in(by), loaded)  # type: ignore[arg-type]
            for by in ("rows", "tokens")
        }
        other = hflm(loaded, prepared) if prepared.kind.chooses else plain(loaded, prepared)
        if other is not None:
            sides["lm-eval HFLM" if prepared.kind.chooses else "plain loop"] = other
        found[f"{task}, {given.items} items"] = made = timed(sides, given.rounds)
        print(task, made, flush=True)
    written(given.out, found, machine())


if __name__ == "__main__":
    main()
