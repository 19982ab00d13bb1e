"""Lorenz96 in the tutorial: how linear it is at K = 1, what its data generator costs, which model is better at it."""

import dataclasses
import functools
from typing import NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from _claims import approximation_batch_axis, committed, training
from _claims.finding import Finding, Settings, exact, ratio

from seqjax import evaluate, metrics, models, tasks
from seqjax.data.gaussian_process import GaussianProcess
from seqjax.theory import fits
from seqjax.types import Batch

RECURRENT = ("rnn", "gru", "lstm")

RUNGS = ((1, 1.0), (4, 1.0), (8, 1.0), (4, 4.0))
"""K and amplitude of the forcing in experiments/memory/lorenz96_response.py; the last one is hard."""

MATTERS = 1.5
"""Growth of the error from which a setting is called a measure of complexity."""


def needs_a_harder_case(_: Settings) -> Finding:
    """D3: what linear filters leave at K = 1, the linear RNN of two states that is its limit, and a harder case."""
    taps = 16
    easy = unexplained(tasks.Lorenz96(K=1), (1, 2, 4, 8, taps))
    others = {
        "K = 1, amplitude 3": tasks.Lorenz96(K=1, amplitude=3),
        "K = 4, amplitude 1": tasks.Lorenz96(K=4),
        "K = 4, amplitude 4": tasks.Lorenz96(K=4, amplitude=4),
        "K = 8, amplitude 1": tasks.Lorenz96(K=8),
        "K = 8, amplitude 4": tasks.Lorenz96(K=8, amplitude=4),
        "K = 8, mean 8, amplitude 2": tasks.Lorenz96(K=8, mean=8, amplitude=2),
    }
    found = {name: unexplained(task, (taps,))[taps] for name, task in others.items()}
    hard, hardest = found.pop("K = 4, amplitude 4"), found["K = 8, mean 8, amplitude 2"]
    return Finding(
        quantity=f"unexplained by {taps} linear taps, K = 1",
        ours=exact(easy[taps]),
        verdict=f"linear: {taps} taps leave {easy[taps]:.0e}; at K = 4, amplitude 4 they leave {hard:.0%}, "
        f"at K = 8, amplitude 4 {found['K = 8, amplitude 4']:.0%}, at K = 8, mean 8, amplitude 2 {hardest:.0%}"
        if easy[taps] < 1e-3 < 0.1 < hard
        else "a linear filter does not separate the two",
        corrected=hard,
        also={f"{window} taps": easy[window] for window in (1, 2, 4, 8)}
        | {"linear RNN of two states": two_states()}
        | found,
        parameters=taps + 1,
    )


def unexplained(task: tasks.Lorenz96, windows: tuple[int, ...]) -> dict[int, float]:
    """What the best linear filters over so many inputs leave of the outputs' variance."""
    seen, fresh = (task.draw(jax.random.key(seed), 512).batch for seed in (0, 1))
    return {w: _left(fits.fir(seen.inputs, seen.targets, w, seen.weight), fresh) for w in windows}


def two_states() -> float:
    """What the linear RNN of two states, the limit of synchronous fast variables, leaves at K = 1."""
    task = tasks.Lorenz96(K=1)
    kernel = fits.two_level(task.eps, task.hx, task.hy, task.sample_step).kernel(task.length)
    return _left(fits.FIR(kernel[:, None, None], np.zeros(1)), task.draw(jax.random.key(1), 512).batch)


def _left(filters: fits.FIR, fresh: Batch) -> float:
    return 1 - metrics.r2(filters.predict(fresh.inputs), fresh.targets, fresh.weight)


