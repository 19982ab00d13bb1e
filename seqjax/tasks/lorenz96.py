"""Lorenz96 on two time scales: a forcing goes in, the slow variables come out, the fast ones stay hidden."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Key

from seqjax._checks import at_least, finite, integers
from seqjax.data.gaussian_process import GaussianProcess
from seqjax.types import Batch, InputError

if TYPE_CHECKING:
    import diffrax


class Trajectories(NamedTuple):
    """Solutions sampled at the end of each step of the forcing.

    Attributes:
        forcing: F_k, constant over a step.
        slow: y_k at the end of that step.
        fast: z_jk, hidden from a model.
        ok: rows that stayed finite to the end; the others mean nothing.
    """

    forcing: Float[Array, "batch time slow"]
    slow: Float[Array, "batch time slow"]
    fast: Float[Array, "batch time slow fast"]
    ok: Bool[Array, "batch"]


class Drawn(NamedTuple):
    """A data set without failed rows, and how many rows had to be drawn again to get it."""

    batch: Batch
    redrawn: int


class Neighbours(NamedTuple):
    """What lies beyond the ends of each k's fast variables: z_0k, and z_{J+1,k} and z_{J+2,k}."""

    before: Float[Array, "1 slow batch"]
    after: Float[Array, "2 slow batch"]


def per_slow_ring(fast: Float[Array, "fast slow batch"]) -> Neighbours:
    """Close each k's fast variables to a ring of J of its own (the public code's)."""
    return Neighbours(before=fast[-1:], after=fast[:2])


def canonical_ring(fast: Float[Array, "fast slow batch"]) -> Neighbours:
    """Join all J K to one ring, where the last of k sits beside the first of k + 1 (Lorenz 1996)."""
    return Neighbours(before=jnp.roll(fast[-1:], 1, axis=1), after=jnp.roll(fast[:2], -1, axis=1))


class Irreducible(NamedTuple):
    """A Monte Carlo estimate, without bias, of an error that no model can go below."""

    error: float
    standard_error: float


