"""Model folders that are broken, ambiguous or of something else: one line each, or the model that config describes."""

import json
import os
import shutil
import socket
import struct
from pathlib import Path

import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from zobench.cli import main
from zobench.errors import ZobenchError
from zobench.models import contents
from zobench.models.folder import fingerprint
from zobench.models.load import load_model
from zobench.models.weights import read_header

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 40}
IDS = torch.tensor([[3, 4, 5, 6]])


def llama(**more):
    torch.manual_seed(0)
    config = tf.LlamaConfig(vocab_size=16, intermediate_size=24, tie_word_embeddings=True, **SIZES, **more)
    return tf.LlamaForCausalLM(config).eval()


def tokenizer(words=("<pad>", "<s>", "</s>", *"abcdefgh")):
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="a"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return tf.PreTrainedTokenizerFast(tokenizer_object=core, **special)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "little"
    llama().save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


@pytest.fixture
def at(original, tmp_path):
    return shutil.copytree(original, tmp_path / "little")


def fault(folder, **options):
    with pytest.raises(ZobenchError) as caught:
        load_model(str(folder), device="cpu", **options)
    said = str(caught.value)
    assert "\n" not in said and said.startswith(("--model", "model "))
    return said


def logits(folder):
    with torch.no_grad():
        return load_model(str(folder), device="cpu").model(input_ids=IDS).logits


def rewrite(at, name="config.json", **facts):
    old = json.loads((at / name).read_text()) if (at / name).exists() else {}
    (at / name).write_text(json.dumps({**old, **facts}))


def add(at, **tensors):
    """Tensors beside those of the model; `__` stands for a dot."""
    named = {name.replace("__", "."): value for name, value in tensors.items()}
    save_file({**load_file(at / WEIGHTS), **named}, at / WEIGHTS, metadata={"format": "pt"})


def header(at, value, data=b"", length=None):
    """Weights with this header: an object, or bytes as they are."""
    said = value if isinstance(value, bytes) else json.dumps(value).encode()
    (at / WEIGHTS).write_bytes(struct.pack("<Q", len(said) if length is None else length) + said + data)


def shard(at, names=("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"), keep=False):
    """The weights in two files, with an index."""
    weights = load_file(at / WEIGHTS)
    half, where = len(weights) // 2, {}
    for name, keys in zip(names, (list(weights)[:half], list(weights)[half:]), strict=True):
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        save_file({k: weights[k] for k in keys}, at / name, metadata={"format": "pt"})
        where |= dict.fromkeys(keys, name)
    (at / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    if not keep:
        (at / WEIGHTS).unlink()


def entry(**facts):
    return {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **facts}}


# ---- files that are no safetensors

