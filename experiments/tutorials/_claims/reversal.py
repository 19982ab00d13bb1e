"""Claims of the tutorial `reversal`: its encoder-decoder with each defect alone, on five of 25 symbols."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _claims import encoder_decoders, training
from _claims.finding import Finding, Settings

from seqjax import losses, metrics, models

SYMBOLS, LENGTH, SOS = 25, 5, 0
"""Of the tutorial; its SOS is 0, its EOS the symbol 1."""

EOS = SYMBOLS + 1
"""A token of its own, added to the tutorial's vocabulary."""

TESTED = 4_096
"""New sequences; training sees at most 2 % of all 25^5."""


class Case(NamedTuple):
    """Which defects are present.

    Attributes:
        one_symbol: encoder and decoder stop after the first symbol.
        forgets: in training, every decoder step starts from the encoder's final state.
        clashes: EOS is the symbol 1, and no target ends with it.
        unshifted: the decoder's input is the token that it must predict.
    """

    one_symbol: Any = False
    forgets: Any = False
    clashes: Any = False
    unshifted: Any = False


def start(key, features: int, vocab: int) -> dict[str, jax.Array]:
    """Initial weights of the tutorial's pair of GRUs, as in PyTorch."""
    shapes = {"input": (features, 3 * features), "recurrent": (features, 3 * features), "bias": (4 * features,)}
    shapes = {f"{side}_{name}": shape for side in ("encoder", "decoder") for name, shape in shapes.items()}
    shapes |= {"readout": (features, vocab), "readout_bias": (vocab,)}
    tables = {"encoder_table": (vocab, features), "decoder_table": (vocab, features)}
    keys = iter(jax.random.split(key, len(shapes) + len(tables)))
    uniform = {n: jax.random.uniform(next(keys), s, minval=-1, maxval=1) / features**0.5 for n, s in shapes.items()}
    return uniform | {name: jax.random.normal(next(keys), shape) for name, shape in tables.items()}


def _step(params, side: str, state, x):
    projected = x @ params[f"{side}_input"]
    return models.GRUCell().step(params[f"{side}_recurrent"], params[f"{side}_bias"], state, projected)[0]


def read(params, source, case: Case = Case()):  # noqa: B008 (never changed)
    """The encoder's state after all symbols, or after the first."""
    state = jnp.zeros((len(source), params["readout"].shape[0]))
    for place in range(source.shape[1]):
        after = _step(params, "encoder", state, params["encoder_table"][source[:, place]])
        state = after if place == 0 else jnp.where(case.one_symbol, state, after)
    return state


def write(params, state, token):
    """One step of the decoder: its state and logits."""
    state = _step(params, "decoder", state, jax.nn.relu(params["decoder_table"][token]))
    return state, state @ params["readout"] + params["readout_bias"][None]


def loss(params, batch):
    """Cross-entropy of every symbol and EOS given the tokens before it, with the defects of the batch's case."""
    source, case = batch
    target = jnp.concatenate([source[:, ::-1], jnp.full((len(source), 1), EOS)], axis=1)
    given = jnp.concatenate([jnp.full((len(source), 1), SOS), target[:, :-1]], axis=1)
    given = jnp.where(case.unshifted, target, given)
    first = state = read(params, source, case)
    logits = []
    for place in range(target.shape[1]):
        state, now = write(params, jnp.where(case.forgets, first, state), given[:, place])
        logits.append(now)
    place = jnp.arange(target.shape[1])
    counted = jnp.where(case.one_symbol, place < 1, jnp.where(case.clashes, place < LENGTH, place >= 0))
    return losses.cross_entropy(jnp.stack(logits, axis=1), target, jnp.broadcast_to(counted[None], target.shape))


def wrong(params, source, case: Case, *, forgets: bool = False) -> jax.Array:
    """Sequences that the tutorial's `predict` does not reverse: greedily, up to EOS or five symbols."""
    first = state = read(params, source, case)
    token, written = jnp.full(len(source), SOS), []
    for _ in range(LENGTH):
        state, logits = write(params, first if forgets else state, token)
        token = logits.argmax(axis=1)
        written.append(token)
    found = jnp.stack(written, axis=1)
    stops = (found == jnp.where(case.clashes, 1, EOS)).any(axis=1)
    return stops | (found != source[:, ::-1]).any(axis=1)


