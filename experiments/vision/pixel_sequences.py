"""Which network can classify an image that it reads pixel by pixel?

Paper     Le, Jaitly & Hinton 2015, arXiv:1504.00941 (sec. 4.3); Bai, Kolter & Koltun 2018, arXiv:1803.01271 (tab. 1);
          Orvieto et al. 2023, arXiv:2303.06349
Figure    experiments/figures/pixel_sequences.png
Question  A digit of MNIST as one long sequence, line by line, or in one random order for all images, where neighbours
          are far apart: which accuracy does each backbone reach after few steps, and which depend on the order?
Expect    After 1,000 steps only TCN (96.1 %) and LRU (93.0 %) beat the linear classifier, which sees the whole image at
          once and does not depend on the order (89.4 %); in random order they lose 1.5 %. Transformer 87 and 72 %,
          GRU 80 and 67 %; LSTM (53 and 55 %) and plain RNN (50 and 67 %) have hardly begun to learn. Not run here: full
          size, 14,000 steps (gpu scale).
Answer    After {steps model=tcn order=sequential:,} steps a TCN classifies {accuracy model=tcn order=sequential:.1%} of
          the digits correctly, an LRU {accuracy model=lru order=sequential:.1%}, a Transformer
          {accuracy model=transformer order=sequential:.1%}, a GRU {accuracy model=gru order=sequential:.1%} and an LSTM
          {accuracy model=lstm order=sequential:.1%}; a linear classifier has {accuracy model=linear:.1%}. In random
          order the TCN has {accuracy model=tcn order=permuted:.1%} and the Transformer
          {accuracy model=transformer order=permuted:.1%}.
Fair      Equal parameters (within 5 %), steps and batches; all classify at the last step. Usual learning rates for each
          model, not searched. Intervals are over test images; one random seed.
Differs   from the papers: at laptop scale images are averaged down to 14x14, 196 steps instead of 784, and training is
          a little more than one epoch. In the figure the public test files are not read: of the training files, 10,000
          images are for test and 5,000 for validation, by a fixed random seed. `--split test` scores finished runs on
          the public test files, by which nothing is chosen. At gpu scale 784 steps, and the TCN of the paper.
Cost      20 min on one CPU core
Data      mnist
Run       python experiments/vision/pixel_sequences.py
Next      python experiments/vision/pixel_sequences.py --model gru --order permuted --learning-rate 1e-3 3e-3 1e-2
"""

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Literal, assert_never, get_args

import _public_test
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import evaluate, losses, metrics, models, plot, runs, tasks
from seqjax.data import files, images
from seqjax.tasks import ImageClassification

Order = Literal["sequential", "permuted"]
Model = Literal["linear", "rnn", "gru", "lstm", "lru", "tcn", "transformer"]

LEARNING_RATE = {
    "linear": 1e-3, "rnn": 1e-3, "gru": 3e-3, "lstm": 3e-3, "lru": 3e-3, "tcn": 3e-3, "transformer": 2e-3,
}  # fmt: skip

LABEL = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM", "lru": "LRU", "tcn": "TCN", "transformer": "Transformer"}

CHANCE = 10.0


@dataclass(frozen=True)
class Config:
    """One model in one order of the pixels.

    Attributes:
        model: architecture.
        order: line by line, or one random order for all images.
        side: pixels of a side.
        steps: training updates.
        batch_size: images of a batch.
        learning_rate: peak of Adam's learning rate; 0: the architecture's own.
        seeds: random seeds, trained together.
        skip_bad: leave malformed images out and count them, instead of an error.
    """

    model: Model = "tcn"
    order: Order = "sequential"
    side: int = 14
    steps: int = 1_000
    batch_size: int = 64
    learning_rate: float = runs.traced(0.0)
    seeds: int = 1
    skip_bad: bool = False


def configs(scale: runs.Scale) -> list[Config]:
    """Every model in both orders; the linear one, which does not depend on the order, in one."""
    if scale == "smoke":
        return [Config(model=model, side=4, steps=10, batch_size=16) for model in ("linear", "gru")]
    side, steps, seeds = {"laptop": (14, 1_000, 1), "gpu": (28, 14_000, 3)}[scale]
    return [
        Config(model, order, side, steps, seeds=seeds)
        for model in get_args(Model)
        for order in (get_args(Order) if model != "linear" else ("sequential",))
    ]


