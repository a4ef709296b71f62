"""A finished training folder becomes the package's model: `python -m zobench_world.pretrain.card DIR`.

Copies weights, config and tokenizer to the package, and writes MODEL_CARD.md from training.json.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from zobench import load_model

from ..cards import CARDS
from .export import FACTS
from .skills import Skill, skills

MODEL = ("model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", FACTS)
CARD = "MODEL_CARD.md"
WEIGHTS = Path(__file__).parents[1] / "weights"

TEXT = """# The embedded model

A LLaMA of {millions:.2f} M parameters ({blocks} decoder blocks of {hidden} channels, {heads} heads, an MLP of
{intermediate}, {vocabulary} tokens), made by zobench for zobench: so that every estimator and selector can be
run, and means something, on a laptop with nothing downloaded.

## What it was trained on
Text of a grammar (`zobench_world.text`, digest {digest}): people and what can be said of them,
reviews, events and their causes, pronouns, ambiguous words, numbers; and lists to copy. Nothing of it is taken
from anywhere. No document holds a prompt of the tasks, and none asks for the tasks' words: Yes and No are met where
somebody goes on to say what they mean ("Yes, I am tired."). See the cards of the tasks below.

What cannot be guessed weighs little in the loss: 0.1 for passages, claims and questions, 0.4 and 0.5 for what is
copied, told again or rightly claimed, 1 for answers.

## How
`python -m zobench_world.pretrain --out DIR{flags}`, then `python -m
zobench_world.pretrain.card DIR`.

{how}

It was trained in these sittings: {sittings}.

Losses at the end (mean by weight): training {train_loss:.3f}, held-out text {validation_loss:.3f}.

## Activations of the blocks
Over held-out text: the largest absolute value after each block, the median, and at which token it is. Nothing
was planted.

{activations}

## What the tasks ask for, and where the text teaches it
{tasks}

## What it can and cannot do
Answers in held-out documents whose first token is right, by the kind of document (text.py says what each is):

{skills}

It speaks of its small world only. What it scores on the tasks, before and after fine-tuning, is in
results/embedded. It knows nothing of the data sets whose names the tasks bear, and scores on it say nothing of
other models.
"""


def render(facts: Mapping[str, Any], able: Mapping[str, Skill]) -> str:
    """MODEL_CARD.md from the contents of training.json and what the model can do."""
    settings = facts["settings"]
    rate = f"lr {settings['lr']}, beta2 {settings['beta2']}, weight decay {settings['weight_decay']} of matrices"
    fall = f"constant to {settings['decay_from']:.0%}, then linear to {settings['final_lr']:.0%}"
    how = [
        ("steps, tokens", f"{facts['steps']:,}, {facts['tokens'] / 1e6:.1f} M ({facts['seconds'] / 60:.0f} minutes)"),
        ("batch", f"{settings['batch']} rows of {settings['length']} tokens"),
        ("AdamW", rate),
        ("schedule", f"{settings['warmup']} steps of warm-up, {fall}{_cycles(settings)}"),
        (
            "first weights",
            f"normal, {settings['init_std']}, embedding {settings['embed_std']}, biases of queries and keys "
            f"{settings['bias_std']}; seed {settings['seed']}" + ("; mimetic" if settings["mimetic"] else ""),
        ),
    ]
    rows = [(b["block"], f"{b['max']:.1f}", f"{b['median']:.2f}", f"{b['ratio']:.1f}",
             "BOS" if b["position"] == 0 else f"{b['token']!r}") for b in facts["activations"]]  # fmt: skip
    return TEXT.format(
        **{k: settings[k] for k in ("blocks", "hidden", "heads", "intermediate")},
        millions=facts["parameters"] / 1e6,
        vocabulary=facts["vocabulary"],
        digest=facts["text"]["digest"],
        flags=" --compile" * settings["compile"] + f" --dtype {settings['dtype']}",
        sittings="; ".join(map(_sitting, facts["sittings"])),
        skills=tabulate(
            [(kind, f"{skill.right / skill.asked:.0%}", skill.asked) for kind, skill in able.items()],
            headers=("kind", "right", "of"),
            tablefmt="github",
        ),
        how=tabulate(how, tablefmt="github", headers=("", "")),
        **facts["losses"],
        activations=tabulate(rows, headers=("block", "max", "median", "max / median", "at"), tablefmt="github"),
        tasks=tabulate(
            [(name, card.skill, card.taught, card.shortcut) for name, card in CARDS.items()],
            headers=("task", "skill", "taught by", "a shortcut that would not do"),
            tablefmt="github",
        ),
    )


def _cycles(settings: Mapping[str, Any]) -> str:
    cycles = settings["cycles"]
    return f"; anew from steps {', '.join(f'{step:,}' for step in cycles)} on" if cycles else ""


def _sitting(of: Mapping[str, Any]) -> str:
    where = f"{of['device_name']}, {of['threads']} threads, torch {of['packages']['torch']}, {of['dtype']}"
    return f"from step {of['from_step']:,}: {where}"


def main(argv: Sequence[str]) -> None:
    """Copy the model to the package and write its card."""
    if len(argv) != 1 or not (Path(argv[0]) / FACTS).is_file():
        raise SystemExit("usage: python -m zobench_world.pretrain.card DIR, where DIR is a finished training")
    WEIGHTS.mkdir(exist_ok=True)
    for name in MODEL:
        shutil.copyfile(Path(argv[0]) / name, WEIGHTS / name)
    facts = json.loads((WEIGHTS / FACTS).read_text(encoding="utf-8"))
    loaded = load_model(str(WEIGHTS), offline=True, device="cpu")
    able = skills(loaded.model, loaded.tokenizer, progress=len(facts["settings"]["cycles"]) + 1)
    (WEIGHTS / CARD).write_text(render(facts, able), encoding="utf-8")
    print(f"{WEIGHTS}: {sum(p.stat().st_size for p in WEIGHTS.iterdir()) / 1e6:.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
