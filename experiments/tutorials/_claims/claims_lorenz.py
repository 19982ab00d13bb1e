"""Claims on Lorenz96: who is better, how good the plain RNN is, what is missing, and what makes it complex."""

import jax
import jax.numpy as jnp
import numpy as np
from _claims import claims_committed, lorenz, training
from _claims.finding import Finding

from seqjax import evaluate, metrics, models, tasks
from seqjax.theory import fits

RECURRENT = ("rnn", "gru", "lstm")

RUNGS = ((1, 1.0), (4, 1.0), (8, 1.0), (4, 4.0))
"""K and amplitude of the forcing in experiments/memory/lorenz96_response.py, the last one hard."""

MATTERS = 1.5
"""Of an error, by how much it must grow for a setting to be called a measure of complexity."""


def rung(K: int, amplitude: float) -> dict[str, metrics.Band]:
    """What each model leaves of the variance there, by its name."""
    rows = claims_committed.rows("lorenz96_response", K=K, amplitude=amplitude)
    return {row["model"]: metrics.Band(1 - row["r2"], 1 - row["high"], 1 - row["low"]) for row in rows}


def equal_parameters(claimed: float, seeds: int, steps: int) -> Finding:
    """C6: recurrent networks and the TCN at equal parameters on every rung, linear filters, and the seed's axis."""
    table = {place: rung(*place) for place in RUNGS}
    by_axis = lorenz.unequal(claimed, seeds, steps).ours
    easy = table[RUNGS[0]]
    best = min((easy[name] for name in RECURRENT), key=lambda band: band.median)
    tcn = easy["tcn"]
    ratios = {
        place: min(found[name].median for name in RECURRENT) / found["tcn"].median for place, found in table.items()
    }
    plain = {place: found["rnn"].median / found["tcn"].median for place, found in table.items()}
    two = two_states()
    return Finding(
        quantity="best recurrent error / TCN's, K = 1",
        ours=metrics.Band(best.median / tcn.median, best.low / tcn.high, best.high / tcn.low),
        verdict=beats(list(ratios.values()), plain[RUNGS[0]], easy["fir_64"].median < tcn.median, by_axis.median),
        claimed=claimed,
        also={"linear RNN of two states": two, "LSTM over the batch / TCN": by_axis.median}
        | {f"best recurrent / TCN, {_named(place)}": ratio for place, ratio in ratios.items()}
        | {f"plain RNN / TCN, {_named(place)}": ratio for place, ratio in plain.items()}
        | {f"{name}, {_named(place)}": band.median for place, found in table.items() for name, band in found.items()},
        parameters=claims_committed.row("lorenz96_response", K=1, model="tcn")["parameters"],
    )


def _named(place: tuple[int, float]) -> str:
    return f"K {place[0]}, amplitude {place[1]:g}"


def beats(ratios: list[float], plain: float, filter_wins: bool, axis: float) -> str:
    """The verdict of C6 from errors over the TCN's: the best recurrent nets', the plain RNN's, and with the defect."""
    most = f"best recurrent {min(ratios):.2g} to {max(ratios):.2g} x the TCN's error"
    linear = "64 taps beat both at K = 1" if filter_wins else "64 taps do not"
    if min(ratios) > 1:
        return f"stands: {most}; {linear}"
    if max(ratios) > 1:
        return f"half: {most}; {linear}"
    return f"no: {most} (plain RNN {plain:.2g} x, over the batch {axis:.2g} x); {linear}"


def two_states() -> float:
    """What the linear RNN of two states, which is the limit of synchronous fast variables, leaves at K = 1."""
    task = tasks.Lorenz96(K=1)
    fresh = task.draw(jax.random.key(1), 128).batch
    kernel = fits.two_level(task.eps, task.hx, task.hy, task.sample_step).kernel(task.length)
    predictions = fits.FIR(kernel[:, None, None], np.zeros(1)).predict(fresh.inputs)
    return 1 - metrics.r2(predictions, fresh.targets, fresh.weight)


