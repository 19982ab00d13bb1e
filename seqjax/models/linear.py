"""Linear recurrences with a diagonal matrix: read in parallel over time, and as fast step by step."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Complex, Float, Inexact

from seqjax.models.layers import Causal, zero_padding


class LRU(Causal):
    """Linear recurrent units in residual blocks (Orvieto et al. 2023, arXiv:2303.06349, fig. 1 and sec. 3).

    Each block is x + dropout(glu(dropout(gelu(recurrence(norm(x)))))): all that is not linear acts on single steps.

    Attributes:
        features: width of every block and of the output.
        layers: blocks.
        order: complex numbers that the recurrence of a block remembers; None: as many as features.
        ring: between which moduli the eigenvalues start: the nearer to 1, the longer they remember.
        phase: largest angle, in radians, at which an eigenvalue starts: a small one favours slow features.
        dropout: share of activations dropped in training, twice in each block.
    """

    # Differs from the paper: layer instead of batch normalisation, and one learning rate for all parameters.

    features: int
    layers: int = 2
    order: int | None = None
    ring: tuple[float, float] = (0.0, 1.0)
    phase: float = 2 * math.pi
    dropout: float = 0.0

    def __post_init__(self):
        if not 0 <= self.ring[0] < self.ring[1] <= 1:
            raise ValueError(f"ring must be two moduli, 0 <= low < high <= 1, got {self.ring}")
        if not 0 < self.phase <= 2 * math.pi:
            raise ValueError(f"phase must lie in (0, 2 pi], got {self.phase}")
        super().__post_init__()

    def start(self, batch: int, inputs: int, length: int) -> tuple[Complex[Array, "batch order"], ...]:
        """One zero state a block; its size depends neither on `inputs` nor on `length`."""
        order = self.order or self.features
        return tuple(jnp.zeros((batch, order), jnp.complex64) for _ in range(self.layers))

    @nn.compact
    def extend(
        self,
        carry: tuple[Complex[Array, "batch order"], ...],
        x: Float[Array, "batch time inputs"],
        *,
        mask: Bool[Array, "batch time"] | None = None,
        train: bool = False,
    ) -> tuple[tuple[Complex[Array, "batch order"], ...], Float[Array, "batch time features"]]:
        """Read further steps, all of them in parallel; padding leaves the state as it is."""
        # Padding may hold anything, and a NaN that no output shows would still reach the kernels' gradients.
        left, x = [], nn.Dense(self.features, name="embed")(zero_padding(x, mask))
        for depth, state in enumerate(carry):
            block = Block(self.ring, self.phase, self.dropout, name=f"block_{depth}")
            state, x = block(state, x, mask, train=train)
            left.append(state)
        return tuple(left), zero_padding(x, mask)


class Block(nn.Module):
    """A recurrence, then a gated linear unit that mixes features, around them a norm and a residual sum."""

    ring: tuple[float, float]
    phase: float
    dropout: float

    @nn.compact
    def __call__(
        self,
        state: Complex[Array, "batch order"],
        x: Float[Array, "batch time features"],
        mask: Bool[Array, "batch time"] | None,
        *,
        train: bool,
    ) -> tuple[Complex[Array, "batch order"], Float[Array, "batch time features"]]:
        drop = nn.Dropout(self.dropout, deterministic=not train)
        state, y = Recurrence(self.ring, self.phase, name="recurrence")(state, nn.LayerNorm(name="norm")(x), mask)
        value, gate = jnp.split(nn.Dense(2 * x.shape[-1], name="mix")(drop(nn.gelu(y))), 2, axis=-1)
        return state, x + drop(value * nn.sigmoid(gate))


class Recurrence(nn.Module):
    """h[t] = lambda h[t-1] + exp(gamma) B x[t], y[t] = Re(C h[t]) + D x[t], with a diagonal complex lambda.

    All parameters are real: of B and C, real and imaginary parts stand apart.
    """

    ring: tuple[float, float]
    phase: float

    @nn.compact
    def __call__(
        self,
        state: Complex[Array, "batch order"],
        x: Float[Array, "batch time features"],
        mask: Bool[Array, "batch time"] | None,
    ) -> tuple[Complex[Array, "batch order"], Float[Array, "batch time features"]]:
        order, features = state.shape[-1], x.shape[-1]
        nu = self.param("nu", _ring(*self.ring), (order,))
        theta = self.param("theta", _angles(self.phase), (order,))
        # White noise then gives every state a variance of 1, however long it remembers (sec. 3.4 of the paper).
        gamma = self.param("gamma", lambda _: 0.5 * jnp.log(-jnp.expm1(-2 * jnp.exp(jax.lax.stop_gradient(nu)))))
        read, write = (nn.initializers.normal(scale**-0.5) for scale in (2 * features, order))
        b = [self.param(f"b_{part}", read, (features, order)) for part in ("real", "imaginary")]
        c = [self.param(f"c_{part}", write, (order, features)) for part in ("real", "imaginary")]
        d = self.param("d", nn.initializers.normal(1.0), (features,))

        driven = jnp.exp(gamma)[None, None] * jax.lax.complex(x @ b[0], x @ b[1])
        state, h = recur(eigenvalues(nu, theta), state, driven, mask)
        return state, h.real @ c[0] - h.imag @ c[1] + d[None, None] * x


class DiagonalRNN(Causal):
    """States that decay by themselves: h[t] = h[t-1] + step (U x[t] - f(w) h[t-1]), y[t] = C h[t], without biases.

    Euler's steps of the linear RNN h' = -f(w) h + U x. Which f makes a rate of the weight w decides what training can
    do to it (Wang & Li 2023, arXiv:2311.14495): with w itself a small step may leave the stable side, with `jnp.exp`,
    `nn.softplus` or `reciprocal` it may not.

    Attributes:
        features: width of the output.
        order: states.
        rate: f; a state is stable while 0 < f(w) < 2 / step.
        weight: initialiser of w.
        step: time between two inputs.
    """

    features: int
    order: int
    rate: Callable[[Array], Array] = jnp.exp
    weight: nn.initializers.Initializer = nn.initializers.normal(1.0)
    step: float = 1.0

    def start(self, batch: int, inputs: int, length: int) -> Float[Array, "batch order"]:
        """Zeros; their size depends neither on `inputs` nor on `length`."""
        return jnp.zeros((batch, self.order))

    @nn.compact
    def extend(
        self,
        carry: Float[Array, "batch order"],
        x: Float[Array, "batch time inputs"],
        *,
        mask: Bool[Array, "batch time"] | None = None,
        train: bool = False,
    ) -> tuple[Float[Array, "batch order"], Float[Array, "batch time features"]]:
        """Read further steps, all of them in parallel; padding leaves the state as it is."""
        w = self.param("w", self.weight, (self.order,))
        # Padding may hold anything, and a NaN that no output shows would still reach the kernels' gradients.
        driven = self.step * nn.Dense(self.order, use_bias=False, name="read")(zero_padding(x, mask))
        state, h = recur(1 - self.step * self.rate(w), carry, driven, mask)
        return state, zero_padding(nn.Dense(self.features, use_bias=False, name="write")(h), mask)


def reciprocal(w: Array) -> Array:
    """1 / (w^2 + .1): "best" of arXiv:2311.14495, with which gradients stay in bounds, for rates up to 10."""
    return 1 / (w**2 + 0.1)


def recur(
    factor: Inexact[Array, " order"],
    state: Inexact[Array, "batch order"],
    driven: Inexact[Array, "batch time order"],
    mask: Bool[Array, "batch time"] | None,
) -> tuple[Inexact[Array, "batch order"], Inexact[Array, "batch time order"]]:
    """h[t] = factor h[t-1] + driven[t] for all steps in parallel: the state after the last real step, and all h."""
    driven = driven.at[:, 0].add(factor[None] * state)
    factors = jnp.broadcast_to(factor[None, None], (1, *driven.shape[1:]))  # the same for every row
    _, h = jax.lax.associative_scan(_one_after_the_other, (factors, driven), axis=1)
    if mask is None:
        return h[:, -1], h
    # Real steps come first, so that none has felt the padding: the state is that after the last of them.
    place = mask.sum(axis=1)[:, None]
    final = jnp.take_along_axis(h, jnp.maximum(place - 1, 0)[..., None], axis=1)[:, 0]
    return jnp.where(place > 0, final, state), h


def eigenvalues(nu: Float[Array, " order"], theta: Float[Array, " order"]) -> Complex[Array, " order"]:
    """exp(-exp(nu) + i exp(theta)): within the unit circle for any numbers, so that no training makes it explode."""
    modulus, angle = jnp.exp(-jnp.exp(nu)), jnp.exp(theta)
    return jax.lax.complex(modulus * jnp.cos(angle), modulus * jnp.sin(angle))


def _one_after_the_other(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
    """h -> a h + b, then h -> c h + d."""
    (a, b), (c, d) = first, second
    return a * c, c * b + d


def _ring(low: float, high: float) -> Callable:
    """nu of eigenvalues spread evenly over the ring between two radii (the paper's lemma 3.2)."""

    def initialise(key: Array, shape: tuple[int, ...]) -> Array:
        square = jax.random.uniform(key, shape, minval=low**2, maxval=high**2)
        # On the circle itself, or in its centre, nu would be infinite.
        return jnp.log(-0.5 * jnp.log(jnp.clip(square, 1e-6, 1 - 1e-6)))

    return initialise


def _angles(largest: float) -> Callable:
    def initialise(key: Array, shape: tuple[int, ...]) -> Array:
        return jnp.log(jax.random.uniform(key, shape, minval=1e-6, maxval=largest))

    return initialise