TWO = {"data_offsets": [0, 8], "dtype": "F32", "shape": [2]}
HEADERS = {
    "empty file": lambda at: (at / WEIGHTS).write_bytes(b""),
    "seven bytes": lambda at: (at / WEIGHTS).write_bytes(b"1234567"),
    "header length beyond the file": lambda at: header(at, {}, length=1000),
    "header length 2**63": lambda at: header(at, {}, length=2**63),
    "header length of all ones": lambda at: header(at, {}, length=2**64 - 1),
    "header of no bytes": lambda at: header(at, b""),
    "header not UTF-8": lambda at: header(at, b"\xff\xfe{}"),
    "header not JSON": lambda at: header(at, b"{"),
    "header a list": lambda at: header(at, []),
    "header a number": lambda at: header(at, 7),
    "header null": lambda at: header(at, None),
    "header a text": lambda at: header(at, "w"),
    "deep lists": lambda at: header(at, b"[" * 100_000),
    "deep objects": lambda at: header(at, b'{"a":' * 100_000),
    "NaN": lambda at: header(at, b'{"w":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', bytes(8)),
    "tensor a list": lambda at: header(at, {"w": []}),
    "tensor null": lambda at: header(at, {"w": None}),
    "no data_offsets": lambda at: header(at, {"w": {"dtype": "F32", "shape": [2]}}, bytes(8)),
    "no shape": lambda at: header(at, {"w": {"dtype": "F32", "data_offsets": [0, 8]}}, bytes(8)),
    "no dtype": lambda at: header(at, {"w": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
    "negative offset": lambda at: header(at, entry(data_offsets=[-8, 0]), bytes(8)),
    "offsets the wrong way": lambda at: header(at, entry(data_offsets=[8, 0]), bytes(8)),
    "offsets beyond the file": lambda at: header(at, entry(shape=[200], data_offsets=[0, 800]), bytes(8)),
    "offsets of a text": lambda at: header(at, entry(data_offsets="08"), bytes(8)),
    "one offset": lambda at: header(at, entry(data_offsets=[8]), bytes(8)),
    "three offsets": lambda at: header(at, entry(data_offsets=[0, 4, 8]), bytes(8)),
    "offsets of floats": lambda at: header(at, entry(data_offsets=[0.0, 8.0]), bytes(8)),
    "offset of 10**30": lambda at: header(at, entry(data_offsets=[0, 10**30]), bytes(8)),
    "overlapping tensors": lambda at: header(at, {"v": TWO, "w": {**TWO, "data_offsets": [4, 12]}}, bytes(12)),
    "tensors on one another": lambda at: header(at, {"v": TWO, "w": TWO}, bytes(8)),
    "a gap": lambda at: header(at, {"v": TWO, "w": {**TWO, "data_offsets": [12, 20]}}, bytes(20)),
    "bytes after the end": lambda at: header(at, entry(), bytes(9)),
    "shape a number": lambda at: header(at, entry(shape=2), bytes(8)),
    "shape of texts": lambda at: header(at, entry(shape=["2"]), bytes(8)),
    "shape of floats": lambda at: header(at, entry(shape=[2.0]), bytes(8)),
    "shape of booleans": lambda at: header(at, entry(shape=[True, 2]), bytes(8)),
    "negative shape": lambda at: header(at, entry(shape=[-2, -1]), bytes(8)),
    "shape other than its bytes": lambda at: header(at, entry(shape=[3]), bytes(8)),
    "shape of 10**20": lambda at: header(at, entry(shape=[10**20]), bytes(8)),
    "unknown dtype": lambda at: header(at, entry(dtype="Q4_0"), bytes(8)),
    "dtype a number": lambda at: header(at, entry(dtype=32), bytes(8)),
    "metadata of numbers": lambda at: header(at, {"__metadata__": {"format": 1}, **entry()}, bytes(8)),
    "metadata a text": lambda at: header(at, {"__metadata__": "pt", **entry()}, bytes(8)),
    "a tensor twice": lambda at: header(at, b'{"w":%s,"w":%s}' % ((json.dumps(TWO).encode(),) * 2), bytes(8)),
    "a page of the web": lambda at: (at / WEIGHTS).write_text("<!DOCTYPE html><html>" + " " * 500),
    "a zip of pickles": lambda at: (at / WEIGHTS).write_bytes(b"PK\x03\x04" + bytes(500)),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_what_is_no_safetensors_file_is_told(at, kind):
    HEADERS[kind](at)
    said = fault(at)
    assert WEIGHTS in said and ("not a safetensors file" in said or "bytes instead of" in said)
    with pytest.raises(ZobenchError):
        read_header(at / WEIGHTS)


def test_a_header_is_never_read_beyond_what_the_library_allows(at):
    with (at / WEIGHTS).open("wb") as file:  # a hole: no bytes on the disk
        file.write(struct.pack("<Q", 2**31))
        file.truncate(2**32)
    assert "not a safetensors file" in fault(at)


def test_no_tensors_are_no_model(at):
    header(at, {})
    assert "tensors are missing" in fault(at)


def test_odd_but_right_headers_are_read(at):
    name = "model.norm.weight"
    assert read_header(at / WEIGHTS)[name].shape == (16,)
    header(
        at,
        {"s": {**TWO, "shape": [], "data_offsets": [0, 4]}, "e": {**TWO, "shape": [0, 5], "data_offsets": [4, 4]}},
        bytes(4),
    )  # noqa: E501
    assert {k: v.numel for k, v in read_header(at / WEIGHTS).items()} == {"s": 1, "e": 0}


# ---- things that are no files


def instead(at, name, made):
    path = at / name
    if path.exists():
        path.unlink()
    if made == "pipe":
        os.mkfifo(path)
    elif made == "folder":
        path.mkdir()
    elif made == "device":
        path.symlink_to("/dev/zero")
    elif made == "socket":
        os.chdir(at)  # a socket's path is short
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(name)
    elif made == "dangling":
        path.symlink_to("nowhere")
    elif made == "loop":
        path.symlink_to(name)


HARMLESS = {
    *(("generation_config.json", made) for made in ("folder", "dangling")),  # it is not needed
    (INDEX, "dangling"),
}
LATER = {("tokenizer_config.json", made) for made in ("folder", "dangling")}
"""Earlier releases of transformers find the special tokens elsewhere."""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("made", ["pipe", "folder", "device", "socket", "dangling", "loop"])
@pytest.mark.parametrize(
    "name", [WEIGHTS, "config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", INDEX]
)
def test_what_is_no_file_is_told_and_never_opened(at, name, made, monkeypatch):
    monkeypatch.chdir(at.parent)
    instead(at, name, made)
    if (name, made) in LATER:
        try:
            load_model(str(at), device="cpu")
        except ZobenchError as e:
            assert "neither a pad nor" in str(e)
    elif (name, made) in HARMLESS:
        assert load_model(str(at), device="cpu").name == "little"
    else:
        assert "Traceback" not in fault(at)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize(
    "name", ["chat_template.jinja", "adapter_config.json", "added_tokens.json", "extra.safetensors"]
)
def test_pipes_that_transformers_would_open_are_told(at, name):
    os.mkfifo(at / name)
    assert "pipe" in fault(at) and name in fault(at)


@pytest.mark.parametrize("name", [WEIGHTS, "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_files_that_may_not_be_read_are_told(at, name, monkeypatch):
    """As anyone but root sees a file without permission."""
    opened = Path.open

    def refuse(self, *args, **kw):
        if self.name == name:
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *args, **kw)

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_bytes", lambda self: refuse(self, "rb").read())
    assert "cannot be read: Permission denied" in fault(at) and name in fault(at)


# ---- settings that are none

JSON = {
    "empty": b"",
    "not JSON": b"{",
    "a list": b"[]",
    "null": b"null",
    "not UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "NUL bytes": bytes(100),
    "objects as deep as can be read": b'{"a":' * 900 + b"1" + b"}" * 900,
}


@pytest.mark.parametrize("kind", JSON)
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json", INDEX])
def test_settings_that_are_no_json_are_told(at, name, kind):
    (at / name).write_bytes(JSON[kind])
    said = fault(at)
    assert name in said or "tokenizer" in said


CONFIGS = {
    "no heads": {"num_attention_heads": 0},
    "a size of text": {"hidden_size": "16"},
    "negative size": {"hidden_size": -16},
    "a float": {"hidden_size": 16.5},
    "heads that do not divide": {"num_attention_heads": 3},
    "no layers": {"num_hidden_layers": 0},
    "more layers": {"num_hidden_layers": 3},
    "layers without end": {"num_hidden_layers": 10**18},
    "heads without end": {"num_attention_heads": 10**18, "num_key_value_heads": 10**18},
    "layers without end inside": {"text_config": {"num_hidden_layers": 10**18}},
    "null size": {"hidden_size": None},
    "a size beyond any memory": {"vocab_size": 10**15},
    "unknown activation": {"hidden_act": "sparkle"},
    "model_type a list": {"model_type": ["llama"]},
    "model_type null": {"model_type": None},
    "model_type of another": {"model_type": "gpt2"},
    "rope a text": {"rope_scaling": "linear"},
    "unknown rope": {"rope_parameters": {"rope_type": "spiral", "rope_theta": 1e4}},
    "architectures a number": {"architectures": 7},
    "a pad token beyond": {"pad_token_id": 10**9},
    "weights of another name": {"transformers_weights": "../other/model.safetensors"},
    "weights of another name inside": {"transformers_weights": "other.safetensors"},
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_odd_settings_are_told_or_harmless(at, kind):
    before = logits(at)
    rewrite(at, **CONFIGS[kind])
    try:
        after = logits(at)
    except ZobenchError as e:
        assert "\n" not in str(e)
    else:
        assert torch.equal(before, after)


@pytest.mark.parametrize(
    "facts",
    [
        {"attn_implementation": "someone/kernel"},
        {"_attn_implementation": "someone/kernel:run"},
        {"experts_implementation": "someone/kernel"},
        {"text_config": {"attn_implementation": "someone/kernel"}},
        {"attn_implementation": {"": "someone/kernel", "text_implementation": "someone/kernel"}},
    ],
)
def test_kernels_of_the_hub_are_never_fetched(at, facts):
    rewrite(at, **facts)
    assert "code of the hub, which is never run" in fault(at)


@pytest.mark.parametrize("kind", ["auto_map", "tokenizer"])
def test_code_beside_a_known_model_is_not_run(at, kind):
    before = logits(at)
    (at / "evil.py").write_text("raise SystemExit('ran')")
    if kind == "auto_map":
        rewrite(at, auto_map={"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"})
        assert torch.equal(logits(at), before)
    else:
        own = {"auto_map": {"AutoTokenizer": ["evil.T", "evil.T"]}, "tokenizer_class": "EvilTokenizer"}
        rewrite(at, "tokenizer_config.json", **own)
        assert "code of its own, which is never run" in fault(at)


# ---- which weights


def test_an_index_is_followed_and_is_part_of_the_fingerprint(at):
    before, whole = logits(at), fingerprint(at)
    shard(at)
    assert torch.equal(logits(at), before)
    first = load_model(str(at), device="cpu").revision
    assert first != f"sha256:{whole}"
    index = json.loads((at / INDEX).read_text())
    (at / INDEX).write_text(json.dumps({**index, "metadata": {"total_size": 1}}))
    assert load_model(str(at), device="cpu").revision != first


def test_weights_in_a_folder_below_are_part_of_the_fingerprint(at):
    before = logits(at)
    shard(at, ("parts/one.safetensors", "two.safetensors"))
    assert torch.equal(logits(at), before)
    first = load_model(str(at), device="cpu").revision
    part = load_file(at / "parts" / "one.safetensors")
    next(iter(part.values())).view(-1)[0] += 1
    save_file(part, at / "parts" / "one.safetensors", metadata={"format": "pt"})
    assert load_model(str(at), device="cpu").revision != first


def test_the_fingerprint_of_a_folder_without_an_index_stays_what_it_was(tmp_path):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", WEIGHTS):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "chat_template.jinja").write_text("not of it")
    assert fingerprint(tmp_path, (WEIGHTS,)) == "d9245f474ac3cc76"


@pytest.mark.parametrize(
    "name", ["../elsewhere.safetensors", "/tmp/elsewhere.safetensors", "a/../../elsewhere.safetensors"]
)
def test_an_index_that_names_files_elsewhere_is_refused(at, name):
    shutil.copy(at / WEIGHTS, at.parent / "elsewhere.safetensors")
    weights = load_file(at / WEIGHTS)
    (at / WEIGHTS).rename(at / "model-00001-of-00001.safetensors")
    (at / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(weights, name)}))
    assert "outside the folder" in fault(at)


INDICES = {
    "no weight_map": {"metadata": {}},
    "an empty one": {"metadata": {}, "weight_map": {}},
    "a list": {"metadata": {}, "weight_map": ["model-00001-of-00002.safetensors"]},
    "of numbers": {"metadata": {}, "weight_map": {"model.norm.weight": 1}},
    "of lists": {"metadata": {}, "weight_map": {"model.norm.weight": ["a"]}},
    "no metadata": {"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}},
    "a file that is missing": {"metadata": {}, "weight_map": {"model.norm.weight": "absent.safetensors"}},
    "a pickle": {"metadata": {}, "weight_map": {"model.norm.weight": "pytorch_model.bin"}},
    "an empty name": {"metadata": {}, "weight_map": {"model.norm.weight": ""}},
    "a long name": {"metadata": {}, "weight_map": {"model.norm.weight": "x" * 5000 + ".safetensors"}},
    "a null byte": {"metadata": {}, "weight_map": {"model.norm.weight": "a\0b.safetensors"}},
    "a surrogate": {"metadata": {}, "weight_map": {"model.norm.weight": "a\udcff.safetensors"}},
    "one shard of two": {"metadata": {}, "weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"}},
}


@pytest.mark.parametrize("kind", INDICES)
def test_an_index_that_is_none_is_told(at, kind):
    shard(at)
    (at / INDEX).write_text(json.dumps(INDICES[kind]))
    fault(at)


def test_a_shard_that_is_missing_or_damaged_is_told(at):
    shard(at)
    second = at / "model-00002-of-00002.safetensors"
    content = second.read_bytes()
    second.write_bytes(content[:-1])
    assert f"has {len(content) - 1} bytes instead of {len(content)}" in fault(at)
    second.unlink()
    assert "which is not there" in fault(at)


def test_a_tensor_in_two_shards_is_told(at):
    shard(at)
    first, second = (at / f"model-0000{n}-of-00002.safetensors" for n in (1, 2))
    save_file({**load_file(first), **load_file(second)}, second, metadata={"format": "pt"})
    assert "and in another file" in fault(at)


def test_two_sets_of_weights_are_refused(at):
    shard(at, keep=True)
    assert "two sets of weights" in fault(at) and INDEX in fault(at)
    (at / INDEX).unlink()
    assert "two sets of weights" in fault(at) and "model-00001-of-00002.safetensors" in fault(at)


def test_an_index_of_the_one_file_is_no_second_set(at):
    names = dict.fromkeys(load_file(at / WEIGHTS), WEIGHTS)
    (at / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}))
    assert load_model(str(at), device="cpu").unused == ()


def test_weights_that_nothing_calls_the_models_are_refused(at):
    (at / WEIGHTS).rename(at / "model.fp16.safetensors")
    assert "neither model.safetensors nor" in fault(at) and "model.fp16.safetensors" in fault(at)


def test_an_index_of_the_one_file_is_harmless(at):
    before, names = logits(at), list(load_file(at / WEIGHTS))
    (at / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, WEIGHTS)}))
    assert torch.equal(logits(at), before)


