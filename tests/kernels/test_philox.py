"""Counter-based noise in torch: known answers, an independent form, moments, and independence of where it is drawn."""

import numpy as np
import pytest
import torch
from kits.toy_runs import Run

from zobench.directions.handle import Handle
from zobench.directions.noise import philox
from zobench.testing import check_estimator

CPU = torch.device("cpu")
SEED = 0x1234567_89ABCDEF


KNOWN = [
    line.split()
    for line in """
7  00000000 00000000 00000000 00000000 00000000 00000000 5f6fb709 0d893f64 4f121f81 4f730a48
7  ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 5207ddc2 45165e59 4d8ee751 8c52f662
7  243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 4dfccaba 190a87f0 c47362ba b6b5242a
10 00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d bc57ac4c 9b00dbd8
10 ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e a20bc7c6 6d5451fd
10 243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb 5001e420 24126ea1
""".strip().splitlines()
]
"""Random123, tests/kat_vectors, philox4x32: rounds, counter (4 words), key (2 words), answer (4 words)."""


def plain(seed, counter, rounds):
    """Philox4x32 of one counter, in Python's integers, from the paper."""
    c, k = [(counter >> shift) & 0xFFFFFFFF for shift in (0, 32, 64, 96)], [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(rounds):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


@pytest.mark.parametrize("known", KNOWN)
def test_known_answers_of_random123(known):
    """Of the form that the others are compared with; of torch's too where the high words of the counter are 0."""
    rounds, words = int(known[0]), [int(word, 16) for word in known[1:]]
    counter, seed, answer = sum(w << (32 * i) for i, w in enumerate(words[:4])), words[4] | words[5] << 32, words[6:]
    assert plain(seed, counter, rounds) == answer
    if counter < 2**63:
        assert [int(w) for w in philox.words(seed, torch.tensor([counter]), rounds)] == answer


@pytest.mark.parametrize("rounds", [7, 10])
def test_words_are_those_of_whole_numbers(rounds):
    counters = [0, 1, 5, 2**32 - 1, 2**32, 2**40 + 3, 2**62 + 9]
    words = torch.stack(philox.words(SEED, torch.tensor(counters), rounds), dim=-1).tolist()
    assert words == [plain(SEED, c, rounds) for c in counters]


def test_normals_are_box_and_mullers():
    n = 4 * 50
    words = np.array([plain(SEED, c, philox.ROUNDS) for c in range(n // 4)], dtype=np.uint64)
    f = ((words >> 9).astype(np.uint32) | np.uint32(0x3F800000)).view(np.float32).astype(np.float64)
    radius = np.sqrt(-2 * np.log(2 - f[:, 0::2]))
    angle = 2 * np.pi * f[:, 1::2] - 3 * np.pi
    want = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).reshape(-1)
    assert np.abs(philox.normals(SEED, n, CPU).double().numpy() - want).max() < 5e-6


def test_signs_are_bits():
    words = [plain(SEED, c, philox.ROUNDS) for c in range(3)]
    bits = [(word >> i) & 1 for four in words for word in four for i in range(32)]
    assert philox.signs(SEED, 300, CPU).tolist() == [2.0 * b - 1 for b in bits][:300]


@pytest.mark.parametrize(("of", "apart"), [(philox.normals, 4), (philox.signs, 128)])
def test_an_entry_depends_on_its_place_alone(of, apart):
    whole = of(SEED, 1000, CPU)
    assert torch.equal(whole[:7], of(SEED, 7, CPU))
    assert torch.equal(whole[5 * apart :], of(SEED, 1000 - 5 * apart, CPU, begin=5 * apart))


@pytest.mark.parametrize(("of", "kurtosis"), [(philox.normals, 3.0), (philox.signs, 1.0)])
def test_moments(of, kurtosis):
    n = 1 << 20
    z, other = of(5, n, CPU).double(), of(6, n, CPU).double()
    for value, want, spread in (
        (z.mean(), 0, 1),
        (z.square().mean(), 1, 2**0.5),
        (z.pow(3).mean(), 0, 15**0.5),
        (z.pow(4).mean(), kurtosis, 96**0.5),
        (z[1:].mul(z[:-1]).mean(), 0, 1),
        (z[4:].mul(z[:-4]).mean(), 0, 1),
        (z.mul(other).mean(), 0, 1),
    ):
        assert abs(float(value) - want) < 5 * spread / n**0.5
    if kurtosis == 3:
        assert 4.5 < float(z.abs().max()) < 6


def test_large_tensors_are_drawn_in_parts(monkeypatch):
    source = philox.Philox(0)
    p = Handle("w", torch.zeros(40, 30), {})
    whole = source.draw(3, "gaussian", p, (40, 30), full_shape=True)
    monkeypatch.setattr(philox, "PART", 256)
    assert torch.equal(source.draw(3, "gaussian", p, (40, 30), full_shape=True), whole)
    assert source.draw(3, "gaussian", p, (0, 4), full_shape=False).shape == (0, 4)


@pytest.mark.parametrize("engine", ["official", "flat", "deferred", "pair", "streamed"])
def test_a_run_on_every_engine(engine):
    runs = [Run(engine=engine, noise="philox"), Run(engine="flat", noise="philox")]
    assert runs[0].go(4) == pytest.approx(runs[1].go(4), abs=1e-12)
    assert runs[0].go(1) != Run(engine="flat").go(5)[-1:], "another z than per_tensor's"


def test_the_battery():
    from kits.toy_runs import MeZO

    class Counted(MeZO):
        def __init__(self, *args, **settings):
            super().__init__(*args, **{**settings, "noise": "philox"})

    assert check_estimator(Counted, engines=["pair", "deferred"], problems=["mlp"]).passed