@dataclass(frozen=True)
class Lorenz96:
    """Predict the slow variables y_k of a Lorenz96 system from its forcing F_k.

        dy_k/dt      = y_{k-1} (y_{k+1} - y_{k-2}) - y_k + F_k + hx mean_j z_jk
        eps dz_jk/dt = z_{j+1} (z_{j-1} - z_{j+2}) - z_jk + hy y_k

    Every F_k is an independent smooth Gaussian process, held constant over each sample: `inputs[t]` acts during [t, t +
    1] sample steps and `targets[t]` is y at the end. A row starts from a random state and is integrated through
    `burn_in` before its first sample; the washout hides the effect of the forcing before. At K = 1 the map is linear
    once the z_j agree.

        task = Lorenz96(K=4, amplitude=4.0).calibrated(jax.random.key(0))
        batch = task.sample(jax.random.key(1), 32)      # inputs, targets: (32, 128, 4); weight 0 for t < 32
        data = task.draw(jax.random.key(2), 4096).batch    # the same, many rows, every one finite

    Fixed steps divide the sample step, so none straddles a jump of the forcing and rows do not influence each other.

    Attributes:
        K: slow variables, and so inputs and targets.
        J: fast variables of each slow one, at least 3.
        length: samples of a row.
        amplitude: standard deviation of the forcing, > 0.
        mean: mean of the forcing; inputs are (F - mean) / amplitude.
        eps: time scale of z relative to y, > 0.
        hx: coupling of y to z.
        hy: coupling of z to y.
        ring: the neighbours among the z, `per_slow_ring` or `canonical_ring`.
        washout: first samples of a row, which have weight 0.
        burn_in: time units from the random initial state to the first sample.
        length_scale: of the forcing's covariance exp(-(t - s)^2 / (2 length_scale^2)), in time units.
        sample_step: time units between samples.
        substeps: solver steps per sample.
        solver: an explicit diffrax solver; None is Tsit5 as `runge_kutta.Unrolled`.
        dtype: float32 or float64; the latter needs `jax_enable_x64`.
        target_scale: targets are y divided by this; see `calibrated`.
    """

    K: int = 1
    J: int = 10
    length: int = 128
    amplitude: float = 1.0
    mean: float = 0.0
    eps: float = 0.5
    hx: float = -1.0
    hy: float = 1.0
    ring: Callable[[Array], Neighbours] = per_slow_ring
    washout: int = 32
    burn_in: float = 20.0
    length_scale: float = 1.0
    sample_step: float = 0.1
    substeps: int = 4
    solver: "diffrax.AbstractSolver | None" = None
    dtype: DTypeLike = jnp.float32
    target_scale: float = 1.0

    def __post_init__(self) -> None:
        at_least(0, burn_in=self.burn_in)
        integers(0, washout=self.washout)
        finite(mean=self.mean, hx=self.hx, hy=self.hy)
        integers(1, K=self.K, length=self.length, substeps=self.substeps)
        integers(3, J=self.J)
        rules = (
            (f"washout must lie in [0, length = {self.length})", 0 <= self.washout < self.length, self.washout),
            ("dtype must be float32 or float64", jnp.dtype(self.dtype) in ("float32", "float64"), self.dtype),
        )
        positive = ("amplitude", "eps", "length_scale", "sample_step", "target_scale")
        rules += tuple((f"{name} must be > 0", getattr(self, name) > 0, getattr(self, name)) for name in positive)
        for rule, holds, value in rules:
            if not holds:
                raise InputError(f"{rule}, got {value}")

    @classmethod
    def from_hcb(cls, h: float, c: float, b: float, **options: Any) -> "Lorenz96":
        """The system in the form of Lorenz (1996), with coupling h, time-scale ratio c and amplitude ratio b:

            dX_k/dt  = X_{k-1} (X_{k+1} - X_{k-2}) - X_k + F_k - (h c / b) sum_j Y_jk
            dY_jk/dt = c b Y_{j+1} (Y_{j-1} - Y_{j+2}) - c Y_jk + (h c / b) X_k

        It is the one above with y = X, z = b Y, eps = 1 / c, hx = -h c J / b^2 and hy = h. Lorenz's h = 1, c = b = 10
        with J = 10 are eps = .1, hx = -1, hy = 1.

        Args:
            h: any number.
            c, b: > 0.
            options: other fields, such as K, J and `ring`; Lorenz has `canonical_ring`, here the default stays.

        Raises:
            InputError: c or b not above 0, h not finite, or an option that these three determine.
        """
        finite(h=h, c=c, b=b)
        for name, value in (("c", c), ("b", b)):
            if not value > 0:
                raise InputError(f"{name} must be > 0, got {value}")
        if given := sorted({"eps", "hx", "hy"} & options.keys()):
            raise InputError(f"{', '.join(given)} must be left out: h, c and b determine eps, hx and hy")
        J = options.get("J", cls.J)
        return cls(eps=1 / c, hx=-h * c * J / b**2, hy=h, **options)

    def tendency(
        self,
        slow: Float[Array, "slow batch"],
        fast: Float[Array, "fast slow batch"],
        forcing: Float[Array, "slow batch"],
    ) -> tuple[Float[Array, "slow batch"], Float[Array, "fast slow batch"]]:
        """dy/dt and dz/dt; batch last, so that neighbours are contiguous rows (vectorised on any machine)."""
        # By rows and slices that are joined only at the end: one kernel each for XLA, where rolls need further passes
        # over memory.
        K, mean = self.K, jnp.mean(fast, axis=0)
        slow_rate = [
            slow[k - 1] * (slow[(k + 1) % K] - slow[(k - 2) % K]) - slow[k] + forcing[k] + self.hx * mean[k]
            for k in range(K)
        ]

        def rate(before, z, after, second_after):
            return (after * (before - second_after) - z + self.hy * slow[None]) / self.eps

        (before, after), z = self.ring(fast), fast
        fast_rate = [
            rate(before, z[:1], z[1:2], z[2:3]),
            rate(z[:-3], z[1:-2], z[2:-1], z[3:]),
            rate(z[-3:-2], z[-2:-1], z[-1:], after[:1]),
            rate(z[-2:-1], z[-1:], after[:1], after[1:]),
        ]
        return jnp.stack(slow_rate), jnp.concatenate(fast_rate)

    def integrate(
        self,
        forcing: Float[Array, "batch time slow"],
        slow: Float[Array, "batch slow"],
        fast: Float[Array, "batch slow fast"],
    ) -> Trajectories:
        """Solve from a given state under a given forcing, in the precision of the arguments."""
        import diffrax  # takes as long to import as JAX

        from seqjax.tasks.runge_kutta import Unrolled

        # Time is counted in solver steps: small integers, exact in float32, so a sample ends where the forcing jumps.
        # One call per sample keeps the next sample's forcing from the last stage.
        step = self.sample_step / self.substeps
        solver = Unrolled(diffrax.Tsit5()) if self.solver is None else self.solver
        zero, one, end = (jnp.asarray(time, slow.dtype) for time in (0, 1, self.substeps))

        def per_step(_, state, held):
            slow, fast = state
            return jax.tree.map(lambda rate: rate * step, self.tendency(slow, fast, held))

        def advance(state, held):
            solution = diffrax.diffeqsolve(
                diffrax.ODETerm(per_step),
                solver,
                zero,
                end,
                one,
                state,
                held,
                saveat=diffrax.SaveAt(t1=True),
                adjoint=diffrax.ForwardMode(),
                max_steps=self.substeps,
                throw=False,
            )
            state = jax.tree.map(lambda saved: saved[0], solution.ys)
            return state, (*state, solution.result == diffrax.RESULTS.successful)

        start = (slow.T, jnp.transpose(fast, (2, 1, 0)))
        final, (slow_path, fast_path, solved) = jax.lax.scan(advance, start, jnp.transpose(forcing, (1, 2, 0)))
        # Fixed steps run to infinity and report success. The final state suffices, as what is not finite stays so.
        finite = jnp.isfinite(final[0]).all(axis=0) & jnp.isfinite(final[1]).all(axis=(0, 1))
        return Trajectories(
            forcing=forcing,
            slow=jnp.transpose(slow_path, (2, 0, 1)),
            fast=jnp.transpose(fast_path, (3, 0, 2, 1)),
            ok=finite & solved.all(),
        )

    def solve(self, key: Key[Array, ""], batch_size: int) -> Trajectories:
        """Draw a forcing and an initial state, and integrate; the burn-in is integrated and cut off.

        Raises:
            InputError: if dtype is float64 and `jax_enable_x64` is off.
        """
        if jax.dtypes.canonicalize_dtype(self.dtype) != self.dtype:
            raise InputError("jax_enable_x64 must be on for this dtype, got float64 without it")
        forcing_key, state_key = jax.random.split(key)
        noise = self._process.sample(forcing_key, batch_size * self.K, self._settling + self.length)
        return self._respond(state_key, noise)

    @property
    def _process(self) -> GaussianProcess:
        return GaussianProcess(self.length_scale / self.sample_step, jitter=0.0)

    @property
    def _settling(self) -> int:
        """Samples of the burn-in."""
        return round(self.burn_in / self.sample_step)

    def _respond(self, key: Key[Array, ""], noise: Float[Array | np.ndarray, "series time"]) -> Trajectories:
        """Integrate from random states under K series of standard noise a row; the burn-in is cut off."""
        slow_key, fast_key = jax.random.split(key)
        batch_size, start = len(noise) // self.K, self._settling
        noise = jnp.transpose(noise.astype(self.dtype).reshape(batch_size, self.K, -1), (0, 2, 1))
        slow = jax.random.normal(slow_key, (batch_size, self.K), self.dtype)
        fast = jax.random.normal(fast_key, (batch_size, self.K, self.J), self.dtype)
        forcing, slow, fast, ok = self.integrate(self.mean + self.amplitude * noise, slow, fast)
        return Trajectories(forcing[:, start:], slow[:, start:], fast[:, start:], ok)

    def sample(self, key: Key[Array, ""], batch_size: int) -> Batch:
        """Draw fresh examples; a row that blew up is all zeros and has weight 0 (`draw` replaces such rows)."""
        path = self.solve(key, batch_size)
        ok = path.ok[:, None, None]
        counted = path.ok[:, None] & (jnp.arange(self.length) >= self.washout)[None]
        return Batch(
            inputs=jnp.where(ok, (path.forcing - self.mean) / self.amplitude, 0),
            targets=jnp.where(ok, path.slow / self.target_scale, 0),
            weight=counted.astype(self.dtype),
        )

    def draw(self, key: Key[Array, ""], rows: int, *, attempts: int = 3, chunk: int = 256) -> Drawn:
        """Make a data set on the host, `chunk` rows at a time; rows that blew up are drawn again.

        Piece i of attempt a has the key fold_in(fold_in(key, a), i). Redrawing biases the data towards forcings that
        the solver survives: a count far above zero asks for more substeps.

        Raises:
            InputError: if rows are left that blew up in every attempt.
        """
        integers(1, rows=rows, attempts=attempts, chunk=chunk)
        size = min(chunk, rows)
        sample = jax.jit(lambda key: self.sample(key, size))
        kept = None
        missing, solved = np.arange(rows), 0
        for attempt in range(attempts):
            attempt_key = jax.random.fold_in(key, attempt)
            pieces = [sample(jax.random.fold_in(attempt_key, i)) for i in range(-(-missing.size // size))]
            fresh = jax.tree.map(lambda *parts: np.concatenate(parts)[: missing.size], *pieces)  # noqa: B023
            kept = kept or fresh
            for old, new in zip(jax.tree.leaves(kept), jax.tree.leaves(fresh), strict=True):
                old[missing] = new
            solved += missing.size
            missing = missing[~fresh.weight.any(axis=1)]
            if not missing.size:
                return Drawn(jax.tree.map(jnp.asarray, kept), redrawn=solved - rows)
        raise InputError(
            f"{missing.size} of {rows} trajectories blew up in each of {attempts} attempts ({solved - rows} redrawn): "
            f"raise substeps, now {self.substeps}, or lower amplitude, now {self.amplitude}"
        )

    def calibrated(self, key: Key[Array, ""], rows: int = 256) -> "Lorenz96":
        """The same task with `target_scale` fixed at the stationary standard deviation of y."""
        batch = dataclasses.replace(self, target_scale=1.0).draw(key, rows).batch
        return dataclasses.replace(self, target_scale=float(batch.targets[:, self.washout :].std()))

    def irreducible(self, key: Key[Array, ""], rows: int = 1024, *, chunk: int = 256) -> Irreducible:
        """Least squared error of any model that reads the forcing, after the washout and in units of the targets.

        Two solutions under the same forcing, whose pasts before the first sample are drawn independently given that
        forcing, differ by what no model can know: half their mean squared distance is the variance of y given the whole
        window, hence a floor. Rows that blew up are left out; rows and chunk must be >= 2.
        """
        integers(2, rows=rows, chunk=chunk)
        size = min(rows, chunk)

        @jax.jit
        def half_distance(first_key, second_key, noise, other):
            first, second = self._respond(first_key, noise), self._respond(second_key, other)
            apart = ((first.slow - second.slow)[:, self.washout :] / self.target_scale) ** 2 / 2
            return apart.mean(axis=(1, 2)), first.ok & second.ok

        errors = []
        for piece in range(-(-rows // size)):
            forcing_key, *state_keys = jax.random.split(jax.random.fold_in(key, piece), 3)
            twins = self._process.twins(forcing_key, size * self.K, self._settling, self.length)
            error, ok = half_distance(*state_keys, *twins)
            errors.append(np.asarray(error, np.float64)[np.asarray(ok)])
        errors = np.concatenate(errors)
        return Irreducible(float(errors.mean()), float(errors.std(ddof=1) / len(errors) ** 0.5))
