"""How much of a sequence fits into a context vector, and does attention recover the rest?

Paper     Cho et al. 2014, arXiv:1409.1259; Bahdanau, Cho & Bengio 2015, arXiv:1409.0473; Li, Jiang & Li 2022
          (encoder-decoders, approximation theory), ICLR
Figure    experiments/figures/bottleneck.png
Question  A decoder reverses a sequence from a context vector of N numbers. How much of the sequence is lost, and does
          attention recover it?
Expect    Real values (white noise, T = 16): linear encoder-decoders never below 1 - N/T, the sum of the singular values
          that rank N leaves out, and on it up to N = 4 (within 1 %). Gates do not help. With attention, 8 numbers are
          enough for an error far below that; with fewer it does not learn the alignment. Symbols: the shorter the
          context vector, the fewer are correct; with attention and 32 numbers all are (100 %).
Answer    Through 8 numbers a linear encoder-decoder loses {mse model=linear values=reals width=8:.0%} of the variance
          of 16 random values (its floor: {floor model=linear values=reals width=8:.0%}), a GRU
          {mse model=gru values=reals width=8:.0%}, and a GRU with attention
          {mse model=attention values=reals width=8:.0%}; of symbols, a context vector of 32 numbers gets
          {accuracy model=gru values=symbols width=32:.0%} right, and attention
          {accuracy model=attention values=symbols width=32:.1%}.
Fair      Same data and steps, one learning rate (3e-3; linear 1e-2). Widths are compared, not parameters.
Differs   from the papers: reversal, where every step counts the same, instead of translation.
Cost      9 min on one CPU core
Run       python experiments/seq2seq/bottleneck.py
Next      python experiments/seq2seq/bottleneck.py --model attention --values reals --width 1
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from _seq2seq import draw_percentages, teacher_forcing
from jaxtyping import Array, Key
from matplotlib.figure import Figure

from seqjax import evaluate, models, plot, runs, tasks
from seqjax.theory import bounds
from seqjax.types import LossFn, Params

Model = Literal["linear", "gru", "attention"]
Values = Literal["reals", "symbols"]

LABEL = {"linear": "linear RNN, context vector", "gru": "GRU, context vector", "attention": "GRU, attention"}
LEARNING_RATE = {"linear": 1e-2, "gru": 3e-3, "attention": 3e-3}

LENGTH = 16
"""Steps of a sequence of real values, and of the longest of symbols."""

LENGTHS = range(4, LENGTH + 1)
"""Of symbols, in the test set: none of the shorter sequences is held out, as there are so few."""

TEST_SEQUENCES = 1000


@dataclass(frozen=True)
class Config:
    """One model of one width.

    Attributes:
        model: architecture.
        values: what is to be repeated: random numbers or symbols.
        width: numbers of the context vector.
        steps: training updates.
        batch_size: sequences of a batch.
        learning_rate: peak of Adam's learning rate; 0: the architecture's own.
        seeds: random seeds, trained together.
    """

    model: Model = "attention"
    values: Values = "reals"
    width: int = 4
    steps: int = 2_000
    batch_size: int = 64
    learning_rate: float = runs.traced(0.0)
    seeds: int = 3


def configs(scale: runs.Scale) -> list[Config]:
    """Every model at several widths on real values; gates with and without attention on symbols."""
    if scale == "smoke":
        return [Config("gru", "reals", steps=20, seeds=2), Config("attention", "symbols", steps=20, seeds=2)]
    steps, seeds = {"laptop": (2_000, 3), "gpu": (30_000, 5)}[scale]
    reals = [Config(m, "reals", width, steps, seeds=seeds) for m in get_args(Model) for width in (1, 2, 4, 8, 12, 16)]
    contexts = [Config("gru", "symbols", width, steps, seeds=seeds) for width in (32, 64, 128)]
    return [*reals, *contexts, Config("attention", "symbols", 32, steps, seeds=seeds)]


def build(config: Config) -> models.Module:
    """The encoder's last state is the decoder's first, unchanged."""
    cell = models.RNNCell(jax.nn.identity) if config.model == "linear" else models.GRUCell()
    encoder = models.Recurrent(config.width, cell)
    match config.model:
        case "linear" | "gru":
            decoder = models.RecurrentDecoder(config.width, cell, bridge=models.CopyState())
        case "attention":
            # The width of the scores' hidden layer does not limit what reaches the decoder, so it is fixed.
            attention = models.AdditiveAttention(32)
            decoder = models.BahdanauDecoder(config.width, cell, bridge=models.CopyState(), attention=attention)
        case _:
            assert_never(config.model)
    if config.values == "reals":
        return models.EncoderDecoderRegressor(encoder, decoder)
    return models.EncoderDecoder(encoder, decoder, 29, 29, embedding=32)


class Problem(NamedTuple):
    """How one kind of values is trained and tested.

    Attributes:
        init: initial parameters from a key.
        loss: as `runs.train_group` takes it.
        sample: a batch from a key and its size.
        test: from the parameters of all runs and a key to what is reported, with the leading axis `runs`.
    """

    init: Callable[[Key[Array, ""]], Params]
    loss: LossFn
    sample: Callable[[Key[Array, ""], int], Any]
    test: Callable[[Params, Key[Array, ""]], np.ndarray]


def measure(records: list[runs.Record]) -> None:
    """Seeds and learning rates are one program, and every batch is a fresh one."""
    config: Config = records[0].config
    problem = (real_values if config.values == "reals" else symbols)(build(config))
    train_key, test_key = jax.random.split(jax.random.key(0))
    state = runs.train_group(
        records,
        problem.init,
        problem.loss,
        lambda key: problem.sample(key, config.batch_size),
        keys=jax.random.split(train_key, config.seeds),
        rates=LEARNING_RATE,
    )
    for record, tested in zip(records, runs.by_record(records, problem.test(state.params, test_key)), strict=True):
        if config.values == "symbols":
            row = runs.scores(record, "accuracy", np.nanmean(tested, axis=(1, 2)))
            record.finish(row, by_length=np.nanmean(tested, axis=1))
            continue
        row = runs.scores(record, "mse", tested.mean(axis=1))
        if config.model == "linear":
            row["floor"] = bounds.truncation(np.eye(LENGTH), config.width) / LENGTH
            bounds.require_above(row["floor"], *bounds.mean_and_error(tested))
        record.finish(row)


def real_values(model: models.Module) -> Problem:
    """White noise, reversed; the test gives the squared error of each sequence."""

    def apply(params, x):
        return model.apply(params, x, LENGTH)

    def loss(params, x, key):
        return jnp.mean((apply(params, x) - x[:, ::-1]) ** 2)

    def sample(key, batch_size):
        return jax.random.normal(key, (batch_size, LENGTH, 1))

    def test(params, key):
        x = sample(key, TEST_SEQUENCES)
        return ((evaluate.predict(apply, params, x) - x[None, :, ::-1]) ** 2).mean(axis=(2, 3))

    return Problem(lambda key: model.init(key, jnp.zeros((1, LENGTH, 1)), LENGTH), loss, sample, test)


def symbols(model: models.Module) -> Problem:
    """Symbols, reversed; the test gives the fraction of each sequence that is correct in its place."""
    task = tasks.Reversal(longest=LENGTH)

    def test(params, key):
        """For each run and sequence, the fraction in the column of the sequence's length, NaN in the others."""
        batch = task.held_out(key, TEST_SEQUENCES)
        mask = np.asarray(batch.target_mask)
        correct = (evaluate.greedy(model, params, batch) == batch.target[None]) & mask[None]
        correct = correct.sum(axis=2) / mask.sum(axis=1)[None]
        column = mask.sum(axis=1)[:, None] - 1 == np.array(LENGTHS)[None]
        return np.where(column[None], correct[..., None], np.nan)

    first = task.sample(jax.random.key(0), 1)
    return Problem(lambda key: model.init(key, first.source, first.target), teacher_forcing(model), task.sample, test)


