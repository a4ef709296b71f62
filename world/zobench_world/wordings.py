"""How verdicts on claims are worded in the text, and what weight the parts of a document have."""

from __future__ import annotations

from random import Random
from typing import TypeAlias

from .world import upper

Piece: TypeAlias = tuple[str, float]

FREE = 0.1
"""Weight of what cannot be known: passages, claims, questions."""
TOLD = 0.5
"""Weight of what is said again in other words."""
COPIED = 0.4
"""Weight of what is copied: there is so much of it that at full weight it would be most of the loss."""
HOPED = 0.5
"""Weight of a value that is rightly claimed: it can be foretold as often as claims hold."""
KNOWN = 1.0
"""Weight of answers."""

VERDICTS: tuple[tuple[str, str, str], ...] = (
    ("True", "False", "Unknown"),
    ("Right", "Wrong", "Unclear"),
    ("Agreed", "Denied", "Open"),
)
"""Words for what holds, what does not, and what is left open. A form that offers none has its own, by its number."""
FURTHER: tuple[tuple[str, str, str], ...] = (
    ("Correct", "Mistaken", "Unsure"),
    ("Indeed", "Hardly", "Perhaps"),
    ("Accept", "Reject", "Skip"),
    ("Sure", "Never", "Undecided"),
    ("Valid", "Invalid", "Doubtful"),
    ("Proven", "Refuted", "Unproven"),
    ("Fact", "Error", "Guess"),
    ("Exactly", "Nonsense", "Possibly"),
    ("Holds", "Fails", "Depends"),
)
"""More of them, for the last cycle: where many words are offered, it is learnt that what is offered is to be said."""
ALL_VERDICTS = VERDICTS + FURTHER
Form: TypeAlias = tuple[str, str, int | None]
"""What is said before a verdict, how the verdict is said, and which of VERDICTS it uses; None: one that it offers."""

CLAIMED: tuple[Form, ...] = (
    ("\nClaim: {Claim}. {offer}\n", "{}", None),
    ("\n{Claim}. {offer}", " {}.", None),
    ('\n"{Claim}." Is it so? {offer}\n', "{}", None),
    ("\n{offer} {Claim}.\n", "{}", None),
    ('\nFrom this, can you say "{Claim}."? {offer}\n', "{}", None),
    ("\nIs it said that {claim}? {offer}\n", "{}", None),
    ('\nWe read: "{Claim}." This is', " {}.", 1),
    ("\nSomebody told me that {claim}.", " {}.", 2),
    ('\nCheck the line "{Claim}."\n', "{}", 0),
    ('\nHow about "{claim}"?\n', "{}", 1),
)
ASKED: tuple[Form, ...] = (
    ("\n{Claim}? {offer}\n", "{}", None),
    ("\nQ: {Claim}?\nA:", " {}", 0),
    ("\nI wonder: {claim}?", " {}.", 1),
    ("\n{Claim}?\n- ", "{}", 0),
    (" Well, {claim}?", " {}.", 2),
)
PROPOSED: tuple[Form, ...] = (
    ("\n{claim} Somebody said {value}. {offer}\n", "{}", None),
    ('\nQ: {claim}\nGiven answer: "{value}". Judge it.\n', "{}", 1),
    ("\n{claim}\n{value} is", " {}.", 1),
    ('\n{claim} The reply was "{value}". {offer}\n', "{}", None),
    ("\n{claim} {value}?", " {}.", 0),
)
"""Forms for a clause, for a question whether it is so, and for a question with an answer that somebody gives."""


def offered(progress: float) -> tuple[tuple[str, str, str], ...]:
    """The words that verdicts are offered in at this progress."""
    return VERDICTS if progress < 2 else ALL_VERDICTS


def verdict(
    rng: Random, progress: float, forms: tuple[Form, ...], claim: str, holds: bool | None, value: str = ""
) -> list[Piece]:
    """A claim in one of the forms, and the verdict on it."""
    before, answer, own = rng.choice(forms)
    words = VERDICTS[own] if own is not None else rng.choice(offered(progress))
    first, second = rng.sample(words[:2], 2)
    asked = before.format(claim=claim, Claim=upper(claim), offer=f"{first} or {second}?", value=value)
    return [(asked, FREE), (answer.format(words[0 if holds else 1] if holds is not None else words[2]), KNOWN)]


def judged(rng: Random, progress: float, claim: str, holds: bool | None) -> list[Piece]:
    """A clause and the verdict on it."""
    return verdict(rng, progress, CLAIMED, claim, holds)
