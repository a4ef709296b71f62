"""How fast a device is at what runs are made of: measured here with blocks of the model, or known of named devices."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .. import devices
from ..errors import ZobenchError, unknown
from ..models.lightly import lightly
from ..models.load import DTYPES, LoadedModel
from ..models.placement import room
from ..models.text import text_config

DRAW, KEPT, FUSED = "drawn", "kept", "fused"
"""How a pass over weights comes by its noise: torch draws it, it was drawn before in the step, the kernel draws it."""
TOKENS = 256
"""Of the forwards that are timed: twice as many of the longer one."""


@dataclass(frozen=True)
class Pace:
    """Seconds of one call of the model (whatever it is of), of a token in it, of a parameter in a pass over weights.

    name: of the device. pass_s: by how noise is come by. memory: bytes of the device; None: not known. attend_s: of a
    token for each token of its row. least_s: of a forward, however few its tokens are; launch_s: of a kernel's launch,
    where a small one takes no less.
    """

    name: str
    call_s: float
    token_s: float
    pass_s: Mapping[str, float]
    memory: int | None = None
    attend_s: float = 0.0
    least_s: float = 0.0
    launch_s: float = 0.0

    def forward_s(self, tokens: float, length: float = 0.0) -> float:
        """Seconds of a forward over so many tokens, in rows of this length."""
        return max(self.least_s, self.call_s + tokens * (self.token_s + length * self.attend_s))

    def sweep_s(self, how: str, entries: int, tensors: int) -> float:
        """Seconds of a pass over so many entries in so many tensors."""
        return max(self.pass_s[how] * entries, LAUNCHES_A_TENSOR[how] * tensors * self.launch_s)


@dataclass(frozen=True)
class Device:
    """By its data sheet: dense 16-bit (32-bit sums) and 32-bit TFLOPS, GB/s, and GiB of memory."""

    half_tflops: float
    full_tflops: float
    gbs: float
    gib: float


DEVICES: Mapping[str, Device] = {
    "t4": Device(65, 8.1, 320, 15),
    "v100": Device(125, 15.7, 900, 32),
    "rtx3090": Device(71, 35.6, 936, 24),
    "rtx4090": Device(165, 82.6, 1008, 24),
    "a10g": Device(70, 31.2, 600, 24),
    "a6000": Device(154.8, 38.7, 768, 48),
    "l40s": Device(362, 91.6, 864, 48),
    "a100-40gb": Device(312, 19.5, 1555, 40),
    "a100-80gb": Device(312, 19.5, 2039, 80),
    "h100": Device(989, 67, 3350, 80),
    "h200": Device(989, 67, 4800, 141),
    "b200": Device(2250, 75, 8000, 180),
}
PRODUCTS, COPIES = 0.54, 0.94
"""What of a data sheet's TFLOPS forwards reach, and of its GB/s passes over weights: fitted to the step times of the
paper's Table 4 (LLaMA2-7B in float16 on an A6000: SST-2, CB and WSC at 151 to 163 microseconds a padded token,
perturbing and updating 6.7 G parameters in 0.691 s), and taken to hold for the others.
"""
ITEMS = {DRAW: 32 / 3, KEPT: 3.0, FUSED: 8 / 3}
"""Items moved for a parameter in a pass: by torch's kernels, 64 bytes a step of three passes in float16; reading what
was drawn before; drawn where it is added, 16 bytes a step.
"""
OFFICIAL_ITEMS = 9.25
"""As DRAW in MeZO's own order, whose update scales twice: 74 bytes a step of four passes in float16."""


LAUNCH_S = 5e-6
"""Seconds that torch takes to launch a kernel on a GPU, about: what a step of a tiny model is made of."""
LAUNCHES_A_BLOCK = 45
"""Kernels of a forward through a decoder block as transformers writes it: its products, two norms of six, the rotation
of queries and keys, attention, the activation, sums (tests/bench/test_shape_session.py counts them).
"""
LAUNCHES_A_TENSOR: Mapping[str, int] = {DRAW: 3, KEPT: 2, FUSED: 1, "official": 4}
"""Kernels of a pass over a tensor: drawn, scaled, added; drawn before; drawn where it is added; MeZO's own order."""


def named(name: str, loaded: LoadedModel, device_map: str = "auto") -> Pace:
    """The pace of a device by its name, for this model; of several as `2xa6000`, which compute one after the other.

    device_map: how weights are spread over several, one of zobench.models.placement.MAPS. Raises ZobenchError for an
    unknown device or device map.
    """
    whole = name.lower().replace(" ", "")
    many, _, one = whole.partition("x")
    count, key = (int(many), one) if many.isdecimal() else (1, whole)
    key = key.removeprefix("nvidia")
    if key not in DEVICES or count < 1:
        raise ZobenchError("--for-device: " + unknown("device", name, DEVICES))
    device, size = DEVICES[key], DTYPES[loaded.dtype].itemsize
    flops = (device.half_tflops if size == 2 else device.full_tflops) * PRODUCTS * 1e12
    bytes_s = device.gbs * COPIES * 1e9
    inner = _inner(loaded)
    passes = {how: items * size / bytes_s for how, items in ITEMS.items()}
    passes["official"] = OFFICIAL_ITEMS * size / bytes_s
    text = text_config(loaded.model)
    blocks, width = (int(getattr(text, name, 0) or 0) for name in ("num_hidden_layers", "hidden_size"))
    attend_s = 4 * blocks * width / flops  # queries with keys, and what they attend to
    call_s, least_s = inner * size / bytes_s, LAUNCH_S * LAUNCHES_A_BLOCK * blocks
    memory = room([int(device.gib * 2**30)] * count, loaded.weights_bytes, device_map)
    said = key if count == 1 else f"{count} {key}"
    return Pace(said, call_s, 2 * inner / flops, passes, memory, attend_s, least_s, LAUNCH_S)