def test_only_pickles_or_several_gguf_files_are_told(at):
    (at / WEIGHTS).unlink()
    for name in ("model.Q4.gguf", "model.Q8.gguf"):
        (at / name).write_bytes(b"GGUF")
    assert "2 GGUF files (model.Q4.gguf, model.Q8.gguf): name one" in fault(at)
    (at / "model.Q8.gguf").unlink()
    assert "gguf" in fault(at)
    (at / "model.Q4.gguf").rename(at / "pytorch_model.bin")
    assert "only pytorch_model.bin" in fault(at)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_that_is_called_gguf_is_told(at):
    (at / WEIGHTS).unlink()
    os.mkfifo(at / "model.gguf")
    assert "a pipe" in fault(at)


def test_links_into_a_cache_are_followed(at):
    before, blob = logits(at), at.parent / "blob"
    (at / WEIGHTS).rename(blob)
    (at / WEIGHTS).symlink_to(blob)
    assert torch.equal(logits(at), before)


# ---- adapters, other heads, quantised weights


def test_an_adapter_beside_the_weights_is_never_attached(at):
    peft = pytest.importorskip("peft")
    adapted = peft.get_peft_model(llama(), peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    adapted.save_pretrained(at)
    assert "adapter_config.json" in fault(at) and "merge" in fault(at)
    for name in ("config.json", WEIGHTS):
        (at / name).unlink()
    assert "an adapter and no model" in fault(at)


def test_an_adapter_inside_the_weights_is_refused(at):
    add(at, model__layers__0__self_attn__q_proj__lora_A__weight=torch.zeros(2, 16))
    assert "an adapter was not merged" in fault(at)


def test_biases_that_config_leaves_out_are_refused(at):
    llama(attention_bias=True).save_pretrained(at)
    rewrite(at, attention_bias=False)
    assert "no place for" in fault(at) and "bias" in fault(at)


def test_tensors_outside_the_blocks_are_left_out_and_named(at):
    before = logits(at)
    add(at, v_head__summary__weight=torch.zeros(1, 16), model__layers__7__mtp__weight=torch.zeros(3))
    assert load_model(str(at), device="cpu").unused == ("model.layers.7.mtp.weight", "v_head.summary.weight")
    assert torch.equal(logits(at), before)


@pytest.mark.parametrize("kept", [0, 1])
def test_blocks_that_config_leaves_out_are_told(at, kept):
    rewrite(at, num_hidden_layers=kept)
    assert f"{2 - kept} decoder blocks that config.json leaves out" in fault(at)


def test_a_block_that_has_more_than_the_models_is_no_block_left_out(at):
    """One that foretells further tokens stands after the others, and a model may do without it."""
    weights = load_file(at / WEIGHTS)
    own = {n.replace("layers.0", "layers.2"): t.clone() for n, t in weights.items() if "layers.0." in n}
    further = {**own, "model.layers.2.eh_proj.weight": torch.zeros(3)}
    save_file({**weights, **further}, at / WEIGHTS, metadata={"format": "pt"})
    assert load_model(str(at), device="cpu").unused == tuple(sorted(further))


@pytest.mark.parametrize("of", ["LlamaForTokenClassification", "GemmaForRewardModel", "XForSequenceRetrieval"])
def test_a_model_with_another_head_is_told_by_its_name(of):
    found = {"mismatched_keys": (), "missing_keys": (), "unexpected_keys": ("score.weight",)}
    with pytest.raises(ZobenchError, match=f"are of a {of}, whose head"):
        contents.check_whole(llama(), found, {}, Path("folder"), [of])
    assert contents.check_whole(llama(), found, {}, Path("folder"), ["LlamaForCausalLM"]) == ("score.weight",)


def test_a_classifier_is_no_language_model(at):
    torch.manual_seed(0)
    config = tf.LlamaConfig(vocab_size=16, intermediate_size=24, num_labels=3, **SIZES)
    tf.LlamaForSequenceClassification(config).save_pretrained(at)
    assert "lm_head.weight" in fault(at)
    rewrite(at, tie_word_embeddings=True)  # whose head would be made of the embedding
    assert "LlamaForSequenceClassification" in fault(at)


def test_what_old_checkpoints_hold_beside_weights_is_harmless(at):
    before = logits(at)
    add(at, model__layers__0__self_attn__rotary_emb__inv_freq=torch.zeros(4))
    loaded = load_model(str(at), device="cpu")
    assert loaded.unused == () and torch.equal(logits(at), before)


def test_a_quantisation_that_is_only_in_config_is_told(at):
    rewrite(at, quantization_config={"quant_method": "fp8"})
    assert "none of its tensors is: remove quantization_config" in fault(at)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32, torch.float8_e4m3fn])
