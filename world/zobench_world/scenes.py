"""Random scenes of the world beside its facts: reviews, two people in a sentence, topics, causes."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from .events import CHAINS, Chain
from .lexicon import AMBIGUOUS, BLAME, DEGREES, HE, MEETINGS, MOODS, NAMES, PARTS, PRAISE, PRONOUN, SHE, TOPICS, WORKS
from .world import Share, drawn, upper

# ---- reviews


def review(rng: Random, of: Share, good: bool, *, mixed: float) -> str:
    """A sentence on a work; with probability `mixed` one that has a word of the other side in it, and means its own."""

    def make(rng: Random) -> str:
        own, other = (PRAISE, BLAME) if good else (BLAME, PRAISE)
        a, c, b = (*rng.sample(own, 2), rng.choice(other))
        work, (part, piece), degree = rng.choice(WORKS), rng.sample(PARTS, 2), rng.choice(DEGREES)
        plain = (
            f"The {work} is {a} and {c}.",
            f"A {a} and {c} {work}.",
            f"The {part} is {degree} {a} and the {piece} is {c}.",
            f"This {work} has {a} {part} and {c} {piece}.",
            f"I found the {work} {degree} {a}.",
        )
        both = (
            f"The {part} is {b} but the {work} is {a} and {c}.",
            f"The {work} is {a}, never {b}.",
            f"The {work} is {a} and {c}, though the {part} is {b}.",
            f"The {work} seems {b} but is {degree} {a}.",
            f"Despite the {b} {part}, the {work} is {a}.",
            f"The {work} is {a}, even if the {piece} is {b}.",
        )
        return rng.choice(both if rng.random() < mixed else plain)

    return drawn(rng, of, make, lambda made: "review " + made)


def denial(rng: Random, of: Share, good: bool) -> str:
    """A sentence on a work with one word of praise or blame in it, which is denied, affirmed, or both in turn."""

    def make(rng: Random) -> str:
        denied, told = rng.choice(((True, None), (False, "right"), (False, "wrong"), (True, "right"), (True, "wrong")))
        own = good ^ denied ^ (told == "wrong")
        word, work = rng.choice(PRAISE if own else BLAME), rng.choice(WORKS + PARTS)
        if denied:
            said = rng.choice((f"nobody would call the {work} {word}", f"there is nothing {word} in this {work}"))
        else:
            said = f"the {work} is {rng.choice(DEGREES)} {word}"
        return f"{upper(said)}." if told is None else f"I was told that {said}, and that is {told}."

    return drawn(rng, of, make, lambda made: "review " + made)


# ---- pronouns


class Meeting(NamedTuple):
    """Two people in one sentence, and a pronoun that means one of them."""

    text: str
    pronoun: str
    meant: str
    other: str


def meeting(rng: Random, of: Share) -> Meeting:
    """A man and a woman in either order; the pronoun means either."""

    def make(rng: Random) -> Meeting:
        pair = [rng.choice(HE), rng.choice(SHE)]
        rng.shuffle(pair)
        meant, other = rng.sample(pair, 2)
        verb, mood, link = rng.choice(MEETINGS), rng.choice(MOODS), rng.choice(("when", "while", "as"))
        text = f"{pair[0]} {verb} {pair[1]} {link} {PRONOUN[meant]} was {mood}."
        return Meeting(text, PRONOUN[meant], meant, other)

    return drawn(rng, of, make, lambda made: "meeting " + made.text)


# ---- topics


def topical(rng: Random, of: Share, topic: str, word: str | None = None) -> str:
    """A sentence of a topic: three of its words, and `word`, an ambiguous one, if there is one."""

    def make(rng: Random) -> str:
        a, b, c = rng.sample(TOPICS[topic], 3)
        who = rng.choice(NAMES)
        forms: tuple[str, ...]
        if word is None:
            forms = (f"{who} spoke of the {a}, the {b} and the {c}.", f"The {a} and the {b} were near the {c}.")
        else:
            forms = (
                f"{who} spoke of the {a}, the {word} and the {b}.",
                f"The {word} and the {a} were near the {b}.",
                f"With the {a} and the {b} came the {word}.",
            )
        return rng.choice(forms)

    return drawn(rng, of, make, lambda made: "topical " + made)


def ambiguous(rng: Random) -> tuple[str, tuple[str, str]]:
    """An ambiguous word and its two topics."""
    return rng.choice(list(AMBIGUOUS.items()))


# ---- causes


def chain(rng: Random) -> Chain:
    """One of the chains of events."""
    return rng.choice(CHAINS)


def named(rng: Random, of: Share, told: Chain) -> str:
    """A person for a chain: which persons a chain is told of differs between the shares."""
    return drawn(rng, of, lambda rng: rng.choice(NAMES), lambda person: told_key(told, person))


def another(rng: Random, of: Share, told: Chain, who: str) -> tuple[Chain, str]:
    """Another chain, and a person for it: a man if `who` is a woman, and the other way round."""
    people = HE if who in SHE else SHE

    def make(rng: Random) -> tuple[Chain, str]:
        return rng.choice([c for c in CHAINS if c is not told]), rng.choice(people)

    return drawn(rng, of, make, lambda made: told_key(*made))


def told_key(told: Chain, person: str) -> str:
    """The key of a chain that is told of a person."""
    return f"chain {told.event} {person}"
