"""From documents to what goes through the model: tokens, weights, rows."""

import json
from random import Random

import numpy as np
import pytest
import torch
from kits.pretrain_kit import document, tiny
from torch.nn import functional as F
from zobench_world.pretrain import corpus as corpus_module
from zobench_world.pretrain import generated, model
from zobench_world.pretrain.checkpoint import TrainingCounts
from zobench_world.pretrain.corpus import Corpus, CorpusFile
from zobench_world.pretrain.generated import Generated, tokenizer_for
from zobench_world.pretrain.packing import best_fit, pack, split
from zobench_world.pretrain.recipe import SMALLEST_VOCABULARY, recipe_from
from zobench_world.pretrain.tokenizer import (
    BOS_ID,
    EOS_ID,
    PAD_ID,
    DocumentTokens,
    TextEncoder,
    load_tokenizer,
    save_tokenizer,
    train_tokenizer,
)

from zobench.errors import ZobenchError


@pytest.fixture(scope="module")
def tokenizer():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generated, "TOKENIZER_DOCUMENTS", 300)
        return tokenizer_for(document, tiny())


def made(tokenizer, **given):
    return Generated(document, tokenizer, tiny(**given))


# ---- tokenizer


def test_words_of_the_text_are_one_token_with_the_space_before_them(tokenizer):
    for word in (" has", " Anna", " apple", " engine", " early", " later"):
        assert len(tokenizer.tokenize(word)) == 1, word
    assert tokenizer.convert_tokens_to_ids(["<s>", "</s>", "<pad>"]) == [BOS_ID, EOS_ID, PAD_ID]
    assert 259 < len(tokenizer) <= 330


def test_a_word_is_the_same_token_where_a_text_a_line_or_a_quotation_begins(tokenizer):
    for text in ("Anna", " Anna", "has\nAnna", "has\n Anna", 'has "Anna', "Anna has"):
        assert "ĠAnna" in tokenizer.tokenize(text), text


@pytest.mark.parametrize(
    ("text", "back"),
    [
        ("Anna has a book.", " Anna has a book."),
        (" two  spaces\n\ttab", " two  spaces\n\ttab"),
        ("naïve 🙂 日本", " naïve 🙂 日本"),
        ('a\nb "c" d', ' a\n b " c" d'),
    ],
)
def test_any_text_comes_back_but_for_spaces_where_words_begin(tokenizer, text, back):
    ids = tokenizer(text).input_ids
    assert ids[0] == BOS_ID and tokenizer.decode(ids[1:]) == back
    assert tokenizer(back).input_ids == ids


def test_without_bos_the_tokenizer_adds_none():
    bare = train_tokenizer(["a b"], vocab=259, bos=False, context=8)
    assert BOS_ID not in bare("a b").input_ids