@functools.lru_cache(maxsize=1)
def tutorial_data(sequences: int) -> Batch:
    """Lorenz96 at K = 1, J = 10 as the tutorial's public code generates it, before any scaling.

    Euler steps of .01, ten per sample, with the forcing held; every sequence has a new forcing, but continues the state
    of the one before; the first input of a sequence is y itself, and so is its first target.
    """
    length, chains, eps = training.BLOCK, 512, 0.5
    rounds = -(-sequences // chains)
    rng = np.random.default_rng(0)
    forcing = np.asarray(GaussianProcess().sample(jax.random.key(0), (rounds + 1) * chains, 99))
    y, z = rng.normal(size=chains), rng.normal(size=(10, chains))
    inputs, targets = np.zeros((2, rounds, chains, length))

    def respond(y, z, held):
        for _ in range(10):
            advection = np.roll(z, -1, axis=0) * (np.roll(z, 1, axis=0) - np.roll(z, -2, axis=0))
            y, z = y + 0.01 * (held - y - z.mean(axis=0)), z + 0.01 / eps * (advection - z + y)
        return y, z

    for held in forcing[:chains].T:  # the burn-in
        y, z = respond(y, z, held)
    for number in range(rounds):
        inputs[number, :, 0] = targets[number, :, 0] = y
        for step in range(1, length):
            inputs[number, :, step] = forcing[(number + 1) * chains :][:chains, step]
            y, z = respond(y, z, inputs[number, :, step])
            targets[number, :, step] = y
    return Batch(*(jnp.asarray(part.reshape(-1, length, 1)[:sequences], jnp.float32) for part in (inputs, targets)))


def split() -> tuple[Batch, Batch]:
    """The tutorial's data for training and for testing, targets in units of their standard deviation."""
    data, held_out = tutorial_data(16_384), 4_096
    scale = data.targets[-held_out:].std()
    parts = slice(-held_out), slice(-held_out, None)
    train, test = (Batch(data.inputs[part], data.targets[part] / scale) for part in parts)
    return train, test


def without_time(data: Batch, degree: int) -> float:
    """The error of the best polynomial of the present input; at degree 5 it has converged."""
    x, y = (np.asarray(part, np.float64).ravel() for part in data[:2])
    # One polynomial for all steps: a network that recurs over the batch has no step number.
    polynomial = np.polynomial.Polynomial.fit(x, y, degree)
    return float(np.mean((polynomial(x) - y) ** 2))


def random_scales() -> np.ndarray:
    """500 draws of the tutorial's divisor of its targets: the largest |forcing| of 32 new sequences of 128 steps."""
    drawn = np.asarray(GaussianProcess().sample(jax.random.key(1), 32 * 500, 128), np.float64).reshape(500, -1)
    return np.abs(drawn).max(axis=1)


@functools.lru_cache(maxsize=1)
def own_lstm(seeds: int, steps: int) -> approximation_batch_axis.Axes:
    """The tutorial's LSTM of 2 layers of 256 over either axis, on its Lorenz96 data."""
    train, test = split()
    return approximation_batch_axis.both(_rows_of(train), test, seeds, steps)


def over_the_batch(settings: Settings) -> Finding:
    """D1c: the tutorial's network on its Lorenz96 data, K = 1, J = 10, in units of the outputs' variance."""
    _, test = split()
    linear = linear_taps()
    found = approximation_batch_axis.judge(
        "error / variance, Lorenz96 1/10/32, batch axis",
        own_lstm(settings.seeds, settings.steps),
        without_time(test, degree=5),
        {f"{TAPS} linear taps": linear},
    )
    return found._replace(verdict=f"{found.verdict}; {TAPS} linear taps {linear:.0e}")


TAPS = 16


def linear_taps() -> float:
    """The error of the best linear filter on the tutorial's data."""
    train, test = split()
    filters = fits.fir(train.inputs, train.targets, TAPS)
    return float(np.mean((filters.predict(test.inputs) - np.asarray(test.targets)) ** 2))


class Sized(NamedTuple):
    """A network of the tutorial's own size on its data.

    Attributes:
        error: over the outputs' variance, over seeds.
        roughness: of the outputs relative to the targets, over seeds (`metrics.roughness`).
        parameters: of the network here; PyTorch's LSTM has second biases on top.
    """

    error: metrics.Band
    roughness: metrics.Band
    parameters: int


def own_sizes(settings: Settings) -> Finding:
    """C6b: the tutorial's TCN of seven blocks, and its LSTM over time and over the batch, on its data.

    All train like D1c, whose LSTMs these are, without the scheduler; the TCN without its dropout.
    """
    seeds, off = settings.seeds, 0
    lstm = own_lstm(seeds, settings.steps)
    found = {
        name: Sized(metrics.band(errors[off].mean(axis=1)), metrics.band(rough[off]), lstm.parameters)
        for name, errors, rough in (
            ("LSTM over time", lstm.over_time, lstm.rough_over_time),
            ("LSTM over the batch", lstm.over_batch, lstm.rough_over_batch),
        )
    }
    train, test = split()
    tcn = models.Regressor(models.TCN(30, kernel_size=4, dilations=(1, 2, 4, 8, 16, 32, 64), weight_norm=True))
    trained = training.watched(tcn, _rows_of(train), seeds, settings.steps, approximation_batch_axis.EPOCH)
    predictions = evaluate.predict(tcn.apply, jax.tree.map(lambda leaf: leaf[:seeds], trained.params), test.inputs)
    found["TCN"] = Sized(
        metrics.band(np.square(predictions - test.targets[None]).mean(axis=(1, 2, 3))),
        metrics.band([metrics.roughness(one, test.targets) for one in predictions]),
        training.count(trained.params),
    )
    return Finding(
        quantity="error of the LSTM over time / of the TCN",
        ours=ratio(found["LSTM over time"].error, found["TCN"].error),
        verdict=as_sized(found),
        claimed=settings.claimed,
        also={f"error, {name}": one.error.median for name, one in found.items()}
        | {f"roughness, {name}": one.roughness.median for name, one in found.items()}
        | {f"parameters, {name}": one.parameters for name, one in found.items()}
        | {"LSTM over the batch / TCN": found["LSTM over the batch"].error.median / found["TCN"].error.median},
        parameters=found["TCN"].parameters,
    )


def as_sized(found: dict[str, Sized]) -> str:
    """The verdict of C6b: which network over time has the smaller error, and which outputs are the smoother.

    The smoother one is that whose roughness is closer to the targets', 1. Ranges that overlap are no win.
    """
    tcn, lstm, blind = (found[name] for name in ("TCN", "LSTM over time", "LSTM over the batch"))
    word = "true" if tcn.error.high < lstm.error.low else "false" if lstm.error.high < tcn.error.low else "open"
    sizes = f"{tcn.parameters:,} against {lstm.parameters:,} parameters"
    errors = f"error {tcn.error.median:.1e}, LSTM {lstm.error.median:.1e} (over the batch {blind.error.median:.1e})"
    rough = " / ".join(f"{one.roughness.median:.3g}" for one in (tcn, lstm, blind))
    closest = min(found, key=lambda name: abs(found[name].roughness.median - 1))
    return f"{word}: {sizes}: {errors}; roughness {rough} (targets 1): {closest} is closest"


def _rows_of(data: Batch):
    """Batches of rows drawn at random; a setting is ignored."""

    def sample(key, _=None):
        rows = jax.random.randint(key, (training.BLOCK,), 0, len(data.inputs))
        return jax.tree.map(lambda array: array[rows], data)

    return sample


def at_equal_parameters(seeds: int, steps: int) -> dict[str, float]:
    """Test errors on the tutorial's data at about 4,200 parameters: LSTMs over either axis, a TCN, and linear taps."""
    train, test = split()
    lstm = models.Regressor(models.LSTM(32))
    networks = {
        "LSTM over time": (lstm, 3e-2),
        "LSTM over the batch": (approximation_batch_axis.over_batch(lstm), 3e-2),
        "TCN": (models.Regressor(models.TCN(16, kernel_size=3, dilations=(1, 2, 4))), 1e-2),
    }
    # Learning rates are those of experiments/memory/lorenz96_response.py.
    found = {}
    for name, (model, rate) in networks.items():
        params = training.networks(model, _rows_of(train), seeds, steps, rate)
        found[name] = float(np.median(training.errors(model, params, test, batch_size=training.BLOCK)))
    return found | {f"{TAPS} linear taps": linear_taps()}


def generator(_: Settings) -> Finding:
    """D11: what the tutorial's data generator costs: Euler steps, random scales, an initial state not in the input."""
    data = tutorial_data(16_384)
    x, y = (np.asarray(part[..., 0], np.float64) for part in data[:2])

    def least(first: int) -> np.ndarray:
        """Errors of steps 1 to 31 from all inputs up to each, from number `first` on: number 0 is y(0) itself."""
        errors = []
        for step in range(1, x.shape[1]):
            inputs = np.column_stack([x[:, first : step + 1], np.ones(len(x))])
            errors.append(np.mean((inputs @ np.linalg.lstsq(inputs, y[:, step], rcond=None)[0] - y[:, step]) ** 2))
        return np.array(errors)

    known, unknown = least(0), least(1)
    scales = random_scales()
    unit, variance = float(np.median(scales)) ** 2, float(y.var())
    steps = {"Euler": (diffrax.Euler(), 10), "ours": (tasks.Lorenz96().solver, tasks.Lorenz96().substeps)}
    off = {name: _solver_error(*choice) for name, choice in steps.items()}
    washed = tasks.Lorenz96(K=1).calibrated(jax.random.key(0)).irreducible(jax.random.key(1), 512).error
    low, high = np.quantile(scales, (0.05, 0.95))
    start = unknown.mean() / variance
    return Finding(
        quantity="least error / variance, y(0) unknown",
        ours=exact(float(start)),
        verdict=f"an unknown initial state costs {start:.1%}, Euler {off['Euler']:.0e}, "
        f"the scale varies {high / low:.1f} x; ours {washed:.0e}, {off['ours']:.0e}, 1"
        if washed < start / 100 and off["ours"] < off["Euler"] / 100
        else "not repaired",
        corrected=washed,
        also={
            "y(0) known": known.mean() / variance,
            "unknown, in the recorded units": unknown.mean() / unit,
            "same at step 1": unknown[0] / unit,
            "same at step 8": unknown[7] / unit,
            "known, in the recorded units": known.mean() / unit,
            "Euler, largest error": off["Euler"],
            "our solver, largest error": off["ours"],
            "scale, 95 % / 5 %": high / low,
            "mean of the inputs, as mapped": (0 - 0.6) / 0.6,
            "deviation of the inputs, as mapped": 1 / 0.6,
            "sequences that continue another": float(np.mean(y[512:, 0] == y[:-512, -1])),
        },
    )


def _solver_error(solver, substeps: int) -> float:
    """The largest error of y over 30 samples, K = 3, J = 10, against a solver with 16 times our steps; in float64."""
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), 3)
        task = tasks.Lorenz96(K=3, dtype=jnp.float64)
        forcing = GaussianProcess().sample(keys[0], 8 * 3, 30).astype(jnp.float64).reshape(8, 3, 30).swapaxes(1, 2)
        start = [jax.random.normal(key, shape) for key, shape in zip(keys[1:], ((8, 3), (8, 3, 10)), strict=True)]
        fine = dataclasses.replace(task, substeps=16 * task.substeps).integrate(forcing, *start).slow
        coarse = dataclasses.replace(task, solver=solver, substeps=substeps).integrate(forcing, *start).slow
        return float(jnp.abs(coarse - fine).max())