class Trained(NamedTuple):
    """Runs of one case: fractions of new sequences not reversed, losses, and the number of weights."""

    wrong: np.ndarray
    wrong_forgetting: np.ndarray
    loss: np.ndarray
    parameters: int


@functools.lru_cache(maxsize=8)
def trained(case: Case, seeds: int, steps: int) -> Trained:
    """GRUs of width 128, half of the tutorial's, on new sequences."""

    def sample(key, _):
        return jax.random.randint(key, (64, LENGTH), 1, SYMBOLS + 1), case

    params = training.fitted(lambda key: start(key, 128, EOS + 1), loss, sample, seeds, steps, rate=3e-3)
    test = jax.random.randint(jax.random.key(1), (TESTED, LENGTH), 1, SYMBOLS + 1)

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    def measured(params, test):
        missed = wrong(params, test, case), wrong(params, test, case, forgets=True)
        return *(part.mean() for part in missed), loss(params, (test, case))

    carried, forgotten, cost = (np.asarray(part, np.float64) for part in measured(params, test))
    return Trained(carried, forgotten, cost, training.count(params))


def both(settings: Settings, **defect: bool) -> tuple[Trained, Trained]:
    """Runs with one defect, and with none."""
    return trained(Case(**defect), settings.seeds, settings.steps), trained(Case(), settings.seeds, settings.steps)


def finding(defect: Trained, fixed: Trained, verdict: str, floor: float | None, also: dict[str, float]) -> Finding:
    """A row about one defect."""
    return Finding(
        quantity="fraction of new sequences not reversed",
        ours=metrics.band(defect.wrong),
        verdict=verdict,
        corrected=float(np.median(fixed.wrong)),
        floor=floor,
        also=also,
        parameters=defect.parameters,
    )


def first_symbol_only(settings: Settings) -> Finding:
    """D5: loops over an axis of length 1; and the tutorial's own five updates, whose losses are those of guessing."""
    quoted = settings.claimed
    defect, fixed = both(settings, one_symbol=True)
    floor = 1 - SYMBOLS ** (1 - LENGTH)  # one symbol of five is known, and independent of the others
    sums = metrics.band([_replica(seed) for seed in range(max(settings.seeds, 8))])
    guessing = LENGTH * float(np.log(SYMBOLS + 1))
    as_guessed = sums.low < quoted < sums.high and abs(quoted / guessing - 1) < 0.05
    losses_are = "are those of guessing" if as_guessed else "are not explained"
    missed, left = (float(np.median(case.wrong)) for case in (defect, fixed))
    return finding(
        defect,
        fixed,
        f"one symbol in five is learned: {missed:.0%} wrong, {left:.1%} if all are; the printed losses {losses_are}",
        floor,
        {
            "the five printed losses, sum": quoted,
            "same here": sums.median,
            "same, most": sums.high,
            "5 ln 26": guessing,
        },
    )


def _replica(seed: int) -> float:
    """The sum of the losses of the tutorial's one epoch: five sequences, SGD at .01, the first symbol of each."""
    params, total = start(jax.random.key(seed), 256, SYMBOLS + 1), 0.0

    def first_loss(params, symbol, target):
        _, logits = write(params, read(params, symbol[None, None]), jnp.array([SOS]))
        return losses.cross_entropy(logits[:, None], target[None, None])

    update = jax.jit(jax.value_and_grad(first_loss))
    for first in range(1, SYMBOLS, LENGTH):
        value, gradient = update(params, jnp.asarray(first), jnp.asarray(first + LENGTH - 1))
        params = jax.tree.map(lambda part, by: part - 0.01 * by, params, gradient)
        total += float(value)
    return total


