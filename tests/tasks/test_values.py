"""What an item may hold: what the task file does not know is refused with file, line, field and what is known."""

import json
import re

import pytest
from kits.task_kit import FILES, golden, task

from zobench.errors import ZobenchError
from zobench.tasks.source import load_pools
from zobench.tasks.task import Task
from zobench.tasks.values import Values, _shown

COPA = {"premise": "I ran.", "choice1": "I'm Tired.", "choice2": "I Won It.", "question": "effect", "label": 1}
BOOLQ = {"passage": "P", "question": "is it?"}
GOOD = {name: next(value for key, value in golden("prompts").items() if key.lower() == name) for name in FILES}
ITEMS = {name: found["samples"][0]["data"] for name, found in GOOD.items()}
LABELS = sorted(name for name in FILES if "label" in ITEMS[name] or name == "boolq")


def folder(root, name, train, validation=None):
    (root / name).mkdir(exist_ok=True)
    for split, rows in (("train", train), ("validation", validation or [ITEMS[name]])):
        (root / name / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.mark.parametrize("value", ["false", "true", "0", "1", "no", "Yes", -1, 2, 0.0, 1.0, [], [True], {}])
@pytest.mark.parametrize("name", ["answer", "label"])
def test_boolq_knows_what_the_hub_has_and_no_more(name, value, tmp_path):
    known = "true, false, 1, 0" if name == "answer" else "0, 1, false, true"
    message = f"boolq/train.jsonl: line 2: the field {name} is {value!r}, which the task does not know; known: {known}"
    good, bad = {**BOOLQ, name: 1}, {**BOOLQ, name: value}
    with pytest.raises(ZobenchError, match=re.escape(message)):
        load_pools(task("boolq"), folder(tmp_path, "boolq", [good, bad]))
    with pytest.raises(ZobenchError, match=re.escape(f"task boolq: item 7: the field {name} is {value!r}")):
        task("boolq").render(bad, 7)


def test_boolq_fields_that_are_null_or_contradict_each_other():
    assert task("boolq").render({**BOOLQ, "answer": None, "label": 1}).golds == ("Yes",)
    assert task("boolq").render({**BOOLQ, "answer": None, "label": 0}).golds == ("No",)
    assert task("boolq").render({**BOOLQ, "answer": True, "label": 1}).golds == ("Yes",)
    with pytest.raises(ZobenchError, match="item 3: the fields contradict each other: answer is true, label is 0"):
        task("boolq").render({**BOOLQ, "answer": True, "label": 0}, 3)
    with pytest.raises(ZobenchError, match="lacks answer|label"):
        task("boolq").render({**BOOLQ, "answer": None, "label": None})


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("label", [-1, 3, "1", "entailment", 1.0, None])
def test_a_label_that_no_task_knows(name, label, tmp_path):
    row = {key: value for key, value in ITEMS[name].items() if key != "answer" or name != "boolq"} | {"label": label}
    said = r"lacks .*label" if label is None else r"the field label is .*; known: 0, 1"
    for train, validation, file in (([row], None, "train"), ([ITEMS[name]], [ITEMS[name], row], "validation")):
        line = len(validation or train)
        with pytest.raises(ZobenchError, match=rf"{name}/{file}\.jsonl: line {line}:? {said}") as e:
            load_pools(task(name), folder(tmp_path, name, train, validation))
        assert ("hidden" in str(e.value)) == (label == -1)


@pytest.mark.parametrize("question", ["effects", "causes", "", " effect", "why", 1, True, ["effect"]])
def test_copa_has_two_questions(question, tmp_path):
    with pytest.raises(ZobenchError, match=r"train.jsonl: line 1: the field question is .*; known: 'cause', 'effect'$"):
        load_pools(task("copa"), folder(tmp_path, "copa", [{**COPA, "question": question}]))


@pytest.mark.parametrize(
    ("question", "word"), [("EFFECT", "so"), ("Effect", "so"), ("CAUSE", "because"), ("cause", "because")]
)
def test_copa_questions_in_upper_case(question, word, tmp_path):
    pools = load_pools(task("copa"), folder(tmp_path, "copa", [{**COPA, "question": question}]))
    for item in (pools.train[0], {**COPA, "question": question}):
        example = task("copa").render(item)
        assert (example.prompt, example.sfc_prompt) == (f"I ran {word} ", word)


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_field_of_every_task_is_declared_and_held_to_it(name, tmp_path):
    source = task(name).source
    assert {values.root for values in source.values} == source.names()
    for values in source.values:
        parts = values.field.split(".")
        for wrong in (7, {"a": "b"}, [["x"]], [1]):
            row = dict(ITEMS[name]) if name != "boolq" else {**BOOLQ, "label": 1}
            row[parts[0]] = wrong if len(parts) == 1 else {parts[1]: wrong}
            with pytest.raises(ZobenchError, match=rf"train.jsonl: line 1: the field {re.escape(values.field)} is "):
                load_pools(task(name), folder(tmp_path, name, [row]))


OWN = """
name = "own"
version = 1
title = "T"
kind = "classification"
metric = "accuracy"
train_loss = "classification"
num_dev = 1
[source]
folder = "data"
fields = ["text", "mood", "label"]
[source.values]
{values}
[template]
prompt = '{{{{ text }}}}{{{{ "!" if mood == "loud" else "." }}}}'
candidates = ["no", "yes"]
text = '{{{{ prompt }}}} {{{{ candidate }}}}'
answer = 'label'
"""


def own(tmp_path, values):
    path = tmp_path / "own.toml"
    path.write_text(OWN.format(values=values))
    return Task.load(path)


def test_a_task_of_somebody_else_declares_its_own(tmp_path):
    (tmp_path / "data").mkdir()
    rows = [{"text": "a", "mood": "LOUD", "label": 0}, {"text": "b", "mood": "Hushed", "label": 1}]
    assert "mood" not in str(own(tmp_path, "").source.values)
    good = own(tmp_path, 'mood = ["loud", "hushed"]\ntext = "text"')
    path = tmp_path / "data" / "train.jsonl"
    for split in ("train", "validation"):
        (tmp_path / "data" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [good.render(item).prompt for item in load_pools(good, "hub").train] == ["a!", "b."]
    path.write_text(path.read_text().replace("Hushed", "hash"))
    with pytest.raises(ZobenchError, match="line 2: the field mood is 'hash', .*; known: 'loud', 'hushed'"):
        load_pools(good, "hub")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("moods = [1]", r"own.toml: source.values.moods: no such field in source.fields; it has label, mood, text"),
        ("mood = []", "source.values.mood must be a list of the values that are known"),
        ("mood = [1.5]", "source.values.mood must be a list of"),
        ('mood = "number"', "source.values.mood must be a list of .*, not 'number'"),
        ('"mood.x" = ["a"]', "known values are those of a field of the item"),
    ],
)
def test_declarations_that_are_none(tmp_path, values, message):
    with pytest.raises(ZobenchError, match=message):
        own(tmp_path, values)