def rung(K: int, amplitude: float) -> dict[str, metrics.Band]:
    """What each model leaves of the variance there, by its name."""
    rows = committed.rows("lorenz96_response", K=K, amplitude=amplitude)
    return {row["model"]: metrics.Band(1 - row["r2"], 1 - row["high"], 1 - row["low"]) for row in rows}


def equal_parameters(settings: Settings) -> Finding:
    """C6: recurrent networks and the TCN at equal parameters: on every rung, and on the tutorial's data by axis."""
    table = {place: rung(*place) for place in RUNGS}
    own = at_equal_parameters(settings.seeds, settings.steps)
    by_axis = {axis: own[f"LSTM over {axis}"] / own["TCN"] for axis in ("time", "the batch")}
    easy = table[RUNGS[0]]
    best = min((easy[name] for name in RECURRENT), key=lambda band: band.median)
    ratios = {
        place: min(found[name].median for name in RECURRENT) / found["tcn"].median for place, found in table.items()
    }
    plain = {place: found["rnn"].median / found["tcn"].median for place, found in table.items()}
    return Finding(
        quantity="best recurrent error / TCN's, K = 1",
        ours=ratio(best, easy["tcn"]),
        verdict=beats(list(ratios.values()), plain[RUNGS[0]], easy["fir_64"].median < easy["tcn"].median, by_axis),
        claimed=settings.claimed,
        also={"linear RNN of two states": two_states(), "the tutorial's LSTM, parameters": training.torch_count(256)}
        | {f"LSTM over {axis} / TCN, the tutorial's data": value for axis, value in by_axis.items()}
        | {f"{name}, the tutorial's data": error for name, error in own.items()}
        | {f"best recurrent / TCN, {_named(place)}": value for place, value in ratios.items()}
        | {f"plain RNN / TCN, {_named(place)}": value for place, value in plain.items()}
        | {f"{name}, {_named(place)}": band.median for place, found in table.items() for name, band in found.items()},
        parameters=committed.row("lorenz96_response", K=1, model="tcn")["parameters"],
    )


