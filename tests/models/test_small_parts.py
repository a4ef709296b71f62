"""Known answers of small parts: names left out, devices planned, how far apart logits are, what a fault says."""

import pytest
import torch

from zobench import devices
from zobench.errors import ZobenchError
from zobench.models.massive import MassiveChannel, _Channels
from zobench.models.outline import planned_device
from zobench.models.reach import left_out
from zobench.models.reading import reading
from zobench.models.trial import apart, limit


@pytest.mark.parametrize(
    ("name", "out"),
    [("vision.weight", True), ("vision.blocks.0.bias", True), ("vision_head.weight", False), ("scale", True)],
)
def test_what_lies_within_a_module_is_left_out_with_it(name, out):
    assert left_out(name, ["vision", "scale"]) == out


def test_a_device_is_planned_as_it_is_named(monkeypatch):
    assert [str(planned_device(name)) for name in ("cpu", "mps", "cuda", "cuda:3")] == [
        "cpu",
        "mps",
        "cuda:0",
        "cuda:3",
    ]
    monkeypatch.setattr(devices, "best", lambda: "xpu")
    assert str(planned_device("auto")) == "xpu:0"


@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 1.0), (torch.float16, 0.0)])
def test_in_full_precision_no_token_may_differ_and_in_half_the_median_counts(dtype, off):
    want = torch.eye(5)
    got = want.clone()
    got[0] = 0  # one token of five, by all of its size
    assert apart([got], [want], dtype) == off


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("no such thing"), "cannot load it: no such thing"),
        (OSError("the file is gone\nfor good"), "cannot load it: the file is gone"),
        (ImportError("needs a library"), "cannot load it: needs a library"),
        (KeyError("odd"), "cannot load it: KeyError: 'odd'"),
        (RuntimeError("went wrong"), "cannot load it: RuntimeError: went wrong"),
        (ValueError("trust_remote_code is wanted"), "needs code of its own, which is never run"),
        (MemoryError(), "too little memory for it .MemoryError.; use --dtype float16"),
    ],
)
def test_a_fault_of_a_library_is_told_in_a_line(error, says):
    with pytest.raises(ZobenchError, match=says), reading("cannot load it"):
        raise error


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_activation_is_massive_to_either_side(sign):
    seen = _Channels(50.0)
    stream = torch.tensor([[[9.0, 1.0], [sign * 80.0, -3.0], [2.0, 4.0]]])
    seen.see(stream, torch.tensor([[False, True, True]]))  # the first is padding
    assert seen.massive() == {0: MassiveChannel(most_else=2.0, first=sign * 80.0)}


@pytest.mark.parametrize(
    ("dtype", "noise", "most"),
    [
        (torch.float32, 0.0, 64 * 2.0**-23),
        (torch.float32, 1e-4, 2e-4),
        (torch.float32, 0.1, 1e-3),
        (torch.float64, 0.0, 64 * 2.0**-23),
        (torch.bfloat16, 0.0, 2 * 2.0**-7),
        (torch.bfloat16, 0.1, 0.2),
        (torch.bfloat16, 1.0, 0.25),
    ],
)
def test_ways_agree_within_twice_the_noise_between_two_bounds(dtype, noise, most):
    assert limit(dtype, noise) == pytest.approx(most, rel=1e-12)
