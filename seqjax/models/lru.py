"""The linear recurrent unit (LRU): a linear recurrence with a diagonal complex matrix, in residual blocks."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Complex, Float

from seqjax.models.backbone import Causal
from seqjax.models.linear_recurrence import linear_recurrence
from seqjax.models.module import Features, Mask, Module, widened, zero_padding
from seqjax.types import InputError

State = Complex[Array, "batch order"]


class LRU(Causal):
    """Linear recurrent units in residual blocks (Orvieto et al. 2023, arXiv:2303.06349, fig. 1 and sec. 3).

    Each block is x + dropout(glu(dropout(gelu(recurrence(norm(x)))))): nonlinearities act on single steps.

    Differs from the paper: layer instead of batch normalisation, and one learning rate for all parameters.

    Attributes:
        features: width of every block and of the output.
        layers: blocks.
        order: complex states of each block's recurrence; None: as many as features.
        ring: range of the eigenvalues' initial moduli: the closer to 1, the longer the memory.
        dropout: fraction of activations dropped in training, twice in each block.
    """

    features: int
    layers: int = 2
    order: int | None = None
    ring: tuple[float, float] = (0.0, 1.0)
    dropout: float = 0.0

    def __post_init__(self):
        if not 0 <= self.ring[0] < self.ring[1] <= 1:
            raise InputError(f"ring must be two moduli, 0 <= low < high <= 1, got {self.ring}")
        super().__post_init__()

    def start(self, batch: int, inputs: int, length: int) -> tuple[State, ...]:
        """One zero state a block; its size depends neither on `inputs` nor on `length`."""
        order = self.order or self.features
        return tuple(jnp.zeros((batch, order), complex) for _ in range(self.layers))

    @nn.compact
    def _extend(self, carry: tuple[Array, ...], x: Array, mask: Array | None, train: bool) -> tuple[tuple, Array]:
        states, x = [], nn.Dense(self.features, name="embed")(x)
        for depth, state in enumerate(carry):
            state, x = Block(self.ring, self.dropout, name=f"block_{depth}")(state, x, mask, train=train)
            states.append(state)
        return tuple(states), zero_padding(x, mask)


class Block(Module):
    """Norm, recurrence, and a gated linear unit over features; the input is added to the result."""

    ring: tuple[float, float]
    dropout: float

    @nn.compact
    def __call__(self, state: State, x: Features, mask: Mask, *, train: bool) -> tuple[State, Features]:
        drop = nn.Dropout(self.dropout, deterministic=not train)
        state, y = Recurrence(self.ring, name="recurrence")(state, nn.LayerNorm(name="norm")(x), mask)
        value, gate = jnp.split(nn.Dense(2 * x.shape[-1], name="mix")(drop(nn.gelu(y))), 2, axis=-1)
        return state, x + drop(value * nn.sigmoid(gate))


class Recurrence(Module):
    """h[t] = lambda h[t-1] + exp(gamma) B x[t], y[t] = Re(C h[t]) + D x[t], with a diagonal complex lambda.

    All parameters are real: B and C have separate real and imaginary parts.
    """

    ring: tuple[float, float]

    @nn.compact
    def __call__(self, state: State, x: Features, mask: Mask) -> tuple[State, Features]:
        order, features = state.shape[-1], x.shape[-1]
        nu = self.param("nu", _initial_modulus(*self.ring), (order,))
        theta = self.param("theta", _initial_angle, (order,))
        # White noise then gives every state a variance of 1, however long its memory (sec. 3.4 of the paper).
        gamma = self.param("gamma", lambda _: 0.5 * jnp.log(-jnp.expm1(-2 * jnp.exp(jax.lax.stop_gradient(nu)))))
        read, write = (nn.initializers.normal(scale**-0.5) for scale in (2 * features, order))
        b = [self.param(f"b_{part}", read, (features, order)) for part in ("real", "imaginary")]
        c = [self.param(f"c_{part}", write, (order, features)) for part in ("real", "imaginary")]
        d = self.param("d", nn.initializers.normal(1.0), (features,))

        driven = jnp.exp(gamma)[None, None] * jax.lax.complex(widened(x @ b[0]), widened(x @ b[1]))
        state, h = linear_recurrence(eigenvalues(nu, theta), state, driven, mask)
        return state, h.real @ c[0] - h.imag @ c[1] + d[None, None] * x


def eigenvalues(nu: Float[Array, " order"], theta: Float[Array, " order"]) -> Complex[Array, " order"]:
    """exp(-exp(nu) + i exp(theta)): within the unit circle for any parameters."""
    modulus, angle = jnp.exp(-jnp.exp(widened(nu))), jnp.exp(widened(theta))
    return jax.lax.complex(modulus * jnp.cos(angle), modulus * jnp.sin(angle))


def _initial_modulus(low: float, high: float) -> Callable:
    """nu of eigenvalues spread evenly over the ring between two radii (lemma 3.2 of the paper)."""

    def initialise(key: Array, shape: tuple[int, ...]) -> Array:
        square = jax.random.uniform(key, shape, minval=low**2, maxval=high**2)
        # On the circle itself, or in its centre, nu would be infinite.
        return jnp.log(-0.5 * jnp.log(jnp.clip(square, 1e-6, 1 - 1e-6)))

    return initialise


def _initial_angle(key: Array, shape: tuple[int, ...]) -> Array:
    return jnp.log(jax.random.uniform(key, shape, minval=1e-6, maxval=2 * math.pi))
