import json

import pytest
import torch
import transformers as tf
from tokenizers import Tokenizer, models, pre_tokenizers

from zobench.cli import activations, main
from zobench.models.load import load_model
from zobench.plugins.registry import load_plugins

WORDS = ["<unk>", "<s>", "</s>", "It", "was", "terrible", "great", ".", *"abcdefgh"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny model with an outlier planted in block 1, and forty reviews."""
    root = tmp_path_factory.mktemp("analyze")
    torch.manual_seed(0)
    config = tf.LlamaConfig(
        vocab_size=16,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        initializer_range=0.1,
        tie_word_embeddings=True,
    )
    model = tf.LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[5] *= 1e5
    model.save_pretrained(root / "model")
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    tf.PreTrainedTokenizerFast(tokenizer_object=core, **special).save_pretrained(root / "model")
    items = [{"sentence": " ".join("abcdefgh"[i % 5 : 8]), "label": i % 2, "idx": i} for i in range(60)]
    pairs = [
        {"premise": "a b", "choice1": "c", "choice2": "d e", "question": "cause", "label": i % 2} for i in range(60)
    ]
    for task, rows in (("sst2", items), ("copa", [{**one, "idx": i} for i, one in enumerate(pairs)])):
        (root / "data" / task).mkdir(parents=True)
        for name in ("train", "validation"):
            (root / "data" / task / f"{name}.jsonl").write_text("".join(json.dumps(i) + "\n" for i in rows))
    return root


@pytest.fixture
def analyze(place):
    def call(*more):
        base = ["analyze", "activations", "--model", str(place / "model"), "--data-dir", str(place / "data")]
        return main([*base, "--task", "sst2", "--preset", "smoke", "--batches", "2", "--batch-size", "3", *more])

    return call


def test_table_rules_and_json(analyze, tmp_path, capsys):
    assert analyze("--json", str(tmp_path / "out.json")) == 0
    out = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("|")]
    assert rows[0] == ["block", "mean", "median", "max", "max/median", "jump", "position", "channel", "token"]
    assert [row[0] for row in rows[2:]] == ["embedding", "0", "1", "2"]
    assert [row[7] for row in rows[4:]] == ["5", "5"]
    assert "2 batches of 3 training examples" in out
    assert "rule plateau: block 1 (" in out
    facts = json.loads((tmp_path / "out.json").read_text())
    assert [row["index"] for row in facts["rows"]] == [-1, 0, 1, 2]
    assert {rule: says["block"] for rule, says in facts["rules"].items()} == {"plateau": 1, "jump": 1, "ratio": 1}
    assert facts["revision"].startswith("sha256:")
    assert facts["rows"][2]["jump"] == pytest.approx(facts["rows"][2]["max"] / facts["rows"][1]["max"])
    assert rows[4][3] == f"{facts['rows'][2]['max']:.4g}"


def test_it_is_the_table_of_the_selector(analyze, place, tmp_path):
    """The same split, order and batches as a run's."""
    from zobench.models.activations import block_activations
    from zobench.run.batch_order import batches
    from zobench.tasks.prepared import PreparedTask
    from zobench.tasks.sampling import split
    from zobench.tasks.source import load_pools

    analyze("--json", str(tmp_path / "out.json"), "--seed", "7")
    loaded = load_model(str(place / "model"), device="cpu")
    task, smoke = load_plugins(only="").task("sst2"), load_plugins(only="").get("presets", "smoke").settings
    sizes = {k: smoke[k] for k in ("num_train", "num_dev", "num_test")}
    prepared = PreparedTask(task, split(load_pools(task, place / "data"), **sizes, seed=0), loaded)
    order = batches(prepared.train_size, 3, 7)
    table = block_activations(loaded, [prepared.train_batch(next(order)) for _ in range(2)])
    facts = json.loads((tmp_path / "out.json").read_text())
    assert [(r["max"], r["mean"], r["token"]) for r in facts["rows"][1:]] == [(r.max, r.mean, r.token) for r in table]


def test_of_several_tasks_one_table_and_one_picture(place, tmp_path, capsys):
    """The planted block is every rule's on every task, and how far it is over their thresholds."""
    line = ["analyze", "activations", "--model", str(place / "model"), "--data-dir", str(place / "data")]
    line += ["--tasks", "sst2,copa", "--preset", "smoke", "--batches", "2", "--batch-size", "3"]
    files = {option: str(tmp_path / name) for option, name in (("--json", "a.json"), ("--out", "a.md"))}
    assert main([*line, *(x for pair in files.items() for x in pair), "--plot", str(tmp_path / "a.svg")]) == 0
    out = capsys.readouterr().out
    assert out == (tmp_path / "a.md").read_text()
    facts = json.loads((tmp_path / "a.json").read_text())
    assert facts["agree"] == {"plateau": True, "jump": True, "ratio": True}
    assert "plateau, jump, ratio choose block 1 on every task." in out
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows] == ["task", "sst2", "copa"] and all(c.startswith("1 (x") for c in rows[1][1:4])
    for one in facts["tasks"]:
        table = [row for row in one["rows"] if row["index"] >= 0]
        said, top = one["rules"]["plateau"], max(row["max"] for row in table)
        assert said["margin"] == pytest.approx(min(table[1]["ratio"] / 100, table[1]["max"] / (0.1 * top)))
        assert said["rival"] == 0
        assert said["rival_margin"] == pytest.approx(min(table[0]["ratio"] / 100, table[0]["max"] / (0.1 * top)))
    drawn = (tmp_path / "a.svg").read_text()
    assert "<svg" in drawn


