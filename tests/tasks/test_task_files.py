"""The eleven task files, what a task file may hold, and what is said of a bad one."""

import pickle
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import zobench_tasks
from kits.task_kit import FILES, golden, task

from zobench.errors import ZobenchError
from zobench.tasks.schema import MAYBE_TABLE, NUMBER, TEXT, TEXTS
from zobench.tasks.task import HubSource, Task, task_files
from zobench.tasks.template import drop_end, ensure_end, lower_first_word, upper_first

NAMES = ["boolq", "cb", "copa", "drop", "multirc", "record", "rte", "squad", "sst2", "wic", "wsc"]


def test_the_hook_offers_all_of_them():
    assert sorted(FILES) == NAMES and zobench_tasks.zobench_tasks() == FILES == task_files("zobench_tasks")


@pytest.mark.parametrize("name", NAMES)
def test_a_task_file(name):
    made, official = task(name), {k.lower(): v for k, v in golden("prompts").items()}[name]
    assert made.name == name and made.title and made.licence and made.citation
    assert re.fullmatch(r"[0-9a-f]{40}", made.source.revision) and "/" in made.source.id
    assert made.metric == official["metric"] and (made.kind == "generation") == official["generation"]
    assert made.train_loss == {"cls": "classification", "option": "option"}[official["official_mode"]]
    assert made.num_dev == (100 if name in ("cb", "copa", "wsc") else 500)
    assert (made.sfc is None) == (made.kind == "generation")
    assert pickle.loads(pickle.dumps(made)) == made


