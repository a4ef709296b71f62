"""The eleven tasks of the small world, with the fields and label conventions of the hub's data sets.

Their prompts are those of the real tasks; what is made here is only what the items say. Items are drawn from shares of
the world that the text does not see, by one seed a task and split, so that a task's data are the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any, NamedTuple

from ...errors import ZobenchError, unknown
from . import world
from .lexicon import PRONOUN
from .world import Share, upper

Item = Mapping[str, Any]

VERSION = 1
"""Of the data: it changes with anything that changes an item."""


class Size(NamedTuple):
    """Items of the training pool (train and dev are drawn from it) and of the validation pool (test)."""

    train: int = 712
    validation: int = 400


def sst2(rng: Random, of: Share) -> Item:
    """Sentiment of one sentence; seven of ten have a word of the other side in them."""
    label = rng.randrange(2)
    return {"sentence": world.review(rng, of, bool(label), mixed=0.7), "label": label}


def rte(rng: Random, of: Share) -> Item:
    """Does a passage of two or three facts say what is claimed; a false claim mostly swaps two persons' values."""
    made = world.facts(rng, of, people=2, count=rng.choice((2, 3)))
    label = rng.randrange(2)
    claimed = world.wrong(rng, made, near=0.7) if label else rng.choice(made)
    return {"premise": world.passage(rng, made), "hypothesis": upper(claimed.claim(rng)) + ".", "label": label}


def cb(rng: Random, of: Share) -> Item:
    """Two reports, of which the verbs say whether their clauses hold; the hypothesis is one of the clauses."""
    label = rng.choices((0, 1, 2), (45, 40, 15))[0]
    asked: bool | None = (True, False, None)[label]
    other = rng.choice([t for t in (True, False, None) if t is not asked])
    at = rng.randrange(2)
    pair = world.reports(rng, of, (asked, other) if at == 0 else (other, asked))
    said, clauses = world.reported(rng, pair)
    return {"premise": said, "hypothesis": clauses[at], "label": label}


def boolq(rng: Random, of: Share) -> Item:
    """A yes-no question on a passage; three of five are to be affirmed."""
    made = world.facts(rng, of, people=2, count=rng.choice((2, 3)))
    answer = rng.random() > 0.4
    asked = rng.choice(made) if answer else world.wrong(rng, made, near=0.7)
    return {"passage": world.passage(rng, made), "question": asked.doubt(), "answer": answer, "label": int(answer)}


def wsc(rng: Random, of: Share) -> Item:
    """Whom a pronoun means: the one of two persons that it can mean."""
    made = world.meeting(rng, of)
    label = rng.randrange(2)
    name = made.meant if label else made.other
    return {"text": made.text, "span1_text": name, "span2_text": made.pronoun, "label": label}


def wic(rng: Random, of: Share) -> Item:
    """One ambiguous word in two sentences: of one topic, or of its two."""
    word, senses = world.ambiguous(rng)
    one, other = rng.sample(senses, 2)
    label = rng.randrange(2)
    lines = [world.topical(rng, of, topic, word) for topic in (one, one if label else other)]
    return {"word": word, "sentence1": lines[0], "sentence2": lines[1], "label": label}


def multirc(rng: Random, of: Share) -> Item:
    """A question on a paragraph of four facts, and an answer that is right or, mostly, another person's."""
    made = world.facts(rng, of, people=2, count=4)
    label = rng.randrange(2)
    given = rng.choice(made) if label else world.wrong(rng, made, near=0.7)
    return {
        "paragraph": world.passage(rng, made),
        "question": given.question(rng),
        "answer": given.value,
        "label": label,
    }


def copa(rng: Random, of: Share) -> Item:
    """What came of an event, or why it happened; the other choice is its cause, or its effect."""
    told = world.chain(rng)
    who = world.named(rng, of, told)
    he = PRONOUN[who]
    question, label = rng.choice(("cause", "effect")), rng.randrange(2)
    right, left = (told.effect, told.cause) if question == "effect" else (told.cause, told.effect)
    choices = [upper(c.format(p=he)) + "." for c in ((right, left) if label == 0 else (left, right))]
    premise = upper(told.event.format(p=who)) + "."
    return {"premise": premise, "choice1": choices[0], "choice2": choices[1], "question": question, "label": label}


def record(rng: Random, of: Share) -> Item:
    """One of three persons to be filled into a sentence that says a fact of the passage again."""
    made = world.facts(rng, of, people=3, count=4)
    asked = rng.choice(made)
    query = upper(asked._replace(person="@placeholder").claim(rng)) + "."
    people = list(dict.fromkeys(f.person for f in made))
    rng.shuffle(people)
    return {"passage": world.passage(rng, made), "query": query, "entities": people, "answers": [asked.person]}


def squad(rng: Random, of: Share) -> Item:
    """A question for a value of a passage."""
    made = world.facts(rng, of, people=2, count=rng.choice((3, 4)))
    asked = rng.choice(made)
    return {
        "title": asked.person,
        "context": world.passage(rng, made),
        "question": asked.question(rng),
        "answers": {"text": [asked.value]},
    }


def drop(rng: Random, of: Share) -> Item:
    """A question on who has how many: the number, who has most, how many more."""
    made = world.counts(rng, of)
    question, answer = made.question(rng)
    return {"passage": made.passage(), "question": question, "answers_spans": {"spans": [answer]}}


MAKERS: dict[str, tuple[Callable[[Random, Share], Item], Size]] = {
    "sst2": (sst2, Size()),
    "rte": (rte, Size(validation=277)),
    "cb": (cb, Size(250, 56)),
    "boolq": (boolq, Size()),
    "wsc": (wsc, Size(554, 104)),
    "wic": (wic, Size()),
    "multirc": (multirc, Size()),
    "copa": (copa, Size(400, 100)),
    "record": (record, Size()),
    "squad": (squad, Size()),
    "drop": (drop, Size()),
}
"""How items are made, and how many: 512 + 200 and 400, fewer where the real task has fewer."""
TASKS = tuple(MAKERS)


def items(name: str, of: Share) -> Iterator[Item]:
    """Items of a task from a share, all different, without end."""
    make, seen, rng = MAKERS[name][0], set[str](), Random(f"{name}/{of}/{VERSION}")
    while True:
        item = make(rng, of)
        if repr(item) not in seen:
            seen.add(repr(item))
            yield item


def task_data(name: str) -> tuple[list[Item], list[Item], dict[str, Any]]:
    """The training and validation pools of a task, and where they are from. Raises ZobenchError for other names."""
    if name not in MAKERS:
        raise ZobenchError(unknown("embedded task", name, TASKS))
    size = MAKERS[name][1]
    train, validation = items(name, "train"), items(name, "validation")
    pools = [next(train) for _ in range(size.train)], [next(validation) for _ in range(size.validation)]
    return *pools, {"synthetic": True, "version": VERSION}