def test_quantised_tensors_are_told_with_and_without_config(at, dtype):
    name = "model.layers.0.mlp.up_proj.weight"
    weights = load_file(at / WEIGHTS)
    weights[name] = weights[name].to(dtype)
    save_file(weights, at / WEIGHTS, metadata={"format": "pt"})
    assert "quantised" in fault(at) and name in fault(at)
    rewrite(at, quantization_config={"quant_method": "other"})
    assert "quantised (other)" in fault(at) and name in fault(at)


def test_a_head_of_its_own_where_config_ties_it_is_refused(at):
    before = logits(at)
    embedding = load_file(at / WEIGHTS)["model.embed_tokens.weight"]
    add(at, lm_head__weight=embedding.clone())
    assert torch.equal(logits(at), before)
    add(at, lm_head__weight=embedding + 1)
    assert "lm_head.weight and model.embed_tokens.weight differ" in fault(at)
    rewrite(at, tie_word_embeddings=False)
    assert not torch.equal(logits(at), before)


@pytest.mark.parametrize(
    ("value", "stored", "dtype", "right"),
    [
        (float("nan"), torch.float32, "float32", False),
        (float("-inf"), torch.float32, "bfloat16", False),
        (1e300, torch.float64, "float32", False),
        (1e5, torch.bfloat16, "float16", False),
        (1e5, torch.bfloat16, "bfloat16", True),
    ],
)
def test_weights_that_are_not_finite_in_their_dtype_are_refused(at, value, stored, dtype, right):
    add(at, model__norm__weight=torch.full((16,), value, dtype=stored))
    if right:
        assert load_model(str(at), device="cpu", dtype=dtype).dtype == dtype
    else:
        assert f"model.norm.weight has values that are NaN or infinite in {dtype}" in fault(at, dtype=dtype)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "base_model.model."])
