"""The small world: its words, its pieces and their shares, and the text that the embedded model is trained on."""

import re
from collections import Counter
from random import Random

import pytest
from kits.world_kit import ASKS, CLAIMS, DOUBTS, SAYS, documents, joined, only, told, words
from zobench_world import scenes, text, world
from zobench_world.events import CHAINS
from zobench_world.lexicon import (
    AMBIGUOUS,
    BLAME,
    DENIED,
    HE,
    KNOWN,
    NAMES,
    OPEN,
    PRAISE,
    PRONOUN,
    RELATIONS,
    SHE,
    TOPICS,
)
from zobench_world.verdicts import subtle
from zobench_world.wordings import ALL_VERDICTS, FREE, HOPED, VERDICTS
from zobench_world.wordings import KNOWN as SURE

SHARES = ("text", "train", "validation")
DRAWS = 60  # of a kind of piece


def draws(of, make):
    rng = Random(f"draws {of}")
    return [make(rng) for _ in range(DRAWS)]


# ---- words


def test_words_mean_one_thing():
    values = [value for relation in RELATIONS.values() for value in relation.values]
    assert len(set(NAMES)) == len(HE) + len(SHE) == len(PRONOUN) and len(set(values)) == len(values)
    for found in (SAYS, CLAIMS, DOUBTS):
        assert all(len(facts) == 1 for facts in found.values())
    assert len(ASKS) == len(NAMES) * sum(len(relation.asks) for relation in RELATIONS.values())
    assert not set(PRAISE) & set(BLAME)
    assert len({*KNOWN, *DENIED, *OPEN}) == len(KNOWN) + len(DENIED) + len(OPEN)


def test_topics_have_no_word_in_common_and_ambiguous_words_are_of_two():
    spoken = [word for of in TOPICS.values() for word in of]
    assert len(set(spoken)) == len(spoken) and not set(spoken) & set(AMBIGUOUS)
    assert all(one != other and {one, other} <= set(TOPICS) for one, other in AMBIGUOUS.values())


def test_parts_of_chains_are_all_different_and_their_events_name_the_person():
    assert len({part for chain in CHAINS for part in chain}) == 3 * len(CHAINS)
    assert all("{p}" in chain.event for chain in CHAINS)
    assert not any(re.search(r"\b(so|because|Yes|No|Maybe)\b", part) for chain in CHAINS for part in chain)


# ---- pieces and their shares


def test_three_quarters_of_all_keys_are_the_texts_and_an_eighth_each_the_tasks():
    found = Counter(world.share(f"key {i}") for i in range(20_000))
    for of, part in zip(SHARES, (0.75, 0.125, 0.125), strict=True):
        assert found[of] / 20_000 == pytest.approx(part, abs=0.01)
    assert [world.share(key) for key in "abc"] == ["validation", "text", "text"]  # everywhere, for good


@pytest.mark.parametrize("of", SHARES)
def test_what_is_drawn_is_of_its_share(of):
    for made in draws(of, lambda rng: world.drawn(rng, of, lambda rng: rng.randrange(10**6), str)):
        assert world.share(str(made)) == of


@pytest.mark.parametrize("of", SHARES)
@pytest.mark.parametrize(("people", "count"), [(1, 2), (2, 2), (2, 3), (2, 4), (3, 4)])
def test_facts(of, people, count):
    for made in draws(of, lambda rng: world.facts(rng, of, people=people, count=count)):
        assert len(made) == count and 1 <= len({f.person for f in made}) <= people
        assert len({(f.person, f.relation) for f in made}) == count  # nobody has two of a kind
        assert len({(f.relation, f.value) for f in made}) == count  # no value is had by two
        assert told(world.passage(Random(0), made)) == made
        key = "facts " + " ".join(sorted(f"{f.person}/{f.relation}/{f.value}" for f in made))
        assert world.share(key) == of


