"""Random pieces of the world: people and facts, numbers, reports. The text and the tasks are made of these and of the
scenes, from disjoint shares.

Every piece that could be met again has a key; `share` says, from the key alone, whether it belongs to the text, to the
tasks' training pools or to their validation pools. Whoever draws a piece draws again until it is of his share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from random import Random
from typing import Literal, NamedTuple, TypeVar

from .lexicon import DEALS, DENIED, KNOWN, NAMES, NUMBERS, OPEN, RELATIONS, THINGS

Share = Literal["text", "train", "validation"]
T = TypeVar("T")

SHARES: tuple[Share, ...] = ("text",) * 12 + ("train", "train", "validation", "validation")


def share(key: str) -> Share:
    """The share that a piece with this key belongs to: 3/4 text, 1/8 each for training and validation."""
    return SHARES[hashlib.blake2b(key.encode(), digest_size=2).digest()[0] % len(SHARES)]


def drawn(rng: Random, of: Share, make: Callable[[Random], T], key: Callable[[T], str]) -> T:
    """What `make` gives first whose key is of this share."""
    while True:
        piece = make(rng)
        if share(key(piece)) == of:
            return piece


def upper(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[0].upper() + text[1:]


# ---- facts of people


class Fact(NamedTuple):
    """`value` is what `relation` says of `person`."""

    person: str
    relation: str
    value: str

    def said(self, rng: Random) -> str:
        """One of the sentences for it."""
        return rng.choice(RELATIONS[self.relation].says).format(p=self.person, v=self.value)

    def claim(self, rng: Random) -> str:
        """One of the clauses for it, with a small first letter where it begins with none of a name."""
        return rng.choice(RELATIONS[self.relation].claims).format(p=self.person, v=self.value)

    def question(self, rng: Random) -> str:
        """One of the questions for its value."""
        return rng.choice(RELATIONS[self.relation].asks).format(p=self.person)

    def who(self, rng: Random) -> str:
        """One of the questions for its person, made of a clause that begins with the person; no text has them."""
        clauses = [c for c in RELATIONS[self.relation].claims if c.startswith("{p} ")]
        return rng.choice(clauses).format(p="Who", v=self.value) + "?"

    def doubt(self) -> str:
        """The question whether it is so, without its mark."""
        return RELATIONS[self.relation].doubt.format(p=self.person, v=self.value)

    def turned(self) -> str:
        """The clause for it that begins with the value."""
        return RELATIONS[self.relation].turned.format(p=self.person, v=self.value)


def facts(rng: Random, of: Share, *, people: int, count: int) -> list[Fact]:
    """`count` facts of `people` persons, at least one of each; no person with two of a relation, no value twice in it.

    In the tasks the relations are as few as that allows, so that persons can be confused; in the text there may be one
    more. Not for fewer facts than persons.
    """

    def make(rng: Random) -> list[Fact]:
        who = rng.sample(NAMES, people)
        kinds = rng.sample(list(RELATIONS), -(-count // people) + (rng.randint(0, 1) if of == "text" else 0))
        places = [(p, k) for p in who for k in kinds]
        rng.shuffle(places)
        first = [next(place for place in places if place[0] == p) for p in who]
        rest = [place for place in places if place not in first]
        chosen = [*first, *rest][:count]
        rng.shuffle(chosen)
        values = {k: rng.sample(RELATIONS[k].values, people) for k in kinds}
        return [Fact(p, k, values[k][who.index(p)]) for p, k in chosen]

    return drawn(rng, of, make, lambda made: "facts " + " ".join(sorted("/".join(f) for f in made)))


def passage(rng: Random, of: list[Fact]) -> str:
    """The facts as sentences, one after the other."""
    return " ".join(f.said(rng) for f in of)


def wrong(rng: Random, of: list[Fact], *, near: float) -> Fact:
    """A fact with the value exchanged: with probability `near` for that of another person of the passage, if there is
    one (so that nothing but the pairing is wrong), else for one that the passage does not have.
    """
    if rng.random() < near:
        swaps = [f._replace(value=g.value) for f in of for g in of if g.relation == f.relation and g.value != f.value]
        if swaps:
            return rng.choice(swaps)
    fact = rng.choice(of)
    there = {g.value for g in of}
    return fact._replace(value=rng.choice([v for v in RELATIONS[fact.relation].values if v not in there]))


# ---- numbers


class Tally(NamedTuple):
    """Who has how many of what. `deal`: its verb and its question."""

    things: str
    deal: tuple[str, str]
    people: tuple[str, ...]
    numbers: tuple[int, ...]

    def passage(self) -> str:
        """A sentence a person."""
        pairs = zip(self.people, self.numbers, strict=True)
        return " ".join(f"{p} {self.deal[0]} {n} {self.things}." for p, n in pairs)

    def most(self) -> str:
        """Who has most."""
        return max(zip(self.numbers, self.people, strict=True))[1]

    def question(self, rng: Random) -> tuple[str, str]:
        """A question on the passage, and its answer: how many someone has, who has most, how many more."""
        kind, (i, j) = rng.random(), rng.sample(range(len(self.people)), 2)
        if kind < 0.5:
            asked = self.deal[1].format(p=self.people[i])
            return f"How many {self.things} {asked}?", str(self.numbers[i])
        if kind < 0.8:
            return f"Who {self.deal[0]} the most {self.things}?", self.most()
        if self.numbers[i] < self.numbers[j]:
            i, j = j, i
        asked = self.deal[1].format(p=self.people[i])
        more = str(self.numbers[i] - self.numbers[j])
        return f"How many more {self.things} {asked} than {self.people[j]}?", more


def counts(rng: Random, of: Share, people: int | None = None) -> Tally:
    """Two or three people (or as many as are asked for) and their numbers, all different; who may have how many of what
    depends on the share.
    """
    k, things, deal = people or rng.choice((2, 2, 3)), rng.choice(THINGS), rng.choice(DEALS)

    def make(rng: Random) -> tuple[str, int]:
        return rng.choice(NAMES), int(rng.choice(NUMBERS))

    found: dict[str, int] = {}
    while len(found) < k:
        who, number = drawn(rng, of, make, lambda made: f"counts {made[0]} {made[1]} {things}")
        if who not in found and number not in found.values():
            found[who] = number
    return Tally(things, deal, tuple(found), tuple(found.values()))


# ---- what people know, hope and deny


class Statement(NamedTuple):
    """`speaker` `verb` that `fact`. holds: True, False, or None where the verb leaves it open."""

    speaker: str
    verb: str
    fact: Fact
    holds: bool | None


VERBS: dict[bool | None, tuple[str, ...]] = {True: KNOWN, False: DENIED, None: OPEN}


def reports(rng: Random, of: Share, holds: tuple[bool | None, bool | None]) -> tuple[Statement, Statement]:
    """Two reports on two facts of two persons, by two further speakers; `holds`: of each."""

    def make(rng: Random) -> tuple[Statement, Statement]:
        first, second, *who = rng.sample(NAMES, 4)
        out = []
        for speaker, person, truth in zip((first, second), who, holds, strict=True):
            kind = rng.choice(list(RELATIONS))
            fact = Fact(person, kind, rng.choice(RELATIONS[kind].values))
            out.append(Statement(speaker, rng.choice(VERBS[truth]), fact, truth))
        return out[0], out[1]

    def key(made: tuple[Statement, Statement]) -> str:
        return "reports " + " ".join("/".join(r.fact) + r.verb for r in made)

    return drawn(rng, of, make, key)


def reported(rng: Random, of: tuple[Statement, Statement]) -> tuple[str, tuple[str, str]]:
    """The passage that says both, and the clause of each."""
    clauses = (of[0].fact.claim(rng), of[1].fact.claim(rng))
    said = " ".join(f"{r.speaker} {r.verb} that {c}." for r, c in zip(of, clauses, strict=True))
    return said, clauses
