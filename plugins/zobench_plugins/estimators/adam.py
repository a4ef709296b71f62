"""Running moments of a gradient, and Adam's preconditioner on them: shared by adamw, zo_adam and their kin."""

from __future__ import annotations

from typing import Annotated, ClassVar

from torch import Tensor

from zobench import Algebra, Buffer, Direction, Estimator, Handle, Positive, Range

Beta = Annotated[float, Range(ge=0, lt=1)]


class AdamMoments(Estimator):
    """Moving means of a gradient and of its square, in fp32: m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2."""

    moves_along_looks: ClassVar[bool] = False

    m: Buffer
    v: Buffer

    beta1: Beta = 0.9
    """Decay of the mean of the gradient."""
    beta2: Beta = 0.999
    """Decay of the mean of its square."""

    def take_in(self, p: Handle, g: Tensor) -> None:
        """One tensor's moments take in its gradient."""
        self.m[p].lerp_(g, 1 - self.beta1)
        self.v[p].mul_(self.beta2).addcmul_(g, g, value=1 - self.beta2)


class Adam(AdamMoments):
    """Kingma and Ba 2015 (arXiv:1412.6980), Algorithm 1: both moments in fp32.

    Bias correction counts, tensor by tensor, the steps that the tensor took part in: a scope may rest.
    """

    state_per_parameter: ClassVar[float] = 2.0

    delta: Positive = 1e-8
    """Added to the root of the mean square."""

    def setup(self) -> None:
        self.m, self.v = self.buffer("m"), self.buffer("v")
        self.n = self.buffer("n", shape=lambda p: ())

    def preconditioned(self, gradient: Algebra) -> Direction:
        """The step mhat / (sqrt(vhat) + delta), after the moments have taken in this gradient."""
        for p, g in self.each(gradient):
            self.n[p].add_(1)
            self.take_in(p, g)
        mhat = self.m / self.n.map(lambda n: 1 - self.beta1**n)
        vhat = self.v / self.n.map(lambda n: 1 - self.beta2**n)
        return mhat / (vhat.sqrt() + self.delta)
