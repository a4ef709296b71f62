"""A model in one GGUF file: the same logits, its facts in the record, and one line for what cannot be read."""

import hashlib
import json
import shutil
import struct
import sys

import pytest
import torch
from kits import tiny_gguf

from zobench.cli import main
from zobench.errors import ZobenchError
from zobench.models import gguf
from zobench.models.load import load_model, load_tokenizer

pytest.importorskip("gguf")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "tiny.F32.gguf"
    tiny_gguf.write(path)
    return path


def test_logits_are_those_of_the_model_that_was_written(file):
    loaded, ids = load_model(str(file), device="cpu"), torch.tensor([[1, 40, 30, 2, 9]])
    assert torch.equal(loaded.model(ids).logits, tiny_gguf.model()(ids).logits)
    assert (
        loaded.tokenizer.decode(loaded.tokenizer("it was great").input_ids, skip_special_tokens=True) == "it was great"
    )


def test_quantised_weights_are_those_that_the_file_stands_for(tmp_path):
    import gguf

    written = tiny_gguf.write(tmp_path / "q.gguf", quantised="Q8_0")
    loaded = load_model(str(tmp_path / "q.gguf"), device="cpu")
    name = "model.layers.1.mlp.down_proj.weight"
    kind = gguf.GGMLQuantizationType.Q8_0
    rounded = gguf.quants.dequantize(gguf.quants.quantize(written.get_parameter(name).detach().numpy(), kind), kind)
    found = loaded.model.get_parameter(name)
    assert torch.equal(found, torch.from_numpy(rounded)) and not torch.equal(found, written.get_parameter(name))
    assert loaded.weights["tensors"] == {"F32": 7, "Q8_0": 14}
    assert getattr(loaded.model.config, "quantization_config", None) is None


