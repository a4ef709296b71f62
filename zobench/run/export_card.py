"""The model card of an exported cell: what its record says, in the form that model hubs read. Light."""

from __future__ import annotations

import json

from ..report import text, units
from ..report.record import Record
from ..report.summary import summarise
from ..report.web.again import command


def card(record: Record, kind: str) -> str:
    """README.md: what it is, how to load it, its scores with the untouched model's, how it was made.

    kind: what was saved: full | lora | prefix | prompt.
    """
    cell, scope = record["cell"], record["scope"]
    assert scope is not None  # a cell that chose weights has one
    peft = kind != "full"
    lines = ["---", f"base_model: {json.dumps(cell['model'])}", f"library_name: {'peft' if peft else 'transformers'}"]
    lines += ["pipeline_tag: text-generation", "tags:", "- zeroth-order", "- zobench", "---", ""]
    method = f"{cell['estimator']} / {cell['selector']}"
    lines += [f"# {text.foreign(cell['model'])}, tuned on {text.foreign(cell['task'])} by {text.foreign(method)}", ""]
    lines += ["```python", *(_PEFT if peft else _WHOLE), "```", ""]
    lines += [_OF[kind], ""] if kind in _OF else []
    lines += [text.table(["", "metric", "value", "items"], _scores(record), left=2), ""]
    blocks = text.layers(scope["layers"])
    lines += [
        f"{text.count(scope['parameters'])} parameters ({text.share(scope['fraction'])}) were free to move, in decoder "
        f"blocks {blocks}. Learning rate and step were chosen on dev; test was read once.",
        *_of_transform(record),
        "",
        f"In a line: {text.foreign(summarise(record))}.",
        "",
        f"Record `{record['id']}`, protocol {record['protocol'].get('version')}. The run again:",
        "",
        "```bash",
        text.printable(command(record)).replace("```", "` ` `"),
        "```",
        "",
        "The licence is that of the base model and of the data.",
    ]
    return "\n".join(lines) + "\n"


def _of_transform(record: Record) -> list[str]:
    """That the weights are of a transformed model, where they are."""
    said = record["protocol"].get("transform")
    if not said:
        return []
    return [
        "",
        f"Trained and scored under `transform={said}`, which these files do not hold: loaded alone, the weights "
        "give other scores than those above.",
    ]


_WHOLE = (
    "from transformers import AutoModelForCausalLM, AutoTokenizer",
    "",
    'model = AutoModelForCausalLM.from_pretrained("this folder")',
    'tokenizer = AutoTokenizer.from_pretrained("this folder")',
)
_PEFT = (
    "from peft import PeftModel",
    "from transformers import AutoModelForCausalLM",
    "",
    'base = AutoModelForCausalLM.from_pretrained("the base model")',
    'model = PeftModel.from_pretrained(base, "this folder")',
)


_OF = {
    "prefix": "Rows of a batch that are padded on the left need `position_ids` that count from their first token; one "
    "row alone, rows of one length, and padding on the right need nothing.",
    "prompt": "Run one row alone, rows of one length, or rows padded on the right: of padding on the left peft counts "
    "the places between prompt and text, which were not counted here.",
}
"""What to know of places, by what was saved."""


def _scores(record: Record) -> list[list[str]]:
    out = []
    for name, said in (("zero_shot", "test, untouched"), ("dev", "dev"), ("test", "test")):
        score = record["metrics"].get(name)
        if score is not None:
            metric, value, n = score["metric"], score["value"], score["n"]  # type: ignore[index]
            out.append([said, metric, units.shown(metric, value), str(n)])
    return out
