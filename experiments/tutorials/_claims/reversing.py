"""Rows on encoder-decoders as the seeds train them, each defect alone, on the reversal of five symbols of 25."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _claims import training
from _claims.finding import Finding

from seqjax import evaluate, losses, metrics, models, tasks
from seqjax.types import Seq2SeqBatch

SYMBOLS, LENGTH, SOS = 25, 5, 0
"""Of seed S1; its SOS is 0, its EOS the symbol 1."""

EOS = SYMBOLS + 1
"""One of its own: S1's vocabulary and one token more."""

TESTED = 4_096
"""Fresh sequences; of all 25^5 no more than 2 % are seen in training."""


class Case(NamedTuple):
    """Which defects there are.

    Attributes:
        one_symbol: loops end after the first symbol, that is read and that is written (D5).
        forgets: in training, the decoder is at every step in the state that the encoder left (D6).
        clashes: EOS is the symbol 1, and no target ends with it (D7).
        unshifted: the decoder reads the very token that it is to write (D13).
    """

    one_symbol: Any = False
    forgets: Any = False
    clashes: Any = False
    unshifted: Any = False


def start(key, features: int, vocab: int) -> dict[str, jax.Array]:
    """Weights of S1's pair of GRUs, as PyTorch starts them."""
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
    """Of every symbol and EOS, with the tokens before it given; of what the defects leave of that."""
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
    """Which sequences are not reversed as S1's `predict` does it: greedily, up to EOS or five symbols."""
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
    """Runs of one case: what each gets wrong of fresh sequences, by `wrong`, their losses, and how many weights."""

    wrong: np.ndarray
    wrong_forgetting: np.ndarray
    loss: np.ndarray
    parameters: int


@functools.lru_cache(maxsize=8)
def trained(case: Case, seeds: int, steps: int) -> Trained:
    """GRUs of 128, half of S1's, on fresh sequences."""

    def sample(key, _):
        return jax.random.randint(key, (64, LENGTH), 1, SYMBOLS + 1), case

    one = jnp.zeros(1)
    params = training.fitted(lambda key: start(key, 128, EOS + 1), loss, sample, one, seeds, steps, rate=3e-3)
    test = jax.random.randint(jax.random.key(1), (TESTED, LENGTH), 1, SYMBOLS + 1)

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    def measured(params, test):
        missed = wrong(params, test, case), wrong(params, test, case, forgets=True)
        return *(part.mean() for part in missed), loss(params, (test, case))

    carried, forgotten, cost = (np.asarray(part, np.float64) for part in measured(params, test))
    return Trained(carried, forgotten, cost, training.count(params))


def _finding(defect: Trained, fixed: Trained, verdict: str, floor: float | None, also: dict[str, float]) -> Finding:
    return Finding(
        quantity="share of fresh sequences not reversed",
        ours=metrics.band(defect.wrong),
        verdict=verdict,
        corrected=float(np.median(fixed.wrong)),
        floor=floor,
        also=also,
        parameters=defect.parameters,
    )


def first_symbol_only(quoted: float, seeds: int, steps: int) -> Finding:
    """D5: loops over an axis of length 1; and S1's own five updates, whose losses are those of guessing."""
    defect, fixed = (trained(Case(one_symbol=one), seeds, steps) for one in (True, False))
    floor = 1 - SYMBOLS ** (1 - LENGTH)  # one symbol of five is known, and says nothing of the others
    sums = metrics.band([_replica(seed) for seed in range(max(seeds, 8))])
    guessing = LENGTH * float(np.log(SYMBOLS + 1))
    as_guessed = sums.low < quoted < sums.high and abs(quoted / guessing - 1) < 0.05
    told = "are those of guessing" if as_guessed else "are not explained"
    missed, left = (float(np.median(case.wrong)) for case in (defect, fixed))
    return _finding(
        defect,
        fixed,
        f"one symbol in five is learnt: {missed:.0%} wrong, {left:.1%} if all are; S1's losses {told}",
        floor,
        {"S1's five losses, sum": quoted, "same here": sums.median, "same, most": sums.high, "5 ln 26": guessing},
    )


def _replica(seed: int) -> float:
    """The sum of the losses of S1's one epoch: five sequences, SGD at .01, of each the first symbol alone."""
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