@pytest.mark.parametrize("near", [0.0, 1.0])
def test_what_is_wrong_is_not_said_by_the_passage(near):
    swaps = 0
    for made in draws("text", lambda rng: world.facts(rng, "text", people=2, count=4)):
        false, there = world.wrong(Random(repr(made)), made, near=near), {f.value for f in made}
        swaps += false.value in there
        assert false not in made and false.person in {f.person for f in made}
        assert false.value in RELATIONS[false.relation].values
        if near == 0:
            assert false.value not in there
    assert swaps == 0 if near == 0 else swaps > DRAWS / 2


@pytest.mark.parametrize("of", SHARES)
def test_a_review_has_words_of_its_side_and_if_mixed_one_of_the_other(of):
    for good, own, other in ((True, PRAISE, BLAME), (False, BLAME, PRAISE)):
        for mixed in (0, 1):
            for made in draws(of, lambda rng, good=good, mixed=mixed: scenes.review(rng, of, good, mixed=mixed)):
                spoken = words(made)
                assert sum(word in own for word in spoken) in (1, 2)
                assert sum(word in other for word in spoken) == mixed
                assert world.share("review " + made) == of


@pytest.mark.parametrize("of", SHARES)
def test_answers_on_numbers_are_right(of):
    rng = Random(1)
    for made in draws(of, lambda rng: world.counts(rng, of)):
        assert len(set(made.numbers)) == len(made.numbers) == len(set(made.people))
        has = {line.split()[0]: int(line.split()[2]) for line in re.findall(r"[^.]+\.", made.passage())}
        assert has == dict(zip(made.people, made.numbers, strict=True))
        assert {world.share(f"counts {who} {n} {made.things}") for who, n in has.items()} == {of}
        for _ in range(5):
            asked, answer = made.question(rng)
            named = [word for word in words(asked) if word in NAMES]
            if asked.startswith("Who"):
                assert has[answer] == max(has.values())
            elif "more" in asked:
                assert int(answer) == has[named[0]] - has[named[1]] > 0
            else:
                assert int(answer) == has[only(named)]


@pytest.mark.parametrize("of", SHARES)
def test_what_people_know_deny_and_hope(of):
    kinds = {True: KNOWN, False: DENIED, None: OPEN}
    for holds in ((True, False), (None, True), (False, None)):
        for pair in draws(of, lambda rng, holds=holds: world.reports(rng, of, holds)):
            assert tuple(r.holds for r in pair) == holds and all(r.verb in kinds[r.holds] for r in pair)
            assert len({name for r in pair for name in (r.speaker, r.fact.person)}) == 4
            said, clauses = world.reported(Random(2), pair)
            assert said == " ".join(f"{r.speaker} {r.verb} that {c}." for r, c in zip(pair, clauses, strict=True))
            assert [only(CLAIMS[clause]) for clause in clauses] == [r.fact for r in pair]


@pytest.mark.parametrize("of", SHARES)
def test_a_pronoun_can_mean_one_of_the_two(of):
    for made in draws(of, lambda rng: scenes.meeting(rng, of)):
        assert {made.meant, made.other} == {word for word in words(made.text) if word in NAMES}
        assert PRONOUN[made.meant] == made.pronoun != PRONOUN[made.other]
        assert made.pronoun in words(made.text) and world.share("meeting " + made.text) == of


@pytest.mark.parametrize("of", SHARES)
def test_a_sentence_of_a_topic_has_its_words_alone(of):
    for word, senses in AMBIGUOUS.items():
        for topic in senses:
            for said in (word, None):
                made = scenes.topical(Random(of + topic), of, topic, said)
                spoken = [w for w in words(made) if any(w in its for its in TOPICS.values())]
                assert set(spoken) <= set(TOPICS[topic]) and len(spoken) == (3 if said is None else 2)
                assert said is None or said in words(made)
                assert world.share("topical " + made) == of


def test_every_chain_is_told_of_other_persons_in_every_share():
    for chain in CHAINS:
        people = {of: {name for name in NAMES if world.share(f"chain {chain.event} {name}") == of} for of in SHARES}
        assert all(people.values())
        for of in SHARES:
            assert scenes.named(Random(3), of, chain) in people[of]


# ---- documents


def test_documents_are_a_function_of_the_generator_and_the_progress():
    one, other = ([text.document(Random(7), p) for p in (0, 0.3, 0.9)] for _ in range(2))
    assert one == other != [text.document(Random(8), p) for p in (0, 0.3, 0.9)]


