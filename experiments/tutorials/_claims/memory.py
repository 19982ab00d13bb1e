"""Rows on memory in theory: how many states a power law needs, how long plateaus last, what decides stability."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _claims.finding import Finding
from _claims.training import Watch

from seqjax import metrics, tasks, train
from seqjax.theory import bounds, fits, hankel, perturbation, plateau, population, targets

RATES = {
    "direct": lambda w: w,
    "exp": jnp.exp,
    "softplus": jax.nn.softplus,
    "best": lambda w: 1 / (w**2 + 0.1),
}
"""f of each parameterisation, for JAX to differentiate; its inverse is in `theory.perturbation`."""

WEIGHTS = {
    "direct": perturbation.DIRECT,
    "exp": perturbation.EXP,
    "softplus": perturbation.SOFTPLUS,
    "best": perturbation.BEST,
}

EPOCH = 312
"""Steps of an epoch of the public code behind S4: 40,000 sequences in batches of 128."""


def both_signs(seeds: int, steps: int) -> Finding:
    """AU8: 64 diagonal states e^(-f(w) t) learn a power law of 100 steps; the real part of A = -f(w) starts at +-.5."""
    length, states = 100, 64
    kernel = targets.power_law(1.1, length)
    learning_rates = 5.0 * 10.0 ** -np.arange(0, 4.5, 0.5)
    silence = float((kernel**2).sum())

    def train_all(name: str, rate: float) -> np.ndarray:
        """Relative errors [learning rate, seed]; silence where they are not finite or larger."""
        start, target = jnp.full(states, WEIGHTS[name].weight(np.array(rate))), jnp.asarray(kernel)

        def loss(weights):
            amplitudes, w = weights
            fit = population.decaying(jnp.exp(-RATES[name](w)), amplitudes, length)
            return population.last_step(target - fit) / silence

        def run(learning_rate, key):
            # As `train.make_step`, what is not finite is skipped.
            optimizer = optax.apply_if_finite(train.adam(learning_rate, steps), 2**31 - 1)
            noises = jax.random.normal(key, (2, states))
            weights = noises[0] / states, start * (1 + 0.1 * noises[1])

            def update(carry, _):
                weights, state = carry
                change, state = optimizer.update(jax.grad(loss)(weights), state)
                return (jax.tree.map(jnp.add, weights, change), state), None

            (weights, _), _ = jax.lax.scan(update, (weights, optimizer.init(weights)), length=steps)
            return loss(weights)

        keys = jax.random.split(jax.random.key(0), seeds)
        errors = jax.jit(jax.vmap(jax.vmap(run, (None, 0)), (0, None)))(jnp.asarray(learning_rates), keys)
        return np.nan_to_num(np.asarray(errors), nan=1.0).clip(max=1.0)

    with jax.enable_x64(True):
        errors = {f"{name}, -.5": train_all(name, 0.5) for name in RATES}
        errors["direct, +.5"] = train_all("direct", -0.5)
    medians = {name: np.median(values, axis=1) for name, values in errors.items()}
    stable = {name: int((values < 0.01).sum()) for name, values in medians.items()}
    best = {name: metrics.band(errors[name][values.argmin()]) for name, values in medians.items()}
    stays, flips = stable["direct, -.5"], stable["direct, +.5"]
    others = min(stable[f"{name}, -.5"] for name in RATES if name != "direct")
    match flips < stays, stays < others:
        case True, False:
            cause = "the sign of the start, not the form"
        case True, True:
            cause = "the sign of the start and the form"
        case False, True:
            cause = "the form, not the sign of the start"
        case _:
            cause = "not confirmed"
    tried = f"of {len(learning_rates)} learning rates, {flips} work from +.5, {stays} from -.5"
    return Finding(
        quantity="direct form from +.5: error / |target|²",
        ours=best["direct, +.5"],
        verdict=f"{cause}: {tried}, {others} or more in stable forms",
        also={f"error, {name}": band.median for name, band in best.items()}
        | {f"rates that learn, {name}": number for name, number in stable.items()},
        parameters=2 * states,
    )


def is_a_slip(claimed: float) -> Finding:
    """AU9: the variance of the sum of two uniform numbers, exactly and by sampling the task."""
    task = tasks.AddingProblem(length=10)
    drawn = np.asarray(task.sample(jax.random.key(0), 2**15).targets[:, -1, 0], np.float64)
    squared = (drawn - 1) ** 2
    error, noise = float(squared.mean()), float(squared.std()) / len(squared) ** 0.5
    bounds.require_above(task.constant_loss(), error, noise)
    slip = abs(error - claimed) > 4 * noise
    return Finding(
        quantity="error of the constant 1",
        ours=metrics.Band(error, error - noise, error + noise),
        verdict=f"a slip: {abs(error - claimed) / noise:.0f} standard errors off; exactly 1/6" if slip else "right",
        claimed=claimed,
        floor=task.constant_loss(),
    )


def needs_few_states(exponent: float) -> Finding:
    """AU10: states that a power law needs for an error of 1e-4 in norm, from below and from above."""
    length, wanted = 1024, (1e-2, 1e-8)
    kernel = targets.power_law(exponent, length)
    energy = float(kernel @ kernel)
    # `hankel.isometric` of all orders at once: the weights that suit what fades smoothly.
    weights = hankel.central_binomials(length // 2)
    used = targets.hankel(kernel[: length - 1], length // 2)
    values = np.linalg.svd(np.sqrt(weights)[:, None] * used * np.sqrt(weights)[None, :], compute_uv=False)

    def forced(error):
        """The first order that the floor does not rule out."""
        return next(m for m in range(20) if hankel.tail(values, m) <= error * energy)

    def found(error):
        """The first order of which a fit is good enough."""
        fit = (fits.kung(kernel, m).kernel(length) for m in range(1, 20))
        return next(m for m, one in enumerate(fit, 1) if ((one - kernel) ** 2).sum() <= error * energy)

    (low_few, low_many), (few, many) = ([count(error) for error in wanted] for count in (forced, found))
    by_rate = (wanted[0] / wanted[1]) ** (1 / (2 * exponent))  # the errors are squared ones
    verdict = f"not a necessity at T = {length}: {low_many} to {many} states, not {by_rate:.0f} times those for 1e-1"
    return Finding(
        quantity="growth of the width from an error of 1e-1 to 1e-4",
        ours=metrics.Band(many / few, low_many / few, many / low_few),
        verdict=verdict if many / low_few < by_rate / 2 else "as claimed",
        claimed=by_rate,
        floor=low_many / few,
        also={"states forced, 1e-1": low_few, "found, 1e-1": few, "forced, 1e-4": low_many, "found, 1e-4": many},
        parameters=2 * many,
    )


def depends_on_the_optimiser(seeds: int, steps: int) -> Finding:
    """AU11: the exponent of the escape time in the memory, of gradient descent and of Adam."""
    memories = np.arange(7.0, 14.0)
    slopes, never = {}, {}
    for name, optimizer in (("descent", optax.sgd(0.02)), ("Adam", optax.adam(1e-3))):
        losses, _ = _descend(optimizer, memories, max(seeds, 8), steps, jnp.array([False]))
        escapes = metrics.plateau_time(np.arange(1, steps + 1), losses.reshape(-1, steps), 0.95 * plateau.HEIGHT)
        escapes = np.median(escapes.reshape(len(memories), -1), axis=1)
        left = np.isfinite(escapes)
        slopes[name] = np.diff(np.log(escapes[left])) / np.diff(memories[left])
        never[name] = int((~left).sum())
    descent, adam = (metrics.band(slopes[name]) for name in ("descent", "Adam"))
    depends = slopes["descent"][-1] > 2 * slopes["Adam"][-1]
    return Finding(
        quantity="d log(escape) / d memory, gradient descent",
        ours=descent,
        verdict=f"depends on the optimiser: descent up to {descent.high:.2g}, Adam {adam.median:.2g}"
        if depends
        else "whatever the optimiser",
        also={
            "Adam": adam.median,
            "Adam, largest": adam.high,
            "descent, last": float(slopes["descent"][-1]),
            "memories never left, descent": never["descent"],
        },
        parameters=16,
    )


class Escapes(NamedTuple):
    """How runs with S4's scheduler, and without it, leave a plateau.

    Attributes:
        epochs: until the loss falls, [run]; infinite where it never does.
        scale: what the scheduler has left of the learning rate, [run, step].
        times: of the steps, in epochs.
    """

    without: np.ndarray
    scheduled: np.ndarray
    scale: np.ndarray
    times: np.ndarray

    def at(self, where: np.ndarray) -> float:
        """The epoch of a step of each run, in the median."""
        return float(np.median(self.times[where]))


@functools.lru_cache(maxsize=1)
def _escapes(seeds: int, steps: int) -> Escapes:
    """Adam at 1e-3 on a plateau, with and without a rate that falls tenfold after 10 epochs without progress."""
    losses, scales = _descend(optax.adam(1e-3), np.array([16.0]), seeds, steps, jnp.array([False, True]))
    times = np.arange(1, steps + 1) / EPOCH
    without, scheduled = (metrics.plateau_time(times, of_case[0], 0.95 * plateau.HEIGHT) for of_case in losses)
    return Escapes(without, scheduled, scales[1, 0], times)


def freezes(seeds: int, steps: int) -> Finding:
    """AU14: the scheduler of the public code behind S4 against a plateau that is left without it."""
    runs = max(seeds, 8)
    found = _escapes(runs, steps)
    last, scale = found.times[-1], found.scale
    left = [int(np.isfinite(epochs).sum()) for epochs in found[:2]]
    free, frozen = (metrics.band(np.minimum(epochs, last)) for epochs in found[:2])
    froze = left[1] < left[0] and frozen.median > 2 * free.median
    verdict = f"frozen: {left[1]} of {runs} leave in {last:.0f} epochs; without it {left[0]}"
    return Finding(
        quantity="epochs on a plateau, with the scheduler",
        ours=frozen,
        verdict=f"{verdict}, after {free.median:.0f}" if froze else "the scheduler does no harm",
        also={
            "without the scheduler": free.median,
            "first drop, epoch": found.at((scale < 1).argmax(axis=1)),
            "last drop, epoch": found.at((scale > scale[:, -1:]).sum(axis=1) - 1),
            "last learning rate": 1e-3 * float(np.median(scale[:, -1])),
        },
        parameters=16,
    )


def costs_learning(seeds: int, steps: int) -> Finding:
    """D12: the same, and what a stated schedule does in its place: warm-up, then half a cosine."""
    runs = max(seeds, 8)
    found = _escapes(runs, steps)
    losses, _ = _descend(train.adam(1e-3, steps), np.array([16.0]), runs, steps, jnp.array([False]))
    stated = metrics.plateau_time(found.times, losses[0, 0], 0.95 * plateau.HEIGHT)
    last = found.times[-1]
    frozen, free, fixed = (metrics.band(np.minimum(epochs, last)) for epochs in (*found[1::-1], stated))
    stuck, left = int(np.isinf(found.scheduled).sum()), int(np.isfinite(stated).sum())
    return Finding(
        quantity="epochs on a plateau, with the scheduler",
        ours=frozen,
        verdict=f"{stuck} of {runs} stay for good; under warm-up and cosine {left} leave, after {fixed.median:.0f}"
        if frozen.median > 2 * fixed.median
        else "no harm on this plateau",
        corrected=fixed.median,
        also={
            "at a rate that stays": free.median,
            "rate at epoch 20": 1e-3 * float(np.median(found.scale[:, min(20 * EPOCH, steps) - 1])),
            "rate at epoch 80": 1e-3 * float(np.median(found.scale[:, min(80 * EPOCH, steps) - 1])),
        },
        parameters=16,
    )


def _descend(optimizer, memories: np.ndarray, seeds: int, steps: int, scheduled: jax.Array) -> tuple:
    """Losses and step sizes [case, memory, seed, step] of 8 units on the loss that has a plateau.

    In a `scheduled` case steps shrink tenfold after 10 epochs without progress, as by PyTorch's ReduceLROnPlateau.
    """

    def run(start, memory, scheduled):
        def update(carry, step):
            model, state, watch = carry
            loss, gradient = jax.value_and_grad(plateau.loss)(model, memory)
            change, state = optimizer.update(gradient, state)
            scale = jnp.where(scheduled, watch.scale, 1.0)
            model = jax.tree.map(lambda part, by: part + scale * by, model, change)
            watch = watch.after(loss, step, EPOCH)
            return (model, state, watch), (loss, jnp.where(scheduled, watch.scale, 1.0))

        carry = start, optimizer.init(start), Watch.start()
        return jax.lax.scan(update, carry, jnp.arange(steps))[1]

    amplitude_key, rate_key = jax.random.split(jax.random.key(0))
    with jax.enable_x64(True):
        starts = plateau.Exponentials(
            jax.random.normal(amplitude_key, (seeds, 8)) / 8,
            jax.random.uniform(rate_key, (seeds, 8), minval=0.5, maxval=2.0),
        )
        every = jax.vmap(jax.vmap(jax.vmap(run, (0, None, None)), (None, 0, None)), (None, None, 0))
        losses, scales = jax.jit(every)(starts, jnp.asarray(memories), scheduled)
        return np.asarray(losses), np.asarray(scales)
