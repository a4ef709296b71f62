import json
import shutil

import pytest
import torch
import transformers as tf
from huggingface_hub import errors
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from zobench_world.model import load as load_embedded

import zobench
from zobench import devices
from zobench.cli import main
from zobench.errors import ZobenchError
from zobench.models import folder as folder_module
from zobench.models.load import adopt, load_model, load_tokenizer
from zobench.models.placement import placement
from zobench.plugins.registry import load_plugins
from zobench.run.place import Place, load, outlined

WORDS = ["<pad>", "<s>", "</s>", *"abcdefgh"]
GIB = 2**30


def tokenizer(**special):
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="a"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return tf.PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", **special)


def llama(**more):
    torch.manual_seed(0)
    return tf.LlamaForCausalLM(
        tf.LlamaConfig(
            vocab_size=16,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=40,
            **more,
        )
    )


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "little"
    llama(tie_word_embeddings=True).save_pretrained(path)
    tokenizer(pad_token="<pad>").save_pretrained(path)
    return path


@pytest.fixture
def model_folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "little")


def rewrite(path, **facts):
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, **facts}))


def test_a_folder_loads_ready_for_forward_passes(model_folder):
    loaded = load_model(str(model_folder), device="cpu")
    assert loaded.name == "little"
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert (loaded.device, loaded.dtype) == (torch.device("cpu"), "float32")
    assert (loaded.context_length, loaded.pad_id, loaded.tokenizer.padding_side) == (40, 0, "left")
    assert [b.name for b in loaded.blocks] == ["model.layers.0", "model.layers.1"]
    assert loaded.tokenizer("a b")["input_ids"] == [3, 4]
    ids = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        assert torch.equal(
            loaded.model(input_ids=ids).logits, llama(tie_word_embeddings=True).eval()(input_ids=ids).logits
        )


def test_tied_weights_count_once(model_folder):
    tied = load_model(str(model_folder))
    separate = adopt(llama(tie_word_embeddings=False), tokenizer(), name="separate")
    assert separate.parameters - tied.parameters == 16 * 16
    assert tied.weights_bytes == 4 * tied.parameters


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_dtype_is_that_of_every_parameter(model_folder, dtype):
    loaded = load_model(str(model_folder), dtype=dtype, device="cpu")
    assert {p.dtype for p in loaded.model.parameters()} == {getattr(torch, dtype)}
    assert loaded.dtype == dtype
    assert loaded.weights_bytes == 2 * loaded.parameters


def test_the_revision_of_a_folder_follows_its_content_not_its_place(model_folder, tmp_path):
    first = load_model(str(model_folder)).revision
    assert first.startswith("sha256:") and len(first) == 7 + 16
    moved = shutil.copytree(model_folder, tmp_path / "elsewhere" / "little")
    (moved / "README.md").write_text("not part of the model")
    assert load_model(str(moved)).revision == first
    weights = load_file(moved / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, moved / "model.safetensors", metadata={"format": "pt"})
    assert load_model(str(moved)).revision != first


def test_the_end_of_sequence_pads_where_there_is_no_pad_token(model_folder):
    tokenizer().save_pretrained(model_folder)
    loaded = load_model(str(model_folder))
    assert loaded.pad_id == loaded.tokenizer.pad_token_id == 2


def test_a_relative_path_and_a_trailing_slash_name_the_folder(model_folder, monkeypatch):
    monkeypatch.chdir(model_folder.parent)
    assert load_model("./little/").name == load_model("little").name == "little"


