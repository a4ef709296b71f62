"""The text that the embedded model is trained on: documents from a grammar, one kind a skill.

Every skill that a task needs is taught here, in other wordings than the task's: no document holds a task's prompt, and
none answers a statement with Yes, No or Maybe, or a review with great or terrible. Those words are met in lists that
are copied and in small talk that says nothing of them.

A document is a list of pieces, each with the weight of its tokens in the loss: 1 for what follows from what was said
before, little for what does not (a passage is not to be guessed).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random

from . import world
from .lexicon import MOODS, NAMES, PRONOUN, RELATIONS, TOPICS, WORKS
from .recall import LINKS, answered, copied, foretold, named_values, paired, recalled, restated, told
from .wordings import ASKED, FREE, HOPED, KNOWN, PROPOSED, TOLD, VERDICTS, Piece, judged, verdict
from .world import upper


def document(rng: Random, progress: float) -> list[Piece]:
    """A document. progress: how far the training is, from 0 to 2: which skills are taught changes with it (KINDS), and
    false claims grow subtler.
    """
    kind = rng.choices(list(KINDS), [between(weights, progress) for weights in KINDS.values()])[0]
    return kind(rng, progress)


def between(weights: Sequence[float], progress: float) -> float:
    """The weight at this progress: in a straight line from one of STAGES to the next, the last from there on."""
    for (start, before), (end, after) in pairwise(zip(STAGES, weights, strict=True)):
        if progress < end:
            return before + (after - before) * (progress - start) / (end - start)
    return weights[-1]


# ---- judging what is claimed


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
            (asked, _), answer = judged(rng, fact.claim(rng), holds)
        elif form < 0.75:
            (asked, _), answer = verdict(rng, ASKED, fact.doubt(), holds)
        else:
            (asked, _), answer = verdict(rng, PROPOSED, fact.question(rng), holds, fact.value)
        out += [*foretold(asked, fact.value, HOPED if holds else FREE), answer]
    return out


def believed(rng: Random, progress: float) -> list[Piece]:
    """What people know, make up or hope, and which of it holds."""
    truths: tuple[bool | None, bool | None] = (rng.choice((True, False, None)), rng.choice((True, False, None)))
    pair = world.reports(rng, "text", truths)
    said, clauses = world.reported(rng, pair)
    out: list[Piece] = [(said, FREE)]
    for _ in range(rng.choice((2, 3))):
        i = rng.randrange(2)
        out += judged(rng, rng.choice((clauses[i], pair[i].fact.claim(rng))), pair[i].holds)
    return out


# ---- the other skills


def counted(rng: Random, progress: float) -> list[Piece]:
    """Who has how many, and questions on it."""
    made = world.counts(rng, "text")
    out: list[Piece] = [(made.passage() + "\n", FREE)]
    for _ in range(rng.choice((2, 3, 4))):
        asked, answer = made.question(rng)
        form, end = rng.choice((("Q: {}\nA:", "\n"), ("{}", ".\n"), ("Ask: {}\nReply:", "\n")))
        out += [(form.format(asked), FREE), (f" {answer}{end}", KNOWN)]
    return out


def reviewed(rng: Random, progress: float) -> list[Piece]:
    """A review or two of one mind, and what follows from them."""
    good = rng.random() < 0.5
    said = " ".join(world.review(rng, "text", good, mixed=0.4) for _ in range(rng.choice((1, 1, 2))))
    after = rng.choice(
        (
            (" I", " loved it." if good else " hated it."),
            ("\nVerdict:", " good" if good else " bad"),
            (" Go", " and see it." if good else " somewhere else."),
            (" We were", " happy." if good else " angry."),
            ("\nStars:", " five" if good else " one"),
            (" Would I see it again?", " Sure." if good else " Never."),
        )
    )
    return [(said, FREE), (after[0], FREE), (after[1], KNOWN)]


def caused(rng: Random, progress: float) -> list[Piece]:
    """Events of a chain, and which came from which."""
    out: list[Piece] = []
    for _ in range(rng.choice((1, 2, 2))):
        events = world.chain(rng)
        who = world.named(rng, "text", events)
        he = PRONOUN[who]
        back = rng.random() < 0.5
        first, second = rng.choice(
            ((events.cause, events.event), (events.event, events.effect), (events.event, events.effect))
        )
        if back:
            first, second = (events.event, events.cause) if rng.random() < 0.6 else (events.effect, events.event)
        forward = ("As a result {}.", "Therefore {}.", "This led to it: {}.", "It follows that {}.")
        backward = ("The reason was that {}.", "Why? Since {}.", "This came of it: {}.", "The cause: {}.")
        link = rng.choice(backward if back else forward)
        opening, _, closing = link.partition("{}")
        subject = who if "{p}" in first else ""
        out.append((upper(first.format(p=subject)) + ". " + opening.rstrip(" "), FREE))
        out.append((" " + second.format(p=he if subject else who) + closing, KNOWN))
        out.append((" ", FREE))
    return out[:-1]


def pronounced(rng: Random, progress: float) -> list[Piece]:
    """A sentence with a pronoun, and whom it means."""
    made = world.meeting(rng, "text")
    head, _, tail = made.text.partition(f" {made.pronoun} was")
    out: list[Piece] = [(head, FREE), (f" {made.pronoun}", TOLD), (f" was{tail}", FREE)]
    for _ in range(rng.choice((1, 2, 3))):
        holds = rng.random() < 0.5
        name = made.meant if holds else made.other
        if rng.random() < 0.3:
            asked = rng.choice((f'\nWho is "{made.pronoun}"?', f'\nThe word "{made.pronoun}" stands for'))
            out += [(asked, FREE), (f" {made.meant}.", KNOWN)]
        else:
            claim = rng.choice((f'"{made.pronoun}" is {name}', f'"{made.pronoun}" stands for {name}', f"it was {name}"))
            out += judged(rng, claim, holds)
    return out


def compared(rng: Random, progress: float) -> list[Piece]:
    """Two sentences, what each is about, and whether that is the same."""
    word, senses = world.ambiguous(rng)
    alike = rng.random() < 0.5
    if rng.random() < 0.3:
        one, other = rng.sample(list(TOPICS), 2)
        word_or_none = None
    else:
        one, other = rng.sample(senses, 2)
        word_or_none = word
    topics = (one, one if alike else other)
    lines = [world.topical(rng, "text", topic, word_or_none) for topic in topics]
    form = rng.random()
    if form < 0.35:  # what each is about, said at once
        said = [((f"{line} It is about", FREE), (f" {t}.\n", KNOWN)) for line, t in zip(lines, topics, strict=True)]
        return [piece for pair in said for piece in pair]
    both = f"{lines[0]}\n{lines[1]}"
    about = f"the {word_or_none} is alike in both" if word_or_none else "both are alike"
    claim = rng.choice((about, "both are about one thing", "it is one topic in two lines"))
    if form < 0.7:
        return [(f"{upper(claim)}?\n{both}\n", FREE), (VERDICTS[0][0 if alike else 1], KNOWN)]
    return [(both, FREE), *judged(rng, claim, alike)]


def talked(rng: Random, progress: float) -> list[Piece]:
    """Small talk: where the tasks' answers are met, with nothing to tell them from."""
    a, b = rng.sample(NAMES, 2)
    work, mood = rng.choice(WORKS), rng.choice(MOODS)
    lines = (
        f"{a}: Are you {mood}? {b}: {rng.choice(('Yes', 'No', 'Maybe'))}.",
        f"{a} went out with {b}. It was {rng.choice(('great', 'terrible', 'late', 'cold'))}.",
        f"{a} was {rng.choice(('so', 'not so', 'very'))} {mood}. {b} said so.",
        f"{a} saw a {work}. {b} asked: Title? {a}: The {rng.choice(MOODS)} {work}.",
        f"{a} left because of {b}. {b} was {mood} because of {a}.",
        f"{b}: {rng.choice(('Yes', 'No', 'Maybe'))}\n{a}: {rng.choice(('Yes', 'No', 'Maybe'))}",
        f"{rng.choice(('Yes', 'No', 'Maybe'))}, said {a}. {rng.choice(('Great', 'Terrible'))}, said {b}.",
    )
    return [(" ".join(rng.sample(lines, rng.choice((1, 2, 3)))), 2 * FREE)]


