"""How many parts of a kind a config may tell, by how many tensors there are."""

import json
from pathlib import Path

import pytest

from zobench.errors import ZobenchError
from zobench.models.folder import INDEX, check_counts, check_settings

HERE = Path("config.json")


@pytest.mark.parametrize(
    ("name", "tensors", "most"),
    [
        ("num_hidden_layers", 5, 1000),
        ("num_hidden_layers", 2000, 2000),
        ("block_count", 2000, 2000),
        ("num_experts", 5, 100_000),
        ("num_attention_heads", 200_000, 100_000),
        ("n_group", 5, 100_000),
    ],
)
def test_more_than_that_is_refused(name, tensors, most):
    check_counts({name: most, "vocab_size": 10**9}, tensors, HERE)
    for facts in ({name: most + 1}, {"text_config": {name: most + 1}}):
        with pytest.raises(ZobenchError, match=f"{name} is {most + 1}, and the files hold {tensors} tensors"):
            check_counts(facts, tensors, HERE)


def test_a_folder_without_weights_has_as_many_tensors_as_its_index_says(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "num_hidden_layers": 1001}))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ZobenchError, match="num_hidden_layers is 1001, and the files hold 0 tensors"):
        check_settings(tmp_path)
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {f"layer {n}": "x.safetensors" for n in range(1001)}}))
    assert check_settings(tmp_path) == {}


@pytest.mark.parametrize("value", [True, None, "10**9", 1e9, [10**9]])
def test_what_is_no_number_of_them_is_passed_over(value):
    check_counts({"num_hidden_layers": value}, 1, HERE)