def test_names_that_wrappers_left_are_told(at, prefix):
    save_file({prefix + n: t for n, t in load_file(at / WEIGHTS).items()}, at / WEIGHTS, metadata={"format": "pt"})
    assert "tensors are missing" in fault(at)


def test_weights_of_several_dtypes_are_read_as_one(at):
    weights = load_file(at / WEIGHTS)
    half = {n: t.to(torch.bfloat16 if i % 2 else torch.float64) for i, (n, t) in enumerate(weights.items())}
    save_file(half, at / WEIGHTS, metadata={"format": "pt"})
    loaded = load_model(str(at), device="cpu")
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert torch.equal(loaded.model.model.norm.weight, half["model.norm.weight"].float())


# ---- tokenizers


def test_a_special_token_beyond_the_embedding_that_text_does_not_have_is_let_be(at):
    grown = tokenizer(("<pad>", "<s>", "</s>", *(f"w{i}" for i in range(13))))
    grown.add_tokens(["<picture>"], special_tokens=True)
    grown.save_pretrained(at)
    assert load_model(str(at), device="cpu").tokenizer("w1 <picture>")["input_ids"] == [4, 16]


def test_a_tokenizer_of_another_version_is_part_of_the_fingerprint(at):
    first = fingerprint(at)
    shutil.copy(at / "tokenizer.json", at / "tokenizer.4.0.0.json")
    rewrite(at, "tokenizer_config.json", fast_tokenizer_files=["tokenizer.4.0.0.json"])
    second = fingerprint(at)
    (at / "tokenizer.4.0.0.json").write_text((at / "tokenizer.json").read_text() + " ")
    assert len({first, second, fingerprint(at)}) == 3