def _named(place: tuple[int, float]) -> str:
    return f"K {place[0]}, amplitude {place[1]:g}"


def beats(ratios: list[float], plain: float, filter_wins: bool, by_axis: dict[str, float]) -> str:
    """The verdict of C6 from errors over the TCN's: of the best recurrent nets, the plain RNN, an LSTM by axis."""
    wins = [value > 1 for value in ratios]
    word = "true" if all(wins) else "partly true" if any(wins) else "false"
    most = f"best recurrent net {min(ratios):.2g} to {max(ratios):.2g} x the TCN's error, plain RNN {plain:.2g} x"
    axes = f"LSTM over the batch {by_axis['the batch']:.2g} x, over time {by_axis['time']:.2g} x"
    return f"{word}: {most}; {axes}; 64 linear taps {'beat' if filter_wins else 'do not beat'} the TCN at K = 1"


def plain_rnn(settings: Settings) -> Finding:
    """C7: what a plain tanh RNN leaves of the variance; whether the recorded error is that of a net without memory.

    The recorded run's targets were divided by a random number, so that its error is compared with a range.
    """
    easy, hard = rung(*RUNGS[0]), rung(*RUNGS[-1])
    ceiling = committed.row("lorenz96_response", K=4, amplitude=4.0, model="rnn")["ceiling"]
    data = tutorial_data(16_384)
    error, variance = without_time(data, 5), float(np.var(np.asarray(data.targets, np.float64)))
    scales, needed = random_scales(), (error / settings.claimed) ** 0.5
    tail = float(min((scales <= needed).mean(), (scales >= needed).mean()))
    middle, least, most = (float(error / np.quantile(scales, level) ** 2) for level in (0.5, 0.95, 0.05))
    return Finding(
        quantity="unexplained by a plain RNN, K = 1",
        ours=easy["rnn"],
        verdict=pattern(easy["rnn"].median, hard["rnn"].median, easy["fir_64"].median, error / variance, tail),
        also={
            "64 linear taps": easy["fir_64"].median,
            "GRU": easy["gru"].median,
            "plain RNN, K 4, amplitude 4": hard["rnn"].median,
            "64 linear taps, K 4, amplitude 4": hard["fir_64"].median,
            "out of reach, K 4, amplitude 4": 1 - ceiling,
            "best without memory, the tutorial's data": error / variance,
            "same for a line": without_time(data, 1) / variance,
            "recorded error": settings.claimed,
            "best without memory, in its units": middle,
            "same, least": least,
            "same, largest": most,
            "scale needed for equality": needed,
            "scale, median": float(np.median(scales)),
            "scales as far off": tail,
        },
        parameters=committed.row("lorenz96_response", K=1, model="rnn")["parameters"],
    )