def measured(loaded: LoadedModel, device_map: str = "auto", *, alone: bool = True) -> Pace:
    """The pace of the device that the model's inputs would go to: of one and two of its blocks, their weights zeros.

    alone: whether a model goes to this device and no other; else it may be spread over all of its kind, as the device
    map has it.
    """
    device = loaded.device
    one, two = (_timed(loaded, blocks) for blocks in (1, 2))
    blocks = max(1, int(getattr(text_config(loaded.model), "num_hidden_layers", 1)))
    short, long = (first + (blocks - 1) * max(0.0, second - first) for first, second in zip(one, two, strict=True))
    token_s = max(0.0, long - short) / TOKENS
    draw, add = _of_passes(DTYPES[loaded.dtype], device)
    passes = {DRAW: draw + add, KEPT: add, FUSED: 2 * add / 3, "official": draw + 2 * add}
    memory = _memory(loaded, device_map, alone=alone) if devices.beside(device) else None
    name = devices.name(device) if devices.beside(device) else "this machine's CPU"
    launch_s = LAUNCH_S if devices.beside(device) else 0.0  # a forward that was timed has its launches in it
    return Pace(name, max(0.0, short - TOKENS * token_s), token_s, passes, memory, launch_s=launch_s)


def _memory(loaded: LoadedModel, device_map: str, *, alone: bool) -> int:
    """Bytes that could be taken of the device, or of all that the model may be spread over."""
    kind, first = loaded.device.type, devices.free(loaded.device)
    more = range(1, 1 if alone or kind not in devices.GPUS else devices.count(kind))
    return room([first, *(devices.free(torch.device(kind, i)) for i in more)], loaded.weights_bytes, device_map)


def _inner(loaded: LoadedModel) -> int:
    """Parameters that each token is multiplied with: those of the decoder blocks, else all."""
    try:
        return sum(block.numel() for block in loaded.blocks)
    except ZobenchError:
        return loaded.parameters


def _timed(loaded: LoadedModel, blocks: int) -> list[float]:
    """Seconds of forwards of a row of TOKENS tokens, and of two of them, through so many blocks of this width."""
    config = copy.deepcopy(loaded.model.config)
    text = text_config(config)
    text.num_hidden_layers, text.vocab_size = blocks, 512
    for key in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(text, key, 0)
    if isinstance(kinds := getattr(text, "layer_types", None), list):
        text.layer_types = kinds[:blocks]
    with lightly(), torch.device("meta"):
        from transformers import AutoModelForCausalLM

        made = AutoModelForCausalLM.from_config(config, dtype=DTYPES[loaded.dtype])
    model = _zeros(made, loaded.device).eval()
    length = min(TOKENS, loaded.context_length)
    rows = TOKENS // length
    return [_least(_forward(model, rows * times, length), loaded.device) for times in (1, 2)]


def _zeros(model: Any, device: torch.device) -> Any:
    """The model with zeros on the device for its tensors (`to_empty` would import torch's compiler)."""
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            for name, tensor in table.items():
                if tensor is not None:
                    made = torch.zeros(tensor.shape, dtype=tensor.dtype, device=device)
                    table[name] = (
                        nn.Parameter(made, requires_grad=False) if tensor is module._parameters.get(name) else made
                    )
    return model


def _forward(model: Any, rows: int, length: int) -> Callable[[], object]:
    ids = torch.ones(rows, length, dtype=torch.long, device=model.device)

    def run() -> object:
        with torch.no_grad():
            return model(input_ids=ids, use_cache=False)

    return run


def _of_passes(dtype: torch.dtype, device: torch.device) -> tuple[float, float]:
    """Seconds a parameter of drawing noise, and of adding it."""
    n = 2**24 if devices.beside(device) else 2**20
    weights = torch.zeros(n, dtype=dtype, device=device)
    noise = torch.randn(n, dtype=torch.float32, device=device).to(dtype)
    generator = torch.Generator(device)
    draw = _least(lambda: noise.normal_(generator=generator), device)
    return draw / n, _least(lambda: weights.add_(noise, alpha=1e-3), device) / n


def _least(work: Callable[[], object], device: torch.device) -> float:
    """Of several after the first: what other programs take of the machine only adds."""
    return min([_once(work, device) for _ in range(6)][1:])


def _once(work: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    devices.synchronize([device])
    return time.perf_counter() - start
