"""Which network classifies the sentiment of film reviews best, and does any beat naive Bayes?

Paper     Socher et al. 2013, D13-1170 (SST-2); Kim 2014, arXiv:1408.5882; Orvieto et al. 2023, arXiv:2303.06349
          (LRU); Wang & Manning 2012, P12-2018 (naive Bayes); tutorial `sequence_shapes`
Figure    experiments/figures/sentiment.png
Question  With 6,000 sentences, no phrases and no pre-training: does the order of words help beyond their counts, does
          the pooling over time matter, and are the probabilities calibrated?
Expect    Naive Bayes 80.9 % of the development sentences, and no single network does better: medians from 77 (LSTM,
          Transformer) to 79.5 % (bidirectional GRU, maximum); an ensemble of three random seeds has a point (1 %) more,
          up to 80.4 (TCN). The intervals, 5 points wide, contain all of them but the bag of words (74). Pooling matters
          little.
Answer    Naive Bayes classifies {accuracy model=naive_bayes:.1%} of the development sentences correctly, a TCN
          {accuracy model=tcn:.1%}, a bidirectional GRU with maximum pooling
          {accuracy model=gru_both pooling=maximum:.1%}, an LSTM {accuracy model=lstm:.1%}, a Transformer
          {accuracy model=transformer:.1%} and a bag of word vectors {accuracy model=bag:.1%}.
Fair      Equal embeddings, 32,000 parameters above them (the bag of words: 200), equal epochs, dropout, decay and
          learning rate, chosen for the GRU on 720 validation sentences held out of train; each run's epoch and naive
          Bayes' n-grams and smoothing are chosen on the same sentences. The development sentences are for the reported
          numbers alone.
Cost      16 min on one CPU core
Data      sst2
Run       python experiments/language/sentiment.py
Next      python experiments/language/sentiment.py --classify "a film that starts badly and ends beautifully"
"""

import functools
import json
import math
import statistics
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import early_stopping, losses, metrics, models, plot, runs, tasks
from seqjax.data import files, images, own, read_sst2, read_table
from seqjax.data.language import Language
from seqjax.data.sst2 import Example
from seqjax.data.tokenizers import MarkedWords, Words
from seqjax.tasks import Sentiment
from seqjax.theory.naive_bayes import NaiveBayes
from seqjax.types import UNK, InputError

Model = Literal["naive_bayes", "bag", "gru", "lstm", "gru_both", "lstm_both", "tcn", "transformer", "lru"]
Pooling = Literal["last", "ends", "mean", "maximum", "attention"]

LABEL = {
    "naive_bayes": "naive Bayes", "bag": "bag of words", "gru": "GRU", "lstm": "LSTM",
    "gru_both": "GRU, bidirectional", "lstm_both": "LSTM, bidirectional", "tcn": "TCN", "transformer": "Transformer",
    "lru": "LRU",
}  # fmt: skip

LOOK: dict[str, str] = {
    "naive_bayes": "linear", "bag": "bag", "gru": "gru", "lstm": "lstm", "gru_both": "gru", "lstm_both": "lstm",
    "tcn": "tcn", "transformer": "transformer", "lru": "lru",
}  # fmt: skip

POOLED: Model = "gru_both"
"""The backbone with which all poolings are compared."""

PUNCTUATION = ".,!?'"

HELD_OUT, BINS, MISTAKES = 720, 10, 8


