"""Why attention exists: what does not fit into the context vector?

Paper     Cho et al. 2014, arXiv:1409.1259; Bahdanau, Cho & Bengio 2015, arXiv:1409.0473; Li, Jiang & Li 2022
          (encoder-decoders, approximation theory), ICLR
Figure    experiments/figures/bottleneck.png
Question  A sequence is to be said backwards from a context vector of N numbers. How much of it is lost, and does
          attention get it back?
Expect    Real values (white noise, T = 16): linear encoder-decoders never below 1 - N/T, the sum of the singular values
          that rank N leaves out, and on it up to N = 4. Gates do not help. With attention, 8 numbers are enough to
          leave it far behind; with fewer it does not learn where to look. Symbols: the shorter the context vector, the
          fewer are right; with attention and 32 numbers all are.
Fair      Same data and steps, one learning rate (3e-3; linear 1e-2). Widths are what is compared, not parameters.
Differs   from the papers: reversal, where every step counts the same, instead of translation.
Cost      9 min on one CPU core
Run       python experiments/seq2seq/bottleneck.py
Next      python experiments/seq2seq/bottleneck.py --model attention --values reals --width 1
"""

from dataclasses import dataclass
from typing import Any, Literal, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from matplotlib.figure import Figure

from seqjax import evaluate, losses, metrics, models, plot, runs, sweep, tasks, train
from seqjax.theory import bounds

Model = Literal["linear", "gru", "attention"]
Values = Literal["reals", "symbols"]

LABEL = {"linear": "linear RNN, context vector", "gru": "GRU, context vector", "attention": "GRU, attention"}
LEARNING_RATE = {"linear": 1e-2, "gru": 3e-3, "attention": 3e-3}

LENGTH = 16
"""Steps of a sequence of real values, and of the longest of symbols."""

LENGTHS = range(4, LENGTH + 1)
"""Of symbols, in the test set: of shorter sequences there are so few that none is held out."""

TEST_SEQUENCES = 1000


@dataclass(frozen=True)
class Config:
    """A model whose state has `width` numbers. A learning rate of 0 stands for the model's own."""

    model: Model = "attention"
    values: Values = "reals"
    width: int = 4
    steps: int = 2_000
    batch_size: int = 64
    learning_rate: float = runs.traced(0.0)
    seeds: int = 3

    @property
    def rate(self) -> float:
        """The learning rate in use."""
        return self.learning_rate or LEARNING_RATE[self.model]


def configs(scale: runs.Scale) -> list[Config]:
    """Every model at several widths on real values; gates with and without attention on symbols."""
    if scale == "smoke":
        return [Config("gru", "reals", steps=20, seeds=2), Config("attention", "symbols", steps=20, seeds=2)]
    steps, seeds = {"laptop": (2_000, 3), "gpu": (30_000, 5)}[scale]
    reals = [Config(m, "reals", width, steps, seeds=seeds) for m in get_args(Model) for width in (1, 2, 4, 8, 12, 16)]
    contexts = [Config("gru", "symbols", width, steps, seeds=seeds) for width in (32, 64, 128)]
    return [*reals, *contexts, Config("attention", "symbols", 32, steps, seeds=seeds)]


def build(config: Config) -> nn.Module:
    """The encoder's last state is the decoder's first, as it is."""
    cell = models.RNNCell(jax.nn.identity) if config.model == "linear" else models.GRUCell()
    encoder = models.Recurrent(config.width, cell)
    match config.model:
        case "linear" | "gru":
            decoder = models.RecurrentDecoder(config.width, cell, bridge=models.CopyState())
        case "attention":
            # The hidden layer of the scores is no part of what the source is squeezed through.
            attention = models.AdditiveAttention(32)
            decoder = models.BahdanauDecoder(config.width, cell, bridge=models.CopyState(), attention=attention)
        case _:
            assert_never(config.model)
    if config.values == "reals":
        return models.EncoderDecoderRegressor(encoder, decoder)
    return models.EncoderDecoder(encoder, decoder, 29, 29, embedding=32)


