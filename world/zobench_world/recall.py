"""The part of the text that teaches to copy and to recall: lists, names with values, passages and what they said."""

from __future__ import annotations

import re
from random import Random

from . import world
from .lexicon import NAMES, NUMBERS, RELATIONS, THINGS, TOPICS
from .wordings import COPIED, FREE, KNOWN, TOLD, Piece
from .world import Fact

PROMPT_WORDS = tuple(
    """Yes No Maybe great terrible so because Title Context Question Answer Passage Suppose Can we infer that Does this
    mean is true previous sentence does the pronoun refer to word have same meaning these two sentences found
    correct""".split()
)
"""Words of the tasks' prompts, which lists to copy are drawn from too."""
ALL_WORDS = tuple(
    dict.fromkeys(
        (
            *NAMES,
            *(v for r in RELATIONS.values() for v in r.values),
            *THINGS,
            *NUMBERS,
            *(w for words in TOPICS.values() for w in words),
            *PROMPT_WORDS,
        )
    )
)


def copied(rng: Random, progress: float) -> list[Piece]:
    """A list of words, and the same again, several times, each from another word on."""
    k = rng.choice((3, 4, 5, 6, 8, 12))
    words = rng.sample(ALL_WORDS, k)
    out: list[Piece] = [(" ".join(words) + ".", FREE)]
    for _ in range(max(2, 60 // k)):
        start = rng.randrange(k)
        turned = words[start:] + words[:start]
        out += [(f" {turned[0]}", FREE), (" " + " ".join(turned[1:]), COPIED), (".", FREE)]
    return out


def paired(rng: Random, progress: float) -> list[Piece]:
    """Names with values, and many of them again, in any order: what a name stands with is to be remembered."""
    pairs, links = named_values(rng), LINKS[: 1 + int(20 * progress)]
    link = rng.choice(links)
    out: list[Piece] = [(" ".join(f"{p}{link} {v}." for p, v in pairs), FREE)]
    for _ in range(16):
        person, value = rng.choice(pairs)
        out += [(f" {person}{rng.choice(links)}", FREE), (f" {value}", KNOWN), (".", FREE)]
    return out


def named_values(rng: Random) -> list[tuple[str, str]]:
    """Two to five names, each with a value of one relation, all different."""
    k = rng.choice((2, 3, 4, 5))
    return list(zip(rng.sample(NAMES, k), rng.sample(rng.choice(list(RELATIONS.values())).values, k), strict=True))


LINKS = ("", ":", " is", " has the")
"""What stands between a name and its value: nothing is easiest, as the value then follows the name."""


def told(rng: Random) -> list[Fact]:
    """The facts of a passage, mostly of two persons or three, who can be confused."""
    people = rng.choice((1, 2, 2, 2, 3))
    return world.facts(rng, "text", people=people, count=max(people, rng.choice((2, 3, 3, 4))))


def recalled(rng: Random, progress: float) -> list[Piece]:
    """A passage, and its facts one by one in other words, many times: only the values are to be known."""
    made = told(rng)
    out: list[Piece] = [(world.passage(rng, made), FREE)]
    for _ in range(rng.choice((5, 6, 8))):
        fact = rng.choice(made)
        out += foretold(" " + fact.said(rng), fact.value, KNOWN)
    return out


def foretold(text: str, value: str, weight: float) -> list[Piece]:
    """The text, which cannot be known but for the value in it: that has its own weight."""
    *_, found = re.finditer(rf" ?\b{value}\b", text)
    return [(text[: found.start()], FREE), (found[0], weight), (text[found.end() :], FREE)]


def restated(rng: Random, progress: float) -> list[Piece]:
    """A passage, and its facts again in other words or as a list."""
    made = told(rng)
    out: list[Piece] = [(world.passage(rng, made), FREE)]
    for _ in range(rng.choice((1, 2))):
        rng.shuffle(made)
        form = rng.random()
        if form < 0.5:
            opening = rng.choice(("\nIn short: ", "\nAgain: ", " In other words: ", "\nSummary: ", "\n* "))
            out += [(opening, FREE), (world.passage(rng, made), TOLD)]
        elif form < 0.75:
            link = rng.choice(LINKS)
            pairs = [((f" {f.person}{link}", FREE), (f" {f.value}", KNOWN), (",", FREE)) for f in made]
            out += [("\nList:", FREE), *[piece for pair in pairs for piece in pair]]
        else:
            out += [piece for f in made for piece in ((f"\n{f.question(rng)}", FREE), (f" {f.value}.", KNOWN))]
    return out


def answered(rng: Random, progress: float) -> list[Piece]:
    """A passage, questions for its values, and the answers."""
    made = told(rng)
    opening = rng.choice(("", "", "", "News: ", "Notes: ", f"About {made[0].person}: "))
    out: list[Piece] = [(opening + world.passage(rng, made) + "\n", FREE)]
    for _ in range(rng.choice((2, 3, 4))):
        fact = rng.choice(made)
        asked = fact.question(rng)
        form, answer = rng.choice(
            (
                (f"Q: {asked}\nA:", f" {fact.value}\n"),
                (asked, f" {fact.value}.\n"),
                (f"Ask: {asked}\nReply:", f" {fact.value}\n"),
                (f"{asked}\n", f"{fact.value}\n"),
            )
        )
        out += [(form, FREE), (answer, KNOWN)]
    return out
