"""Words, numbers, texts and JSON values that nobody would write, and ways to spoil what somebody wrote."""

from __future__ import annotations

import random
from typing import Any

NUMBERS = [
    "nan",
    "inf",
    "-inf",
    "1e999",
    "-1e999",
    "1e-999",
    "0",
    "-0",
    "-1",
    "1",
    "2",
    "3",
    "7",
    "99",
    "1_000",
    "１２",
]
NUMBERS += [
    "9" * 400,
    "-" + "9" * 5000,
    "0x10",
    "1e3",
    "1.5",
    ".5",
    "5.",
    "+1",
    "1e",
    "--1",
    "0.1",
    "²",
    "٣",
    "1,2",
    "3-5",
]
TEXTS = [
    "",
    " ",
    ",",
    ",,",
    "=",
    "none",
    "null",
    "None",
    "true",
    "false",
    "all",
    "auto",
    "é",
    "\u202e",
    "\x1b[31m",
    "\u2028",
]
TEXTS += [
    "a" * 300,
    "😀",
    "{{",
    "{{ 1/0 }}",
    "%s",
    "..",
    "../..",
    "/",
    "~",
    "~nobody",
    "/dev/null",
    "-",
    "--",
    "a b",
    "\\",
    "'",
]
TEXTS += [
    "a\nb",
    "\t",
    "\0",
    "\udcff",
    "[",
    "[" * 60,
    "layer",
    "mezo",
    "sst2",
    "embedded",
    "cpu",
    "*",
    "a=b=c",
    "|",
    "<x>",
]
VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    1.5,
    -0.5,
    10**400,
    1e308,
    "",
    "x",
    "\ud800",
    [],
    {},
    [[]],
    [None],
    {"": 0},
]
VALUES += [float("nan"), float("inf"), "1", ["a"], [1, 2], {"a": {"b": []}}, "a" * 300, "\n# heading", "[x](http://y)"]


def odd(rng: random.Random) -> str:
    """A word for an option's value."""
    return rng.choice(rng.choice([NUMBERS, TEXTS]))


def spoiled(rng: random.Random, text: str) -> str:
    """A text with some of it left out, doubled, changed or put elsewhere."""
    for _ in range(rng.randint(1, 3)):
        i, j = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        j = min(j, i + 40)
        how = rng.randrange(5)
        middle = [
            "",
            text[i:j] * 2,
            odd(rng),
            text[i:j][::-1],
            chr(rng.choice([0, 10, 34, 91, 123, 125, 0x2028, 0x1F600])),
        ]
        text = text[:i] + middle[how] + text[j:]
    return text


def spoiled_bytes(rng: random.Random, data: bytes) -> bytes:
    """As `spoiled`, of bytes."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        i = rng.randrange(len(out) + 1)
        how = rng.randrange(4)
        if how == 0 and i < len(out):
            out[i] ^= 1 << rng.randrange(8)
        elif how == 1:
            del out[i:]
        elif how == 2:
            out[i:i] = rng.randbytes(rng.randint(1, 9))
        else:
            del out[i : i + rng.randint(1, 40)]
    return bytes(out)


def changed(rng: random.Random, value: Any) -> Any:
    """A value of JSON with something in it changed, at a random depth."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        out, key = dict(value), rng.choice(sorted(value))
        how = rng.random()
        if how < 0.1:
            del out[key]
        elif how < 0.15:
            out[odd(rng)] = rng.choice(VALUES)
        else:
            out[key] = changed(rng, out[key])
        return out
    if isinstance(value, list) and value and rng.random() < 0.8:
        i = rng.randrange(len(value))
        return [changed(rng, v) if k == i else v for k, v in enumerate(value)] * rng.choice([1, 1, 1, 2])
    return rng.choice(VALUES)