def pattern(easy: float, hard: float, taps: float, blind: float, tail: float) -> str:
    """The verdict of C7 from fractions of the variance that are left.

    Args:
        tail: fraction of random scales at least as far out as the one at which the recorded error is the blind one.
    """
    recorded = "the recorded run's error may be that of a network without memory"
    if tail <= 0.05:
        recorded = f"open whether the recorded run had memory: {tail:.1%} of scales are as far out"
    if easy > 0.05:
        return f"false: {easy:.0%} of the variance is left at K = 1; {recorded}"
    word = "true, but easy" if taps < easy else "true"
    others = f"64 linear taps {taps:.0e}, no memory {blind:.0%}; hard case {hard:.0%}"
    return f"{word}: {easy:.2%} of the variance left ({others}); {recorded}"


def the_missing_row(_: Settings) -> Finding:
    """C14: the Transformer among the others, on shifts and on every rung of Lorenz96."""
    delays = sorted({row["delay"] for row in committed.rows("shift_memory", model="transformer")})
    shifts, places = {}, {}
    for delay in delays:
        rows = [row for row in committed.rows("shift_memory", delay=delay) if "linear" not in row["model"]]
        found = {row["model"]: row["mse"] for row in rows}
        shifts[delay], places[f"shift {delay}"] = found["transformer"], rank(found)
    left = {}
    for place in RUNGS:
        found = {name: band.median for name, band in rung(*place).items() if not name.startswith("fir")}
        left[_named(place)], places[_named(place)] = found["transformer"], rank(found)
    longest = committed.row("shift_memory", model="transformer", delay=delays[-1])
    return Finding(
        quantity=f"error of a Transformer, shift {delays[-1]}, white noise",
        ours=metrics.Band(longest["mse"], longest["low"], longest["high"]),
        verdict=filled(longest["mse"], delays[-1], left, places),
        also={f"shift {delay}": error for delay, error in shifts.items()}
        | {f"unexplained, {place}": fraction for place, fraction in left.items()}
        | {f"rank of 5, {place}": number for place, number in places.items()},
        parameters=longest["parameters"],
    )


