"""Does a reviewer like the film? Every backbone on SST-2, sentences alone.

Paper     Socher et al. 2013, D13-1170 (the data); Kim 2014, arXiv:1408.5882; Orvieto et al. 2023, arXiv:2303.06349
          (LRU); Wang & Manning 2012, P12-2018 (naive Bayes); seed S0
Figure    experiments/figures/sentiment.png
Question  With 6,000 sentences, no phrases and no pre-training: does reading words in order beat counting them, does it
          matter how their features are pooled, and can the probabilities be believed?
Expect    Naive Bayes 80.9 % of the development sentences, and no network alone does better: medians from 77 (LSTM,
          Transformer) to 79.5 % (GRU both ways, maximum); three seeds together a point more, up to 80.4 (TCN). The
          intervals, 5 points wide, hold all of them but the bag of words (74). How steps are pooled matters little.
Fair      Same embeddings, 32,000 parameters above them (the bag of words: 200), same epochs, dropout, decay
          and learning rate for all, chosen for the GRU on 720 sentences held out of train; on these every run's epoch
          and naive Bayes' n-grams and smoothing are chosen too. The development sentences give the numbers shown alone.
Cost      16 min on one CPU core
Run       SEQJAX_DATA=path/to/data python experiments/language/sentiment.py
Next      python experiments/language/sentiment.py --classify "a film that starts badly and ends beautifully"
"""

import functools
import json
import sys
import textwrap
from dataclasses import dataclass
from typing import Any, Literal, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import losses, metrics, models, plot, runs, sweep, tasks, train
from seqjax.data import files, read_sst2
from seqjax.data.language import Language
from seqjax.data.sst2 import Example
from seqjax.data.tokenizers import Words
from seqjax.tasks import Sentiment
from seqjax.theory.naive_bayes import NaiveBayes
from seqjax.types import UNK, Labelled

Model = Literal["naive_bayes", "bag", "gru", "lstm", "gru_both", "lstm_both", "tcn", "transformer", "lru"]
Pooling = Literal["last", "ends", "mean", "maximum", "attention"]

LABEL = {
    "naive_bayes": "naive Bayes",
    "bag": "bag of words",
    "gru": "GRU",
    "lstm": "LSTM",
    "gru_both": "GRU, both ways",
    "lstm_both": "LSTM, both ways",
    "tcn": "TCN",
    "transformer": "Transformer",
    "lru": "LRU",
}

POOLED: Model = "gru_both"
"""The backbone under which all poolings are compared."""

PUNCTUATION = ".,!?'"

HELD_OUT, BINS, MISTAKES = 720, 10, 8


@dataclass(frozen=True)
class Config:
    """One backbone under one pooling. `rows` bounds the training set (0: all of it).

    In training a share `word_dropout` of the words is read as unknown; `decay` weighs the squares of the embeddings.
    """

    model: Model = "gru"
    pooling: Pooling = "mean"
    rows: int = 0
    embedding: int = 100
    dropout: float = 0.5
    word_dropout: float = 0.1
    decay: float = 3e-4
    epochs: int = 6
    batch_size: int = 64
    learning_rate: float = runs.traced(3e-3)
    seeds: int = 3


def configs(scale: runs.Scale) -> list[Config]:
    """Every model, and every pooling of one of them."""
    if scale == "smoke":
        return [Config(model=model, rows=512, embedding=8, epochs=2, seeds=2) for model in ("naive_bayes", POOLED)]
    seeds = {"laptop": 3, "gpu": 10}[scale]
    every = [Config(model, seeds=seeds) for model in get_args(Model)]
    return [*every, *[Config(POOLED, pooling, seeds=seeds) for pooling in get_args(Pooling)]]