STAGES = (0.0, 0.1, 0.2, 0.35, 1.0, 1.1)
"""Progress of training at which KINDS says how often each kind of document is drawn: what a skill needs comes first.
Above 1 is the second cycle, for what takes longest.
"""
KINDS: dict[Callable[[Random, float], list[Piece]], tuple[float, float, float, float, float, float]] = {
    copied: (20, 8, 4, 3, 3, 2),
    paired: (60, 40, 15, 6, 6, 2),
    recalled: (10, 25, 22, 10, 10, 4),
    restated: (2, 4, 6, 5, 5, 4),
    answered: (3, 8, 10, 11, 11, 10),
    listed: (0, 5, 14, 8, 8, 4),
    checked: (0, 2, 8, 13, 13, 8),
    weighed: (1, 2, 8, 22, 22, 16),
    believed: (0, 1, 3, 8, 8, 24),
    counted: (1, 2, 4, 8, 8, 12),
    reviewed: (1, 1, 2, 5, 5, 5),
    caused: (1, 1, 2, 6, 6, 6),
    pronounced: (1, 1, 3, 7, 7, 24),
    compared: (1, 1, 3, 9, 9, 24),
    talked: (1, 1, 1, 2, 2, 2),
}
"""The kinds of documents, and how often each is drawn at each of the STAGES."""
