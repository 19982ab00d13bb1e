"""Can a network learn to add from examples alone?

Paper     Sutskever, Vinyals & Le 2014, arXiv:1409.3215; Bahdanau, Cho & Bengio 2015, arXiv:1409.0473; Vaswani et al.
          2017, arXiv:1706.03762; the peer is flax's examples/seq2seq
Figure    experiments/figures/digit_sums.png
Question  Two numbers of up to three digits, read character by character, their sum written likewise: how soon do a
          context vector, attention and a Transformer add numbers they have never seen together? Are carries hard?
Expect    Unseen pairs exact: >= 99 % with attention and with the Transformer, both nearly there after 2,500 steps; the
          context vector is still learning after 10,000 (about half). Sums with carries are no harder. flax's example,
          with four times the parameters, has 100 % of its easier training batches after 1,800 steps (4 min on CPU).
Fair      Equal parameters (within 5 %), steps and data; one learning rate for both recurrent models, flax's, and a
          third of it for the Transformer, as usual.
Differs   from flax's example: both numbers have up to three digits (there one of them has at most two) in either order
          (there the smaller one first), and the pairs tested are held out.
Cost      30 min on one CPU core
Run       python experiments/seq2seq/digit_sums.py
Next      python experiments/seq2seq/digit_sums.py --model context --steps 30000
"""

from dataclasses import dataclass
from typing import Literal, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from matplotlib.figure import Figure

from seqjax import evaluate, losses, metrics, models, plot, runs, sweep, tasks, train

Model = Literal["context", "attention", "transformer"]

LEARNING_RATE = {"context": 3e-3, "attention": 3e-3, "transformer": 1e-3}

LABEL = {"context": "LSTM, context vector", "attention": "GRU, attention", "transformer": "Transformer"}

TEST_PAIRS = 5000

PEER = 1_800, 100
"""Steps of 128 pairs after which flax's example has no mistake left in its training batches, in percent."""


@dataclass(frozen=True)
class Config:
    """One model on numbers of up to `digits` digits. A learning rate of 0 stands for the model's own."""

    model: Model = "attention"
    digits: int = 3
    steps: int = 10_000
    batch_size: int = 128
    learning_rate: float = runs.traced(0.0)
    seeds: int = 1

    @property
    def rate(self) -> float:
        """The learning rate in use."""
        return self.learning_rate or LEARNING_RATE[self.model]


def configs(scale: runs.Scale) -> list[Config]:
    """Every model; at gpu scale with more seeds, more steps and more digits too."""
    if scale == "smoke":
        return [Config(model=model, digits=2, steps=20, seeds=2) for model in ("attention", "transformer")]
    digits, steps, seeds = {"laptop": ((3,), 10_000, 1), "gpu": ((3, 5), 30_000, 5)}[scale]
    return [Config(model=m, digits=d, steps=steps, seeds=seeds) for d in digits for m in get_args(Model)]


def build(config: Config) -> nn.Module:
    """About 0.49 M parameters each."""
    match config.model:
        case "context":
            encoder = models.LSTM(232)
            decoder = models.RecurrentDecoder(232, models.LSTMCell(), bridge=models.CopyState())
        case "attention":
            attention = models.AdditiveAttention(64)
            encoder, decoder = models.Bidirectional(256), models.BahdanauDecoder(192, attention=attention)
        case "transformer":
            encoder = models.Transformer(108, heads=4, layers=2, expansion=2, causal=False)
            decoder = models.TransformerDecoder(108, heads=4, layers=2, expansion=2)
        case _:
            assert_never(config.model)
    characters = len(tasks.DigitSums(config.digits).vocabulary)
    return models.EncoderDecoder(encoder, decoder, characters, characters, embedding=32)


