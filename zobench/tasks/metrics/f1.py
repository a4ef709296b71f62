"""Token F1 of an answer, with the normalisation of SQuAD (Rajpurkar et al. 2016) and MeZO's rule for "no answer"."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(a|an|the)\b")
NO_ANSWER = ("CANNOTANSWER", "no answer")


def normalise(text: str) -> str:
    """Lower case, no ASCII punctuation, no articles, single spaces."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def f1(prediction: str, golds: Sequence[str]) -> float:
    """The best F1 of the multisets of words over the accepted answers; 0.0 without a common word.

    Where the first accepted answer says that there is none, 1.0 for exactly that, else 0.0.
    """
    if golds[0] in NO_ANSWER:
        return float(normalise(prediction) == normalise(golds[0]))
    return max(_overlap(normalise(prediction).split(), normalise(gold).split()) for gold in golds)


def _overlap(predicted: list[str], gold: list[str]) -> float:
    common = sum((Counter(predicted) & Counter(gold)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(predicted), common / len(gold)
    return 2 * precision * recall / (precision + recall)