def test_documents_have_a_text_and_weights_from_nothing_to_one():
    for made in documents():
        assert joined(made) and all(0 <= weight <= 1 for _, weight in made)
        assert any(weight > 0 for _, weight in made)


def test_documents_fit_into_a_row():
    """Of 128 tokens with the first and the last; the few that are longer are cut, not lost."""
    sizes = [len(re.findall(r"\w+|[^\w\s]", joined(made))) for made in documents()]
    rough = [1.5 * len(joined(made).split()) for made in documents()]
    for found in (sizes, rough):
        assert sum(size > 127 for size in found) < len(found) / 100 and max(found) < 150


def test_what_a_skill_needs_is_taught_before_it(monkeypatch):
    drawn = Counter()

    def watched(kind, stage):
        return lambda rng, progress: drawn.update([(kind.__name__, stage)]) or [("", 1.0)]

    for stage, progress in enumerate(text.STAGES):
        kinds = {watched(kind, stage): weights for kind, weights in text.KINDS.items()}
        monkeypatch.setattr(text, "KINDS", kinds)
        for i in range(2000):
            text.document(Random(i), progress)
        monkeypatch.undo()
    for kind, weights in text.KINDS.items():
        for stage, weight in enumerate(weights):
            of_all = weight / sum(of[stage] for of in text.KINDS.values())
            assert drawn[kind.__name__, stage] / 2000 == pytest.approx(of_all, abs=0.035)
    first, last = (sum(drawn[kind, stage] for kind in ("copied", "paired", "recalled")) for stage in (0, 3))
    assert first > 1500 > 600 > last and drawn["checked", 0] == 0 < drawn["checked", 3]
    for cycle in (0, 1):
        assert subtle(cycle) < subtle(cycle + 0.3) <= subtle(cycle + 0.99) < 1
    for kind, begin in {"joined": 7, "agreed": 7, "matched": 7, "praised": 9}.items():
        assert [drawn[kind, stage] > 0 for stage in range(10)] == [stage >= begin for stage in range(10)]


def test_between_two_stages_a_weight_goes_in_a_straight_line():
    stages, weights = text.STAGES, (8.0, 4.0, 4.0, 6.0, 7.0, 6.0, 6.0, 9.0, 9.0, 11.0)
    assert [text.between(weights, p) for p in stages] == list(weights)
    assert text.between(weights, (stages[0] + stages[1]) / 2) == pytest.approx(6)
    assert [text.between(weights, p) for p in (2.0, 2.5, 3.0, 3.5)] == [6.0, 9.0, 9.0, 11.0]


def test_what_stands_with_a_name_is_told_again():
    for i in range(200):
        (first, _), *rest = text.paired(Random(i), 0.9)
        has = {words(pair)[0]: words(pair)[-1] for pair in first.rstrip(".").split(".")}
        assert len(rest) == 48 and len(has) >= 2
        for (name, _), (value, weight), (end, _) in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
            assert value.strip() == has[words(name)[0]] and weight == SURE and end == "."


def test_what_a_passage_says_is_told_again():
    seen = 0
    for i in range(200):
        (passage, _), *rest = text.recalled(Random(i), 0.9)
        facts = set(told(passage))
        for before, value, after in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
            assert told(joined([before, value, after]).strip())[0] in facts
            assert (before[1], value[1], after[1]) == (FREE, SURE, FREE)
            seen += 1
    assert seen > 1000


def test_answers_in_documents_are_what_their_passages_say():
    right = 0
    for i in range(200):
        (passage, _), *rest = text.answered(Random(i), 0.9)
        has = {(f.person, f.relation): f.value for f in told(re.sub(r"^[\w ]+: ", "", passage.strip()))}
        for (asked, _), (answer, weight) in zip(rest[::2], rest[1::2], strict=True):
            question = re.sub(r"^(Q|Ask): ", "", asked.partition("\n")[0])
            assert words(answer) == [has[ASKS[question]]] and weight == SURE
            right += 1
    assert right > 400


