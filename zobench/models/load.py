"""Loading a causal language model and its tokenizer, ready for forward passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..errors import ZobenchError, unknown
from . import gguf
from .blocks import Block, decoder_blocks
from .folder import ModelFolder, find, weights_numel

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
_USABLE = 0.9  # of a GPU's free memory for weights; the rest is for activations and the allocator
_SPREAD = "spread"
_LENGTHS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length", "max_target_positions")


@dataclass(kw_only=True)
class LoadedModel:
    """A model ready for forward passes: evaluation mode, no gradients, with its tokenizer and the facts about it."""

    name: str
    """As the user named it; for a folder its last part."""
    revision: str | None
    """The hub's commit; `sha256:...` over the files for a folder; None for a model made in memory."""
    model: Any
    """A transformers PreTrainedModel with a language-modelling head."""
    tokenizer: Any
    """A transformers tokenizer; pads on the left."""
    device: torch.device
    """Where inputs go: the device of the input embedding (of several GPUs, the first)."""
    dtype: str
    """float16 | bfloat16 | float32"""
    context_length: int
    """The most tokens of one row, by the model's config."""
    pad_id: int
    """The token that fills rows up: the tokenizer's pad token, else its end-of-sequence token."""
    weights: dict[str, Any] | None = None
    """For the record: file, format, hash and types of tensors of weights that were not read from safetensors."""
    data: str | Path = "hub"
    """Where tasks have their data from when it runs and no folder is named: `hub`, a folder, or `embedded`."""

    @cached_property
    def blocks(self) -> list[Block]:
        """The decoder blocks in order. ZobenchError where the model's structure has none."""
        return decoder_blocks(self.model)

    @cached_property
    def parameters(self) -> int:
        """The number of parameters; tied weights count once."""
        return sum(p.numel() for p in self.model.parameters())

    @cached_property
    def weights_bytes(self) -> int:
        """The bytes the parameters take; tied weights count once."""
        return sum(p.numel() * p.element_size() for p in self.model.parameters())


def load_model(
    spec: str,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    device: str = "auto",
    offline: bool = False,
) -> LoadedModel:
    """Load a causal language model from a folder or the hub.

    spec: a folder with config.json, *.safetensors and a tokenizer, a GGUF file or a folder with one, or a hub id.
        Code from the model's side is never run and pickled weights are never read.
    revision: commit, tag or branch of the hub; None takes the pinned commit of a known model, else the newest.
    dtype: float16 | bfloat16 | float32, of the weights.
    device: auto (a GPU if there is one) | cpu | cuda | cuda:N. With auto and cuda, a model too large for one GPU is
        spread over all of them.
    offline: look at the local cache only.

    Raises ZobenchError, one line, for everything the user can mend.
    """
    if dtype not in DTYPES:
        raise ZobenchError(unknown("dtype", dtype, DTYPES))
    check_device(device)
    folder = find(spec, revision=revision, offline=offline)
    free = [torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count())] if device != "cpu" else []
    numel = weights_numel(folder.path) if folder.facts is None else folder.facts.numel
    place = placement(spec, device, numel * DTYPES[dtype].itemsize, free)
    tokenizer = _read_tokenizer(folder, spec)
    model = _read_model(folder, spec, dtype, place, free)
    made = adopt(model, tokenizer, name=folder.name, revision=folder.revision)
    if folder.facts is not None:
        made.weights = folder.facts.record(folder.name)
    return made


def load_tokenizer(spec: str, *, revision: str | None = None, offline: bool = False) -> tuple[Any, int, str]:
    """The tokenizer of a model, its context length in tokens and its `model_type`, without its weights in memory.

    Arguments and errors as those of `load_model`.
    """
    folder = find(spec, revision=revision, offline=offline)
    tokenizer, config = _read_tokenizer(folder, spec), _read_config(folder, spec)
    return tokenizer, _context_length(config, tokenizer, folder.name), str(config.model_type)