def fault(spec, **options):
    with pytest.raises(ZobenchError) as caught:
        load_model(str(spec), **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_wrong_words_are_told(model_folder):
    assert "did you mean 'float16'" in fault(model_folder, dtype="float61")
    assert "unknown device 'gpu'" in fault(model_folder, device="gpu")
    assert "a folder has no revisions" in fault(model_folder, revision="main")
    assert "no such folder" in fault("./nowhere")
    assert "no such folder" in fault("a/b/c")
    assert "not a folder" in fault(model_folder / "config.json")
    assert "neither a folder nor a hub id" in fault("what is this")


def test_folders_that_lack_something_are_told(model_folder):
    (model_folder / "model.safetensors").rename(model_folder / "pytorch_model.bin")
    assert "no *.safetensors" in fault(model_folder) and "only pytorch_model.bin" in fault(model_folder)
    (model_folder / "pytorch_model.bin").rename(model_folder / "model.safetensors")
    (model_folder / "tokenizer.json").rename(model_folder / "kept")
    assert "no tokenizer" in fault(model_folder)
    (model_folder / "tokenizer.json").write_text("{")
    assert "cannot read the tokenizer" in fault(model_folder)
    (model_folder / "config.json").unlink()
    assert "has no config.json" in fault(model_folder)


def test_weights_of_half_a_model_are_refused_and_not_made_up(model_folder):
    weights = load_file(model_folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, model_folder / "model.safetensors", metadata={"format": "pt"})
    assert "1 tensors are missing" in fault(model_folder) and "model.layers.1.mlp.up_proj.weight" in fault(model_folder)


def test_weights_of_another_shape_are_refused(model_folder):
    rewrite(model_folder, intermediate_size=25)
    assert "6 tensors are missing or of another shape, such as model.layers.0.mlp.down_proj" in fault(model_folder)


def test_the_tokenizer_alone(model_folder):
    read, length, kind = load_tokenizer(str(model_folder))
    assert (read("a b")["input_ids"], read.padding_side, length, kind) == ([3, 4], "left", 40, "llama")
    rewrite(model_folder, model_type="never_heard_of")
    with pytest.raises(ZobenchError, match="cannot load .*never_heard_of"):
        load_tokenizer(str(model_folder))


def test_damaged_weights_are_told(model_folder):
    content = (model_folder / "model.safetensors").read_bytes()
    (model_folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    assert f"has {len(content) // 2} bytes instead of {len(content)}" in fault(model_folder)
    (model_folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "not a safetensors file" in fault(model_folder)


def test_models_that_are_no_causal_language_model_are_told(model_folder):
    rewrite(model_folder, model_type="t5", architectures=["T5ForConditionalGeneration"])
    assert "cannot load" in fault(model_folder)
    rewrite(model_folder, model_type="never_heard_of")
    assert "never_heard_of" in fault(model_folder)


def test_code_of_the_models_side_is_not_run(model_folder):
    (model_folder / "evil.py").write_text("raise SystemExit('ran')")
    rewrite(model_folder, model_type="own", auto_map={"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"})
    assert "code of its own, which is never run" in fault(model_folder)


def test_quantised_weights_are_refused(model_folder):
    rewrite(model_folder, quantization_config={"quant_method": "gptq", "bits": 4})
    assert "quantised" in fault(model_folder)


def test_a_tokenizer_that_cannot_pad_is_refused():
    bare = tokenizer()
    bare.eos_token = None
    with pytest.raises(ZobenchError, match="neither a pad nor an end-of-sequence token"):
        adopt(llama(), bare, name="m")


def test_a_pad_token_without_embedding_is_refused():
    for further in (5, 10):
        grown = tokenizer()
        grown.add_tokens([f"x{i}" for i in range(further)])
        grown.add_special_tokens({"pad_token": "<p>"})
        with pytest.raises(ZobenchError, match=f"pad token {11 + further} has no embedding .the model has 16"):
            adopt(llama(), grown, name="m")


def test_context_length_of_gpt2_and_of_none():
    small = {"vocab_size": 16, "n_embd": 8, "n_layer": 1, "n_head": 1}
    model = tf.GPT2LMHeadModel(tf.GPT2Config(**small, n_positions=24))
    assert adopt(model, tokenizer(), name="m").context_length == 24
    bloom = tf.BloomForCausalLM(tf.BloomConfig(vocab_size=16, hidden_size=8, n_layer=1, n_head=1))
    assert adopt(bloom, tokenizer(model_max_length=30), name="m").context_length == 30
    bloom.config.n_positions = 0  # as some write "none"
    assert adopt(bloom, tokenizer(model_max_length=10**9 - 1), name="m").context_length == 10**9 - 1
    for unknown in (0, 10**9, int(1e30)):
        with pytest.raises(ZobenchError, match="context length"):
            adopt(bloom, tokenizer(model_max_length=unknown), name="m")
    with pytest.raises(ZobenchError, match="context length"):
        adopt(bloom, tokenizer(), name="m")


def test_a_package_without_the_embedded_weights(monkeypatch, tmp_path):
    monkeypatch.setattr("zobench_world.model.WEIGHTS", tmp_path)
    with pytest.raises(ZobenchError, match="--model .* --data-dir"):
        load_embedded()


# ---- where weights go


def gpus(monkeypatch, free, kind="cuda"):
    """A machine with GPUs of one kind, of which so many bytes are free; which of them were asked for that."""
    asked = []

    def left(device):
        asked.append(device.index)
        return free[device.index]

    monkeypatch.setattr(devices, "count", lambda name: 1 if name == "cpu" else len(free) if name == kind else 0)
    monkeypatch.setattr(devices, "free", left)
    return asked


@pytest.mark.parametrize("kind", ["cuda", "xpu"])
def test_a_gpu_that_is_not_there_is_told(monkeypatch, kind):
    gpus(monkeypatch, [], kind)
    with pytest.raises(ZobenchError, match="no .*GPU here; use --device cpu"):
        devices.check(kind)
    gpus(monkeypatch, [1, 1], kind)
    devices.check(f"{kind}:1")
    with pytest.raises(ZobenchError, match=f"{kind}:0 to {kind}:1"):
        devices.check(f"{kind}:2")


@pytest.mark.parametrize("device", ["tpu", "mps:0", "cpu:1", "cuda:x", "rocm", "hip:0"])
def test_a_device_of_no_kind_is_told(device):
    with pytest.raises(ZobenchError, match="unknown device") as told:
        devices.check(device)
    assert ("ROCm" in str(told.value)) == device.startswith(("rocm", "hip"))


@pytest.mark.parametrize(
    ("device", "need", "free", "place", "looked"),
    [
        ("cpu", 99, [5], "cpu", []),
        ("auto", 99, [], "cpu", []),
        ("auto", 5, [10, 10], "cuda:0", [0]),
        ("cuda", 8, [7, 10, 10], "cuda:1", [0, 1]),
        ("cuda:1", 5, [10, 10], "cuda:1", [1]),
        ("auto", 15, [10, 10], "spread", [0, 1]),
    ],
)
def test_placement(monkeypatch, device, need, free, place, looked):
    asked = gpus(monkeypatch, [f * GIB for f in free])
    found = placement("m", device, need * GIB)
    assert ("spread" if found.room else found.device) == place
    assert asked == looked  # to ask a GPU what is free opens a context on it


@pytest.mark.parametrize(
    ("device_map", "need", "free", "place"),
    [
        ("balanced", 5, [10, 10], ("cuda:0", {0: 9 * GIB, 1: 9 * GIB}, "balanced")),
        ("sequential", 5, [10, 20], ("cuda:0", {0: 9 * GIB, 1: 18 * GIB}, "sequential")),
        ("balanced", 5, [10], ("cuda:0", {}, "balanced")),
        ("none", 9, [5, 10], ("cuda:1", {}, "balanced")),
        ("auto", 15, [10, 10], ("cuda:0", {0: 9 * GIB, 1: 9 * GIB}, "balanced")),
    ],
)
def test_weights_are_spread_as_is_said(monkeypatch, device_map, need, free, place):
    gpus(monkeypatch, [f * GIB for f in free])
    found = placement("m", "auto", need * GIB, device_map)
    assert (found.device, dict(found.room), found.spread) == place


@pytest.mark.parametrize(
    ("device_map", "device", "free", "says"),
    [
        ("balance", "auto", [10, 10], "unknown device map 'balance'; did you mean 'balanced'"),
        ("balanced", "cuda:1", [10, 10], "--device cuda:1 means cuda:1 alone"),
        ("sequential", "auto", [], "there is one device, cpu"),
        (
            "none",
            "auto",
            [10, 10],
            "needs 15.0 GiB .* 10.0 GiB are free on the GPU that has the most",
        ),
        ("balanced", "auto", [8, 8], "16.0 GiB are free on the GPUs"),
    ],
)
def test_what_cannot_be_spread_is_told(monkeypatch, device_map, device, free, says):
    gpus(monkeypatch, [f * GIB for f in free])
    with pytest.raises(ZobenchError, match=says):
        placement("m", device, 15 * GIB, device_map)


@pytest.mark.parametrize(
    ("device", "need", "free"), [("auto", 95, [100]), ("cuda", 19, [10, 10]), ("cuda:0", 15, [10, 10])]
)
def test_too_little_gpu_memory_is_told(monkeypatch, device, need, free):
    gpus(monkeypatch, [f * GIB for f in free])
    with pytest.raises(ZobenchError, match=rf"needs {need}.0 GiB .* free .*--device cpu"):
        placement("m", device, need * GIB)


def test_a_model_at_hand_is_made_ready():
    model, read = llama().train(), tokenizer(pad_token="<pad>", padding_side="right")
    loaded = adopt(model, read, name="mine")
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert (loaded.tokenizer.padding_side, loaded.name, loaded.revision) == ("left", "mine", None)


def test_the_size_of_weights_is_read_from_headers(model_folder):
    assert folder_module.weights_numel(model_folder) == load_model(str(model_folder)).parameters


# ---- the hub


@pytest.fixture
def hub(monkeypatch):
    """Stands in for the download; calls are kept."""
    calls, answer = [], {}

    def download(repo, **options):
        calls.append((repo, options))
        if "error" in answer:
            raise answer["error"]
        return str(answer["folder"])

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    answer["calls"] = calls
    return answer


def test_a_hub_id_is_downloaded_and_its_commit_kept(hub, model_folder):
    commit = "0123456789abcdef0123456789abcdef01234567"
    hub["folder"] = model_folder.rename(model_folder.parent / commit)
    loaded = load_model("someone/little", offline=True)
    assert (loaded.name, loaded.revision) == ("someone/little", commit)
    [(repo, options)] = hub["calls"]
    assert (repo, options["revision"], options["local_files_only"]) == ("someone/little", None, True)
    assert not any("bin" in pattern or "py" in pattern for pattern in options["allow_patterns"])


def test_known_models_are_pinned_and_a_revision_overrides(hub, model_folder):
    """From Python as by `--model` and on the bench."""
    hub["folder"], name, commit = model_folder, "Qwen/Qwen3-8B", "b968826d9c46dd6066d109eabc6255188de91218"
    zobench.load_model(name, offline=True)
    zobench.load_model(name, revision="main")
    zobench.load_model("someone/little")
    place, plugins = Place(name, device="cpu", offline=True), load_plugins(only="")
    assert load(place, plugins, "float32").name == outlined(place, plugins, "float32").name == name
    assert load_model(name, revision="v2", pinned=commit).name == name
    assert main(["bench", "--model", name, "--layer", "99", "--device", "cpu"]) == 2
    assert [o["revision"] for _, o in hub["calls"]] == [commit, "main", None, commit, commit, "v2", commit]
    assert [o["local_files_only"] for _, o in hub["calls"]][:2] == [True, False]
    folder = zobench.load_model(model_folder, device="cpu")
    assert (folder.name, len(hub["calls"])) == (model_folder.name, 7)


@pytest.mark.parametrize(
    ("kind", "offline", "said"),
    [
        (errors.GatedRepoError, False, "is gated: .*HF_TOKEN"),
        (errors.RepositoryNotFoundError, False, "neither a folder nor on the hub .*HF_TOKEN"),
        (errors.RevisionNotFoundError, False, "has no revision v9"),
        (errors.LocalEntryNotFoundError, True, "not in the local cache at revision v9 and --offline was asked for"),
        (errors.LocalEntryNotFoundError, False, "the hub cannot be reached"),
        (errors.OfflineModeIsEnabled, False, "the hub cannot be reached"),
        (errors.HfHubHTTPError, False, "could not be downloaded at revision v9"),
        (OSError, False, "could not be downloaded"),
    ],
)
def test_what_the_hub_refuses_is_told_in_one_line(hub, kind, offline, said):
    error = kind.__new__(kind)
    error.args = ("something\nlong\nabout http",)
    hub["error"] = error
    with pytest.raises(ZobenchError, match=said) as caught:
        load_model("someone/little", revision="v9", offline=offline)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is error


def test_a_bug_is_not_dressed_up_as_the_users_fault(hub):
    hub["error"] = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        load_model("someone/little")


def test_a_real_cache_is_read_without_network(model_folder, tmp_path, monkeypatch):
    commit = "89abcdef0123456789abcdef0123456789abcdef"
    home = tmp_path / "cache" / "models--someone--little"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    shutil.copytree(model_folder, home / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    loaded = load_model("someone/little", offline=True)
    assert (loaded.name, loaded.revision) == ("someone/little", commit)
    assert "is not in the local cache and --offline" in fault("someone/other", offline=True)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("tokenizer.json", None, "tokenizer"),
        ("config.json", "{", "config.json"),
        ("model.safetensors.index.json", "{", "index"),
    ],
)
def test_settings_are_looked_at_before_weights_are_there(model_folder, file, text, said):
    (model_folder / "model.safetensors").unlink()
    assert folder_module.check_settings(model_folder) == {}
    (model_folder / file).unlink(missing_ok=True)
    if text is not None:
        (model_folder / file).write_text(text)
    with pytest.raises(ZobenchError, match=said):
        folder_module.check_settings(model_folder)