def test_verdicts_in_documents_are_right():
    right = Counter()
    for i in range(300):
        (passage, _), *rest = text.checked(Random(i), 0.9)
        facts = told(re.sub(r"(\n| Check:| Which\?)$", "", passage))
        parts = (rest[at::5] for at in range(5))
        for (name, _), (value, hoped), _mark, (verdict, weight), _end in zip(*parts, strict=True):
            holds = any((f.person, f.value) == (name.strip(), value.strip()) for f in facts)
            assert verdict.strip() in [triple[0 if holds else 1] for triple in VERDICTS] and weight == SURE
            assert hoped == (HOPED if holds else FREE)
            right[holds] += 1
    assert min(right.values()) > 800


def test_verdicts_on_lists_are_right():
    right = Counter()
    for i in range(300):
        (first, _), *rest = text.listed(Random(i), 0.9)
        has = {words(pair)[0]: words(pair)[-1] for pair in first.rstrip(".").split(".")}
        for (name, _), (value, hoped), (verdict, weight) in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
            holds = has[words(name)[0]] == value.strip()
            assert verdict.strip() in [triple[0 if holds else 1] for triple in VERDICTS] and weight == SURE
            assert hoped == (HOPED if holds else FREE)
            right[holds, value.strip() in has.values()] += 1
    assert set(right) == {(True, True), (False, True), (False, False)} and min(right.values()) > 300


def test_a_claimed_value_has_a_weight_of_its_own_where_the_claim_holds():
    hoped = Counter()
    for i in range(300):
        (passage, _), *rest = text.weighed(Random(i), 0.9)
        values = {f.value for f in told(passage)}
        for before, value, after, answer in zip(*(rest[at::4] for at in range(4)), strict=True):
            verdict = words(answer[0])[0]
            holds = verdict in [triple[0] for triple in VERDICTS]
            assert holds or verdict in [triple[1] for triple in VERDICTS]
            assert (before[1], value[1], after[1]) == (FREE, HOPED if holds else FREE, FREE)
            assert not holds or value[0].strip() in values
            hoped[holds] += 1
    assert min(hoped.values()) > 400


def test_pairs_are_judged_by_sex_or_topic():
    right = Counter()
    for i in range(200):
        rest = text.matched(Random(i), 2.5)
        for (pair, _), (verdict, weight), _end in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
            one, other = words(pair)
            named = {one, other} & set(NAMES)
            if named:
                holds = PRONOUN[only(named)] in (one, other)
            else:
                holds = any({one, other} <= set(of) for of in TOPICS.values())
            assert verdict.strip() in [triple[0 if holds else 1] for triple in VERDICTS] and weight == SURE
            right[bool(named), holds] += 1
    assert len(right) == 4 and min(right.values()) > 400


def test_the_last_cycles_offer_many_words():
    met = {0.9: Counter(), 2.9: Counter(), 3.9: Counter()}
    for progress, of in met.items():
        for i in range(400):
            of.update({word.strip(" .\n-") for word, weight in text.weighed(Random(i), progress) if weight == SURE})
    said = {word for triple in ALL_VERDICTS for word in triple[:2]}
    assert (
        {w for triple in VERDICTS for w in triple[:2]} == set(met[0.9]) < {w.split(": ")[-1] for w in met[2.9]} == said
    )


def test_events_of_a_chain_are_joined_in_order():
    for i in range(200):
        (before, _), (after, weight) = text.joined(Random(i), 2.5)
        said, link = re.fullmatch(r"(.+?) (hence|thus|and then|which is why|since|as|for|given that)", before).groups()
        forward = link in ("hence", "thus", "and then", "which is why")
        (who,) = [name for name in NAMES if name in words(before + after)] or [None]
        first, second = (said, after.strip(" .")) if forward else (after.strip(" ."), said)
        pairs = {
            (a.format(p=p), b.format(p=q))
            for c in CHAINS
            for a, b in ((c.cause, c.event), (c.event, c.effect))
            for p, q in ((who, PRONOUN[who]), (PRONOUN[who], who), (who, who))
        }
        assert (first, second) in {(world.upper(a), b) for a, b in pairs} | {(a, world.upper(b)) for a, b in pairs}
        assert weight == SURE
