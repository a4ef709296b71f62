"""Tails of the t, F and chi-square distributions and of the studentised range, by formula.

Degrees of freedom need not be whole numbers. scipy is the oracle in the tests, not a dependency.
"""

from __future__ import annotations

import functools
import math

_TINY = 1e-300
_CLOSE = 1e-15

POINTS = 2000
"""Of the midpoint rule that integrates over a standard error."""


def beta_tail(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22, Lentz's way)."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1) / (a + b + 2):  # there the fraction converges slowly; the mirrored one fast
        return 1.0 - beta_tail(1.0 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x) - math.log(a)
    )
    c, d, out, both = 1.0, 0.0, 1.0, a + b
    for m in range(10_000):  # two terms a turn, written out: the analyses spend their time here
        at = a + 2 * m
        numerator = -(a + m) * (both + m) * x / (at * (at + 1))
        d = 1.0 / ((1.0 + numerator * d) or _TINY)
        c = (1.0 + numerator / c) or _TINY
        out *= c * d
        numerator = (m + 1) * (b - m - 1) * x / ((at + 1) * (at + 2))
        d = 1.0 / ((1.0 + numerator * d) or _TINY)
        c = (1.0 + numerator / c) or _TINY
        change = c * d
        out *= change
        if abs(change - 1.0) < _CLOSE:
            break
    return front / out


def t_tail(t: float, df: float) -> float:
    """P(T > t) of Student's t with `df` degrees of freedom."""
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    square = t * t
    if square < 1.0:  # from the middle, where df / (df + t^2) loses figures
        half = 0.5 - 0.5 * beta_tail(square / (df + square), 0.5, df / 2)
    else:
        half = 0.5 * beta_tail(df / (df + square), df / 2, 0.5)
    return half if t >= 0 else 1.0 - half


def t_p(t: float, df: float) -> float:
    """Two-sided p of a t statistic."""
    return min(1.0, 2.0 * t_tail(abs(t), df))


@functools.lru_cache(maxsize=4096)
def t_quantile(level: float, df: float) -> float:
    """The t that a fraction `level` of Student's distribution lies below; `level` is from 0.5 to 1, both left out."""
    above = 1.0 - level
    low, high = 0.0, 2.0
    while t_tail(high, df) > above:
        low, high = high, 2 * high
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if t_tail(middle, df) > above else (low, middle)
    return 0.5 * (low + high)


def f_tail(f: float, df1: float, df2: float) -> float:
    """P(F > f) of the F distribution."""
    if math.isinf(f):
        return 0.0
    return beta_tail(df2 / (df2 + df1 * f), df2 / 2, df1 / 2) if f > 0 else 1.0


def chi2_tail(x: float, df: float) -> float:
    """P(X > x) of the chi-square distribution: 1 - P(df/2, x/2) by its series, or the continued fraction beyond."""
    a, z = df / 2, x / 2
    if z <= 0:
        return 1.0
    front = math.exp(a * math.log(z) - z - math.lgamma(a))
    if z < a + 1:
        term = total = 1.0 / a
        k = a
        while term > total * _CLOSE:
            k += 1
            term *= z / k
            total += term
        return 1.0 - front * total
    b = z + 1 - a
    c, d = 1 / _TINY, 1 / b
    out = d
    for i in range(1, 10_000):
        numerator = -i * (i - a)
        b += 2
        d = 1.0 / ((numerator * d + b) or _TINY)
        c = (b + numerator / c) or _TINY
        out *= c * d
        if abs(c * d - 1.0) < _CLOSE:
            break
    return front * out


@functools.lru_cache(maxsize=256)
def range_quantile(level: float, k: int) -> float:
    """The q that the range of k independent standard normal values stays below with probability `level`.

    The studentised range with infinite degrees of freedom; a trapezoid rule of a smooth integrand that vanishes at both
    ends, which is exact to some twelve figures.
    """

    def below(q: float) -> float:
        step, total = 0.02, 0.0
        for i in range(-450, 451):
            z = i * step
            inside = _phi(z) - _phi(z - q)
            total += math.exp(-0.5 * z * z) * inside ** (k - 1)
        return k * total * step / math.sqrt(2 * math.pi)

    low, high = 0.0, 20.0
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if below(middle) < level else (low, middle)
    return 0.5 * (low + high)


def _phi(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def power_of_t(shift: float, df: float, level: float) -> float:
    """The chance that a two-sided t test at `level` rejects in the right direction, the mean being `shift` standard
    errors off zero: the tail of the noncentral t, an integral over the distribution of the estimated standard error.
    """
    df = min(df, 1e6)
    critical = t_quantile(1 - level / 2, df)
    # s = sqrt(W / df), W chi-square: its density is proportional to s^(df - 1) exp(-df s^2 / 2).
    log_front = math.log(2) + (df / 2) * math.log(df / 2) - math.lgamma(df / 2)
    start = math.sqrt(max(0.0, 1 - 9 / math.sqrt(2 * df)))
    step = (math.sqrt(1 + 12 / math.sqrt(df)) - start) / POINTS
    total = 0.0
    for i in range(POINTS):
        u = start + (i + 0.5) * step  # s = u^2: for df < 1 the density has a pole at 0
        s = u * u
        density = math.exp(log_front + (df - 1) * math.log(s) - df * s * s / 2)
        total += 2 * u * density * _phi(shift - critical * s)
    return min(1.0, total * step)
