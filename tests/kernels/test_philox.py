"""Counter-based noise in torch: known answers, an independent form, moments, and independence of where it is drawn."""

import numpy as np
import pytest
import torch
from zo_kit import Run

from zobench.testing import check_estimator
from zobench.zo import philox
from zobench.zo.handle import Handle

CPU = torch.device("cpu")
SEED = 0x1234567_89ABCDEF


def plain(seed, counter, rounds):
    """Philox4x32 of one counter, in Python's integers, from the paper."""
    c, k = [counter & 0xFFFFFFFF, counter >> 32, 0, 0], [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(rounds):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def test_a_known_answer_of_random123():
    """kat_vectors: philox4x32 10, counter 0, key 0."""
    found = [int(word) for word in philox.words(0, torch.zeros(1, dtype=torch.int64), 10)]
    assert found == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


@pytest.mark.parametrize("rounds", [7, 10])
def test_words_are_those_of_whole_numbers(rounds):
    counters = [0, 1, 5, 2**32 - 1, 2**32, 2**40 + 3]
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
    whole = source.draw(3, "gaussian", p, (40, 30), whole=True)
    monkeypatch.setattr(philox, "PART", 256)
    assert torch.equal(source.draw(3, "gaussian", p, (40, 30), whole=True), whole)
    assert source.draw(3, "gaussian", p, (0, 4), whole=False).shape == (0, 4)


@pytest.mark.parametrize("engine", ["official", "flat", "deferred", "pair", "streamed"])
def test_a_run_on_every_engine(engine):
    runs = [Run(engine=engine, noise="philox"), Run(engine="flat", noise="philox")]
    assert runs[0].go(4) == pytest.approx(runs[1].go(4), abs=1e-12)
    assert runs[0].go(1) != Run(engine="flat").go(5)[-1:], "another z than per_tensor's"


def test_the_battery():
    from zo_kit import MeZO

    class Counted(MeZO):
        def __init__(self, *args, **settings):
            super().__init__(*args, **{**settings, "noise": "philox"})

    assert check_estimator(Counted, engines=["flat", "deferred", "pair", "streamed"], problems=["mlp"]).passed