def build(config: Config, vocab: int) -> nn.Module:
    """Embeddings of all words, a backbone of about 32,000 parameters, a pooling, a readout."""
    width, dropout = config.embedding, config.dropout
    match config.model:
        case "naive_bayes":
            raise ValueError("naive Bayes is counted, not built")
        case "bag":
            backbone = _as_they_are
        case "gru":
            backbone = models.GRU(64)
        case "lstm":
            backbone = models.LSTM(53)
        case "gru_both":
            backbone = models.Bidirectional(78, models.GRUCell())
        case "lstm_both":
            backbone = models.Bidirectional(62, models.LSTMCell())
        case "tcn":
            backbone = models.TCN(41, kernel_size=3, dilations=(1, 2), dropout=dropout)
        case "transformer":
            backbone = models.Transformer(56, layers=1, expansion=2, causal=False, dropout=dropout)
        case "lru":
            backbone = models.LRU(64, layers=1, dropout=dropout)
        case _:
            assert_never(config.model)
    match config.pooling:
        case "last":
            pooling = models.last
        case "ends":
            pooling = models.ends
        case "mean":
            pooling = models.mean
        case "maximum":
            pooling = models.maximum
        case "attention":
            pooling = models.AttentionPooling()
        case _:
            assert_never(config.pooling)
    reader = models.TokenEmbedding(backbone, vocab, width, dropout)
    return models.Classifier(reader, classes=2, pooling=pooling, dropout=dropout)


def _as_they_are(x, *, mask=None, train=False):
    """No backbone: the words' embeddings."""
    return x


@functools.lru_cache(maxsize=1)
def data(rows: int) -> Sentiment:
    """Sentences as SST-2 has them, those of train divided once and for all."""
    folder = files.data_folder() / "sentiment" / "sst2"
    train, test = (read_sst2(folder / name).rows for name in ("train.tsv", "dev.tsv"))
    held_out = HELD_OUT if not rows else rows // 4
    return tasks.Sentiment.of(
        train[: rows or None], test, Words(punctuation=PUNCTUATION), held_out=held_out, seed=0, least=2
    )


def measure(records: list[runs.Record]) -> None:
    """Seeds and learning rates are one program; the epoch with the smallest validation loss is kept."""
    group = [record.config for record in records]
    config = group[0]
    task = data(config.rows)
    if config.model == "naive_bayes":
        count(task, records)
        return
    model = build(config, len(task.language.vocabulary))
    batches = task.batches(config.batch_size, word_dropout=config.word_dropout)
    validation, test = task.batch(task.validation), task.batch(task.test)
    per_epoch = len(task.train) // config.batch_size
    steps = config.epochs * per_epoch

    def logits(params: Any, batch: Labelled, **options: Any) -> Any:
        return model.apply(params, batch.inputs, mask=batch.mask, **options)

    def cost(logits: Any, batch: Labelled) -> Any:
        return losses.cross_entropy(logits[:, None], batch.labels[:, None])

    def loss(params, batch, key):
        embeddings = params["params"]["backbone"]["table"]["embedding"]
        data_cost = cost(logits(params, batch, train=True, rngs={"dropout": key}), batch)
        return data_cost + config.decay * jnp.sum(embeddings**2), {"data_cost": data_cost}

    def validate(params):
        found = logits(params, validation)
        return cost(found, validation), {"accuracy": jnp.mean(jnp.argmax(found, axis=-1) == validation.labels)}

    state, advance = sweep.sweep(
        lambda key: model.init(key, validation.inputs[:1]),
        loss,
        lambda rate: train.adam(rate, steps),
        batches,
        keys=jnp.tile(jax.random.split(jax.random.key(0), config.seeds), len(group)),
        settings=jnp.repeat(jnp.array([c.learning_rate for c in group]), config.seeds),
        steps=per_epoch,
    )
    state = runs.fit(records, *sweep.keep_best(state, advance, validate), steps)
    params = sweep.chosen(state)
    positive = jax.jit(lambda params, batch: jax.lax.map(lambda one: jax.nn.softmax(logits(one, batch))[:, 1], params))
    judged = [positive(params, batch) for batch in (validation, test)]
    size = sum(leaf[0].size for leaf in jax.tree.leaves(params))
    for index, record in enumerate(records):
        runs_of = slice(index * config.seeds, (index + 1) * config.seeds)
        finish(record, task, size, *[probability[runs_of] for probability in judged])


