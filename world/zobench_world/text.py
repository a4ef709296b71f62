"""The text that the embedded model is trained on: documents from a grammar, one kind a skill.

Every skill that a task needs is taught here, in other wordings than the task's: no document holds a task's prompt, and
none asks for Yes, No, Maybe, great or terrible. Those words are met in lists that are copied, in small talk, and where
somebody begins with one and what it means follows.

A document is a list of pieces, each with the weight of its tokens in the loss: 1 for what follows from what was said
before, little for what does not (a passage is not to be guessed).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random

from . import scenes, world
from .lexicon import MOODS, NAMES, PRONOUN, TOPICS, WORKS
from .recall import answered, copied, paired, recalled, restated
from .verdicts import agreed, believed, checked, listed, matched, weighed
from .wordings import FREE, KNOWN, TOLD, VERDICTS, Piece, judged
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
    said = " ".join(scenes.review(rng, "text", good, mixed=0.4) for _ in range(rng.choice((1, 1, 2))))
    return [(said, FREE), *followed(rng, good)]


def followed(rng: Random, good: bool) -> list[Piece]:
    """What somebody says or does who found something good, or bad."""
    after, then = rng.choice(
        (
            (" I", " loved it." if good else " hated it."),
            ("\nVerdict:", " good" if good else " bad"),
            (" Go", " and see it." if good else " somewhere else."),
            (" We were", " happy." if good else " angry."),
            ("\nStars:", " five" if good else " one"),
            (" Would I see it again?", " Sure." if good else " Never."),
        )
    )
    return [(after, FREE), (then, KNOWN)]


def praised(rng: Random, progress: float) -> list[Piece]:
    """What great and terrible mean: somebody calls something so, and what follows is to be foretold."""
    out: list[Piece] = []
    for _ in range(3):
        good, who = rng.random() < 0.5, rng.choice(NAMES)
        word, thing = "great" if good else "terrible", rng.choice(("day", "trip", "dinner", "week", "evening"))
        forms = (
            f" {who} had a {word} {thing}.",
            f" The {thing} of {who} is {word}.",
            f" {who}: What a {word} {thing}.",
        )
        out += [(rng.choice(forms), FREE), *followed(rng, good)]
    return out


def caused(rng: Random, progress: float) -> list[Piece]:
    """Events of a chain, and which came from which."""
    out: list[Piece] = []
    for _ in range(rng.choice((1, 2, 2))):
        events = scenes.chain(rng)
        who = scenes.named(rng, "text", events)
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


def joined(rng: Random, progress: float) -> list[Piece]:
    """Two events of a chain in one sentence."""
    events = scenes.chain(rng)
    who = scenes.named(rng, "text", events)
    first, second = rng.choice(((events.cause, events.event), (events.event, events.effect)))
    links = ("hence", "thus", "and then", "which is why")
    if rng.random() < 0.5:
        first, second, links = second, first, ("since", "as", "for", "given that")
    subject = who if "{p}" in first else ""
    said = f"{upper(first.format(p=subject))} {rng.choice(links)}"
    return [(said, FREE), (" " + second.format(p=PRONOUN[who] if subject else who) + ".", KNOWN)]


def pronounced(rng: Random, progress: float) -> list[Piece]:
    """A sentence with a pronoun, and whom it means."""
    made = scenes.meeting(rng, "text")
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
            out += judged(rng, progress, claim, holds)
    return out


def compared(rng: Random, progress: float) -> list[Piece]:
    """Two sentences, what each is about, and whether that is the same."""
    word, senses = scenes.ambiguous(rng)
    alike = rng.random() < 0.5
    if rng.random() < 0.3:
        one, other = rng.sample(list(TOPICS), 2)
        word_or_none = None
    else:
        one, other = rng.sample(senses, 2)
        word_or_none = word
    topics = (one, one if alike else other)
    lines = [scenes.topical(rng, "text", topic, word_or_none) for topic in topics]
    form = rng.random()
    if form < 0.35:  # what each is about, said at once
        said = [((f"{line} It is about", FREE), (f" {t}.\n", KNOWN)) for line, t in zip(lines, topics, strict=True)]
        return [piece for pair in said for piece in pair]
    both = f"{lines[0]}\n{lines[1]}"
    about = f"the {word_or_none} is alike in both" if word_or_none else "both are alike"
    claim = rng.choice((about, "both are about one thing", "it is one topic in two lines"))
    if form < 0.7:
        return [(f"{upper(claim)}?\n{both}\n", FREE), (VERDICTS[0][0 if alike else 1], KNOWN)]
    return [(both, FREE), *judged(rng, progress, claim, alike)]


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


STAGES = (0.0, 0.1, 0.2, 0.35, 1.0, 1.1, 2.0, 2.1, 3.0, 3.1)
"""Progress of training at which KINDS says how often each kind of document is drawn: what a skill needs comes first.
Above 1 is the second cycle, for what takes longest; above 2 the third, in which verdicts have many wordings; above 3
the last, in which words that no other kind says anything of get a meaning.
"""
KINDS: dict[Callable[[Random, float], list[Piece]], tuple[float, ...]] = {
    copied: (20, 8, 4, 3, 3, 2, 2, 2, 2, 2),
    paired: (60, 40, 15, 6, 6, 2, 2, 2, 2, 2),
    recalled: (10, 25, 22, 10, 10, 4, 4, 4, 4, 4),
    restated: (2, 4, 6, 5, 5, 4, 4, 4, 4, 4),
    answered: (3, 8, 10, 11, 11, 10, 10, 6, 6, 6),
    listed: (0, 5, 14, 8, 8, 4, 4, 3, 3, 3),
    checked: (0, 2, 8, 13, 13, 8, 8, 6, 6, 6),
    weighed: (1, 2, 8, 22, 22, 16, 16, 32, 32, 34),
    believed: (0, 1, 3, 8, 8, 24, 24, 30, 30, 30),
    counted: (1, 2, 4, 8, 8, 12, 12, 10, 10, 10),
    reviewed: (1, 1, 2, 5, 5, 5, 5, 4, 4, 4),
    caused: (1, 1, 2, 6, 6, 6, 6, 4, 4, 4),
    pronounced: (1, 1, 3, 7, 7, 24, 24, 14, 14, 14),
    compared: (1, 1, 3, 9, 9, 24, 24, 20, 20, 20),
    talked: (1, 1, 1, 2, 2, 2, 2, 2, 2, 2),
    joined: (0, 0, 0, 0, 0, 0, 0, 6, 6, 6),
    agreed: (0, 0, 0, 0, 0, 0, 0, 8, 8, 12),
    matched: (0, 0, 0, 0, 0, 0, 0, 14, 14, 6),
    praised: (0, 0, 0, 0, 0, 0, 0, 0, 0, 14),
}
"""The kinds of documents, and how often each is drawn at each of the STAGES."""
