"""Loading a causal language model and its tokenizer, ready for forward passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .. import devices
from ..errors import ZobenchError, unknown
from . import gguf
from .blocks import Block, decoder_blocks
from .contents import check_finite, check_plain, check_tied, check_whole
from .folder import ModelFolder, find, told
from .lightly import lightly
from .placement import Placement, placement
from .reading import read_config, read_tokenizer, reading
from .speech import check_ids
from .text import model_type, text_config

if TYPE_CHECKING:
    from .capabilities import Capabilities

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
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
    unused: tuple[str, ...] = ()
    """Tensors of its files that the model has no place for, such as those of another head."""

    @property
    def left_out(self) -> str | None:
        """`unused` in words, for readers of a run; None where there are none."""
        if not self.unused:
            return None
        return f"its files hold {len(self.unused)} tensors beside the language model, such as {self.unused[0]}"

    @cached_property
    def blocks(self) -> list[Block]:
        """The decoder blocks in order. ZobenchError where the model's structure has none."""
        return decoder_blocks(self.model)

    @cached_property
    def capabilities(self) -> Capabilities:
        """What the model can do, measured once, by a few short forwards, when it is first asked for."""
        from .capabilities import measure

        return measure(self)

    @property
    def vocabulary(self) -> int:
        """Rows of the input embedding: ids of tokens are below."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    @cached_property
    def unreached(self) -> list[str]:
        """Modules and parameters that a forward over text does not reach, the outermost of each."""
        from .reach import unreached

        return unreached(self)

    def named_parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        """(name, parameter) of those that a forward over text reaches, tied ones once, in the model's order."""
        from .reach import left_out

        return [(name, p) for name, p in self.model.named_parameters() if not left_out(name, self.unreached)]

    @cached_property
    def parameters(self) -> int:
        """The number of parameters that a forward over text reaches; tied weights count once."""
        return sum(p.numel() for _, p in self.named_parameters())

    @property
    def devices(self) -> list[torch.device]:
        """The devices that its weights lie on."""
        return devices.of_model(self.model)

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
    pinned: str | None = None,
    device_map: str = "auto",
) -> LoadedModel:
    """Load a causal language model from a folder or the hub.

    spec: a folder with config.json, *.safetensors and a tokenizer, a GGUF file or a folder with one, or a hub id.
        Code from the model's side is never run and pickled weights are never read.
    revision: commit, tag or branch of the hub; None takes the pinned commit, else the newest.
    dtype: float16 | bfloat16 | float32, of the weights.
    device: auto (a GPU if there is one) | cpu | cuda | cuda:N | xpu | xpu:N | mps. With auto, cuda and xpu, a model too
        large for one GPU is spread over all of them. GPUs of ROCm are cuda, as in torch.
    device_map: auto (as said) | balanced | sequential: spread over all GPUs, evenly or each filled in turn, as
        transformers does | none: on one GPU, whatever its size.
    offline: look at the local cache only.
    pinned: the commit to take of a model of the hub; unlike `revision` it may be said of a folder, which has none.

    Raises ZobenchError, one line, for everything the user can mend.
    """
    check_dtype(dtype)
    devices.check(device)
    folder = find(spec, revision=revision, offline=offline, pinned=pinned)
    stored = folder.stored
    numel = sum(tensor.numel for tensor in stored.values()) if folder.facts is None else folder.facts.numel
    place = placement(spec, device, numel * DTYPES[dtype].itemsize, device_map)
    tokenizer = read_tokenizer(folder, spec)
    config = read_config(folder, spec)
    architectures = [name for name in _list(config.architectures) if isinstance(name, str)]
    if folder.file is None:
        with told(spec):
            check_plain(config, stored)
    model, found = _read_model(folder, spec, config, dtype, place)
    with told(spec):
        unused = check_whole(model, found, stored, folder.path, architectures)
        check_tied(model, stored)
        check_finite(model, dtype)
    loaded = adopt(model, tokenizer, name=folder.name, revision=folder.revision)
    loaded.unused = unused
    if folder.facts is not None:
        loaded.weights = folder.facts.record(folder.name)
    return loaded


def load_tokenizer(
    spec: str, *, revision: str | None = None, offline: bool = False, pinned: str | None = None
) -> tuple[Any, int, str]:
    """The tokenizer of a model, its context length in tokens and its `model_type`, without its weights in memory.

    Arguments and errors as those of `load_model`.
    """
    folder = find(spec, revision=revision, offline=offline, pinned=pinned, weights=False)
    tokenizer, config = read_tokenizer(folder, spec), read_config(folder, spec)
    return tokenizer, _context_length(config, tokenizer, folder.name), model_type(config)


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
    check_ids(tokenizer, embedding.shape[0], name)
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


def check_dtype(dtype: str) -> None:
    """ZobenchError unless it is one that weights may be held in."""
    if dtype not in DTYPES:
        raise ZobenchError(unknown("dtype", dtype, DTYPES))


def _read_model(
    folder: ModelFolder, spec: str, config: Any, dtype: str, place: Placement
) -> tuple[Any, dict[str, Any]]:
    """The model, and what transformers says of the tensors it found."""
    where: dict[str, Any] = {}
    if place.room:
        where = {"device_map": place.spread, "max_memory": dict(place.room)}
    elif place.device != "cpu":
        where = {"device_map": {"": place.device}}
    if folder.file is not None:
        where |= {"gguf_file": folder.file, **gguf.reading(folder.file)}
    with reading(f"--model {spec}: cannot load {folder.path}"), lightly(), _quiet_loading():
        from transformers import AutoModelForCausalLM

        model, found = AutoModelForCausalLM.from_pretrained(
            str(folder.path),
            config=config,
            dtype=DTYPES[dtype],
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # refused by check_whole, in our words
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **where,
        )
    if folder.file is not None:
        gguf.plain(model)
    stray = {p.device.type for p in model.parameters()} - {place.kind} if place.room else set()
    if stray:
        raise ZobenchError(f"--model {spec}: the GPUs here cannot hold all of its blocks; use --dtype float16")
    return model, found


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """Without the bar of weights being read, which would cut into the harness's own progress lines, and without
    transformers' table of tensors: what is wrong with them is said in one line.
    """
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        with gguf.without_bar():
            yield
    finally:
        logging.set_verbosity(level)
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
    text = text_config(config)
    for key in _LENGTHS:
        value = getattr(text, key, None)
        if isinstance(value, int) and value > 0:
            return value
    told = getattr(tokenizer, "model_max_length", None)
    if isinstance(told, int) and 0 < told < 10**9:  # transformers writes 10**30 for "unknown"
        return told
    raise ZobenchError(f"model {name}: neither its config nor its tokenizer tells a context length")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