def draw(records: list[runs.Record]) -> Figure:
    """Left: real values against the floor. Right: symbols by length."""
    figure, axes = plot.figure(1, 2, width=11.5, height=4.4)
    left, right = axes[0]
    left.set(ylim=(0, 1.1), xlabel="numbers in the context vector, N")
    left.set_ylabel(f"mean squared error, {LENGTH} steps of white noise")
    for model in get_args(Model):
        line = [record for record in records if (record.config.model, record.config.values) == (model, "reals")]
        columns = [[record.result[name] for record in line] for name in ("mse", "low", "high")]
        if line:
            plot.curve(left, [record.config.width for record in line], *columns, label=LABEL[model], style=model)
    every = range(1, LENGTH + 1)
    floor = [bounds.truncation(np.eye(LENGTH), width) / LENGTH for width in every]
    plot.floor(left, every, floor, label="out of reach for linear models", style="linear")
    plot.baseline(left, every, [1.0] * LENGTH, label="zero predictor")
    seeds = plot.over_seeds(record.config.seeds for record in records)
    plot.legend(left, title=seeds, title_fontsize=8, loc="upper right", bbox_to_anchor=(1, 0.89))
    on_symbols = [record for record in records if record.config.values == "symbols"]
    widths = sorted({record.config.width for record in on_symbols}, reverse=True)
    for record in on_symbols:
        model, width = record.config.model, record.config.width
        variant = 0 if model == "attention" else widths.index(width)
        label = f"{LABEL[model]}, N = {width}"
        draw_percentages(right, LENGTHS, record.arrays["by_length"], label=label, style=model, variant=variant)
    right.set(xlabel="symbols of the sequence", ylabel="symbols correct (%)", ylim=(0, 102))
    plot.legend(right, title=seeds, title_fontsize=8)
    return figure


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    reals = runs.select(rows, values="reals")
    linear, gru = ({row["width"]: row for row in runs.select(reals, model=model)} for model in ("linear", "gru"))
    accuracy = [runs.value(rows, "accuracy", model="gru", values="symbols", width=width) for width in (32, 64, 128)]
    near = [row["mse"] / row["floor"] - 1 for width, row in linear.items() if width <= 4]
    both = linear.keys() & gru.keys()
    return [
        runs.every("no linear encoder-decoder below 1 - N/T", [row["mse"] >= row["floor"] for row in linear.values()]),
        runs.check("linear, up to N = 4, above the floor", near, "<= 1 %"),
        runs.every("no GRU's band is below the linear one's", [gru[n]["high"] >= linear[n]["low"] for n in both]),
        runs.less(
            "attention with 8 numbers is below the linear floor",
            runs.value(reals, "mse", model="attention", width=8),
            runs.value(reals, "floor", model="linear", width=8),
        ),
        runs.less("symbols: a longer context vector has more correct", accuracy[:-1], accuracy[1:]),
        runs.check(
            "symbols, attention and 32 numbers, correct",
            runs.value(rows, "accuracy", model="attention", values="symbols", width=32),
            "100 %",
        ),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