def test_plot(analyze, tmp_path):
    pytest.importorskip("matplotlib")
    assert analyze("--plot", str(tmp_path / "out.png")) == 0
    assert (tmp_path / "out.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert analyze("--plot", str(tmp_path / "out.svg")) == 0
    drawn = (tmp_path / "out.svg").read_text()
    assert "<svg" in drawn


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--plot", "x.txt"], "name a .png, .pdf or .svg file"),
        (["--task", "sst3"], "unknown task 'sst3'"),
        (["--model", "./nowhere"], "no such folder"),
        (["--device", "gpu"], "unknown device"),
        (
            ["--json", "/no/such/folder/x.json"],
            "--json /no/such/folder/x.json: cannot be written; name a file",
        ),
    ],
)
def test_faults_are_one_line_and_status_2(analyze, capsys, more, said):
    pytest.importorskip("matplotlib")
    assert analyze(*more) == 2
    err = capsys.readouterr().err.strip()
    assert said in err and err.startswith("zobench: error: ") and "\n" not in err


def test_plot_without_matplotlib(analyze, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    assert analyze("--plot", "x.png") == 2
    assert "pip install 'zobench[plots]'" in capsys.readouterr().err


def test_sensitivity_without_training(place, tmp_path, capsys):
    """Looks are what a hand-made displacement gives, the gradient's product is the derivative, weights stay."""
    line = ["analyze", "sensitivity", "--model", str(place / "model"), "--data-dir", str(place / "data")]
    line += ["--task", "sst2", "--preset", "smoke", "--batches", "2", "--batch-size", "3", "--seeds", "0,1"]
    assert main([*line, "--json", str(tmp_path / "s.json"), "--plot", str(tmp_path / "s.png")]) == 0
    facts = json.loads((tmp_path / "s.json").read_text())
    assert [(x["block"], x["seed"], x["batch"]) for x in facts["looks"]] == [
        (block, seed, batch) for block in range(3) for seed in (0, 1) for batch in (0, 1)
    ]
    assert facts["outlier_block"] == {"sst2": 1}
    for x in facts["looks"]:
        assert x["base"] == next(y["base"] for y in facts["looks"] if y["batch"] == x["batch"])
        if x["block"] == 2:  # above the planted outlier the loss is smooth at this eps
            mean = sum(y["slope"] for y in facts["looks"] if (y["block"], y["seed"]) == (2, x["seed"])) / 2
            own = [y for y in facts["looks"] if (y["block"], y["seed"]) == (2, x["seed"])]
            estimate = sum((y["plus"] - y["minus"]) / 2e-3 for y in own) / 2
            assert estimate == pytest.approx(mean, rel=0.05, abs=1e-3)
            assert abs(mean) < 5 * x["gradient"], "a Gaussian of that deviation"
    for block in range(3):
        (norm,) = {x["gradient"] for x in facts["looks"] if x["block"] == block}
        assert norm > 0
    assert (tmp_path / "s.png").read_bytes()[:4] == b"\x89PNG"
    assert "Most sensitive: block" in capsys.readouterr().out


def test_propagation_from_the_perturbed_block_up(place, tmp_path):
    """Nothing changes below the perturbed block, something from it on; the weights are what they were."""
    line = ["analyze", "propagation", "--model", str(place / "model"), "--data-dir", str(place / "data")]
    line += ["--task", "sst2", "--preset", "smoke", "--batches", "1", "--batch-size", "2", "--seeds", "0,1"]
    assert main([*line, "--json", str(tmp_path / "p.json"), "--plot", str(tmp_path / "p.svg")]) == 0
    facts = json.loads((tmp_path / "p.json").read_text())
    assert [(x["block"], x["seed"]) for x in facts["reached"]] == [(b, s) for b in range(3) for s in (0, 1)]
    for x in facts["reached"]:
        assert all(c == 0 for c in x["change"][: x["block"]]) and all(c > 0 for c in x["change"][x["block"] :])
    assert (tmp_path / "p.svg").read_bytes().startswith(b"<?xml")


def test_what_rules_choose_over_tasks_is_summed_up():
    def of(task, block, margin=None, rival=None):
        return {"task": task, "rules": {"ratio": {"block": block, "margin": margin, "rival_margin": rival}}}

    alike = [of("a", 2, 3.0, 0.2), of("b", 2, 1.5, 0.5)]
    assert activations._said(alike, "ratio") == "block 2 on every task"
    assert activations._least(alike, "ratio") == "; nearest to another choice on b, by a factor of 1.5"
    assert activations._least([*alike, of("c", 2, None, 0.8)], "ratio").endswith("on c, by a factor of 1.25")
    assert activations._said([of("a", None), of("b", None)], "ratio") == "no block on any task"
    assert activations._least([of("a", None)], "ratio") == ""
    apart = [of("a", 2), of("b", 1), of("c", 1), of("d", None)]
    assert activations._said(apart, "ratio") == "block 1 on 2, block 2 on 1, no block on 1"


def test_the_largest_ratio_of_a_table_is_of_a_block():
    rows = [{"index": at, "ratio": ratio} for at, ratio in ((-1, 9e9), (0, 2.0), (1, 1234.56), (2, None))]
    assert activations._peak({"rows": rows}) == "1235, block 1"
    assert activations._peak({"rows": [rows[0], rows[3]]}) == "-"


def test_what_a_choice_depends_on_is_said_for_all_rules_together():
    def said(**blocks):
        every = [{"rules": {rule: {"block": of[n]} for rule, of in blocks.items()}} for n in (0, 1)]
        return activations._between(every)

    assert said(jump=(1, 1), ratio=(1, 1)) == "jump, ratio choose block 1 on every task."
    assert said(jump=(1, 1), ratio=(2, 2)) == "The same on every task: jump block 1, ratio block 2."
    assert said(jump=(1, 1), ratio=(None, None)) == (
        "The same on every task: jump block 1. No outlier on any task: ratio."
    )
    assert said(jump=(1, 2), ratio=(3, 3)) == (
        "The choice depends on the task by jump. The same on every task: ratio block 3."
    )
