"""Checksums of tensors: no bit, no place, no dtype and no shape goes unseen."""

from __future__ import annotations

import pytest
import torch

from zobench.run.checksum import LANE, checksum, checksums

DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int8, torch.uint8,
    torch.bool, torch.complex64,
)  # fmt: skip


def filled(dtype, n):
    torch.manual_seed(0)
    return torch.randn(n).mul(50).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_bit_of_the_first_the_last_and_an_inner_number_is_seen(dtype):
    t = filled(dtype, 3 * LANE + 7)
    want, raw = checksum(t), t.view(torch.uint8)
    assert checksum(t.clone()) == want
    size = t.element_size()
    for index in (0, LANE, t.numel() - 1):
        for byte in range(size):
            for bit in [0] if dtype == torch.bool else range(8):
                raw[index * size + byte] ^= 1 << bit
                assert checksum(t) != want, (index, byte, bit)
                raw[index * size + byte] ^= 1 << bit
    assert checksum(t) == want


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_two_numbers_that_change_places_and_signs_that_flip_are_seen(dtype):
    t = filled(dtype, 2 * LANE)
    want = checksum(t)
    for i, j in ((0, 1), (5, LANE - 1), (17, LANE + 17), (3, 2**15 + 3), (LANE - 1, LANE)):
        changed = t.clone()
        changed[i], changed[j] = t[j], t[i]
        assert checksum(changed) != want, (i, j)
        changed = t.clone()
        changed[i], changed[j] = -t[i], -t[j]
        assert checksum(changed) != want, (i, j)
        changed = torch.zeros_like(t)  # a sign that moves: the highest bit alone
        changed[i] = -0.0
        moved = torch.zeros_like(t)
        moved[j] = -0.0
        assert checksum(changed) != checksum(moved), (i, j)
    assert checksum(-t) != want and checksum(t.flip(0)) != want and checksum(t.roll(1)) != want


def test_no_pair_of_places_has_weights_that_hide_a_sign():
    """2^31 (w_i - w_j) is 0 modulo 2^64 only where the weights are equal in their 33 lowest bits."""
    from zobench.run.checksum import _weights

    w = _weights(torch.device("cpu"))
    assert bool((w % 2 == 1).all()) and bool((w > 0).all())
    assert len(set((w % 2**17).tolist())) == LANE


def test_shape_and_dtype_count_and_layout_does_not():
    t = filled(torch.float32, 12)
    assert checksum(t.view(3, 4)) != checksum(t.view(4, 3)) != checksum(t)
    assert checksum(t.view(torch.int32)) != checksum(t)
    strided = t.view(3, 4).t().contiguous().t()
    assert not strided.is_contiguous() and checksum(strided) == checksum(t.view(3, 4))
    assert checksum(torch.empty(0)) != checksum(torch.empty(0, 3))
    assert checksum(torch.tensor(1.5)) == checksum(torch.tensor(1.5)) != checksum(torch.tensor(1.25))


def test_it_does_not_depend_on_the_number_of_threads():
    t, before = filled(torch.float32, 5 * LANE + 1), torch.get_num_threads()
    want = checksum(t)
    try:
        torch.set_num_threads(2)
        assert checksum(t) == want
    finally:
        torch.set_num_threads(before)


def test_tied_tensors_are_read_once(monkeypatch):
    import zobench.run.checksum as module

    t, calls, original = filled(torch.float32, 10), [], module._sums
    monkeypatch.setattr(module, "_sums", lambda x: calls.append(1) or original(x))
    found = checksums([("a", t), ("b", t), ("c", t.clone()), ("d", t[:5])])
    assert found["a"] == found["b"] == found["c"] != found["d"] and len(calls) == 3


def test_beside_a_cpu_it_is_the_same_in_parts(monkeypatch):
    """As a GPU computes it, so many lanes at once; the last part is shorter, and the last lane too."""
    from zobench.run import checksum as module

    class Beside(torch.Tensor):
        device = torch.device("cuda")

    whole = torch.arange(5 * LANE + 7) * 2654435761
    expected = torch.cat(list(module._sums(whole)))
    weights = module._weights(torch.device("cpu"))
    monkeypatch.setattr(module, "_weights", lambda device: weights)
    for at_once in (2, 3, 5, 9):
        monkeypatch.setattr(module, "AT_ONCE", at_once * LANE)
        found = torch.cat([part.as_subclass(torch.Tensor) for part in module._sums(whole.as_subclass(Beside))])
        assert torch.equal(found, expected)
