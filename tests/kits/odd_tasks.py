"""A task file, and what may stand in another one's keys: values of TOML and templates."""

from __future__ import annotations

TASK = """name = "odd"
version = 1
title = "An odd task"
kind = "classification"
metric = "accuracy"
train_loss = "classification"
num_dev = 4

[source]
id = "a/b"
config = "c"
revision = "0123"
train = "train"
validation = "validation"
fields = ["sentence", "label"]

[template]
prompt = "{{ sentence.strip() }} It was"
candidates = ["terrible", "great"]
text = "{{ prompt }} {{ candidate }}"
answer = "label"
"""


LITERALS = [
    "1",
    "-1",
    "0",
    "2",
    "true",
    '""',
    '"x"',
    "[]",
    "{}",
    "[1]",
    '["a"]',
    "1e999",
    "nan",
    "1979-05-27",
    "9" * 60,
]
LITERALS += [
    '"generation"',
    '"multiple_choice"',
    '"f1"',
    '"em"',
    '"option"',
    '["sentence"]',
    '["label", "x|y"]',
    '"a/b"',
]
TEMPLATES = [
    *(
        '"{{ sentence }}"',
        '"{{ sentence | random }}"',
        '"{{ sentence | nothing }}"',
        '"{{ nothing }}"',
        '"{{"',
        '"{% x %}"',
    ),
    *('"{{ label.__class__ }}"', '"{{ 1 // 0 }}"', '"{{ sentence[0:] }}"', '"{{ [label] * 3 }}"', '"[label]"'),
    *(
        '"label + 1"',
        '"label - 1"',
        '"sentence"',
        '"[sentence, sentence]"',
        '"label | list"',
        '"none"',
        '"1.5"',
        '"true"',
    ),
    *('"{{ prompt }}"', '"{{ candidate }}"', '"{{ prompt }}{{ candidate }}"', '"{{ candidate * 300 }}"', '"range(3)"'),
    *(
        '"{{ sentence.split(9) }}"',
        '"{{ label.strip() }}"',
        '"{{ sentence | tojson | safe }}"',
        '"\\ud800"',
        "'\\n'",
        '" "',
    ),
]
"""Values of keys of a task file, as TOML has them."""