def count(task: Sentiment, records: list[runs.Record]) -> None:
    """Naive Bayes, its n-grams and smoothing chosen on validation sentences."""

    def judged(model, rows):
        return 1 / (1 + np.exp([[-model(split(row.sentence)) for row in rows]]))

    split = task.language.tokenizer.split
    sentences, labels = [split(row.sentence) for row in task.train], [row.label for row in task.train]
    models = [
        NaiveBayes.fit(sentences, labels, longest=longest, smoothing=smoothing)
        for longest in (1, 2)
        for smoothing in (0.25, 0.5, 1.0, 2.0)
    ]
    best = max(models, key=lambda model: right(judged(model, task.validation), task.validation)[0])
    for record in records:
        finish(record, task, 1 + len(best.evidence), judged(best, task.validation), judged(best, task.test))


def right(probability: np.ndarray, rows: list) -> np.ndarray:
    """Fraction of sentences that each run puts in the right class."""
    return ((np.asarray(probability) > 0.5) == np.array([row.label for row in rows])[None]).mean(axis=1)


def finish(record: runs.Record, task: Sentiment, size: int, validation: np.ndarray, probability: np.ndarray) -> None:
    """The numbers of one configuration, from what each of its seeds thinks of all sentences (runs x rows)."""
    probability = np.asarray(probability, np.float64)
    labels = np.array([row.label for row in task.test])
    score, together = metrics.band(right(probability, task.test)), probability.mean(axis=0)
    accuracy = metrics.accuracy(labels, (together > 0.5).astype(int))

    def error(probability):
        return metrics.calibration(labels, probability, bins=BINS).error

    ids = [number for row in task.test for number in task.language.ids(row.sentence)]
    row = {
        "parameters": size,
        "validation_accuracy": metrics.band(right(validation, task.validation)).median,
        "accuracy": score.median,
        "low": score.low,
        "high": score.high,
        "together": accuracy.value,
        "together_low": accuracy.low,
        "together_high": accuracy.high,
        "calibration_error": metrics.band([error(one) for one in probability]).median,
        "together_calibration_error": error(together),
        "unknown_words": ids.count(UNK) / len(ids),
    }
    sure = np.where(labels == 1, 1 - together, together)
    mistakes = [
        {"sentence": task.test[n].sentence, "label": task.test[n].label, "positive": together[n]}
        for n in np.argsort(-sure)[:MISTAKES]
    ]
    record.keep("language.json", task.language.to_json())
    record.keep("mistakes.json", json.dumps(mistakes, ensure_ascii=False, indent=1))
    record.finish(row, probability=probability, labels=labels)


def classify(records: list[runs.Record], sentence: str) -> None:
    """What the finished network that does best on validation sentences thinks of a sentence, all its seeds together."""
    networks = [record for record in records if record.config.model != "naive_bayes"]
    if not networks:
        raise ValueError("--classify needs a finished network, found none: train one without it")
    record = max(networks, key=lambda record: record.result["validation_accuracy"])
    language = Language.from_json(record.read("language.json"))
    if warning := language.warning(sentence):
        print(f"warning: {warning}", file=sys.stderr)
    model, loaded = build(record.config, len(language.vocabulary)), runs.load(record.folder)
    batch = Sentiment(language, [], [], []).batch([Example(sentence, 0)])
    logits = [model.apply(loaded.params(seed), batch.inputs, mask=batch.mask) for seed in range(record.config.seeds)]
    odds = np.diff(np.asarray(logits, np.float64)[:, 0])[:, 0]
    positive = 1 / (1 + np.exp(-odds))
    name = "positive" if positive.mean() > 0.5 else "negative"
    each = ", ".join(f"{probability:.2f}" for probability in positive)
    print(f"{record.folder.name}: {100 * record.result['together']:.1f} % of the development sentences are right")
    print(f"> {sentence}\n< {name}, P(positive) = {positive.mean():.2f} (seeds: {each})")