# ---- names


@pytest.mark.parametrize("name", ["x" * 300, "a/" + "b" * 5000, "a\0b", "\udcff", "./\udcff", "~nobody/x", "a\nb", " "])
def test_odd_names_are_told(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ZobenchError) as caught:
        load_model(name, offline=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [b"\xff", b"a\nb"])
def test_a_folder_whose_name_cannot_be_written_is_refused(at, name):
    odd = os.fsdecode(os.fsencode(at.parent) + b"/" + name)
    try:
        at.rename(odd)
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(ZobenchError, match="rename the folder"):
        load_model(odd, device="cpu")


def test_the_command_line_says_it_in_one_line_and_exits_with_2(at, capfd):
    header(at, b"[" * 100_000)
    for command in (["run", "--dry-run"], ["show", "task", "sst2"], ["bench"]):
        assert main([*command, "--model", str(at)]) == 2
        said = capfd.readouterr().err.strip()
        assert said.startswith("zobench: error:") and "\n" not in said


def test_the_command_line_says_nothing_beside_it(at, capfd):
    add(at, model__layers__0__self_attn__q_proj__lora_A__weight=torch.zeros(2, 16))
    assert main(["run", "--dry-run", "--model", str(at)]) == 2
    assert len(capfd.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize("length", [{"a": 1}, [512], "many"])
def test_settings_that_a_tokenizer_first_looks_at_when_it_is_used(at, length):
    rewrite(at, "tokenizer_config.json", model_max_length=length)
    assert "cannot read the tokenizer" in fault(at)


@pytest.mark.parametrize(
    ("name", "weighs"),
    [
        ("model.layers.0.mlp.up.weight", True),
        ("model.layers.0.mlp.up.bias", True),
        ("layers.0.mlp.up.bias", True),
        ("transformer.model.layers.0.mlp.up.bias", True),
        ("extra.bias", True),
        ("model.layers.0.mlp.up.zeros", False),
        ("model.layers.0.attn.rotary_emb.inv_freq", False),
    ],
)
def test_a_stored_tensor_is_a_weight_by_its_name_whatever_stands_before_it(name, weighs):
    own = ["model.embed.weight", "model.layers.0.mlp.up.weight", "model.layers.0.mlp.up.bias"]
    assert contents._is_one_of(name, own, ["extra.bias"]) is weighs