def test_a_folder_with_one_such_file_is_that_model(file):
    one, other = (load_model(str(p), device="cpu") for p in (file, file.parent))
    assert one.revision == other.revision and one.name == other.name == file.name
    assert one.weights["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert load_tokenizer(str(file))[1:] == (512, "llama")


def test_several_models_in_a_folder_are_named_and_what_reads_images_is_none(file, tmp_path):
    for name in ("x.Q4_0.gguf", "x.Q8_0.gguf"):
        shutil.copy(file, tmp_path / name)
    with pytest.raises(ZobenchError, match=r"holds 2 GGUF files \(x.Q4_0.gguf, x.Q8_0.gguf\): name one"):
        load_model(str(tmp_path))
    (tmp_path / "x.Q8_0.gguf").rename(tmp_path / "mmproj-x.gguf")
    assert load_model(str(tmp_path), device="cpu").name == "x.Q4_0.gguf"


@pytest.mark.parametrize("name", ["M.GGUF", "without_ending", "ggml-model.bin"])
def test_a_file_is_known_by_its_first_bytes_whatever_its_name(file, tmp_path, name):
    shutil.copy(file, tmp_path / name)
    assert load_model(str(tmp_path / name), device="cpu").weights["tensors"] == {"F32": 21}


@pytest.mark.parametrize("spec", ["{}", "{}/m-00001-of-00002.gguf"])
def test_a_part_of_a_split_model_says_how_to_join_them(file, tmp_path, spec):
    for part in (1, 2):
        shutil.copy(file, tmp_path / f"m-0000{part}-of-00002.gguf")
    with pytest.raises(ZobenchError, match="one part of 2: join them .* --merge m-00001-of-00002.gguf m.gguf"):
        load_model(spec.format(tmp_path))


@pytest.mark.parametrize("more", [-1, 1])
def test_as_many_blocks_as_the_header_says(tmp_path, monkeypatch, more):
    import gguf as library

    plain = library.GGUFWriter.add_block_count
    monkeypatch.setattr(library.GGUFWriter, "add_block_count", lambda self, n: plain(self, n + more))
    tiny_gguf.write(tmp_path / "x.gguf")
    with pytest.raises(ZobenchError, match="x.gguf is not a whole GGUF file"):
        gguf.facts(tmp_path / "x.gguf", "x")


def test_one_part_of_one_is_the_whole_model(file, tmp_path):
    shutil.copy(file, tmp_path / "m-00001-of-00001.gguf")
    assert load_model(str(tmp_path), device="cpu").name == "m-00001-of-00001.gguf"


def test_a_file_that_is_not_there_is_no_model_of_the_hub():
    with pytest.raises(ZobenchError, match="--model nowhere.gguf: no such folder or file"):
        load_model("nowhere.gguf")


def test_a_run_keeps_the_facts_in_its_record(file, tmp_path, capsys):
    data = tmp_path / "data" / "sst2"
    data.mkdir(parents=True)
    rows = [
        {"sentence": f"it was a {w} film", "label": i % 2} for i, w in enumerate("good bad great terrible".split() * 3)
    ]
    for split in ("train", "validation"):
        (data / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sizes = "num_train=8 num_dev=4 num_test=4 steps=2 eval_every=2 batch_size=2 speed_steps=0".split()
    settings = [word for size in sizes for word in ("--set", size)]
    words = ["run", "--model", str(file), "--data-dir", str(data.parent), "--tasks", "sst2", "--estimator", "mezo"]
    words += ["--selector", "layer:1", "--lr", "1e-4", "--results", str(tmp_path / "runs"), *settings]
    code, said = main(words), capsys.readouterr().err
    assert code == 0, said
    assert "de-quantizing" not in said, "the reader's bar would cut into the progress of the run"
    (record,) = (json.loads(p.read_text()) for p in (tmp_path / "runs/cells").glob("*.json"))
    assert record["weights"]["format"] == "gguf" and record["weights"]["tensors"] == {"F32": 21}
    assert record["cell"]["model_revision"] == "sha256:" + record["weights"]["sha256"][:16]


def test_without_the_package_it_says_what_to_install(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ZobenchError, match=r"pip install 'zobench\[gguf\]'"):
        load_model(str(file))


@pytest.mark.parametrize("part", [0.0, 0.0001, 0.01, 0.3, 0.9, 0.999])
def test_a_file_cut_short_is_one_line(file, tmp_path, part):
    whole = file.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(ZobenchError, match="not a whole GGUF file") as raised:
        load_model(str(tmp_path / "cut.gguf"))
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("at", [4, 8, 12, 20, 28, 60, 124, 136, 148, 220, 340, 700])
def test_a_flipped_byte_of_the_header_is_one_line_or_a_model(file, tmp_path, at):
    damaged = bytearray(file.read_bytes())
    damaged[at] ^= 0x81
    (tmp_path / "flip.gguf").write_bytes(damaged)
    try:
        load_model(str(tmp_path / "flip.gguf"), device="cpu")
    except ZobenchError as error:
        assert len(str(error).splitlines()) == 1


def test_an_architecture_that_transformers_cannot_read_is_named(tmp_path):
    tiny_gguf.write(tmp_path / "odd.gguf", architecture="rwkv9")
    with pytest.raises(ZobenchError, match="rwkv9"):
        load_model(str(tmp_path / "odd.gguf"))


@pytest.mark.parametrize(("count", "named"), [(2, "a, b"), (3, "a, b, c"), (4, "a, b, c, ...")])
def test_of_many_files_three_are_named(tmp_path, count, named):
    for name in "abcd"[:count]:
        (tmp_path / f"{name}.gguf").write_bytes(b"GGUF")
    said = ", ".join(part if part == "..." else f"{part}.gguf" for part in named.split(", "))
    with pytest.raises(ZobenchError) as caught:
        load_model(str(tmp_path), device="cpu", offline=True)
    assert f"{count} GGUF files ({said}): name one" in str(caught.value)


def header(*keys, tensors=0, version=3, magic=b"GGUF", claimed=None):
    """A GGUF file of these keys, (name, kind, bytes of the value), with so many tensors of one dimension."""
    said = magic + struct.pack("<IQQ", version, tensors, len(keys) if claimed is None else claimed)
    for name, kind, value in keys:
        said += struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + value
    return said + tensors * (struct.pack("<Q", 1) + b"w" + struct.pack("<IQIQ", 1, 8, 0, 0))


def number(n, code="<I"):
    return struct.pack(code, n)


STRING, ARRAY, UINT32, UINT8 = 8, 9, 4, 0
PLAIN = {UINT8: 1, 1: 1, 2: 2, 3: 2, UINT32: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of the plain types of ggml's docs/gguf.md: (u)int8, (u)int16, (u)int32, float32, bool, (u)int64, float64."""
WORDS = number(STRING) + number(2, "<Q") + 2 * (number(1, "<Q") + b"x")


@pytest.mark.parametrize(
    ("said", "whole"),
    [
        (header((b"a", UINT32, number(7)), (b"b", STRING, number(2, "<Q") + b"xy"), tensors=2), True),
        (header((b"a", ARRAY, WORDS), (b"b", ARRAY, number(UINT32) + number(3, "<Q") + bytes(12)), version=2), True),
        *(
            (
                header(
                    *(
                        (b"k", *one)
                        for one in ((kind, bytes(n)), (ARRAY, number(kind) + number(3, "<Q") + bytes(3 * n)))
                    )
                ),
                True,
            )
            for kind, n in PLAIN.items()
        ),
        (header((b"a", 13, bytes(8))), False),
        (header(version=1), False),
        (header(version=4), False),
        (header(magic=b"GGML"), False),
        (header((b"a", UINT32, b"\0\0")), False),
        (header((b"a", STRING, number(2**40, "<Q") + b"xy")), False),
        (header((b"a", STRING, number(3, "<Q") + b"xy")), False),
        (header((b"a", ARRAY, number(UINT32) + number(2**40, "<Q") + bytes(12))), False),
        (header((b"a", ARRAY, number(UINT8) + number(13, "<Q") + bytes(12))), False),
        (header((b"a", ARRAY, number(STRING) + number(2**40, "<Q"))), False),
        (header((b"a", ARRAY, number(ARRAY) + number(1, "<Q") + WORDS)), False),
        (header(claimed=2**40), False),
        (header(tensors=1)[:-1], False),
    ],
)
def test_every_length_in_a_header_fits_into_its_file_before_it_is_read(tmp_path, said, whole, monkeypatch):
    """A reader that took them at their word would ask for terabytes."""
    (tmp_path / "x.gguf").write_bytes(said)
    read = []
    monkeypatch.setattr("gguf.GGUFReader", lambda path: read.append(path) or iter(()).__next__())
    with pytest.raises((ZobenchError, StopIteration)) as caught:
        gguf.facts(tmp_path / "x.gguf", "x")
    assert len(read) == whole
    if not whole:
        assert "is not a whole GGUF file" in str(caught.value)
