"""The eleven tasks of the small world, with the fields and label conventions of the hub's data sets.

Their prompts are those of the real tasks; what is made here is only what the items say. Items are drawn from shares of
the world that the text does not see, by one seed a task and split, so that a task's data are the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any, NamedTuple

from zobench import ZobenchError, unknown

from . import scenes, world
from .lexicon import PRONOUN
from .world import Fact, Share, upper

Item = Mapping[str, Any]

VERSION = 2
"""Of the data: it changes with anything that changes an item."""
_SEED = 1  # stays, so that tasks that a new version leaves alone keep their items
NOISE = 0.03
"""Of the labels of SST-2 and WSC, in all splits: without it these two can be learnt to the last item."""


class Size(NamedTuple):
    """Items of the training pool (train and dev are drawn from it) and of the validation pool (test)."""

    train: int = 712
    validation: int = 400


def sst2(rng: Random, of: Share) -> Item:
    """Sentiment of one sentence: most have a word of the other side, one in seven denies or affirms the one it has."""
    good = rng.random() < 0.5
    said = scenes.denial(rng, of, good) if rng.random() < 0.15 else scenes.review(rng, of, good, mixed=0.7)
    return {"sentence": said, "label": annotated(rng, good)}


def annotated(rng: Random, holds: bool) -> int:
    """The label of what is so, or, NOISE of the time, the other one: as annotators err."""
    return int(holds ^ (rng.random() < NOISE))


def asked(rng: Random, made: list[Fact], holds: bool) -> list[Fact]:
    """One fact of a passage, or, one time in three, two; where they do not hold, one is false, and mostly names what
    another person has.
    """
    facts = rng.sample(made, rng.choice((1, 1, 2)))
    if not holds:
        facts[rng.randrange(len(facts))] = world.wrong(rng, made, near=0.7)
    return facts


def rte(rng: Random, of: Share) -> Item:
    """Does a passage of three facts say what is claimed."""
    made = world.facts(rng, of, people=2, count=3)
    label = rng.randrange(2)
    claim = " and ".join(fact.claim(rng) for fact in asked(rng, made, not label))
    return {"premise": world.passage(rng, made), "hypothesis": upper(claim) + ".", "label": label}


def cb(rng: Random, of: Share) -> Item:
    """Two reports, of which the verbs say whether their clauses hold; the hypothesis is one of the clauses."""
    label = rng.choices((0, 1, 2), (45, 40, 15))[0]
    holds: bool | None = (True, False, None)[label]
    other = rng.choice([t for t in (True, False, None) if t is not holds])
    at = rng.randrange(2)
    pair = world.reports(rng, of, (holds, other) if at == 0 else (other, holds))
    said, clauses = world.reported(rng, pair)
    return {"premise": said, "hypothesis": clauses[at], "label": label}


def boolq(rng: Random, of: Share) -> Item:
    """A yes-no question on a passage; three of five are to be affirmed."""
    made = world.facts(rng, of, people=2, count=3)
    answer = rng.random() > 0.4
    question = " and ".join(fact.doubt() for fact in asked(rng, made, answer))
    return {"passage": world.passage(rng, made), "question": question, "answer": answer, "label": int(answer)}


def wsc(rng: Random, of: Share) -> Item:
    """Whom a pronoun means: the one of two persons that it can mean."""
    made = scenes.meeting(rng, of)
    holds = rng.random() < 0.5
    name = made.meant if holds else made.other
    return {"text": made.text, "span1_text": name, "span2_text": made.pronoun, "label": annotated(rng, holds)}


def wic(rng: Random, of: Share) -> Item:
    """One ambiguous word in two sentences: of one topic, or of its two."""
    word, senses = scenes.ambiguous(rng)
    one, other = rng.sample(senses, 2)
    label = rng.randrange(2)
    lines = [scenes.topical(rng, of, topic, word) for topic in (one, one if label else other)]
    return {"word": word, "sentence1": lines[0], "sentence2": lines[1], "label": label}


def multirc(rng: Random, of: Share) -> Item:
    """A question or, one time in three, two on a paragraph of four facts, and an answer that is right or wrong."""
    made = world.facts(rng, of, people=2, count=4)
    label = rng.randrange(2)
    given = asked(rng, made, bool(label))
    return {
        "paragraph": world.passage(rng, made),
        "question": " ".join(fact.question(rng) for fact in given),
        "answer": " and ".join(fact.value for fact in given),
        "label": label,
    }


def copa(rng: Random, of: Share) -> Item:
    """What came of an event, or why it happened.

    The other choice is its cause, or its effect; one time in five the same, said of a second person of the premise.
    """
    told, question, label = scenes.chain(rng), rng.choice(("cause", "effect")), rng.randrange(2)
    who = scenes.named(rng, of, told)
    he = PRONOUN[who]
    right, left = (told.effect, told.cause) if question == "effect" else (told.cause, told.effect)
    events, choices = [told.event.format(p=who)], [right.format(p=he), left.format(p=he)]
    if rng.random() < 0.2 and "{p}" in right:
        further, second = scenes.another(rng, of, told, who)
        events.insert(rng.randrange(2), further.event.format(p=second))
        choices[1] = right.format(p=PRONOUN[second])
    said = [upper(c) + "." for c in (choices if label == 0 else choices[::-1])]
    premise = upper(" and ".join(events)) + "."
    return {"premise": premise, "choice1": said[0], "choice2": said[1], "question": question, "label": label}


def record(rng: Random, of: Share) -> Item:
    """One of three persons to be filled into a sentence: it says a fact of the passage again, mostly from its other
    end, or who has most.
    """
    if rng.random() < 0.2:
        counts = world.counts(rng, of, people=3)
        text, people = counts.passage(), list(counts.people)
        query, answer = f"@placeholder {counts.deal[0]} the most {counts.things}.", counts.most()
    else:
        made = world.facts(rng, of, people=3, count=4)
        fact = rng.choice(made)
        text, people, answer = world.passage(rng, made), list(dict.fromkeys(f.person for f in made)), fact.person
        masked = fact._replace(person="@placeholder")
        query = upper(masked.turned() if rng.random() < 0.75 else masked.claim(rng)) + "."
    rng.shuffle(people)
    return {"passage": text, "query": query, "entities": people, "answers": [answer]}


def squad(rng: Random, of: Share) -> Item:
    """A question for a value of a passage, one for a person, or two for two values."""
    made = world.facts(rng, of, people=2, count=rng.choice((3, 4)))
    facts = rng.sample(made, rng.choice((1, 1, 2)))
    if len(facts) == 1 and rng.random() < 0.4:
        question, answer = facts[0].who(rng), facts[0].person
    else:
        question, answer = " ".join(f.question(rng) for f in facts), " and ".join(f.value for f in facts)
    title = made[0].person
    return {"title": title, "context": world.passage(rng, made), "question": question, "answers": {"text": [answer]}}


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
    make, seen, rng = MAKERS[name][0], set[str](), Random(f"{name}/{of}/{_SEED}")
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