def measure(records: list[runs.Record]) -> None:
    """Seeds and learning rates are one program, and every batch is a fresh one."""
    group = [record.config for record in records]
    config = group[0]
    task, model = tasks.DigitSums(config.digits), build(config)

    def loss(params, batch, key):
        masks = {"source_mask": batch.source_mask, "target_mask": batch.target_mask}
        logits = jnp.asarray(model.apply(params, batch.source, batch.target, **masks))
        right = (jnp.argmax(logits, axis=-1) == batch.target) | ~batch.target_mask
        # A sum that is right at every step, given the true digits before it, is right without them as well.
        accuracy = jnp.mean(right.all(axis=1))
        return losses.cross_entropy(logits, batch.target, batch.target_mask), {"accuracy": accuracy}

    def sample(key, rate):
        return task.sample(key, config.batch_size)

    train_key, test_key = jax.random.split(jax.random.key(config.digits))
    first = task.sample(test_key, 1)
    state, advance = sweep.sweep(
        lambda key: model.init(key, first.source, first.target),
        loss,
        lambda rate: train.adam(rate, config.steps),
        sample,
        keys=jnp.tile(jax.random.split(train_key, config.seeds), len(group)),
        settings=jnp.repeat(jnp.array([c.rate for c in group]), config.seeds),
        steps=config.steps // 20,
    )
    state = runs.fit(records, state, advance, config.steps)

    test = jax.tree.map(np.asarray, task.held_out(test_key, TEST_PAIRS))
    exact = (evaluate.greedy(model, state.params, test) == test.target[None]).all(axis=2)
    asked = ["".join(task.vocabulary.decode(row)).split("+") for row in test.source]
    carried = np.array([carries(int(first), int(second)) for first, second in asked])
    by_carries = [exact[:, carried == count].mean(axis=1) for count in range(config.digits + 1)]
    for index, record in enumerate(records):
        runs_of = slice(index * config.seeds, (index + 1) * config.seeds)
        score = metrics.band(exact[runs_of].mean(axis=1))
        row = {
            "learning_rate": group[index].rate,
            "parameters": sum(leaf[0].size for leaf in jax.tree.leaves(state.params)),
            "exact": score.median,
            "low": score.low,
            "high": score.high,
        }
        record.finish(row, by_carries=np.stack(by_carries, axis=1)[runs_of])


def carries(first: int, second: int) -> int:
    """How many digits of a sum carry one over to the next: as many as nines are lost of the digit sums."""
    first_digits, second_digits, sums = (sum(map(int, str(n))) for n in (first, second, first + second))
    return (first_digits + second_digits - sums) // 9


def draw(records: list[runs.Record]) -> Figure:
    """Exact sums against steps, and unseen ones by carries."""
    every = sorted({record.config.digits for record in records})
    figure, axes = plot.figure(len(every), 2, width=11, height=4.2 * len(every))
    for digits, (ax, by_carries) in zip(every, axes, strict=True):
        for style, model in enumerate(get_args(Model)):
            for record in (r for r in records if (r.config.model, r.config.digits) == (model, digits)):
                history = runs.load(record.folder).history
                steps = sorted({row["step"] for row in history})
                bands = [metrics.band([100 * row["accuracy"] for row in history if row["step"] == n]) for n in steps]
                name = f"{LABEL[model]} ({record.result['parameters']:,})"
                plot.curve(ax, steps, *zip(*bands, strict=True), label=name, style=style, markers=False)
                bands = [metrics.band(100 * column) for column in record.arrays["by_carries"].T]
                name = f"{LABEL[model]}: {100 * record.result['exact']:.2f} % of all"
                plot.curve(by_carries, range(len(bands)), *zip(*bands, strict=True), label=name, style=style)
        if digits == 3:
            steps, accuracy = PEER
            ax.plot([steps], [accuracy], "k*", markersize=9, label="flax's example (2.2 million), easier pairs")
        ax.set(xlabel="steps", ylabel=f"sums of {digits} digits, training batches exact (%)", ylim=(-2, 102))
        plot.legend(ax, title="parameters in brackets", title_fontsize=8, loc="center right")
        by_carries.set(xlabel="carries", ylabel="unseen pairs exact (%)", xticks=range(digits + 1), ylim=(-2, 102))
        plot.legend(by_carries, loc="best")
    return figure


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw)
