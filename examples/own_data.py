# %% [markdown]
# # Your own task, on your own data
#
# A task is one TOML file and two files of JSON lines. This script writes all three where it is run, and is the
# plugin that offers the task. Run it with `python examples/own_data.py`, or cell by cell.

# %%
import json
import random
from pathlib import Path

from zobench import hookimpl
from zobench.cli import main

FOLDER = Path("mood_task")

# %% [markdown]
# ## The data
#
# An item is an object with the fields that the task names. `train.jsonl` is for training and dev, which are drawn
# from it apart; `validation.jsonl` is the test set, read once.

# %%
GLAD = ["won a prize", "found a friend", "slept well", "got good news"]
SAD = ["lost my keys", "missed the bus", "fell ill", "burnt the soup"]


def items(names: list[str], seed: int) -> list[dict[str, object]]:
    """Sentences, each with whether it is a glad one, in an order of its own."""
    made = [
        {"text": f"{name} says: on {day} I {what}.", "glad": int(what in GLAD)}
        for name in names
        for day in ("Monday", "Tuesday", "Friday", "Sunday")
        for what in (*GLAD, *SAD)
    ]
    return random.Random(seed).sample(made, len(made))


if __name__ == "__main__":
    (FOLDER / "mood").mkdir(parents=True, exist_ok=True)
    for split, names in {"train": ["Ann", "Bob", "Eve", "Max"], "validation": ["Kim", "Lea"]}.items():
        lines = [json.dumps(item) for item in items(names, seed=0)]
        (FOLDER / "mood" / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

# %% [markdown]
# ## The task
#
# What the model reads is `text` with each candidate in turn; the candidate that is likeliest after the prompt is
# its answer. `source.values` says what a field may hold, so that a wrong label is an error and not a wrong number.

# %%
TASK = """
name = "mood"
version = 1
title = "Mood: is a sentence glad"
kind = "classification"
metric = "accuracy"
train_loss = "classification"
num_dev = 20

[source]
folder = "mood"  # mood/train.jsonl and mood/validation.jsonl, beside this file
fields = ["text", "glad"]

[source.values]
text = "text"
glad = [0, 1]

[template]
prompt = "{{ text.strip() }} I am"
candidates = ["sad", "glad"]
text = "{{ prompt }} {{ candidate }}"
answer = "glad"
"""

if __name__ == "__main__":
    (FOLDER / "mood.toml").write_text(TASK, encoding="utf-8")


@hookimpl
def zobench_tasks():
    return {"mood": FOLDER / "mood.toml"}


# %% [markdown]
# ## A look, and a board
#
# `main` is the command `zobench`; `show` renders an item as the model sees it. Look before you run: most wrong
# numbers are wrong prompts.

# %%
if __name__ == "__main__":
    assert main(f"show task mood --model embedded --plugin {__file__}".split()) == 0
    run = f"run --plugin {__file__} --estimator mezo --selector all --tasks mood --preset smoke --results runs"
    assert main(run.split()) == 0
