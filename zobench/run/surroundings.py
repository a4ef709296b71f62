"""The state of the process that numbers depend on: random streams, defaults, flags. Put back where it was changed."""

from __future__ import annotations

import base64
import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import numpy as np
import torch

from ..devices import set_stream_states, stream_states, streams

FLAGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "default device": (
        torch.get_default_device,
        lambda was: torch.set_default_device(None if was.type == "cpu" else was),
    ),
    "number of threads": (torch.get_num_threads, torch.set_num_threads),
    "gradients": (torch.is_grad_enabled, torch.set_grad_enabled),
    "anomaly detection": (torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    "deterministic algorithms": (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda was: torch.use_deterministic_algorithms(was[0], warn_only=was[1]),
    ),
    "float32 matmul precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "autocast": (
        lambda: tuple(torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")),
        lambda was: [torch.set_autocast_enabled(k, on) for k, on in zip(("cpu", "cuda"), was, strict=True)],
    ),
    "attention kernels": (
        lambda: tuple(
            getattr(torch.backends.cuda, f"{kind}_sdp_enabled")() for kind in ("flash", "math", "mem_efficient")
        ),
        lambda was: [
            getattr(torch.backends.cuda, f"enable_{kind}_sdp")(on)
            for kind, on in zip(("flash", "math", "mem_efficient"), was, strict=True)
        ],
    ),
    "working directory": (os.getcwd, os.chdir),
}
"""What is put back after each part of a cell: how it is asked, and how it is set."""
CUDNN = ("enabled", "benchmark", "deterministic", "allow_tf32")


class Surroundings:
    """The flags of the process when this object was made."""

    def __init__(self) -> None:
        self.was = _flags()

    def put_back(self) -> list[str]:
        """Reset the flags that differ now. Returns their names."""
        now = _flags()
        changed = [name for name, value in self.was.items() if now.get(name) != value]
        for name in changed:
            if name in FLAGS:
                FLAGS[name][1](self.was[name])
            else:
                setattr(torch.backends.cudnn, name.removeprefix("cudnn "), self.was[name])
        return changed


def _flags() -> dict[str, Any]:
    asked = [(name, ask) for name, (ask, _) in FLAGS.items()]
    asked += [(f"cudnn {name}", partial(getattr, torch.backends.cudnn, name)) for name in CUDNN]
    out = {}
    for name, ask in asked:
        with suppress(RuntimeError, OSError):  # precisions that were set by newer names; a folder that was removed
            out[name] = ask()
    return out


def random_state() -> str:
    """Where the random streams of the process stand (torch's, numpy's, Python's), as text."""
    _, key, *numbers = np.random.get_state(legacy=True)
    version, words, gauss = random.getstate()
    tensors = {"cpu": [torch.get_rng_state()], **stream_states()}
    ours = {kind: [_text(t.numpy()) for t in of_each] for kind, of_each in tensors.items()}
    return json.dumps(
        [ours, [_text(np.asarray(key, "<u4")), *numbers], [version, _text(np.asarray(words, "<u4")), gauss]]
    )


def set_random_state(text: str) -> None:
    """Put the random streams where `random_state` found them."""
    ours, (key, *numbers), (version, words, gauss) = json.loads(text)
    tensors = {kind: [torch.from_numpy(_array(t, "u1")) for t in of_each] for kind, of_each in ours.items()}
    torch.set_rng_state(tensors.pop("cpu")[0])
    set_stream_states(tensors)
    np.random.set_state(("MT19937", _array(key, "<u4"), *numbers))
    random.setstate((version, tuple(_array(words, "<u4").tolist()), gauss))


def _text(array: Any) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _array(text: str, dtype: str) -> Any:
    return np.frombuffer(bytearray(base64.b64decode(text)), dtype=dtype)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, the process's random streams (torch's, numpy's, Python's) begin at this seed; then they are put back.

    Nothing of zobench draws from them. What does, in a plugin or a library, so draws the same whatever ran before.
    """
    ours, theirs, tensors = random.getstate(), np.random.get_state(), torch.get_rng_state()
    put_back = streams()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(ours)
        np.random.set_state(theirs)
        torch.set_rng_state(tensors)
        put_back()