def forgets_its_state(settings: Settings) -> Finding:
    """D6: the decoder carries its state in `predict`, but not in training."""
    defect, fixed = both(settings, forgets=True)
    missed, left = (float(np.median(case.wrong)) for case in (defect, fixed))
    harmful = missed > 10 * left
    return finding(
        defect,
        fixed,
        f"{missed:.0%} wrong, {left:.1%} if the state is carried" if harmful else "does no harm",
        None,
        {
            "wrong, state dropped in `predict` too": float(np.median(defect.wrong_forgetting)),
            "loss per token in training": float(np.median(defect.loss)),
            "same, carried": float(np.median(fixed.loss)),
        },
    )


def no_end(settings: Settings) -> Finding:
    """D7: EOS is also a symbol, which can never be output, and no target ends with it."""
    defect, fixed = both(settings, clashes=True)
    floor = 1 - (1 - 1 / SYMBOLS) ** LENGTH
    missed, left = (float(np.median(case.wrong)) for case in (defect, fixed))
    explained = abs(missed - left - floor) < 0.02
    return finding(
        defect,
        fixed,
        f"sequences with a 1 are lost, {floor:.1%} of all; {missed:.1%} wrong, {left:.1%} with a separate EOS"
        if explained
        else f"{missed:.1%} wrong, {left:.1%} with a separate EOS: not the clash alone",
        floor,
        {"symbols that cannot be output": 1},
    )


def against_a_language_model(settings: Settings) -> Finding:
    """C13: exact matches of encoder-decoders and of language models over source and target, at equal parameters."""
    names = encoder_decoders.NAMES
    found = {name: encoder_decoders.trained(name, settings.seeds, settings.steps) for name in names}
    exact = {name: metrics.band(100 * one.right.mean(axis=1)) for name, one in found.items()}
    return Finding(
        quantity="% exact, GRU encoder-decoder, unseen reversals",
        ours=exact["GRU, encoder-decoder"],
        verdict=surpasses(exact),
        also={f"exact, {name}": band.median for name, band in exact.items()}
        | {f"parameters, {name}": one.parameters for name, one in found.items()},
        parameters=found["GRU, encoder-decoder"].parameters,
    )


def against_a_language_model_on_spanish(settings: Settings) -> Finding:
    """C13b: the same on 8,000 pairs of the tutorial `translation`, by the loss of unseen translations."""
    names = encoder_decoders.NAMES
    found = {name: encoder_decoders.trained_on_spanish(name, settings.seeds, settings.steps) for name in names}
    loss = {name: metrics.band(one.loss) for name, one in found.items()}
    return Finding(
        quantity="nats a token, GRU encoder-decoder, unseen Spanish",
        ours=loss["GRU, encoder-decoder"],
        verdict=surpasses({name: metrics.Band(*(-x for x in band)) for name, band in loss.items()}, on_spanish=True),
        also={f"loss, {name}": band.median for name, band in loss.items()}
        | {f"% exact, {name}": float(100 * np.median(one.right.mean(axis=1))) for name, one in found.items()}
        | {f"parameters, {name}": one.parameters for name, one in found.items()},
        parameters=found["GRU, encoder-decoder"].parameters,
    )


def surpasses(score: dict[str, metrics.Band], *, on_spanish: bool = False) -> str:
    """The verdict of C13 from scores, larger ones better: an encoder-decoder wins if its worst seed beats the best one
    without the structure.

    Args:
        score: percent of exact matches; or, `on_spanish`, minus the loss.
    """
    wins, pairs = [], []
    for name, band in score.items():
        family, _, structure = name.partition(", ")
        if structure != "language model":
            other = score[f"{family}, language model"]
            wins.append(min(band.low, band.high) > max(other.low, other.high))
            numbers = (
                f"{-band.median:.2f} / {-other.median:.2f}"
                if on_spanish
                else f"{band.median:.0f} / {other.median:.0f} %"
            )
            pairs.append(f"{name.removesuffix(', encoder-decoder')} {numbers}")
    word = "true" if all(wins) else "partly true" if any(wins) else "false"
    what = "on Spanish pairs: nats a token" if on_spanish else "on reversal: exact"
    return f"{word} {what} with / without the structure: {'; '.join(pairs)}"
