"""Secrets never reach what is written or shown."""

from __future__ import annotations

from typing import Any

import pytest

from zobench import redact
from zobench.cli import main

TOKEN = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz012345"


@pytest.mark.parametrize(
    "said",
    [
        f"401 for {TOKEN}, ask for another",
        "--set lab.api_key=S3CRET-value",
        "--hf-token S3CRET-value",
        "--token=S3CRET-value",
        "Authorization: Bearer S3CRET-value",
        "https://someone:S3CRET-value@host.example/a/b",
        "https://S3CRET-value@host.example/a",
        "{'password': 'S3CRET-value and more'}",
        '"secret": "S3CRET-value"',
        "HF_TOKEN=S3CRET-value",
        "AWS_SECRET_ACCESS_KEY=S3CRET-value",
        "ghp_" + "S3CRET" * 6,
        "sk-proj-S3CRETvalueS3CRETvalue",
    ],
)
def test_a_secret_goes_and_the_rest_stays(said: str):
    out = redact.text(said)
    assert "S3CRET" not in out and TOKEN not in out and redact.HIDDEN in out
    assert redact.text(out) == out
    assert redact.text(f"before {said} after").startswith("before ")


@pytest.mark.parametrize(
    "said",
    [
        "max_new_tokens=16 tokenizer=fast pad_token=<unk> eos_token: </s>",
        "no token was found; the key of a cell is its id",
        "zobench run --estimator mezo --model https://host.example/model --set eps=1e-3",
        "model.layers.0.self_attn.k_proj.weight",
        "a basic model of 8 blocks, with authors",
    ],
)
def test_what_is_no_secret_stays(said: str):
    assert redact.text(said) == said


def test_the_values_of_the_environment_go_wherever_they_stand(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", "nothing-like-a-token")
    monkeypatch.setenv("LAB_API_KEY", "nothing-like-a-token-but-longer")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false-or-true")
    monkeypatch.setenv("HF_TOKEN_PATH", "/home/someone/token-file")
    said = "x=nothing-like-a-token y=nothing-like-a-token-but-longer false-or-true /home/someone/token-file"
    assert redact.text(said) == "x=[redacted] y=[redacted] false-or-true /home/someone/token-file"


def test_words_of_a_command_line_are_looked_at_one_by_one():
    words = ["run", "--set", "lab.api_key=one two, three", "--hf-token", "a b", "--seeds", "0"]
    assert redact.arguments(words) == [
        *("run", "--set", "lab.api_key=[redacted]", "--hf-token", "[redacted]", "--seeds", "0"),
    ]


def test_data_are_cleaned_by_their_names_too():
    value = {"a": {"api_key": "x"}, "password": "y", "l": [TOKEN, 1.0, None], "token": 5}
    assert redact.clean(value) == {
        "a": {"api_key": "[redacted]"},
        "password": "[redacted]",
        "l": ["[redacted]", 1.0, None],
        "token": 5,
    }


def test_errors_on_the_terminal_are_cleaned(capsys: Any):
    assert main(["run", "--estimator", f"mezo-{TOKEN}"]) == 2
    err = capsys.readouterr().err
    assert TOKEN not in err and "[redacted]" in err
