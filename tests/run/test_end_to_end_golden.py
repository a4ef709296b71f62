"""Framework.train and evaluate of the official code (transformers 4.28.1), recorded, against this training loop."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from zobench.models.load import adopt
from zobench.plugins.registry import load_plugins
from zobench.protocol.protocol import Computation, Protocol
from zobench.run.method import Method, applied
from zobench.run.selection import everything
from zobench.run.train import train
from zobench.tasks.prepared import PreparedTask
from zobench.tasks.sampling import split
from zobench.tasks.source import Pools

GOLDEN = Path(__file__).parents[1] / "golden"
RUNS = {run["task"]: run for run in json.loads((GOLDEN / "e2e_tf4.json").read_text())}


@pytest.fixture
def loaded():
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    config = LlamaConfig(
        vocab_size=512, hidden_size=64, intermediate_size=172, num_hidden_layers=4, num_attention_heads=4,
        max_position_embeddings=2048, rms_norm_eps=1e-6, tie_word_embeddings=False, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, rope_theta=10000.0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    weights = load_file(GOLDEN / "llama_init.safetensors")
    model.load_state_dict(weights, strict=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(GOLDEN / "tokenizer" / "tokenizer_bos.json"),
        unk_token="<unk>", pad_token="<unk>", bos_token="<s>", eos_token="</s>",
    )  # fmt: skip
    return adopt(model, tokenizer, name="golden-llama")


class Seen:
    """Keeps the losses and batches of every step."""

    def __init__(self):
        self.losses, self.dev_losses = [], []

    def step(self, step, steps, lr, loss):
        self.losses.append(float(loss))

    def dev(self, step, lr, loss):
        self.dev_losses.append((step, loss))


@pytest.mark.parametrize("name", RUNS)
def test_training_and_evaluation_equal_the_official_run(loaded, name):
    want, torch_threads = RUNS[name], torch.get_num_threads()
    torch.set_num_threads(1)
    args = want["args"]
    plugins = load_plugins()
    task = plugins.task(name.lower())
    protocol = Protocol(
        num_train=args["num_train"], num_dev=args["num_dev"], num_test=args["num_eval"], batch_size=args["bs"],
        eval_batch_size=args["eval_bs"], steps=args["steps"], eval_every=args["eval_steps"],
        max_new_tokens=args["max_new_tokens"], logits="all",
    )  # fmt: skip
    pools = Pools(want["train_pool"], want["valid_pool"], "folder", {})
    splits = split(pools, num_train=24, num_dev=8, num_test=12, seed=args["train_set_seed"])
    prepared = PreparedTask(task, splits, loaded, protocol)
    metric = next(iter(want["metrics"]))
    assert prepared.test_score(loaded.model).value == pytest.approx(want["zero_shot"][metric])

    computation = Computation(engine="official", noise="official", restore="arithmetic", tensor_order="transformers-4")
    method = Method(plugins.estimator("mezo"), {"eps": args["eps"]}, computation)
    seen, lr, seed = Seen(), args["lr"], args["seed"]
    scope = everything(loaded)
    with applied(method, loaded, scope, lr=lr, seed=seed, keep=torch.clone) as on:
        assert [n for n, _ in on.scope.named] == want["param_order"]
        run = train(on.estimator, loaded, prepared, protocol, lr=lr, seed=seed, keep=torch.clone, watcher=seen)
        assert [step.seed for step in on.estimator.log] == [step["seed"] for step in want["steps"]]
        for i, (step, official) in enumerate(zip(on.estimator.log, want["steps"], strict=True)):
            plus, minus = step.seen
            tolerance = 2e-6 if i == 0 else 2e-4
            assert float(plus) == pytest.approx(official["loss1"], abs=tolerance)
            assert float(minus) == pytest.approx(official["loss2"], abs=tolerance)
            assert float((plus - minus) / (2 * args["eps"])) == pytest.approx(official["projected_grad"], abs=2e-2)
        assert seen.losses == pytest.approx([step["loss1"] for step in want["steps"]], abs=2e-4)
        assert [list(x) for x in seen.dev_losses] == [pytest.approx(x, abs=2e-4) for x in want["eval_loss"]]
        assert f"checkpoint-{run.best_step}" == want["best_checkpoint"]
        assert run.best_loss == pytest.approx(want["best_metric"], abs=2e-4)
        on.put(run.best)
        assert prepared.test_score(loaded.model).value == pytest.approx(want["metrics"][metric])
        assert prepared.dev_score(loaded.model).value == pytest.approx(want["dev_metrics"][metric])
        for tensor, sums in want["final_params_after_load_best"].items():
            assert run.best[tensor].double().norm().item() == pytest.approx(sums["l2"], rel=2e-4)
    original = load_file(GOLDEN / "llama_init.safetensors")
    assert all(torch.equal(p, original[n]) for n, p in loaded.model.named_parameters())
    torch.set_num_threads(torch_threads)
