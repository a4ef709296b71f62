"""What each embedded task asks for, where the text teaches it, and which shortcut would not do. For people.

Three in a hundred labels of SST-2 and WSC are the other one (zobench_world.tasks.NOISE).
"""

from __future__ import annotations

from typing import NamedTuple


class Card(NamedTuple):
    """skill: what answers the task. taught: where the text teaches that skill, in which other wordings.
    shortcut: what could be guessed from without the skill, and why it falls short.
    """

    skill: str
    taught: str
    shortcut: str


_FACTS = (
    'verdicts on claims: "Claim: ... True or False?", "Is it said that ...? Valid or Invalid?", "... This is Right."; '
    "twelve pairs of words are offered, in either order, and Yes and No are not"
)
_VALUE = "whether the value stands in the passage at all: most false claims name a value that another person has"

CARDS: dict[str, Card] = {
    "sst2": Card(
        "which side a review takes, where one of its words may be of the other side, or the one it has denied, once or "
        "twice",
        'reviews followed by "I loved it.", "Verdict: bad", "We were angry.", "Stars: five"; not by great, terrible',
        "the first word of praise or blame, or the last: half of the sentences have one of each, and mean one; some of "
        "those with one alone mean the other side",
    ),
    "rte": Card("whether a passage says what a sentence claims, which may be two things", _FACTS, _VALUE),
    "cb": Card(
        "which of two speakers a clause is of, and whether their verb says that it holds",
        'verdicts on what people know, dreamed or hope: "True", "False", "Unknown", in the forms of claims',
        "any verb of the passage: the two are always of different kinds",
    ),
    "boolq": Card(
        "whether a passage says what a question asks after, which may be two things",
        'verdicts on questions: "Q: does ...? A: True", "I wonder: ...? Right."; what Yes and No mean: '
        '"Yes, I am tired."',
        _VALUE,
    ),
    "wsc": Card(
        "which of two persons a pronoun can mean, from their names",
        '"Who is "she"? Anna.", verdicts on "she" is Anna, and lists of them: "she Anna True."',
        "the first name, or the nearer one: the pronoun means either as often",
    ),
    "wic": Card(
        "whether an ambiguous word stands among words of one topic in two sentences",
        'sentences with their topics: "It is about music.", verdicts on whether two are about one thing, and lists of '
        'them on words: "piano choir True."',
        "words that both sentences have: two sentences of one topic share none about as often as they share one",
    ),
    "multirc": Card(
        "whether an answer to a question, or to two, is what the paragraph says",
        'verdicts on answers: "... Somebody said tennis. Right or Wrong?"',
        _VALUE,
    ),
    "copa": Card(
        "whether what came before an event or what came of it is asked for, and of whom",
        'chains of events told with "As a result", "The reason was that", "hence", "since" and others; so and because '
        "are met elsewhere, and say nothing of the chains",
        "what goes with the event: both choices do, one is its cause and one its effect, or each is said of another of "
        "two persons",
    ),
    "record": Card(
        "which person of a passage a sentence is true of that begins with the other end of a fact, or who has the most",
        'passages said again in other words ("In short: ...", "Again: ..."), from the person on; "Who has the most?"',
        "the person who is named most, or last",
    ),
    "squad": Card(
        "the value of a passage that a question asks for, or two of them, or the person, and nothing after it",
        'the same questions for values as "Q: ... A: ...", "Ask: ... Reply: ..."; none for persons, and one at a time',
        "any value of the passage: there are three or four",
    ),
    "drop": Card(
        "a number of a passage, who has the most, how many more one has than another",
        'the same questions as "Q: ... A: ...", "Ask: ... Reply: ..."',
        "any number of the passage: half of the questions ask for none of them",
    ),
}
