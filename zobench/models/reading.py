"""What transformers reads of a model's folder beside weights; whatever goes wrong there is said in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import ZobenchError, out_of_memory
from .folder import ModelFolder
from .lightly import lightly


def read_tokenizer(folder: ModelFolder, spec: str) -> Any:
    """The tokenizer in the folder; ZobenchError where it cannot be read."""
    with lightly(), reading(f"--model {spec}: cannot read the tokenizer in {folder.path}"):
        from transformers import AutoTokenizer

        made = AutoTokenizer.from_pretrained(
            str(folder.path),
            gguf_file=folder.file,
            local_files_only=True,
            trust_remote_code=False,
            padding_side="left",
        )
        made("")  # some of its settings are first looked at when it is used
        return made


def read_config(folder: ModelFolder, spec: str) -> Any:
    """The config in the folder; ZobenchError where it cannot be read."""
    with lightly(), reading(f"--model {spec}: cannot load {folder.path}"):
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(
            str(folder.path), gguf_file=folder.file, local_files_only=True, trust_remote_code=False
        )


@contextmanager
def reading(said: str) -> Iterator[None]:
    """Whatever transformers cannot make of a folder's files is said in one line: it checks few of them itself, so that
    an odd value shows as any kind of error.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # that of a library in Rust
            raise
        short = out_of_memory(error)
        if "trust_remote_code" in str(error):
            why = "it needs code of its own, which is never run; architectures that transformers has can be loaded"
        elif short:
            why = f"there is too little memory for it ({_first_line(error)}); use --dtype float16, or free some"
        else:
            why = _first_line(error)
        raise ZobenchError(f"{said}: {why}") from error


def _first_line(error: BaseException) -> str:
    """The first line of what it says, with its kind where that alone would not be a sentence."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return said if " " in said and isinstance(error, OSError | ValueError | ImportError) else _of_kind(error, said)


def _of_kind(error: BaseException, said: str) -> str:
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