def forgets_its_state(seeds: int, steps: int) -> Finding:
    """D6: the decoder starts anew at every step in training, and carries its state on when it predicts."""
    defect, fixed = (trained(Case(forgets=it), seeds, steps) for it in (True, False))
    missed, left = (float(np.median(case.wrong)) for case in (defect, fixed))
    harmful = missed > 10 * left
    return _finding(
        defect,
        fixed,
        f"{missed:.0%} wrong, {left:.1%} with the state carried on" if harmful else "does no harm",
        None,
        {
            "wrong, state dropped in predicting too": float(np.median(defect.wrong_forgetting)),
            "loss a token in training": float(np.median(defect.loss)),
            "same, carried on": float(np.median(fixed.loss)),
        },
    )


def no_end(seeds: int, steps: int) -> Finding:
    """D7: EOS is a symbol, which can never be written, and no target ends with it."""
    defect, fixed = (trained(Case(clashes=it), seeds, steps) for it in (True, False))
    floor = 1 - (1 - 1 / SYMBOLS) ** LENGTH
    missed, left = (float(np.median(case.wrong)) for case in (defect, fixed))
    explained = abs(missed - left - floor) < 0.02
    return _finding(
        defect,
        fixed,
        f"what has a 1 in it is lost: {floor:.1%} of sequences; wrong {missed:.1%}, {left:.1%} with an EOS of its own"
        if explained
        else f"wrong {missed:.1%}, {left:.1%} with an EOS of its own: not the clash alone",
        floor,
        {"symbols that cannot be written": 1},
    )


def copies(seeds: int, steps: int) -> Finding:
    """D13: the decoder is given the token that it is to write."""
    defect, fixed = (trained(Case(unshifted=it), seeds, steps) for it in (True, False))
    told, shifted = (float(np.median(case.loss)) for case in (defect, fixed))
    missed, left = (float(np.median(case.wrong)) for case in (defect, fixed))
    copied = told < shifted and missed > 0.99
    return _finding(
        defect,
        fixed,
        f"learns to copy: a loss of {told:.0e}, and {missed:.0%} wrong when it has to write; shifted {left:.1%}"
        if copied
        else "does not copy alone",
        None,
        {"loss a token, as trained": told, "same, shifted": shifted, "guessing": float(np.log(SYMBOLS))},
    )


def looks_at_padding(seeds: int, steps: int) -> Finding:
    """D15: S3's translator with the attention it lacks, without a mask and with one, beside longer neighbours."""
    task = tasks.Reversal(longest=6)
    decoder = models.BahdanauDecoder(64, attention=models.AdditiveAttention(32))
    model = models.EncoderDecoder(models.Bidirectional(64), decoder, 29, 29, embedding=32)

    def sample(key, masked):
        batch = task.sample(key, 64)
        return batch._replace(source_mask=batch.source_mask | ~masked)

    def cost(params, batch):
        masks = {"source_mask": batch.source_mask, "target_mask": batch.target_mask}
        logits = jnp.asarray(model.apply(params, batch.source, batch.target, **masks))
        return losses.cross_entropy(logits, batch.target, batch.target_mask)

    first = task.sample(jax.random.key(0), 1)
    params = training.fitted(
        lambda key: model.init(key, first.source, first.target),
        cost,
        sample,
        jnp.array([False, True]),
        seeds,
        steps,
        rate=3e-3,
    )
    rows = task.held_out(jax.random.key(1), 1_000)
    shares = {}
    for name, masked in (("no mask", False), ("mask", True)):
        chosen = slice(seeds, None) if masked else slice(seeds)
        of_case = jax.tree.map(lambda leaf: leaf[chosen], params)  # noqa: B023
        for padding in (0, 2, 6, 14):
            batch = _padded(rows, padding, masked=masked)
            right = (evaluate.greedy(model, of_case, batch) == rows.target[None]).all(axis=2)
            shares[name, padding] = metrics.band(1 - right.mean(axis=1))
    ours, fixed = shares["no mask", 14], shares["mask", 14]
    alone = shares["no mask", 0].median
    return Finding(
        quantity="share not reversed, 14 steps of padding",
        ours=ours,
        verdict=f"beside longer neighbours {ours.median:.0%} wrong (alone {alone:.1%}), with a mask {fixed.median:.1%}"
        if ours.median > 10 * fixed.median and fixed == shares["mask", 0]
        else "padding does no harm",
        corrected=fixed.median,
        also={f"{name}, {padding} steps": share.median for (name, padding), share in shares.items() if padding < 14},
        parameters=training.count(params),
    )


def _padded(batch: Seq2SeqBatch, steps: int, *, masked: bool) -> Seq2SeqBatch:
    """Sources as they stand beside one that is longer."""
    source, mask = (jnp.pad(part, ((0, 0), (0, steps))) for part in (batch.source, batch.source_mask))
    return batch._replace(source=source, source_mask=mask if masked else jnp.ones_like(mask))
