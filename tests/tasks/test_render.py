"""What `zobench show task` prints of an example."""

from dataclasses import replace

import pytest
from kits.task_kit import encoder, golden, task

from zobench.tasks.render import render_task

ITEMS = {name: [s["data"] for s in value["samples"]] for name, value in golden("prompts").items()}


def test_choice():
    text = render_task(task("SST2"), ITEMS["SST2"][:1], encoder())
    sample = golden("prompts")["SST2"]["samples"][0]
    lines = text.splitlines()
    assert lines[:3] == ["example 0", "  prompt:", "    | " + sample["encode"]]
    assert lines[3:5] == ["  option 0: ' terrible'", "  option 1: ' great'  <- right"]
    for number, ids in enumerate(sample["bos"]["eval_input_ids"]):
        option = sample["bos"]["eval_option_lens"][number]
        assert f"  row {number} (scored): {len(ids)} tokens, option {option}" in lines
        assert f"    {' '.join(map(str, ids[:-option]))} [{' '.join(map(str, ids[-option:]))}]" in lines


def test_generation_shows_both_rows():
    text = render_task(task("SQuAD"), ITEMS["SQuAD"][:1], encoder())
    assert "  accepted answers: 'a dark volcanic rock', 'volcanic rock'" in text
    assert "  trained on: ' a dark volcanic rock\\n'" in text
    assert "(scored)" in text and "(trained on)" in text
    ids = golden("prompts")["SQuAD"]["samples"][0]["bos"]["eval_input_ids"][0]
    assert f"{ids[31]} ({len(ids) - 64} more) {ids[-32]}" in text


@pytest.mark.parametrize("name", ITEMS)
def test_every_task_without_a_tokenizer(name):
    blocks = render_task(task(name), ITEMS[name]).split("example ")[1:]
    assert len(blocks) == 4
    for block, item in zip(blocks, golden("prompts")[name]["samples"], strict=True):
        assert block.splitlines()[2] == "    | " + item["encode"].split("\n")[0]


def test_an_option_that_is_a_token_off_is_told():
    merging = replace(
        task("SST2"), prompt="{{ sentence }}", text="it was {{ candidate }}", candidates=("great film", "x y z")
    )
    text = render_task(merging, [{"sentence": "it was gr", "label": 0}], encoder())
    first, second = (line for line in text.splitlines() if "(scored)" in line)
    assert "the option may be a token off" in first and "the option may be a token off" in second
    assert "off" not in render_task(merging, [{"sentence": "it was", "label": 0}], encoder())