def test_the_tokenizer_is_a_function_of_the_text_and_survives_its_files(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(generated, "TOKENIZER_DOCUMENTS", 300)
    again = tokenizer_for(document, tiny(seed=5))
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert load_tokenizer(tmp_path) is None
    save_tokenizer(tokenizer, tmp_path)
    first = (tmp_path / "tokenizer.json").read_bytes()
    read = load_tokenizer(tmp_path)
    assert read("Anna has a book.").input_ids == tokenizer("Anna has a book.").input_ids
    assert (read.bos_token_id, read.eos_token_id, read.pad_token_id) == (BOS_ID, EOS_ID, PAD_ID)
    assert read.model_max_length == 64
    save_tokenizer(read, tmp_path)
    assert (tmp_path / "tokenizer.json").read_bytes() == first
    assert {path.name for path in tmp_path.iterdir()} == {"tokenizer.json", "tokenizer_config.json"}
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_a_vocabulary_has_room_for_the_bytes():
    with pytest.raises(ZobenchError, match="--vocab 258: give at least 259"):
        tiny(vocab=SMALLEST_VOCABULARY - 1)
    assert len(train_tokenizer(["a"], vocab=SMALLEST_VOCABULARY, bos=True, context=8)) == SMALLEST_VOCABULARY


def test_a_token_has_the_weight_of_the_piece_that_it_ends_in(tokenizer):
    encoder = TextEncoder(tokenizer)
    pieces = [("Anna has a", 0.1), (" book: ", 0.2), ("", 0.9), ("apple", 1.0), (". é", 0.5)]
    [tokens] = encoder.weighted([pieces])
    assert tokens.ids == [*tokenizer("Anna has a book: apple. é", add_special_tokens=False).input_ids, EOS_ID]
    told = dict(zip(tokenizer.convert_ids_to_tokens(tokens.ids), tokens.weights, strict=True))
    assert told["Ġhas"] == 0.1 and told["Ġbook"] == 0.2 and told[":"] == 0.2
    assert told["Ġapple"] == 1.0  # its space belongs to the piece before
    assert told["."] == told["Ã"] == told["©"] == told["</s>"] == 0.5
    [lines] = encoder.weighted([[("Anna has:\n", 0.1), ("apple", 1.0), ("\n", 0.2), ("book", 0.7)]])
    told = dict(zip(tokenizer.convert_ids_to_tokens(lines.ids), lines.weights, strict=True))
    assert told["ĠAnna"] == 0.1 and told["Ġapple"] == 1 and told["Ġbook"] == 0.7
    with pytest.raises(ValueError, match="from 0 to 1"):
        encoder.weighted([[("a", 1.5)]])


def test_what_looks_like_a_special_token_in_a_text_is_text(tokenizer):
    [ids] = TextEncoder(tokenizer).plain(["a <s> b <pad></s>"])
    assert ids[-1] == EOS_ID and not {BOS_ID, EOS_ID, PAD_ID} & set(ids[:-1])
    assert tokenizer.decode(ids[:-1]) == " a <s> b <pad></s>"


# ---- packing


def drawn(seed, sizes):
    """Documents of these numbers of tokens, no two of them alike; all end in EOS."""
    rng = Random(seed)
    return [DocumentTokens([*(rng.randrange(3, 10**6) for _ in range(n - 1)), EOS_ID], [0.5] * n) for n in sizes]


def inside(row):
    """The documents of a row, as tuples of ids."""
    found, held = [], []
    for token in row:
        held.append(int(token))
        if token == EOS_ID:
            found.append(tuple(held))
            held = []
    assert all(token == PAD_ID for token in held)
    return found


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_rows_hold_the_first_documents_whole(seed, bos):
    rng = Random(seed)
    documents = drawn(seed, [rng.randint(2, 33) for _ in range(40)])
    rows = pack(documents, 4, 33 + bos, bos=bos)
    assert rows.ids.shape == rows.weights.shape == (4, 33 + bos)
    if bos:
        assert (rows.ids[:, 0] == BOS_ID).all() and not rows.weights[:, 0].any()
    placed = [found for row in rows.ids for found in inside(row[int(bos) :])]
    n = len(placed)
    assert sorted(placed) == sorted(tuple(d.ids) for d in documents[:n])
    assert best_fit([len(d.ids) for d in documents[: n + 1]], 4, 33) is None
    order = {tuple(d.ids): i for i, d in enumerate(documents)}
    for row in rows.ids:
        places = [order[found] for found in inside(row[int(bos) :])]
        assert places == sorted(places)
    real = rows.ids != PAD_ID
    assert rows.tokens == real.sum() == sum(len(d.ids) for d in documents[:n]) + 4 * bos
    assert not rows.weights[~real].any() and (rows.weights[real][int(bos) :] >= 0).all()


def test_no_more_documents_are_drawn_than_are_tried():
    seen = []

    def endless():
        for made in drawn(0, [10] * 100):
            seen.append(made)
            yield made

    pack(endless(), 2, 21, bos=True)
    assert len(seen) == 5


def test_a_document_longer_than_a_row_is_cut():
    [long] = drawn(0, [25])
    rows = pack([long, *drawn(1, [3])], 4, 11, bos=True)
    assert [row[1:].tolist() for row in rows.ids[:2]] == [long.ids[:10], long.ids[10:20]]
    assert inside(rows.ids[2, 1:])[0] == tuple(long.ids[20:])
    only = pack([long, *drawn(1, [3])], 2, 11, bos=True)
    assert [row[1:].tolist() for row in only.ids] == [long.ids[:10], long.ids[10:20]]


def test_best_fit_takes_the_row_with_least_room():
    assert best_fit([5, 6, 4, 3], 2, 10) == [[1, 2], [0, 3]]
    assert best_fit([6, 6, 6], 2, 10) is None
    assert best_fit([], 2, 10) == [[], []]


def test_parts_hold_what_is_predicted(tokenizer):
    rows = made(tokenizer).rows(0)
    for count in (1, 2):
        parts = split(rows, count)
        assert sum(len(part.input_ids) for part in parts) == len(rows.ids)
        assert float(sum(part.weights.sum() for part in parts)) == pytest.approx(1)
        told = np.concatenate([part.targets.numpy() for part in parts])
        assert told.tolist() == rows.ids[:, 1:][rows.weights[:, 1:] > 0].tolist()
        for part in parts:
            assert part.weights.dtype == torch.float32 and (part.weights > 0).all()
            assert torch.equal(part.input_ids.flatten()[part.places + 1], part.targets)
            assert torch.equal(part.attention_mask == 1, part.input_ids != PAD_ID)
    rows.weights[:, 0] = 1  # what nothing stands before is predicted by nothing
    assert float(split(rows, 1)[0].weights.sum()) == pytest.approx(1)
    rows.weights[:] = 0
    with pytest.raises(ValueError, match="no token of a batch has a weight"):
        split(rows, 1)


# ---- the loss


@pytest.mark.parametrize("count", [1, 2])
def test_the_loss_is_the_mean_by_weight(tokenizer, count):
    rows = made(tokenizer).rows(0)
    llama = model.build(tiny(), len(tokenizer))
    for part in split(rows, count):
        model.loss(llama, part).backward()
    found = {name: p.grad.clone() for name, p in llama.named_parameters()}
    value = sum(float(model.loss(llama, part).detach()) for part in split(rows, count))

    llama.zero_grad()
    ids, weights = torch.from_numpy(rows.ids), torch.from_numpy(rows.weights)[:, 1:]
    logits = llama(input_ids=ids, attention_mask=(ids != PAD_ID).long()).logits[:, :-1]
    each = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view_as(weights)
    plain = (each * weights).sum() / weights.sum()
    plain.backward()
    assert value == pytest.approx(float(plain.detach()), rel=1e-6)
    for name, p in llama.named_parameters():
        torch.testing.assert_close(found[name], p.grad, rtol=1e-4, atol=1e-7)


def test_the_model_is_what_the_recipe_says(tokenizer):
    before = torch.random.get_rng_state()
    one = model.build(tiny(kv_heads=1, tie=True, init_std=0.1), 300)
    assert torch.equal(before, torch.random.get_rng_state())
    config = one.config
    assert (config.num_hidden_layers, config.hidden_size, config.num_key_value_heads) == (2, 16, 1)
    assert config.tie_word_embeddings and one.lm_head.weight is one.model.embed_tokens.weight
    assert float(one.model.layers[0].mlp.up_proj.weight.detach().std()) == pytest.approx(0.1, rel=0.2)
    same, other = model.build(tiny(), 300), model.build(tiny(seed=1), 300)
    assert torch.equal(model.build(tiny(), 300).lm_head.weight, same.lm_head.weight)
    assert not torch.equal(other.lm_head.weight, same.lm_head.weight)


def test_heads_begin_by_finding_and_copying_what_is_alike():
    first, second = (layer.self_attn for layer in model.build(tiny(mimetic=1.5, init_std=0.1), 300).model.layers)
    for heads in (first, second):
        assert torch.equal(heads.q_proj.weight, heads.k_proj.weight) and heads.q_proj.bias is None
        assert torch.equal(heads.o_proj.weight, heads.v_proj.weight.T)
        assert float(heads.q_proj.weight.detach().std()) == pytest.approx(0.15, rel=0.2)
    with pytest.raises(ZobenchError, match="--kv-heads"):
        tiny(mimetic=1.0, kv_heads=1)


def test_heads_of_the_first_blocks_begin_at_distances_of_their_own():
    first, second = (layer.self_attn for layer in model.build(tiny(bias_std=3.0, bias_blocks=1), 300).model.layers)
    assert float(first.q_proj.bias.detach().std()) == pytest.approx(3, rel=0.5)
    assert not torch.equal(first.q_proj.bias, first.k_proj.bias)
    assert not any(bool(bias.any()) for bias in (first.v_proj.bias, second.q_proj.bias, second.k_proj.bias))


def test_norms_are_not_decayed():
    llama = model.build(tiny(), 300)
    decayed, kept = model.adamw(llama, tiny(weight_decay=0.3, beta2=0.9)).param_groups
    assert decayed["weight_decay"] == 0.3 and kept["weight_decay"] == 0
    assert decayed["betas"] == (0.9, 0.9)
    assert all(p.ndim == 2 for p in decayed["params"]) and all(p.ndim == 1 for p in kept["params"])
    assert len(kept["params"]) == 2 * 2 + 1


# ---- generated text


def test_what_a_step_sees_is_a_function_of_seed_and_step(tokenizer):
    one, other = made(tokenizer), made(tokenizer)
    other.rows(0)
    assert np.array_equal(one.rows(3).ids, other.rows(3).ids)
    assert np.array_equal(one.rows(3).weights, other.rows(3).weights)
    assert not np.array_equal(one.rows(3).ids, one.rows(4).ids)
    assert not np.array_equal(one.rows(3).ids, made(tokenizer, seed=1).rows(3).ids)


def test_progress_goes_from_0_to_below_1(tokenizer):
    seen = []

    def watched(rng, progress):
        seen.append(progress)
        return document(rng, progress)

    source = Generated(watched, tokenizer, tiny(steps=4))
    for step in range(4):
        source.rows(step)
    assert sorted(set(seen)) == [0, 0.25, 0.5, 0.75]
    seen.clear()
    source.validation(2)
    assert set(seen) == {np.nextafter(1, 0)}


def test_validation_is_held_out_and_the_same_for_every_seed(tokenizer):
    one, other = made(tokenizer), made(tokenizer, seed=1)
    assert np.array_equal(one.validation(3).ids, other.validation(3).ids)
    assert len(one.validation(3).ids) == 3
    assert not any(np.array_equal(one.validation(4).ids, one.rows(step).ids) for step in range(7))
    assert one.digest() == other.digest()
    assert one.digest() != Generated(lambda rng, _: [("Ben has", 1.0)], tokenizer, tiny()).digest()
    assert one.facts()["text"] == "kits.pretrain_kit.document"


# ---- a corpus


TEXT = "\n\n".join(f"Anna has {i} books.\nBen has {i + 1} drums." for i in range(200))


def written(folder, text):
    path = folder / "text.txt"
    path.write_text(text, encoding="utf-8")
    return CorpusFile(path)


@pytest.mark.parametrize("read", [3, 2**20])
def test_documents_of_a_file(tmp_path, monkeypatch, read):
    monkeypatch.setattr(corpus_module, "_READ", read)
    assert list(written(tmp_path, "a b\nc\n\n\n d\n \n\ne\n").documents()) == ["a b\nc", "d", "e"]
    marked = written(tmp_path, "a\n\nb<|endoftext|>c\n<|endoftext|>\n<|endoftext|>d")
    assert list(marked.documents()) == ["a\n\nb", "c", "d"]


def test_the_rows_of_a_corpus(tmp_path):
    file, chosen = written(tmp_path, TEXT), tiny(length=16)
    tokenizer = file.tokenizer(chosen)
    source = Corpus(file, tokenizer, chosen, tmp_path)
    whole = np.array([i for d in TextEncoder(tokenizer).plain(TEXT.split("\n\n")) for i in d])
    assert np.array_equal(source.tokens, whole)
    total = len(whole) // 15
    assert source.held_out == max(1, total // 100) and source.count == total - source.held_out
    expected = whole[: total * 15].reshape(total, 15)
    steps = -(-source.count // chosen.batch)
    rows = np.concatenate([source.rows(step).ids for step in range(steps + 1)])
    assert (rows[:, 0] == BOS_ID).all()
    first, second = rows[: source.count, 1:], rows[source.count :, 1:]
    assert sorted(first.tolist()) == sorted(expected[: source.count].tolist())  # an epoch: each row once
    assert first.tolist() != expected[: source.count].tolist() and first[: len(second)].tolist() != second.tolist()
    held_out = source.validation(100)
    assert np.array_equal(held_out.ids[:, 1:], expected[source.count :])
    assert not held_out.weights[:, 0].any() and held_out.weights[:, 1:].all()
    assert source.facts()["tokens"] == len(whole)
    bare = Corpus(file, tokenizer, tiny(length=16, bos=False), tmp_path)
    assert bare.rows(0).ids.shape == (4, 16) and bare.rows(0).weights.all()


def test_a_file_is_tokenized_once(tmp_path, monkeypatch):
    file = written(tmp_path, TEXT)
    tokenizer = file.tokenizer(tiny())
    first = Corpus(file, tokenizer, tiny(), tmp_path).rows(0).ids
    with monkeypatch.context() as patch:
        patch.setattr(CorpusFile, "documents", lambda self: pytest.fail("read again"))
        assert np.array_equal(Corpus(file, tokenizer, tiny(), tmp_path).rows(0).ids, first)
    changed = written(tmp_path, TEXT + "\n\nmore")
    assert len(Corpus(changed, tokenizer, tiny(), tmp_path).tokens) > len(TEXT.split())
    assert changed.sha256 != file.sha256


def test_a_corpus_that_cannot_be_used(tmp_path):
    with pytest.raises(ZobenchError, match=r"--corpus .*none.txt: cannot be read: No such file"):
        CorpusFile(tmp_path / "none.txt")
    with pytest.raises(ZobenchError, match="the file is empty"):
        written(tmp_path, "")
    short = written(tmp_path, "Anna has a book.")
    with pytest.raises(ZobenchError, match="two are needed"):
        Corpus(short, short.tokenizer(tiny()), tiny(), tmp_path)
    blank = written(tmp_path, " \n \n ")
    with pytest.raises(ZobenchError, match="there is no text in it"):
        Corpus(blank, blank.tokenizer(tiny()), tiny(), tmp_path)
    (tmp_path / "text.txt").write_bytes(b"abc \xff def")
    with pytest.raises(ZobenchError, match="not text in UTF-8"):
        list(CorpusFile(tmp_path / "text.txt").documents())


def test_a_second_cycle_begins_anew():
    one, two = tiny(steps=100, warmup=5, decay_from=0.5), tiny(steps=140, cycles=(100,), warmup=5, decay_from=0.5)
    assert [two.learning_rate(step) for step in range(100)] == [one.learning_rate(step) for step in range(100)]
    assert [two.progress(step) for step in (0, 50, 99, 100, 120)] == [0, 0.5, 0.99, 1, 1.5]
    assert two.learning_rate(100) == pytest.approx(two.lr / 5) and two.learning_rate(104) == two.lr
    assert two.learning_rate(119) == two.lr > two.learning_rate(130) > two.learning_rate(139) > 0
    three = tiny(steps=200, cycles=(100, 140), warmup=5, decay_from=0.5)
    assert [three.progress(step) for step in (99, 139, 140, 170)] == [0.99, 1 + 39 / 40, 2, 2.5]
    assert three.learning_rate(140) == two.learning_rate(100) and three.learning_rate(145) == three.lr
    for wrong in ((7,), (0,), (3, 3), (5, 2)):
        with pytest.raises(ZobenchError, match=r"cycles from steps .* on of 7 steps"):
            tiny(cycles=wrong)


def test_a_preset_of_cycles_keeps_their_proportion():
    base = recipe_from("embedded", {})
    shorter = recipe_from("embedded", {"steps": base.steps // 10})
    assert base.cycles and shorter.cycles == tuple(step // 10 for step in base.cycles)
    assert recipe_from("embedded", {"steps": 1}).cycles == recipe_from("reference", {"steps": 5}).cycles == ()


def test_the_digest_sees_each_cycle(tokenizer):
    def changed(after):
        return lambda rng, progress: [("Ben has" if progress > after else "Anna has", 1.0)]

    recipe = tiny(cycles=(3, 5))
    digests = [Generated(changed(after), tokenizer, recipe).digest() for after in (0.4, 1.4, 2.4, 3)]
    assert len(set(digests)) == 4


def test_a_training_begins_with_nothing_counted():
    assert TrainingCounts() == TrainingCounts(0, 0, 0.0, 0.0, 0, "", [])
