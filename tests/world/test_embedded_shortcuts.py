"""What could be guessed from without the skill of a task falls short, on the data as they are."""

import re
from collections import Counter

import pytest
from kits.world_kit import VALUES, items, sentences, verb_kind, words
from zobench_world.lexicon import BLAME, NAMES, PRAISE, TOPICS


def rate(name, guess):
    """How often `guess` is right: a truth value, or how likely the guess is right, an item."""
    return sum(float(guess(item)) for item in items(name)) / len(items(name))


def values(said):
    return [word for word in words(said) if word in VALUES]


def named(said):
    return [word for word in words(said) if word in NAMES]


@pytest.mark.parametrize(
    ("name", "passage", "claim", "yes"),
    [("rte", "premise", "hypothesis", 0), ("boolq", "passage", "question", 1), ("multirc", "paragraph", "answer", 1)],
)
def test_that_the_value_is_in_the_passage_does_not_do(name, passage, claim, yes):
    there = rate(name, lambda item: (set(values(item[claim])) <= set(values(item[passage]))) == (item["label"] == yes))
    assert 0.5 < there < 0.80


@pytest.mark.parametrize("place", [0, -1])
def test_the_first_or_last_word_of_praise_or_blame_does_not_do(place):
    def polar(item):
        return [word in PRAISE for word in words(item["sentence"]) if word in {*PRAISE, *BLAME}][place]

    assert rate("sst2", lambda item: polar(item) == bool(item["label"])) < 0.70


@pytest.mark.parametrize("place", [0, 1])
def test_one_verb_of_two_does_not_do(place):
    assert rate("cb", lambda item: verb_kind(sentences(item["premise"])[place]) == item["label"]) < 0.65


def test_the_first_or_the_nearer_name_does_not_do():
    first = rate("wsc", lambda item: (named(item["text"])[0] == item["span1_text"]) == bool(item["label"]))
    assert 0.35 < first < 0.65
    woman = rate("wsc", lambda item: (item["span2_text"] == "she") == bool(item["label"]))
    assert 0.35 < woman < 0.65


def test_words_that_both_sentences_have_do_not_do():
    def shared(item):
        return len(
            set(words(item["sentence1"])) & set(words(item["sentence2"])) & {w for of in TOPICS.values() for w in of}
        )

    assert rate("wic", lambda item: (shared(item) > 0) == bool(item["label"])) < 0.80


def test_the_longer_choice_does_not_do():
    def longer(item):
        one, other = len(item["choice1"]), len(item["choice2"])
        return 0.5 if one == other else (other > one) == bool(item["label"])

    assert 0.35 < rate("copa", longer) < 0.65


def test_the_person_named_most_or_first_does_not_do():
    def most(item):
        found = Counter(named(item["passage"]))
        top = [name for name in item["entities"] if found[name] == max(found.values())]
        return (item["answers"][0] in top) / len(top)

    assert rate("record", most) < 0.65
    assert rate("record", lambda item: named(item["passage"])[0] == item["answers"][0]) < 0.65
    for place in range(3):
        assert rate("record", lambda item, place=place: item["entities"].index(item["answers"][0]) == place) < 0.65


@pytest.mark.parametrize("place", [0, 1, 2, 3, -1])
def test_a_value_at_a_fixed_place_does_not_do(place):
    def squad(item):
        return values(item["context"])[place:][:1] == item["answers"]["text"]

    def numbers(item):
        return re.findall(r"\d+", item["passage"])[place:][:1] == item["answers_spans"]["spans"]

    def people(item):
        return named(item["passage"])[place:][:1] == item["answers_spans"]["spans"]

    assert 0 < rate("squad", squad) < 0.5
    assert rate("drop", numbers) < 0.5 and rate("drop", people) < 0.5
