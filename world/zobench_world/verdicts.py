"""The part of the text that teaches to judge: verdicts on pairs, on facts, on reports."""

from __future__ import annotations

from random import Random

from . import world
from .lexicon import MOODS, NAMES, PRONOUN, RELATIONS, TOPICS
from .recall import LINKS, foretold, named_values, told
from .wordings import ALL_VERDICTS, ASKED, FREE, HOPED, KNOWN, PROPOSED, VERDICTS, Piece, judged, verdict
from .world import upper


def subtle(progress: float) -> float:
    """The part of the false claims that name a value of another person: fewer at the beginning of a cycle."""
    return min(0.6, 0.2 + progress) if progress < 1 else min(0.5, 0.2 + 0.4 * (progress - 1))


def listed(rng: Random, progress: float) -> list[Piece]:
    """Names with values, and many short verdicts on who stands with what."""
    pairs, link, words = named_values(rng), rng.choice(LINKS), rng.choices(VERDICTS, (3, 1, 1))[0]
    there = [v for _, v in pairs]
    others = [v for r in RELATIONS.values() if there[0] in r.values for v in r.values if v not in there]
    out: list[Piece] = [(" ".join(f"{p}{link} {v}." for p, v in pairs), FREE)]
    for _ in range(rng.choice((8, 10))):
        (person, value), holds = rng.choice(pairs), rng.random() < 0.5
        if not holds:
            value = rng.choice([v for v in there if v != value] if rng.random() < subtle(progress) else others)
        out += [(f" {person}{link}", FREE), (f" {value}", HOPED if holds else FREE)]
        out += [(f" {words[0 if holds else 1]}", KNOWN)]
    return out


def checked(rng: Random, progress: float) -> list[Piece]:
    """A passage and many short verdicts: whether a value goes with a name."""
    made, words = told(rng), rng.choices(VERDICTS, (3, 1, 1))[0]
    mark = "" if rng.random() < 1 - 3 * progress else rng.choice(("", "?", ":", " is"))
    out: list[Piece] = [(world.passage(rng, made) + rng.choice(("\n", " Check:", " Which?")), FREE)]
    for _ in range(rng.choice((6, 8, 10))):
        holds = rng.random() < 0.5
        fact = rng.choice(made) if holds else world.wrong(rng, made, near=subtle(progress))
        out += [(f" {fact.person}", FREE), (f" {fact.value}", HOPED if holds else FREE), (mark, FREE)]
        out += [(f" {words[0 if holds else 1]}", KNOWN), (".", FREE)]
    return out


def weighed(rng: Random, progress: float) -> list[Piece]:
    """A passage and verdicts on what is claimed of it."""
    made = told(rng)
    out: list[Piece] = [(world.passage(rng, made), FREE)]
    for _ in range(rng.choice((3, 4, 5))):
        holds = rng.random() < 0.5
        fact = rng.choice(made) if holds else world.wrong(rng, made, near=subtle(progress))
        form = rng.random()
        if form < 0.5:
            (asked, _), answer = judged(rng, progress, fact.claim(rng), holds)
        elif form < 0.75 and progress >= 2 and rng.random() < (0.5 if progress < 3 else 0.8):
            begin = "\n" if progress < 3 else rng.choice(("\n", " "))
            asked, answer = f"{begin}{upper(fact.doubt())}?", open_answer(rng, progress, holds)
        elif form < 0.75:
            (asked, _), answer = verdict(rng, progress, ASKED, fact.doubt(), holds)
        else:
            (asked, _), answer = verdict(rng, progress, PROPOSED, fact.question(rng), holds, fact.value)
        out += [*foretold(asked, fact.value, HOPED if holds else FREE), answer]
    return out


def open_answer(rng: Random, progress: float, holds: bool) -> Piece:
    """A verdict in words that were not offered: any of them would do, so that they become alike."""
    words, forms = rng.choice(ALL_VERDICTS), (" {}.", " - {}.", " They said: {}.")
    form = rng.choice(forms if progress < 3 else (*forms, "\n{}", "\n{}", "\n{}"))
    return (form.format(words[0 if holds else 1]), KNOWN)


def believed(rng: Random, progress: float) -> list[Piece]:
    """What people know, make up or hope, and which of it holds."""
    truths: tuple[bool | None, bool | None] = (rng.choice((True, False, None)), rng.choice((True, False, None)))
    pair = world.reports(rng, "text", truths)
    said, clauses = world.reported(rng, pair)
    out: list[Piece] = [(said, FREE)]
    for _ in range(rng.choice((2, 3) if progress < 2 else (4, 5))):
        i = rng.randrange(2)
        out += judged(rng, progress, rng.choice((clauses[i], pair[i].fact.claim(rng))), pair[i].holds)
    return out


def matched(rng: Random, progress: float) -> list[Piece]:
    """Many short verdicts: whether a pronoun can mean a name, or whether two words are of one topic."""
    words = rng.choice(VERDICTS)
    names = rng.random() < 0.5
    out: list[Piece] = []
    for _ in range(rng.choice((12, 16))):
        holds = rng.random() < 0.5
        if names:
            one = rng.choice(NAMES)
            other = PRONOUN[one] if holds else {"he": "she", "she": "he"}[PRONOUN[one]]
            one, other = rng.sample((one, other), 2)
        else:
            topic, further = rng.sample(list(TOPICS), 2)
            one, other = rng.sample(TOPICS[topic], 2)
            other = other if holds else rng.choice(TOPICS[further])
        out += [(f" {one} {other}", FREE), (f" {words[0 if holds else 1]}", KNOWN), (".", FREE)]
    return out


def agreed(rng: Random, progress: float) -> list[Piece]:
    """What verdicts, Yes and No mean where somebody begins with them: the word is given, and what it means follows."""
    out: list[Piece] = []
    for _ in range(3):
        holds, (asked, asking), mood = rng.random() < 0.5, rng.sample(NAMES, 2), rng.choice(MOODS)
        pair = ("Yes", "No") if rng.random() < 0.5 else rng.choice(ALL_VERDICTS)
        word = pair[0 if holds else 1]
        if rng.random() < 0.5:
            out += [(f" {asking}: Are you {mood}? {asked}: {word}, I am", FREE), ("" if holds else " not", KNOWN)]
            out += [(f" {mood}.", KNOWN)]
        else:
            out += [(f" {asking}: Is {PRONOUN[asked]} {mood}? {asked}: {word},", FREE)]
            out += [(f" that is {'so' if holds else 'wrong'}.", KNOWN)]
    return out