@dataclass(frozen=True)
class Config:
    """One backbone with one pooling.

    Attributes:
        model: architecture, or naive Bayes.
        pooling: how outputs over time become one vector.
        rows: size of the training set; 0: all of it.
        embedding: width of word embeddings.
        dropout: fraction of activations set to 0 in training.
        word_dropout: fraction of training words replaced by UNK.
        decay: weight of the squared embeddings in the loss.
        epochs: passes over the training data.
        batch_size: sequences of a batch.
        learning_rate: peak of Adam's learning rate.
        seeds: random seeds, trained together.
        longest: rows with more tokens are left out and counted; 0: none.
        truncate: rows with more tokens are cut to it and counted; 0: none.
        skip_bad: leave malformed rows out and count them, instead of an error.
        table: file of comma-separated values (.tsv: tabs) with your own sentences, in place of SST-2.
        text_column: of the table, with the sentences.
        label_column: of the table, with any names of two classes or more.
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
    longest: int = 0
    truncate: int = 0
    skip_bad: bool = False
    table: str = runs.own_data()
    text_column: str = ""
    label_column: str = ""

    def __post_init__(self) -> None:
        columns = [self.text_column, self.label_column]
        if bool(self.table) and not all(columns):
            raise InputError("text_column and label_column must name columns of the table, got none")
        if any(columns) and not self.table:
            raise InputError("table must name the file with text_column and label_column, got none")


def configs(scale: runs.Scale, own: bool = False) -> list[Config]:
    """Every model, and one of them with every pooling; the same for an own table."""
    if scale == "smoke":
        rows = 0 if own else 512
        return [Config(model=model, rows=rows, embedding=8, epochs=2, seeds=2) for model in ("naive_bayes", POOLED)]
    seeds = {"laptop": 3, "gpu": 10}[scale]
    every = [Config(model, seeds=seeds) for model in get_args(Model)]
    return [*every, *[Config(POOLED, pooling, seeds=seeds) for pooling in get_args(Pooling)]]


def build(config: Config, vocab: int, classes: int = 2) -> models.Module:
    """Embeddings of all words, a backbone of about 32,000 parameters, a pooling, a readout."""
    width, dropout = config.embedding, config.dropout
    match config.model:
        case "naive_bayes":
            raise InputError("naive Bayes is counted, not built")
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
    return models.Classifier(reader, classes=classes, pooling=pooling, dropout=dropout)


def _as_they_are(x, *, mask=None, train=False):
    """The identity: word embeddings without a backbone."""
    return x


@functools.lru_cache(maxsize=1)
def data(
    rows: int, longest: int = 0, truncate: int = 0, skip_bad: bool = False, table: str = "", text: str = "", label=""
) -> Sentiment:
    """The sentences of SST-2, or of an own table, split into training and validation by a fixed random seed.

    SST-2 has a test part of its own; of a table, sentences of each class are held out.
    """
    options: dict[str, Any] = {"longest": longest, "truncate": truncate}
    if table:
        words = MarkedWords()
        found, names, bad = read_table(Path(table), text_column=text, label_column=label, skip_bad=skip_bad)
        spoken = [row for row in found if words.split(row.sentence)]
        bad += len(found) - len(spoken)
        found = list({row.sentence: row for row in spoken[: rows or None]}.values())
        held_out = own.held_out(table, len(found))
        parts = images.split(
            len(found), validation=held_out, test=held_out, seed=0, labels=np.array([row.label for row in found])
        )
        test = [found[row] for row in parts.test]
        train = [found[row] for row in np.sort(np.concatenate([parts.train, parts.validation]))]
        options |= {"held_out": held_out, "least": own.least(len(parts.train))}
    else:
        words, folder = Words(punctuation=PUNCTUATION), files.data_folder() / "sentiment" / "sst2"
        (train, of_train), (test, of_test) = (
            read_sst2(folder / name, skip_bad=skip_bad) for name in ("train.tsv", "dev.tsv")
        )
        train, names, bad = train[: rows or None], ("negative", "positive"), of_train + of_test
        options |= {"held_out": HELD_OUT if not rows else rows // 4, "least": 2}
    task = tasks.Sentiment.of(train, test, words, seed=0, labels=names, **options)
    if text := files.summary("sentences", malformed=bad, long=task.left_out, cut=task.cut):
        print(f"warning: {text}", file=sys.stderr)
    return task


def measure(records: list[runs.Record]) -> None:
    """Train all random seeds and learning rates as one program; each run keeps its best epoch by validation loss."""
    config: Config = records[0].config
    own_table = config.table, config.text_column, config.label_column
    task = data(config.rows, config.longest, config.truncate, config.skip_bad, *own_table)
    if config.model == "naive_bayes":
        count(task, records)
        return
    model = build(config, len(task.language.vocabulary), len(task.labels))
    validation, test = task.encode(task.validation), task.encode(task.test)
    batch_size = min(config.batch_size, len(task.train))
    per_epoch = len(task.train) // batch_size

    def logits(params, batch, **options):
        return model.apply(params, batch.inputs, mask=batch.mask, **options)

    def cost(logits, batch):
        return losses.cross_entropy(logits[:, None], batch.labels[:, None])

    def loss(params, batch, key):
        embeddings = params["params"]["backbone"]["table"]["embedding"]
        data_cost = cost(logits(params, batch, train=True, rngs={"dropout": key}), batch)
        return data_cost + config.decay * jnp.sum(embeddings**2), {"data_cost": data_cost}

    def validate(params):
        found = logits(params, validation)
        return cost(found, validation), {"accuracy": jnp.mean(jnp.argmax(found, axis=-1) == validation.labels)}

    state = runs.train_group(
        records,
        lambda key: model.init(key, validation.inputs[:1]),
        loss,
        task.batches(batch_size, word_dropout=config.word_dropout),
        keys=jax.random.split(jax.random.key(0), config.seeds),
        steps=config.epochs * per_epoch,
        steps_per_report=per_epoch,
        validate=validate,
    )
    params = early_stopping.chosen(state)
    guess = jax.jit(lambda params, batch: jax.lax.map(lambda one: jax.nn.softmax(logits(one, batch)), params))
    judged = [runs.by_record(records, guess(params, batch)) for batch in (validation, test)]
    for record, of_validation, of_test in zip(records, *judged, strict=True):
        finish(record, task, of_validation, of_test)


def count(task: Sentiment, records: list[runs.Record]) -> None:
    """Fit naive Bayes, with the n-grams and smoothing that do best on validation sentences.

    With more than two classes, each against all others.
    """
    split = task.language.tokenizer.split
    sentences, labels = [split(row.sentence) for row in task.train], np.array([row.label for row in task.train])
    seen = [label for label in range(len(task.labels)) if 0 < np.sum(labels == label) < len(labels)]
    asked = seen[1:] if len(task.labels) == 2 else seen

    def judged(fitted, rows):
        found = np.full((1, len(rows), len(task.labels)), 1e-12)  # of a class without a training row
        for label, model in zip(asked, fitted, strict=True):
            found[0, :, label] = 1 / (1 + np.exp([-model(split(row.sentence)) for row in rows]))
        if len(task.labels) == 2:
            found[..., 0] = 1 - found[..., 1]
        return found / found.sum(axis=-1, keepdims=True)

    if not asked:
        raise InputError(f"naive Bayes needs training rows of two labels, got {len(labels)} of one")
    models = [
        [
            NaiveBayes.fit(sentences, (labels == label).astype(int).tolist(), longest=longest, smoothing=smoothing)
            for label in asked
        ]
        for longest in (1, 2)
        for smoothing in (0.25, 0.5, 1.0, 2.0)
    ]
    best = max(models, key=lambda fitted: right(judged(fitted, task.validation), task.validation)[0])
    for record in records:
        record.parameters = sum(1 + len(model.evidence) for model in best)
        finish(record, task, judged(best, task.validation), judged(best, task.test))


def right(probability: np.ndarray, rows: list) -> np.ndarray:
    """Fraction of sentences that each run puts in the right class."""
    return (np.asarray(probability).argmax(axis=-1) == np.array([row.label for row in rows])[None]).mean(axis=1)


def finish(record: runs.Record, task: Sentiment, validation: np.ndarray, probability: np.ndarray) -> None:
    """Write the numbers of one configuration, from the probabilities by each seed (seeds x rows x classes)."""
    probability = np.asarray(probability, np.float64)
    labels = np.array([row.label for row in task.test])
    together = probability.mean(axis=0)
    accuracy = metrics.accuracy(labels, together.argmax(axis=-1))

    def judged(probability):
        """Of two classes P(positive), and which sentences are; else that of the likeliest class, and where it is so."""
        if len(task.labels) == 2:
            return labels, probability[:, 1]
        return (probability.argmax(axis=-1) == labels).astype(int), probability.max(axis=-1)

    def error(probability):
        true, predicted = judged(probability)
        return metrics.calibration(true, np.minimum(predicted, 1), bins=BINS).error

    ids = [number for row in task.test for number in task.language.ids(row.sentence)]
    row = runs.scores(record, "accuracy", right(probability, task.test)) | {
        "validation_accuracy": metrics.band(right(validation, task.validation)).median,
        "together": accuracy.value,
        "together_low": accuracy.low,
        "together_high": accuracy.high,
        "calibration_error": metrics.band([error(one) for one in probability]).median,
        "together_calibration_error": error(together),
        "unknown_words": ids.count(UNK) / len(ids),
    }
    sure = 1 - together[np.arange(len(labels)), labels]
    wrong = [n for n in np.argsort(-sure) if together[n].argmax() != labels[n]]
    mistakes = [
        {"sentence": task.test[n].sentence, "label": task.labels[labels[n]], "others": sure[n]}
        for n in wrong[:MISTAKES]
    ]
    record.keep_sizes(vocab=len(task.language.vocabulary), classes=len(task.labels))
    record.keep("language.json", task.language.to_json())
    record.keep("labels.json", json.dumps(task.labels, ensure_ascii=False))
    record.keep("mistakes.json", json.dumps(mistakes, ensure_ascii=False, indent=1))
    true, predicted = zip(*map(judged, probability), strict=True)
    record.finish(row, probability=np.stack(predicted), labels=np.stack(true))


def classify(records: list[runs.Record], sentence: str) -> None:
    """Classify a sentence with the finished network that does best on validation sentences, averaged over its seeds."""
    networks = [record for record in records if record.config.model != "naive_bayes"]
    if not networks:
        raise InputError("--classify needs a finished network, found none: train one without it")
    record = max(networks, key=lambda record: record.result["validation_accuracy"])
    language = Language.from_json(record.read("language.json"))
    if warning := language.warning(sentence):
        print(f"warning: {warning}", file=sys.stderr)
    run = runs.load(record.folder)
    model = run.model
    batch = Sentiment(language, [], [], []).encode([Example(sentence, 0)])
    logits = [model.apply(run.params(seed), batch.inputs, mask=batch.mask) for seed in range(record.config.seeds)]
    probability = np.asarray(jax.nn.softmax(jnp.asarray(logits)))[:, 0]
    labels, together = json.loads(record.read("labels.json")), probability.mean(axis=0)
    best = int(together.argmax())
    each = ", ".join(f"{one:.2f}" for one in probability[:, best])
    print(f"{record.folder.name}: {100 * record.result['together']:.1f} % of the test sentences are right")
    print(f"> {sentence}\n< {labels[best]}, P({labels[best]}) = {together[best]:.2f} (seeds: {each})")


def draw(records: list[runs.Record]) -> Figure:
    """Accuracy of every model and pooling, a reliability diagram, and the most confident mistakes."""
    figure, axes = plot.figure(2, 2, width=13.5, height=9.0)
    models = [record for record in records if record.config.pooling == Config.pooling]
    pooled = [record for record in records if record.config.model == POOLED]
    accuracies(
        axes[0, 0],
        models,
        [f"{LABEL[r.config.model].replace(' ', chr(10))}\n{r.result['parameters']:,}" for r in models],
    )
    axes[0, 0].set_xlabel("below each name: parameters (of naive Bayes: n-grams)")
    if pooled:
        accuracies(axes[1, 0], pooled, [record.config.pooling for record in pooled])
        axes[1, 0].set_xlabel(f"pooling over time, {LABEL[POOLED]}")
    else:
        axes[1, 0].axis("off")

    networks = [record for record in models if record.config.model not in ("naive_bayes", "bag")] or models
    best = max(networks, key=lambda record: record.result["validation_accuracy"])
    ax: Axes = axes[0, 1]
    counted = [record for record in models if record.config.model in ("naive_bayes", "bag")]
    for record in dict.fromkeys([*counted, best]):
        judged = record.arrays["labels"][0], np.minimum(record.arrays["probability"][0], 1)
        found = metrics.calibration(*judged, bins=BINS)
        name = f"{LABEL[record.config.model]}: calibration error {100 * record.result['calibration_error']:.1f} %"
        columns = [100 * column for column in (found.predicted, found.observed, found.low, found.high)]
        plot.curve(ax, *columns, label=name, style=LOOK[record.config.model])
    plot.baseline(ax, [0, 100], [0, 100], label="perfect calibration")
    labels = json.loads(best.read("labels.json"))
    name = labels[1] if len(labels) == 2 else "the likeliest class"
    ax.set(xlabel=f"predicted probability of {name} (%)", ylabel="sentences of that class (%), 95 % interval")
    ax.set(xlim=(0, 100), ylim=(0, 100), title="calibration of one seed (error: median of seeds)")
    plot.legend(ax, loc="upper left")

    ax = axes[1, 1]
    ax.axis("off")
    lines = []
    for mistake in json.loads(best.read("mistakes.json")):
        sure = f"{100 * mistake['others']:.0f} % for another class"
        lines += textwrap.wrap(f"{mistake['label']} ({sure}) {mistake['sentence']}", 92)
    ax.text(0, 1, "\n".join(lines), va="top", fontsize=8, family="monospace", transform=ax.transAxes)
    ax.set_title(
        f"most confident mistakes of {LABEL[best.config.model]}, ensemble of seeds (true class first)", fontsize=10
    )
    return figure


def accuracies(ax: Axes, records: list[runs.Record], names: list[str]) -> None:
    """Accuracy of single seeds and of their ensemble for some configurations, with the target of 80 % on SST-2."""
    for variant, columns in enumerate((("accuracy", "low", "high"), ("together", "together_low", "together_high"))):
        for place, record in enumerate(records):
            values = [[100 * record.result[name]] for name in columns]
            look = {"style": LOOK[record.config.model], "variant": variant}
            plot.points(ax, [place + 0.24 * (variant - 0.5)], *values, label="", **look)
    single = plot.over_seeds(record.config.seeds for record in records)
    plot.variants(ax, [f"single seeds: {single}", "ensemble of seeds, 95 % interval over sentences"])
    ends = [-0.5, len(records) - 0.5]
    own_table = any(record.config.table for record in records)
    if not own_table:
        plot.baseline(ax, ends, [80, 80], label="80 %")
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom - 0.25 * (top - bottom), top)  # room for the legend
    ax.set_xticks(range(len(records)), names, fontsize=7)
    ax.set(xlim=ends, ylabel=f"accuracy on {'test' if own_table else 'development'} sentences (%)")
    plot.legend(ax, loc="lower right")


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    networks = [row for row in rows if row["model"] not in ("naive_bayes", "bag")]
    bayes = runs.value(rows, "accuracy", model="naive_bayes")
    most = {"model": "gru_both", "pooling": "maximum"}
    gains = [row["together"] - row["accuracy"] for row in networks]
    low, high = (runs.value(rows, f"together_{end}", model="naive_bayes") for end in ("low", "high"))
    return [
        runs.check("naive Bayes", bayes, "80.9 %"),
        runs.less("no single network does better", runs.values(networks, "accuracy"), bayes),
        runs.check("LSTM and Transformer", runs.values(rows, "accuracy", model=("lstm", "transformer")), "77 %"),
        runs.check("bidirectional GRU, maximum", runs.value(rows, "accuracy", **most), "79.5 %"),
        runs.check("an ensemble has more, median", statistics.median(gains) if gains else math.nan, "1 %"),
        runs.check("ensemble of TCNs", runs.value(rows, "together", model="tcn"), "80.4 %"),
        runs.check("width of the intervals", [row["together_high"] - row["together_low"] for row in networks], "5 %"),
        runs.every(
            "naive Bayes' interval has every ensemble of networks",
            [low <= row["together"] <= high for row in networks] if low <= high else [],
        ),
        runs.check("bag of words", runs.value(rows, "accuracy", model="bag"), "74 %"),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect, classify=classify)