def rank(found: dict[str, float]) -> int:
    """Place of the Transformer by error: 1 is the best."""
    return sorted(found, key=lambda name: found[name]).index("transformer") + 1


def filled(error: float, delay: int, left: dict[str, float], places: dict[str, int]) -> str:
    """The verdict of C14 from the longest shift's error, what is left on Lorenz96, and ranks among five networks."""
    first, last = left[_named(RUNGS[0])], left[_named(RUNGS[-1])]
    ranks = [place for name, place in places.items() if name.startswith("K")]
    shift = f"shift {delay}: {error:.2g}, place {places[f'shift {delay}']} of 5"
    return f"measured: {shift}; Lorenz96: {first:.1g} to {last:.2g} left, places {min(ranks)} to {max(ranks)} of 5"


def complexity(settings: Settings) -> Finding:
    """C15: errors by K (experiments/memory/lorenz96_response.py), and of a GRU and linear filters by J at K = 4."""
    names = [*RECURRENT, "tcn", "transformer"]
    by_K = {K: rung(K, 1.0) for K in (1, 4, 8)}
    hard = rung(4, 4.0)
    by_J, linear, parameters = {}, {}, 0
    for J in (4, 10, 32):
        task = tasks.Lorenz96(K=4, J=J).calibrated(jax.random.key(J))
        data, test = (task.draw(jax.random.key(J + n), rows).batch for n, rows in ((1, 2048), (2, 256)))
        model = models.Regressor(models.GRU(48), targets=4)
        params = training.networks(model, _rows_of(data), settings.seeds, settings.steps, rate=2e-2)
        parameters = training.count(params)
        found = evaluate.predict(model.apply, params, test.inputs)
        by_J[J] = metrics.band([1 - metrics.r2(one, test.targets, test.weight) for one in found])
        filters = fits.fir(data.inputs, data.targets, 32, data.weight)
        linear[J] = 1 - metrics.r2(filters.predict(test.inputs), test.targets, test.weight)
    growth = metrics.band([by_K[8][name].median / by_K[4][name].median for name in names])
    return Finding(
        quantity="unexplained at K = 8 / at K = 4, five networks",
        ours=growth,
        verdict=measures(
            [by_K[8][name].median > by_K[4][name].median > by_K[1][name].median for name in names],
            by_J,
            growth,
            hard["gru"].median / by_K[4]["gru"].median,
        ),
        also={f"{name}, K {K}": found[name].median for K, found in by_K.items() for name in ("fir_64", *names)}
        | {f"GRU of 48, K 4, J {J}": band.median for J, band in by_J.items()}
        | {f"32 linear taps, K 4, J {J}": left for J, left in linear.items()}
        | {"GRU, amplitude 4 / amplitude 1": hard["gru"].median / by_K[4]["gru"].median},
        parameters=parameters,
    )


def measures(grows: list[bool], by_J: dict[int, metrics.Band], growth: metrics.Band, amplitude: float) -> str:
    """The verdict of C15: whether every network's error grows with K, errors by J, and what the amplitude does."""
    K = f"K yes, in {sum(grows)} of {len(grows)} networks (8 against 4: {growth.median:.2g} x)"
    fewest, most = by_J[min(by_J)], by_J[max(by_J)]
    growth_by_J = most.median / fewest.median
    apart = most.low > fewest.high or most.high < fewest.low
    J = f"J {growth_by_J:.2g} x from {min(by_J)} to {max(by_J)}" + ("" if apart else ", within the range of seeds")
    found = f"{K}; {J}; amplitude 4: {amplitude:.2g} x"
    if all(grows) and apart and growth_by_J > MATTERS:
        return f"true: {found}"
    return f"partly true: {found}" if any(grows) else f"false: {found.replace('K yes', 'K', 1)}"