def adopt(model: Any, tokenizer: Any, *, name: str, revision: str | None = None) -> LoadedModel:
    """Make a model and tokenizer at hand into a LoadedModel: evaluation mode, no gradients, padding on the left.

    Raises ZobenchError when no pad token or context length can be told, or the dtype is not one of DTYPES.
    """
    model.eval()
    model.requires_grad_(False)
    embedding = model.get_input_embeddings().weight
    dtype = str(embedding.dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        raise ZobenchError(f"model {name}: weights are {dtype}; known: {', '.join(DTYPES)}")
    pad = _pad_id(tokenizer, name)
    if pad >= embedding.shape[0]:
        raise ZobenchError(f"model {name}: pad token {pad} has no embedding (the model has {embedding.shape[0]})")
    tokenizer.padding_side = "left"
    return LoadedModel(
        name=name,
        revision=revision,
        model=model,
        tokenizer=tokenizer,
        device=embedding.device,
        dtype=dtype,
        context_length=_context_length(model.config, tokenizer, name),
        pad_id=pad,
    )


def check_device(device: str) -> None:
    """ZobenchError unless `device` is auto, cpu, cuda or cuda:N and this machine has it."""
    kind, _, number = device.partition(":")
    if device not in ("auto", "cpu", "cuda") and not (kind == "cuda" and number.isdecimal()):
        raise ZobenchError(unknown("device", device, ("auto", "cpu", "cuda", "cuda:1")))
    if kind == "cuda":
        count = torch.cuda.device_count()
        if not count:
            raise ZobenchError(f"--device {device}: torch sees no GPU here; use --device cpu")
        if number and int(number) >= count:
            raise ZobenchError(f"--device {device}: there are {count} GPUs, cuda:0 to cuda:{count - 1}")


def placement(spec: str, device: str, need: int, free: list[int]) -> str:
    """Where weights of `need` bytes go: "cpu", "cuda:N", or "spread" over all GPUs; `free`: bytes free on each GPU."""
    if device == "cpu" or (device == "auto" and not free):
        return "cpu"
    asked = range(len(free)) if device in ("auto", "cuda") else [int(device.partition(":")[2])]
    for i in asked:
        if need <= _USABLE * free[i]:
            return f"cuda:{i}"
    room = sum(free[i] for i in asked)
    if len(asked) > 1 and need <= _USABLE * room:
        return _SPREAD
    raise ZobenchError(
        f"--model {spec}: needs {need / 2**30:.1f} GiB for its weights, and {room / 2**30:.1f} GiB are free on "
        f"{'the GPUs' if len(asked) > 1 else f'cuda:{asked[0]}'} (of which {_USABLE:.0%} can be used); "
        "use --dtype float16, free the memory, or --device cpu"
    )


def _read_tokenizer(folder: ModelFolder, spec: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            str(folder.path),
            gguf_file=folder.file,
            local_files_only=True,
            trust_remote_code=False,
            padding_side="left",
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ZobenchError(
            f"--model {spec}: cannot read the tokenizer in {folder.path}: {_first_line(error)}"
        ) from error


def _read_config(folder: ModelFolder, spec: str) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(
            str(folder.path), gguf_file=folder.file, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise _cannot_load(folder, spec, error) from error


def _read_model(folder: ModelFolder, spec: str, dtype: str, place: str, free: list[int]) -> Any:
    from transformers import AutoModelForCausalLM

    where: dict[str, Any] = {}
    if place == _SPREAD:
        where = {"device_map": "auto", "max_memory": {i: int(_USABLE * f) for i, f in enumerate(free)}}
    elif place != "cpu":
        where = {"device_map": {"": place}}
    config = _read_config(folder, spec)
    if folder.file is not None:
        where |= {"gguf_file": folder.file, **gguf.reading(folder.file)}
    if getattr(config, "quantization_config", None) is not None:
        raise ZobenchError(f"--model {spec}: its weights are quantised; zobench moves floating-point weights only")
    try:
        with _quiet_loading():
            model, found = AutoModelForCausalLM.from_pretrained(
                str(folder.path),
                config=config,
                dtype=DTYPES[dtype],
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # refused below, in our words
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                **where,
            )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise _cannot_load(folder, spec, error) from error
    other_shape = [key if isinstance(key, str) else key[0] for key in found["mismatched_keys"]]
    absent = sorted({*found["missing_keys"], *other_shape})
    if absent:
        raise ZobenchError(
            f"--model {spec}: the weights in {folder.path} are not a whole causal language model: "
            f"{len(absent)} tensors are missing or of another shape, such as {absent[0]}"
        )
    if folder.file is not None:
        gguf.plain(model)
    stray = {p.device.type for p in model.parameters()} - {"cuda"} if place == _SPREAD else set()
    if stray:
        raise ZobenchError(f"--model {spec}: the GPUs here cannot hold all of its blocks; use --dtype float16")
    return model


def _cannot_load(folder: ModelFolder, spec: str, error: Exception) -> ZobenchError:
    if "trust_remote_code" in str(error):
        why = "it needs code of its own, which is never run; architectures that transformers has can be loaded"
    else:
        why = _first_line(error)
    return ZobenchError(f"--model {spec}: cannot load {folder.path}: {why}")


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """Without the bar of weights being read: it would cut into the harness's own progress lines."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _pad_id(tokenizer: Any, name: str) -> int:
    """The tokenizer's pad token, else its end-of-sequence token (which then is set as its pad token)."""
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise ZobenchError(f"model {name}: its tokenizer has neither a pad nor an end-of-sequence token")
        tokenizer.pad_token = tokenizer.eos_token
    return int(tokenizer.pad_token_id)


def _context_length(config: Any, tokenizer: Any, name: str) -> int:
    text = config.get_text_config()
    for key in _LENGTHS:
        value = getattr(text, key, None)
        if isinstance(value, int) and value > 0:
            return value
    told = getattr(tokenizer, "model_max_length", None)
    if isinstance(told, int) and 0 < told < 10**9:  # transformers writes 10**30 for "unknown"
        return told
    raise ZobenchError(f"model {name}: neither its config nor its tokenizer tells a context length")


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