def build(config: Config) -> models.Module:
    """About 20,000 parameters each, at 28 pixels a side 67,000; the linear one has 10 for each pixel."""
    full = config.side == 28
    match config.model:
        case "linear":
            return models.ImageClassifier(models.CNN(channels=()), classes=10)
        case "rnn":
            backbone = models.RNN(253 if full else 135)
        case "gru":
            backbone = models.GRU(146 if full else 78)
        case "lstm":
            backbone = models.LSTM(127 if full else 68)
        case "lru":
            backbone = models.LRU(52 if full else 40, layers=4 if full else 2, ring=(0.9, 0.999))
        case "tcn" if full:  # the paper's; sees 3,061 steps
            backbone = models.TCN(25, kernel_size=7, dilations=(1, 2, 4, 8, 16, 32, 64, 128), dropout=0.05)
        case "tcn":  # sees 253 steps
            backbone = models.TCN(24, kernel_size=3, dilations=(1, 2, 4, 8, 16, 32))
        case "transformer":
            backbone = models.Transformer(52 if full else 34, heads=2, layers=3 if full else 2, expansion=2)
        case _:
            assert_never(config.model)
    return models.Classifier(backbone, classes=10)


@functools.lru_cache(maxsize=1)
def load(side: int, skip_bad: bool = False) -> ImageClassification:
    """MNIST's training files, averaged down to `side` x `side` pixels, with validation and test rows."""
    read = images.mnist(files.data_folder() / "images" / "mnist", skip_bad=skip_bad)
    if text := files.summary("images", malformed=read.skipped):
        print(f"warning: {text}", file=sys.stderr)
    rows = images.split(len(read.labels), validation=5_000, test=10_000, seed=0, labels=read.labels)
    return tasks.ImageClassification(shrink(read, side), rows)


def shrink(read: images.Images, side: int) -> images.Images:
    """The images averaged down to `side` x `side` pixels."""
    block = read.pixels.shape[1] // side
    blocks = read.pixels[:, : side * block, : side * block].reshape(-1, side, block, side, block, 1)
    return read._replace(pixels=np.rint(blocks.mean(axis=(2, 4), dtype=np.float32)).astype(np.uint8))


def classify(config: Config) -> Callable[..., Array]:
    """`(params, pixels, **options) -> logits`: the model reads the pixels in the order of the configuration."""
    model, length, linear = build(config), config.side**2, config.model == "linear"
    _, order_key = jax.random.split(jax.random.key(0))
    order = jnp.arange(length) if config.order == "sequential" else jax.random.permutation(order_key, length)

    def logits(params, pixels, **options):
        sequence = pixels.reshape(len(pixels), length, 1)[:, order]
        return model.apply(params, sequence[:, :, None] if linear else sequence, **options)

    return logits


