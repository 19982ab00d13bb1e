"""Papers on memory: which parameterisation is stable, what a constant costs, how many states a power law needs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _claims.finding import Finding, Settings

from seqjax import metrics, tasks, train
from seqjax.theory import bounds, fits, hankel, perturbation, population, targets

RATES = {
    "direct": lambda w: w, "exp": jnp.exp, "softplus": jax.nn.softplus, "best": lambda w: 1 / (w**2 + 0.1),
}  # fmt: skip
"""f of each parameterisation, for JAX to differentiate; its inverse is in `theory.perturbation`."""

WEIGHTS = {
    "direct": perturbation.DIRECT, "exp": perturbation.EXP, "softplus": perturbation.SOFTPLUS,
    "best": perturbation.BEST,
}  # fmt: skip


def both_signs(settings: Settings) -> Finding:
    """AU8: 64 diagonal states e^(-f(w) t) learn a power law of 100 steps; the real part of A = -f(w) starts at +-.5."""
    length, states, steps = 100, 64, settings.steps
    kernel = targets.power_law(1.1, length)
    learning_rates = 5.0 * 10.0 ** -np.arange(0, 4.5, 0.5)
    energy = float((kernel**2).sum())

    def train_all(name: str, rate: float) -> np.ndarray:
        """Relative errors [learning rate, seed], 1 where they are larger or not finite."""
        start, target = jnp.full(states, WEIGHTS[name].weight(np.array(rate))), jnp.asarray(kernel)

        def loss(weights):
            amplitudes, w = weights
            fit = population.decaying(jnp.exp(-RATES[name](w)), amplitudes, length)
            return population.last_step(target - fit) / energy

        def run(learning_rate, key):
            # As in `train.make_step`, updates that are not finite are skipped.
            optimizer = optax.apply_if_finite(train.adam(learning_rate, steps), 2**31 - 1)
            noises = jax.random.normal(key, (2, states))
            weights = noises[0] / states, start * (1 + 0.1 * noises[1])

            def update(carry, _):
                weights, state = carry
                change, state = optimizer.update(jax.grad(loss)(weights), state)
                return (jax.tree.map(jnp.add, weights, change), state), None

            (weights, _), _ = jax.lax.scan(update, (weights, optimizer.init(weights)), length=steps)
            return loss(weights)

        keys = jax.random.split(jax.random.key(0), settings.seeds)
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
    tried = f"of {len(learning_rates)} learning rates {flips} learn from +.5, {stays} from -.5"
    return Finding(
        quantity="direct form from +.5: error / |target|²",
        ours=best["direct, +.5"],
        verdict=f"{cause}: {tried}, {others} or more in stable forms",
        also={f"error, {name}": band.median for name, band in best.items()}
        | {f"rates that learn, {name}": number for name, number in stable.items()},
        parameters=2 * states,
    )


def is_a_slip(settings: Settings) -> Finding:
    """AU9: the variance of the sum of two uniform numbers, exactly and by sampling the task."""
    task, claimed = tasks.AddingProblem(length=10), settings.claimed
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


def needs_few_states(settings: Settings) -> Finding:
    """AU10: states that a power law needs for an error of 1e-4 in norm, from below and from above."""
    length, wanted, exponent = 1024, (1e-2, 1e-8), settings.claimed
    kernel = targets.power_law(exponent, length)
    energy = float(kernel @ kernel)
    # `hankel.isometric` of all orders at once, with the weights that suit a smoothly decaying kernel.
    weights = hankel.central_binomials(length // 2)
    used = targets.hankel(kernel[: length - 1], length // 2)
    values = np.linalg.svd(np.sqrt(weights)[:, None] * used * np.sqrt(weights)[None, :], compute_uv=False)

    def forced(error):
        """The smallest order that the floor does not rule out."""
        return next(m for m in range(20) if hankel.tail(values, m) <= error * energy)

    def found(error):
        """The smallest order with a fit that is good enough."""
        fit = (fits.kung(kernel, m).kernel(length) for m in range(1, 20))
        return next(m for m, one in enumerate(fit, 1) if ((one - kernel) ** 2).sum() <= error * energy)

    (low_few, low_many), (few, many) = ([count(error) for error in wanted] for count in (forced, found))
    by_rate = (wanted[0] / wanted[1]) ** (1 / (2 * exponent))  # of squared errors
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