def measure(records: list[runs.Record]) -> None:
    """Seeds and learning rates are one program, and every batch is a fresh one."""
    group = [record.config for record in records]
    config, model = group[0], build(group[0])
    first, loss, sample, judge = (_reals if config.values == "reals" else _symbols)(config, model)
    train_key, test_key = jax.random.split(jax.random.key(0))
    state, advance = sweep.sweep(
        first,
        loss,
        lambda rate: train.adam(rate, config.steps),
        lambda key, rate: sample(key, config.batch_size),
        keys=jnp.tile(jax.random.split(train_key, config.seeds), len(group)),
        settings=jnp.repeat(jnp.array([c.rate for c in group]), config.seeds),
        steps=config.steps // 20,
    )
    state = runs.fit(records, state, advance, config.steps)
    found = judge(state.params, test_key)
    for index, record in enumerate(records):
        of_record = found[index * config.seeds : (index + 1) * config.seeds]
        parameters = sum(leaf[0].size for leaf in jax.tree.leaves(state.params))
        row = {"learning_rate": group[index].rate, "parameters": parameters}
        if config.values == "symbols":
            score = metrics.band(np.nanmean(of_record, axis=(1, 2)))
            row |= {"accuracy": score.median, "low": score.low, "high": score.high}
            record.finish(row, by_length=np.nanmean(of_record, axis=1))
            continue
        score = metrics.band(of_record.mean(axis=1))
        row |= {"mse": score.median, "low": score.low, "high": score.high}
        if config.model == "linear":
            row["floor"] = bounds.truncation(np.eye(LENGTH), config.width) / LENGTH
            bounds.require_above(row["floor"], *bounds.mean_and_error(of_record))
        record.finish(row)


def _reals(config: Config, model: nn.Module):
    """White noise, said backwards: initial parameters, loss, batches, and the squared error of test sequences."""

    def apply(params, x) -> Any:
        return model.apply(params, x, LENGTH)

    def loss(params, x, key):
        return jnp.mean((apply(params, x) - x[:, ::-1]) ** 2), {}

    def sample(key, batch_size):
        return jax.random.normal(key, (batch_size, LENGTH, 1))

    def judge(params, key):
        x = sample(key, TEST_SEQUENCES)
        return ((evaluate.predict(apply, params, x) - x[None, :, ::-1]) ** 2).mean(axis=(2, 3))

    return lambda key: model.init(key, jnp.zeros((1, LENGTH, 1)), LENGTH), loss, sample, judge


def _symbols(config: Config, model: nn.Module):
    """Symbols, said backwards; judged by the fraction of them that is right in its place."""
    task = tasks.Reversal(longest=LENGTH)

    def loss(params, batch, key):
        masks = {"source_mask": batch.source_mask, "target_mask": batch.target_mask}
        logits = jnp.asarray(model.apply(params, batch.source, batch.target, **masks))
        return losses.cross_entropy(logits, batch.target, batch.target_mask), {}

    def judge(params, key):
        """For each run and sequence, the fraction in the column of the sequence's length, NaN in the others."""
        batch = task.held_out(key, TEST_SEQUENCES)
        mask = np.asarray(batch.target_mask)
        right = (evaluate.greedy(model, params, batch) == batch.target[None]) & mask[None]
        right = right.sum(axis=2) / mask.sum(axis=1)[None]
        own = mask.sum(axis=1)[:, None] - 1 == np.array(LENGTHS)[None]
        return np.where(own[None], right[..., None], np.nan)

    batch = task.sample(jax.random.key(0), 1)
    return lambda key: model.init(key, batch.source, batch.target), loss, task.sample, judge


def draw(records: list[runs.Record]) -> Figure:
    """Left: real values against the floor. Right: symbols by length."""
    figure, axes = plot.figure(1, 2, width=11.5, height=4.4)
    left, right = axes[0]
    left.set(ylim=(0, 1.1), xlabel="numbers in the context vector, N")
    left.set_ylabel(f"mean squared error, {LENGTH} steps of white noise")
    for style, model in enumerate(get_args(Model)):
        line = [record for record in records if (record.config.model, record.config.values) == (model, "reals")]
        columns = [[record.result[name] for record in line] for name in ("mse", "low", "high")]
        if line:
            plot.curve(left, [record.config.width for record in line], *columns, label=LABEL[model], style=style)
    every = range(1, LENGTH + 1)
    floor = [bounds.truncation(np.eye(LENGTH), width) / LENGTH for width in every]
    plot.floor(left, every, floor, label="out of reach for linear ones", style=0)
    plot.baseline(left, every, [1.0] * LENGTH, label="zero predictor")
    plot.legend(left)
    symbols = [record for record in records if record.config.values == "symbols"]
    for number, record in enumerate(symbols):
        found = record.arrays["by_length"]
        bands = [metrics.band(100 * column) for column in found.T]
        label = f"{LABEL[record.config.model]}, N = {record.config.width}"
        plot.curve(right, LENGTHS, *zip(*bands, strict=True), label=label, style=number + 2)
    right.set(xlabel="symbols of the sequence", ylabel="symbols right (%)", ylim=(0, 102))
    plot.legend(right)
    return figure


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw)