def measure(records: list[runs.Record]) -> None:
    """Train, then classify the validation and test images."""
    config: Config = records[0].config
    task, model, length = load(config.side, config.skip_bad), build(config), config.side**2
    train_key, _ = jax.random.split(jax.random.key(0))
    logits = classify(config)

    def loss(params, batch, key):
        found = logits(params, batch.inputs, train=True, rngs={"dropout": key})
        return losses.cross_entropy(found[:, None], batch.labels[:, None])

    first = jnp.zeros((1, length, 1, 1) if config.model == "linear" else (1, length, 1))
    state = runs.train_group(
        records,
        lambda key: model.init(key, first),
        loss,
        task.batches(config.batch_size),
        keys=jax.random.split(train_key, config.seeds),
        rates=LEARNING_RATE,
        steps_per_report=config.steps // 10,
        chunk=1,
    )

    guess = jax.jit(lambda params, pixels: jnp.argmax(logits(params, pixels), axis=1))
    few = slice(500 if config.steps < 100 else None)  # a smoke test

    def accuracy(params, rows):
        batch = task.standardise(rows[few])
        guesses = evaluate.in_chunks(functools.partial(guess, params), np.asarray(batch.inputs), batch_size=500)
        return metrics.accuracy(batch.labels, guesses)

    for record, of_record in zip(records, runs.by_record(records, state.params), strict=True):
        seeds = [jax.tree.map(itemgetter(seed), of_record) for seed in range(config.seeds)]
        found = sorted(((accuracy(params, task.rows.test), params) for params in seeds), key=lambda pair: pair[0].value)
        median, params = found[len(found) // 2]
        row = runs.scores(record, "accuracy", [median.value]) | {
            "low": median.low,
            "high": median.high,
            "validation_accuracy": accuracy(params, task.rows.validation).value,
            "worst_seed": found[0][0].value,
            "best_seed": found[-1][0].value,
        }
        record.finish(row)


def split(records: list[runs.Record], part: str) -> None:
    """Print the accuracy of finished runs on the public test files: test."""
    _public_test.check_part(part)
    public = _public_test.read("mnist")
    for record in records:
        config: Config = record.config
        logits, shrunk = classify(config), shrink(public, config.side)
        test = load(config.side, config.skip_bad).standardise_others(shrunk)
        guess = jax.jit(lambda params, pixels, logits=logits: jnp.argmax(logits(params, pixels), axis=1))

        def accuracy(params, guess=guess, test=test):
            guesses = evaluate.in_chunks(functools.partial(guess, params), np.asarray(test.inputs), batch_size=500)
            return metrics.accuracy(test.labels, guesses)

        _public_test.report(record, accuracy)


def draw(records: list[runs.Record]) -> Figure:
    """Accuracy of every model in both orders, and the training loss by step."""
    figure, axes = plot.figure(1, 3, width=14, height=4.6)
    ax: Axes = axes[0, 0]
    models = [model for model in LABEL if any(record.config.model == model for record in records)]
    for variant, order in enumerate(get_args(Order)):
        for record in records:
            if record.config.order == order and record.config.model in models:
                model = record.config.model
                columns = [[100 * record.result[name]] for name in ("accuracy", "low", "high")]
                place = models.index(model) + 0.2 * (variant - 0.5)
                plot.points(ax, [place], *columns, label="", style=model, variant=variant)
    plot.variants(ax, get_args(Order))
    edges = [-0.5, len(models) - 0.5]
    for record in records:
        if record.config.model == "linear":
            score = 100 * record.result["accuracy"]
            plot.baseline(ax, edges, [score] * 2, label=f"linear, all pixels at once ({score:.1f} %)")
    ax.plot(edges, [CHANCE] * 2, color="0.5", linewidth=0.9, linestyle=":", label="chance")
    names = [
        f"{LABEL[model]}\n{next(r.result['parameters'] for r in records if r.config.model == model):,}"
        for model in models
    ]
    ax.set_xticks(range(len(models)), names, fontsize=8)
    side = records[0].config.side
    ax.set(xlabel="parameters below the names", ylabel="test accuracy (%), 95 % interval", ylim=(0, 102))
    ax.set_title(f"MNIST, {side}x{side} pixels one by one")
    plot.legend(ax, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)

    for ax, order in zip(axes[0, 1:], get_args(Order), strict=True):
        mine = [record for record in records if record.config.order == order and record.config.model in LABEL]
        for record in mine:
            steps, bands = record.curve("loss")
            model = record.config.model
            plot.curve(ax, steps, *plot.bands(bands, len(mine)), label=LABEL[model], style=model)
        seeds = plot.over_seeds((record.config.seeds for record in mine), len(mine)) if mine else ""
        ax.set(yscale="log", xlabel="training steps", ylabel="training loss (nats an image)", title=f"{order}, {seeds}")
        plot.legend(ax)
    return figure


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    early = runs.select(rows, steps=1000)

    def accuracy(model: str) -> list[float]:
        return [runs.value(early, "accuracy", model=model, order=order) for order in ("sequential", "permuted")]

    tcn, lru, linear = accuracy("tcn"), accuracy("lru"), accuracy("linear")[0]
    slow = [accuracy(model)[0] for model in ("rnn", "gru", "lstm", "transformer")]
    return [
        runs.check("TCN, LRU, linear", [tcn[0], lru[0], linear], "96.1, 93.0, 89.4 %"),
        runs.less("TCN and LRU beat the linear classifier", linear, [tcn[0], lru[0]]),
        runs.less("the others do not", slow, linear),
        runs.check("TCN and LRU, lost in random order", [tcn[0] - tcn[1], lru[0] - lru[1]], "1.5 %"),
        runs.check("Transformer, both orders", accuracy("transformer"), "87, 72 %"),
        runs.check("GRU, both orders", accuracy("gru"), "80, 67 %"),
        runs.check("LSTM, both orders", accuracy("lstm"), "53, 55 %"),
        runs.check("plain RNN, both orders", accuracy("rnn"), "50, 67 %"),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect, split=split)