def plain_rnn(claimed: float) -> Finding:
    """C7: what the plain tanh RNN leaves of the variance, linear filters, and a network that cannot see time."""
    easy, hard = rung(*RUNGS[0]), rung(*RUNGS[-1])
    ceiling = claims_committed.row("lorenz96_response", K=4, amplitude=4.0, model="rnn")["ceiling"]
    blind = lorenz.cannot_see_time(claimed).also["floor / variance of the outputs"]
    return Finding(
        quantity="unexplained by a plain RNN, K = 1",
        ours=easy["rnn"],
        verdict=pattern(easy["rnn"].median, hard["rnn"].median, easy["fir_64"].median, blind),
        also={
            "64 linear taps": easy["fir_64"].median,
            "GRU": easy["gru"].median,
            "plain RNN, K 4, amplitude 4": hard["rnn"].median,
            "64 linear taps, K 4, amplitude 4": hard["fir_64"].median,
            "out of reach, K 4, amplitude 4": 1 - ceiling,
            "best without time, the seed's data": blind,
        },
        parameters=claims_committed.row("lorenz96_response", K=1, model="rnn")["parameters"],
    )


def pattern(easy: float, hard: float, taps: float, blind: float) -> str:
    """The verdict of C7 from shares of the variance that are left."""
    if easy > 0.05:
        return f"no: {easy:.0%} of the variance is left at K = 1"
    if taps < easy:
        others = f"64 linear taps leave {taps:.0e}, no view of time {blind:.0%}"
        return f"true, and little: {easy:.2%} left at K = 1; {others}; hard case {hard:.0%}"
    return f"stands: {easy:.2%} left at K = 1, less than by linear filters; hard case {hard:.0%}"


def the_missing_row() -> Finding:
    """C14: the Transformer among the others, on shifts and on every rung of Lorenz96."""
    delays = sorted({row["delay"] for row in claims_committed.rows("shift_memory", model="transformer")})
    shifts, places = {}, {}
    for delay in delays:
        rows = [row for row in claims_committed.rows("shift_memory", delay=delay) if "linear" not in row["model"]]
        found = {row["model"]: row["mse"] for row in rows}
        shifts[delay], places[f"shift {delay}"] = found["transformer"], rank(found)
    left = {}
    for place in RUNGS:
        found = {name: band.median for name, band in rung(*place).items() if not name.startswith("fir")}
        left[_named(place)], places[_named(place)] = found["transformer"], rank(found)
    longest = claims_committed.row("shift_memory", model="transformer", delay=delays[-1])
    return Finding(
        quantity=f"error of a Transformer, shift {delays[-1]}, white noise",
        ours=metrics.Band(longest["mse"], longest["low"], longest["high"]),
        verdict=filled(longest["mse"], delays[-1], left, places),
        also={f"shift {delay}": error for delay, error in shifts.items()}
        | {f"unexplained, {place}": share for place, share in left.items()}
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
    told = f"shift {delay}: {error:.2g}, place {places[f'shift {delay}']} of 5"
    return f"filled: {told}; Lorenz96: {first:.1g} to {last:.2g} left, places {min(ranks)} to {max(ranks)} of 5"


def complexity(seeds: int, steps: int) -> Finding:
    """C15: errors by K, from experiments/memory/lorenz96_response.py, and of a GRU and of linear filters by J at K = 4."""
    names = [*RECURRENT, "tcn", "transformer"]
    by_K = {K: rung(K, 1.0) for K in (1, 4, 8)}
    hard = rung(4, 4.0)
    by_J, linear, parameters = {}, {}, 0
    for J in (4, 10, 32):
        task = tasks.Lorenz96(K=4, J=J).calibrated(jax.random.key(J))
        data, test = (task.draw(jax.random.key(J + n), rows).batch for n, rows in ((1, 2048), (2, 256)))
        model = models.Regressor(models.GRU(48), targets=4)

        def sample(key, _, data=data):
            rows = jax.random.randint(key, (training.BLOCK,), 0, len(data.inputs))
            return jax.tree.map(lambda array: array[rows], data)

        params = training.networks(model, sample, jnp.zeros(1), seeds, steps, rate=2e-2)
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
    ratio = most.median / fewest.median
    apart = most.low > fewest.high or most.high < fewest.low
    J = f"J {ratio:.2g} x from {min(by_J)} to {max(by_J)}" + ("" if apart else ", within seeds")
    told = f"{K}; {J}; amplitude 4: {amplitude:.2g} x"
    if all(grows) and apart and ratio > MATTERS:
        return f"stands: {told}"
    return f"half: {told}" if any(grows) else f"no: {told.replace('K yes', 'K', 1)}"