def test_the_hubs_rows_are_checked_all(monkeypatch):
    datasets = pytest.importorskip("datasets")
    rows = [{**ITEMS["sst2"], "label": label} for label in (0, 1, 1, -1)]
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **kw: datasets.Dataset.from_list(rows))
    with pytest.raises(
        ZobenchError, match="task sst2: the hub split train: the field label is -1, .*; known: 0, 1; .*hidden"
    ):
        load_pools(task("sst2"), "hub")


def test_a_value_that_is_told_is_json_and_at_most_60_characters_long():
    assert (_shown(True), _shown(False), _shown(1)) == ("true", "false", "1")
    assert _shown("x" * 58) == repr("x" * 58), "60 with its quotes"
    assert _shown("x" * 59) == "'" + "x" * 56 + "..." and len(_shown("x" * 59)) == 60


def test_of_the_hubs_rows_the_fields_that_are_there_are_checked(monkeypatch):
    """BoolQ's answer may be called answer or label: columns have one of them."""
    datasets = pytest.importorskip("datasets")
    rows = [{**BOOLQ, "answer": one} for one in (True, False, True, True)]
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **kw: datasets.Dataset.from_list(rows))
    assert [row["answer"] for row in load_pools(task("boolq"), "hub").train] == [True, False, True, True]


@pytest.mark.parametrize(("value", "hidden"), [(-1, True), (0, False), (False, False), ("-1", False), (3, False)])
def test_minus_one_alone_stands_for_a_hidden_label(value, hidden):
    with pytest.raises(ZobenchError, match="the field label is .*; known: 1, 2") as e:
        Values("label", known=(1, 2)).read({"label": value})
    assert ("hidden" in str(e.value)) == hidden