def test_loading_and_rendering_needs_no_torch():
    code = (
        "import sys; from zobench.tasks.task import Task, task_files\n"
        "import zobench.tasks.source, zobench.tasks.sampling\n"
        "import zobench.tasks.render, zobench.tasks.rules, zobench.tasks.metrics\n"
        "t = Task.load(task_files('zobench_tasks')['sst2']); t.render({'sentence': 'x', 'label': 0})\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'evaluate', 'scipy'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


CLUSTERS = {"boolq": "passage", "drop": "passage", "multirc": "paragraph", "record": "passage", "squad": "context"}
"""Of the tasks that ask several things of one text."""


@pytest.mark.parametrize("name", NAMES)
def test_items_of_one_text_are_one_cluster(name):
    made = task(name)
    assert made.cluster == CLUSTERS.get(name, "")
    items = [{made.cluster: text} for text in ("b", "a", "b", "c", "a")] if made.cluster else [{}]
    assert made.clusters(items) == ([0, 1, 0, 2, 1] if made.cluster else None)


# ---- peculiarities of single tasks


@pytest.mark.parametrize("item", [{"answer": True}, {"label": 1}, {"label": True}, {"answer": True, "label": None}])
def test_boolq_takes_either_field(item):
    example = task("boolq").render({"passage": "P", "question": "is it?", **item})
    assert example.prompt == "P Is it?\n" and example.golds == ("Yes",)
    no = task("boolq").render({"passage": "P", "question": "is it", **{k: False if v else v for k, v in item.items()}})
    assert no.prompt == "P Is it?\n" and no.golds == ("No",)


def test_boolq_needs_one_of_them():
    with pytest.raises(
        ZobenchError, match=re.escape("task boolq: item 4 lacks answer|label; it has passage, question")
    ):
        task("boolq").render({"passage": "P", "question": "q"}, 4)


COPA = {"premise": "I ran.. ", "choice1": "I'm Tired.", "choice2": "I Won It.", "question": "effect", "label": 1}


def test_copa_words():
    example = task("copa").render(COPA)
    assert example.prompt == "I ran. so " and example.gold == 1
    assert example.texts == ("I ran. so i'm Tired.", "I ran. so I Won It.")
    assert (example.sfc_prompt, example.sfc_texts) == ("so", ("so i'm Tired.", "so I Won It."))


def test_copa_with_equal_choices_counts_the_first():
    assert task("copa").render({**COPA, "choice1": COPA["choice2"]}).correct == (0,)


@pytest.mark.parametrize("label", [-1, 2])
def test_hidden_labels_are_no_labels(label):
    for name, item in (("copa", COPA), ("sst2", {"sentence": "x"})):
        with pytest.raises(ZobenchError, match=rf"task {name}: item 0: the field label is {label}, .*; known: 0, 1"):
            task(name).render({**item, "label": label}, 0)


RECORD = {"passage": "A\n@highlight\nB\n@highlight\nC", "query": "@placeholder won", "entities": ["X", "Y", "Z"]}


def test_record_accepts_all_answers_and_trains_on_the_first():
    example = task("record").render({**RECORD, "answers": ["Z", "X"]})
    assert example.prompt == "A\n- B\n- C\n-" and example.texts[1] == "A\n- B\n- C\n- Y won"
    assert (example.correct, example.gold, example.golds) == ((2, 0), 2, ("Z", "X"))
    assert example.gold_text == "A\n- B\n- C\n- Z won"


def test_record_answers_must_be_entities():
    with pytest.raises(ZobenchError, match="task record: item 3: the answer 'W' is not among the candidates"):
        task("record").render({**RECORD, "answers": ["X", "W"]}, 3)
    with pytest.raises(ZobenchError, match="template.answer: item 3: not a list of texts with at least one"):
        task("record").render({**RECORD, "answers": []}, 3)


def test_wsc_lowers_the_pronoun_only():
    text = task("wsc").render({"text": "T.", "span1_text": "Mark", "span2_text": "He", "label": 0}).prompt
    assert text == 'T.\nIn the previous sentence, does the pronoun "he" refer to Mark? Yes or No?\n'


def test_wsc_says_where_its_dev_size_comes_from():
    assert "num_dev=500" in task("wsc").notes and "54" in task("wsc").notes


def test_braces_in_the_data_are_text():
    assert (
        task("sst2").render({"sentence": " {{ label }} {% if %}", "label": 1}).prompt == "{{ label }} {% if %} It was"
    )


def test_filters():
    assert (ensure_end("a", "?"), ensure_end("a?", "?"), drop_end("a..", "."), drop_end("a", ".")) == (
        "a?",
        "a?",
        "a.",
        "a",
    )
    assert (upper_first(""), upper_first("éa B"), lower_first_word("")) == ("", "Éa B", "")
    assert [lower_first_word(t) for t in ("ABC Def", "I Am", "I'm A", "X")] == ["abc Def", "I Am", "i'm A", "x"]


# ---- bad files


GOOD = FILES["sst2"].read_text()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[source]", "[sourse]", r"unknown key 'sourse'; did you mean 'source'\?"),
        ("title =", "titel =", r"unknown key 'titel'; did you mean 'title'\?"),
        ("revision =", "revison =", r"unknown key 'source.revison'; did you mean 'source.revision'"),
        ("version = 1\n", "", r"the key version is missing \(a whole number\)"),
        ("answer = 'label'", "", r"the key template.answer is missing \(a text\)"),
        ("version = 1", "version = '1'", "version must be a whole number, not '1'"),
        ("version = 1", "version = true", "version must be a whole number, not True"),
        ("version = 1", "version = 0", "version must be at least 1"),
        ("num_dev = 500", 'num_dev = 500\ncluster = "sentense"', "unknown cluster 'sentense'; did you mean 'sentence'"),
        (
            '["terrible", "great"]',
            "[0, 1]",
            r"template.candidates must be a list of texts, or an expression, not \[0, 1\]",
        ),
        ('["terrible", "great"]', "[]", "template.candidates must be"),
        ("version = 1", "version = ", "not valid TOML: .*line 2"),
        ('kind = "classification"', 'kind = "clasification"', "task sst2: unknown kind 'clasification'; did you mean"),
        (
            'kind = "classification"',
            'kind = "generation"',
            "task sst2: template.candidates does not fit kind 'generation'",
        ),
        ('metric = "accuracy"', 'metric = "f1"', "task sst2: metric 'f1' needs kind 'generation'"),
        (
            "{{ sentence.strip() }}",
            "{{ sentense.strip() }}",
            "task sst2: template.prompt: unknown field 'sentense'; did you",
        ),
        (
            "{{ sentence.strip() }}",
            "{{ sentence | stripp }}",
            "task sst2: template.prompt: not a valid template: .*stripp",
        ),
        ("{{ sentence.strip() }}", "{{ sentence", "task sst2: template.prompt: not a valid template: .*line 1"),
        ("'label'", "'label +'", "task sst2: template.answer: not a valid template"),
        ("{{ candidate }}'\nanswer", "{{ kandidate }}'\nanswer", "task sst2: template.text: unknown field 'kandidate'"),
    ],
)
def test_bad_files(tmp_path, old, new, message):
    assert old in GOOD
    path = tmp_path / "sst2.toml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(ZobenchError, match=message) as caught:
        Task.load(path)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ZobenchError, match=r"none\.toml: cannot read the task file: No such file"):
        Task.load(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(ZobenchError, match="not UTF-8 text"):
        Task.load(tmp_path / "bytes.toml")


SOURCE = HubSource("a/b", "c", "0" * 40, "train", "validation", ("q", "a"))
OWN = Task(
    "own",
    1,
    "t",
    "classification",
    "accuracy",
    "option",
    5,
    SOURCE,
    "{{ q }}",
    "{{ prompt }} {{ candidate }}",
    "a",
    ("x", "y"),
)


def test_a_task_can_be_made_in_python():
    example = OWN.render({"q": "Q?", "a": "y"})
    assert (example.prompt, example.texts, example.gold) == ("Q?", ("Q? x", "Q? y"), 1)


@pytest.mark.parametrize(
    ("change", "item", "message"),
    [
        (
            {"prompt": "{{ q.nothing }}"},
            {"q": "Q", "a": 0},
            "task own: template.prompt: item 2: .*no attribute 'nothing'",
        ),
        (
            {"prompt": "{{ q + 1 }}"},
            {"q": "Q", "a": 0},
            "task own: template.prompt: item 2: .*the item has the fields a, q",
        ),
        (
            {"prompt": "{{ q.append(1) }}"},
            {"q": ["Q"], "a": 0},
            "task own: template.prompt: item 2: .*unsafe|not safely",
        ),
        ({"prompt": "{{ q.__class__.__mro__ }}"}, {"q": "Q", "a": 0}, "task own: template.prompt: item 2: .*unsafe"),
        ({"answer": "a == 0"}, {"q": "Q", "a": 0}, "task own: template.answer: item 2: True is no index"),
        ({"answer": "a.b"}, {"q": "Q", "a": {}}, "task own: template.answer: item 2: .*(undefined|no attribute)"),
        ({"candidates": "q"}, {"q": "Q", "a": 0}, "task own: template.candidates: item 2: not a list of texts"),
        ({}, {"q": "Q"}, "task own: item 2 lacks a; it has q"),
        ({}, {"q": None, "a": 0}, "task own: item 2 lacks q"),
    ],
)
def test_bad_items(change, item, message):
    with pytest.raises(ZobenchError, match=message):
        replace(OWN, **change).render(item, 2)


@pytest.mark.parametrize("source", ["{{ " + "9" * 5000 + " }}", "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}"])
def test_templates_without_end_are_no_templates(source):
    from zobench.tasks.template import template

    with pytest.raises(ZobenchError, match="t: not a valid template: "):
        template(source, "t", frozenset({"x"}))


@pytest.mark.parametrize(
    ("key", "value", "held"),
    [
        (TEXTS, ["a", "b"], True),
        (TEXTS, ["a", 1], False),
        (TEXTS, [1], False),
        (TEXTS, [], False),
        (TEXTS, "a", False),
        (TEXT, "a", True),
        (TEXT, 1, False),
        (NUMBER, 1, True),
        (NUMBER, True, False),
        (NUMBER, "1", False),
        (MAYBE_TABLE, {}, True),
        (MAYBE_TABLE, [], False),
    ],
)
def test_what_a_key_holds(key, value, held):
    assert key.holds(value) is held