def draw(records: list[runs.Record]) -> Figure:
    """Accuracy of every model and pooling, how far probabilities can be believed, and the surest mistakes."""
    figure, axes = plot.figure(2, 2, width=13.5, height=9)
    models = [record for record in records if record.config.pooling == Config.pooling]
    pooled = [record for record in records if record.config.model == POOLED]
    accuracies(
        axes[0, 0],
        models,
        [f"{LABEL[r.config.model].replace(' ', chr(10))}\n{r.result['parameters']:,}" for r in models],
    )
    axes[0, 0].set_xlabel("below each name: parameters (of naive Bayes: n-grams)")
    accuracies(axes[1, 0], pooled, [record.config.pooling for record in pooled])
    axes[1, 0].set_xlabel(f"how the steps of {LABEL[POOLED]} become one vector")

    networks = [record for record in models if record.config.model not in ("naive_bayes", "bag")] or models
    best = max(networks, key=lambda record: record.result["validation_accuracy"])
    ax: Axes = axes[0, 1]
    counted = [record for record in models if record.config.model in ("naive_bayes", "bag")]
    for style, record in enumerate(dict.fromkeys([*counted, best])):
        found = metrics.calibration(record.arrays["labels"], record.arrays["probability"][0], bins=BINS)
        name = f"{LABEL[record.config.model]}: calibration error {100 * record.result['calibration_error']:.1f} %"
        columns = [100 * column for column in (found.predicted, found.observed, found.low, found.high)]
        plot.curve(ax, *columns, label=name, style=style)
    plot.baseline(ax, [0, 100], [0, 100], label="as sure as right")
    ax.set(xlabel="predicted probability of positive (%)", ylabel="positive sentences (%), 95 % interval")
    ax.set(xlim=(0, 100), ylim=(0, 100), title="can probabilities be believed? (one seed; error: median of seeds)")
    plot.legend(ax, loc="upper left")

    ax = axes[1, 1]
    ax.axis("off")
    lines = []
    for mistake in json.loads(best.read("mistakes.json")):
        truth, sure = ("+", 1 - mistake["positive"]) if mistake["label"] else ("-", mistake["positive"])
        lines += textwrap.wrap(f"{truth} ({100 * sure:.0f} % sure of the opposite) {mistake['sentence']}", 92)
    ax.text(0, 1, "\n".join(lines), va="top", fontsize=8, family="monospace", transform=ax.transAxes)
    ax.set_title(f"surest mistakes of {LABEL[best.config.model]}, seeds together (true class first)", fontsize=10)
    return figure


def accuracies(ax: Axes, records: list[runs.Record], names: list[str]) -> None:
    """One seed, and all seeds together, of some configurations side by side; above the target of 80 %."""
    for shift, style, columns, label in (
        (-0.12, 0, ("accuracy", "low", "high"), "one seed: median and range of seeds"),
        (0.12, 1, ("together", "together_low", "together_high"), "seeds together, 95 % interval over sentences"),
    ):
        places = [place + shift for place in range(len(records))]
        plot.points(
            ax, places, *[[100 * r.result[name] for r in records] for name in columns], label=label, style=style
        )
    ends = [-0.5, len(records) - 0.5]
    plot.baseline(ax, ends, [80, 80], label="80 %")
    ax.set_xticks(range(len(records)), names, fontsize=8)
    ax.set(xlim=ends, ylabel="development sentences right (%)")
    plot.legend(ax, loc="lower right")


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, classify=classify)
