"""Prompts and their ids, against what MeZO's own code made of the same items with two tokenizers."""

import pytest
from kits.task_kit import encoder, golden, task, tokenizer

from zobench.errors import ZobenchError
from zobench.tasks.encode import Encoder
from zobench.tasks.example import Example
from zobench.tasks.rules import Rules

CASES = [(name, i) for name in golden("prompts") for i in range(4)]


def rendered(name):
    return [task(name).render(sample["data"], i) for i, sample in enumerate(golden("prompts")[name]["samples"])]


def ids(encoded):
    return [list(row.ids) for row in encoded.rows]


def lengths(encoded):
    return [row.option_len for row in encoded.rows]


@pytest.mark.parametrize(("name", "i"), CASES)
def test_texts(name, i):
    sample, example = golden("prompts")[name]["samples"][i], rendered(name)[i]
    assert example.prompt == sample["encode"]
    assert list(example.texts) == sample["verbalize"]
    gold = sample["correct_candidate"]
    if sample["candidates"] is None:
        assert example.gold is None and list(example.golds) == gold
    else:
        expected = [sample["candidates"].index(g) for g in (gold if isinstance(gold, list) else [gold])]
        assert list(example.correct) == expected and example.gold == expected[0]


@pytest.mark.parametrize("kind", ["bos", "nobos"])
@pytest.mark.parametrize(("name", "i"), CASES)
def test_ids(name, i, kind):
    expected, examples, encode = golden("prompts")[name]["samples"][i][kind], rendered(name), encoder(kind).encode
    scored, trained = encode(examples[i]), encode(examples[i], training=True)
    assert ids(scored) == expected["eval_input_ids"] and lengths(scored) == expected["eval_option_lens"]
    assert ids(trained) == expected["train_input_ids"] and lengths(trained) == expected["train_option_lens"]
    if "sfc_input_ids" in expected:
        sfc = encode(examples[i], sfc=True, check=False)
        assert ids(sfc) == expected["sfc_input_ids"] and lengths(sfc) == expected["sfc_option_lens"]


@pytest.mark.parametrize("kind", ["bos", "nobos"])
@pytest.mark.parametrize(("name", "i"), [case for case in CASES if case[1] < 2])
def test_demonstrations_and_truncation(name, i, kind):
    expected, examples = golden("prompts")[name]["samples"][i][kind], rendered(name)
    shown = examples[i + 1 : i + 3]
    whole = encoder(kind).encode(examples[i], demonstrations=shown)
    assert ids(whole) == expected["icl2_input_ids"] and lengths(whole) == expected["icl2_option_lens"]
    cut = encoder(kind, max_length=60).encode(examples[i], demonstrations=shown)
    assert ids(cut) == expected["icl2_trunc60_input_ids"]


def test_only_gold_is_the_gold_row():
    example = rendered("ReCoRD")[0]
    every, gold = encoder().encode(example), encoder().encode(example, only_gold=True)
    assert gold.rows == (every.rows[example.gold],) and gold.gold == 0 and example.gold != 0


def plain(prompt, *texts):
    return Example(prompt, texts, texts, (0,), texts[:1], {}, "task t: item 7")


@pytest.mark.parametrize(
    ("length", "example", "message"),
    [
        (60, plain("Was it good", "Was it good "), "item 7, candidate 0: the answer adds no token"),
        (60, plain("Yes", "Yes", "Yes No"), "candidate 0: the answer adds no token"),
        (8, plain("One", "One" + " two three four five six" * 3), "item 7, candidate 0: the answer alone has"),
    ],
)
def test_options_that_cannot_be_scored(length, example, message):
    with pytest.raises(ZobenchError, match=message):
        encoder(max_length=length).encode(example)


def test_an_answer_that_fills_its_row_is_refused():
    example = plain("One", "One two three four five six")
    (row,) = encoder(max_length=60).encode(example).rows
    with pytest.raises(ZobenchError, match="the answer alone has"):
        encoder(max_length=row.option_len).encode(example)
    assert encoder(max_length=row.option_len + 1).encode(example).rows[0].option_len == row.option_len


def test_calibration_needs_something_before_it():
    with pytest.raises(ZobenchError, match="item 0, candidate 0: nothing stands before the calibration text"):
        encoder("nobos").encode(rendered("RTE")[0], sfc=True)
    assert lengths(encoder("bos").encode(rendered("RTE")[0], sfc=True)) == [1, 1]


def test_generation_has_no_calibration_texts_and_needs_room():
    with pytest.raises(ZobenchError, match=r"no \[sfc\] calibration texts"):
        encoder().encode(rendered("SQuAD")[0], sfc=True)
    with pytest.raises(ZobenchError, match="max_new_tokens=12 leaves no room"):
        encoder(max_length=13).encode(rendered("SQuAD")[0])
    for length, context in ((13, 99), (99, 13)):
        with pytest.raises(ZobenchError, match="max_new_tokens=12 leaves no room for a prompt in 13 tokens"):
            Rules(max_length=length, max_new_tokens=12).check_room(task("SQuAD"), context)
    Rules(max_length=14, max_new_tokens=12).check_room(task("SQuAD"), 14)
    Rules(max_length=2, max_new_tokens=12).check_room(task("SST2"), 14)


@pytest.mark.parametrize("kind", ["bos", "nobos"])
def test_opt_rows_begin_with_id_0_whatever_the_tokenizer_adds(kind):
    example = rendered("SST2")[0]
    made = Encoder(tokenizer(kind), max_length=20, model_type="opt").encode(example)
    other = encoder("nobos").encode(example)
    for row, whole in zip(made.rows, other.rows, strict=True):
        assert row.ids == (0, *whole.ids[-19:]) and row.option_len == whole.option_len


def test_a_prompt_that_merges_with_its_answer_is_noticed():
    merged = encoder().encode(plain("it was gr", "it was great film")).rows[0]
    apart = encoder().encode(plain("it was", "it was great film")).rows[0]
    assert apart.stable and not merged.stable
