"""Can a network learn addition from examples alone?

Paper     Sutskever, Vinyals & Le 2014, arXiv:1409.3215; Bahdanau, Cho & Bengio 2015, arXiv:1409.0473; Vaswani et al.
          2017, arXiv:1706.03762; compared with flax's examples/seq2seq
Figure    experiments/figures/digit_sums.png
Question  Two numbers of up to three digits, read character by character, and their sum written the same way: how many
          steps until a context vector, attention and a Transformer add unseen pairs? Are carries harder?
Expect    Unseen pairs exact: >= 99 % with attention and with the Transformer, both nearly there after 2,500 steps; the
          context vector is still learning after 10,000 (about half, .5). Sums with carries are no harder. flax's
          example, with four times the parameters, has 100 % of its easier training batches after 1,800 steps (4 min on
          CPU).
Answer    Of sums of unseen pairs, {exact model=attention:.2%} are exact with attention, {exact model=transformer:.2%}
          with a Transformer and {exact model=context:.1%} with a context vector, after {steps model=context:,} steps.
Fair      Equal parameters (within 5 %), steps and data; one learning rate for both recurrent models, flax's, and a
          third of it for the Transformer, not searched.
Differs   from flax's example: both numbers have up to three digits (there one of them has at most two) in either order
          (there the smaller one first), and test pairs are held out.
Cost      30 min on one CPU core
Run       python experiments/seq2seq/digit_sums.py
Next      python experiments/seq2seq/digit_sums.py --model context --steps 30000
"""

from dataclasses import dataclass
from typing import Literal, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from _seq2seq import draw_percentages, exact_matches, train
from matplotlib.figure import Figure

from seqjax import losses, models, plot, runs, tasks

Model = Literal["context", "attention", "transformer"]

LEARNING_RATE = {"context": 3e-3, "attention": 3e-3, "transformer": 1e-3}

LABEL = {"context": "LSTM, context vector", "attention": "GRU, attention", "transformer": "Transformer"}

LOOK = {"context": "lstm", "attention": "attention", "transformer": "transformer"}

TEST_PAIRS = 5000

PEER = 1_800, 100
"""Of flax's example: steps of 128 pairs, and the percentage of its training batches that is then exact."""


@dataclass(frozen=True)
class Config:
    """One model on sums of numbers.

    Attributes:
        model: architecture.
        digits: most digits of a number.
        steps: training updates.
        batch_size: sequences of a batch.
        learning_rate: peak of Adam's learning rate; 0: the architecture's own.
        seeds: random seeds, trained together.
    """

    model: Model = "attention"
    digits: int = 3
    steps: int = 10_000
    batch_size: int = 128
    learning_rate: float = runs.traced(0.0)
    seeds: int = 1


def configs(scale: runs.Scale) -> list[Config]:
    """Every model; at gpu scale with more random seeds, steps and digits."""
    if scale == "smoke":
        return [Config(model=model, digits=2, steps=20, seeds=2) for model in ("attention", "transformer")]
    digits, steps, seeds = {"laptop": ((3,), 10_000, 1), "gpu": ((3, 5), 30_000, 5)}[scale]
    return [Config(model=m, digits=d, steps=steps, seeds=seeds) for d in digits for m in get_args(Model)]


def build(config: Config) -> models.Module:
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
    config: Config = records[0].config
    task, model = tasks.DigitSums(config.digits), build(config)

    def loss(params, batch, key):
        masks = {"source_mask": batch.source_mask, "target_mask": batch.target_mask}
        logits = model.apply(params, batch.source, batch.target, **masks)
        correct = (jnp.argmax(logits, axis=-1) == batch.target) | ~batch.target_mask
        # A sum that is correct at every step, given the true digits before it, is correct without them as well.
        accuracy = jnp.mean(correct.all(axis=1))
        return losses.cross_entropy(logits, batch.target, batch.target_mask), {"accuracy": accuracy}

    train_key, test_key = jax.random.split(jax.random.key(config.digits))
    state = train(records, model, task.sample, loss, key=train_key, rates=LEARNING_RATE)

    test = jax.tree.map(np.asarray, task.held_out(test_key, TEST_PAIRS))
    exact = exact_matches(model, state.params, test)
    terms = ["".join(task.vocabulary.decode(row)).split("+") for row in test.source]
    carried = np.array([carries(int(first), int(second)) for first, second in terms])
    by_carries = [exact[:, carried == count].mean(axis=1) for count in range(config.digits + 1)]
    of_runs = exact.mean(axis=1), np.stack(by_carries, axis=1)
    for record, (of_all, of_carries) in zip(records, runs.by_record(records, of_runs), strict=True):
        record.finish(runs.scores(record, "exact", of_all), by_carries=of_carries)


def carries(first: int, second: int) -> int:
    """The number of carries in a sum: each lowers the sum of the digits by 9."""
    first_digits, second_digits, sums = (sum(map(int, str(n))) for n in (first, second, first + second))
    return (first_digits + second_digits - sums) // 9


def draw(records: list[runs.Record]) -> Figure:
    """Exact sums in training against steps, and unseen ones by carries."""
    every = sorted({record.config.digits for record in records})
    figure, axes = plot.figure(len(every), 2, width=11, height=4.2 * len(every))
    for digits, (ax, by_carries) in zip(every, axes, strict=True):
        for model in get_args(Model):
            for record in (r for r in records if (r.config.model, r.config.digits) == (model, digits)):
                steps, bands = record.curve("accuracy")
                name = f"{LABEL[model]} ({record.result['parameters']:,})"
                plot.curve(ax, steps, *(100 * bands), label=name, style=LOOK[model], markers=False)
                name = f"{LABEL[model]}: {100 * record.result['exact']:.2f} % of all"
                fractions = record.arrays["by_carries"]
                draw_percentages(by_carries, range(digits + 1), fractions, label=name, style=LOOK[model])
        if digits == 3:
            steps, accuracy = PEER
            ax.plot([steps], [accuracy], "k*", markersize=9, label="flax's example (2.2 million), easier pairs")
        seeds = plot.over_seeds(record.config.seeds for record in records)
        ax.set(xlabel="training steps", ylabel=f"sums of {digits} digits, training batches exact (%)", ylim=(-2, 102))
        legend = {"title": f"{seeds}; parameters in brackets", "title_fontsize": 8, "loc": "center right"}
        plot.legend(ax, **legend, bbox_to_anchor=(1, 0.7))
        by_carries.set(xlabel="carries", ylabel="unseen pairs exact (%)", xticks=range(digits + 1), ylim=(-2, 102))
        plot.legend(by_carries, loc="best", title=seeds, title_fontsize=8)
    return figure


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    exact = {
        model: runs.value(rows, "exact", model=model, steps=10_000) for model in ("context", "attention", "transformer")
    }
    return [
        runs.check("exact, attention and Transformer", [exact["attention"], exact["transformer"]], ">= 99 %"),
        runs.check("exact, context vector after 10,000 steps", exact["context"], ".5"),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
