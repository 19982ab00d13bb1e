"""Which part of speech is each word, and how much do character features and right context help?

Paper     Ma & Hovy 2016, arXiv:1603.01354 (characters, bidirectional LSTM, CRF); Nivre et al. 2020, arXiv:2004.10643
          (Universal Dependencies; the treebank is English EWT)
Figure    experiments/figures/tagging.png
Question  One of 17 parts of speech for every word of web text: how much do a word's characters, the words after it, and
          a CRF over the tags add, and how good is the most frequent tag of each word?
Expect    Development words correct: 91.7 % from words alone, 94.1 % with characters; of words that are not in the
          training part 56 and 74 %. A linear model of five words is half a point (.5 %) below the bidirectional LSTM of
          words alone; the most frequent tag has 86 %.
Answer    A bidirectional LSTM tags {accuracy model=words:.1%} of the words correctly from words alone and
          {accuracy model=letters:.1%} with their characters; words never seen in training {unseen model=words:.1%} and
          {unseen model=letters:.1%}. The most frequent tag of each word is right for {table model=words:.1%}.
Fair      Same sentences, epochs and learning rate (not searched), early stopping on 500 sentences held out of train.
          The forward LSTM (gpu scale, as the CRF) has the parameters of the bidirectional one (within 1 %). Changed
          after development words had been seen: models with characters have a higher UNK rate and wider kernels (no
          difference, 93.1 %), and there are 8 epochs instead of 4 (the step from 93.1 to 94.1).
Differs   from Ma & Hovy: no pretrained vectors.
Cost      26 min on one CPU core
Data      ud-english-ewt
Run       python experiments/language/tagging.py
Next      python experiments/language/tagging.py --tag "They will google the unfriendliest of tweets ."
"""

import functools
import json
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import early_stopping, evaluate, losses, metrics, models, plot, runs, tasks, train
from seqjax.data import files, own, treebank
from seqjax.data.batching import pad
from seqjax.data.treebank import UPOS
from seqjax.data.vocabulary import Vocabulary
from seqjax.models import crf
from seqjax.tasks import Speller, Tagging
from seqjax.tasks.tagging import hold_out
from seqjax.types import UNK, InputError, Labelled

Model = Literal["window", "words", "forward", "letters", "crf"]

LABEL = {
    "window": "linear, two\nwords each side", "words": "bidirectional,\nwords alone",
    "forward": "forward,\nwith characters", "letters": "bidirectional,\nwith characters",
    "crf": "bidirectional, with\ncharacters and CRF",
}  # fmt: skip

UNKNOWN = {"window": 0.05, "words": 0.05, "forward": 0.25, "letters": 0.25, "crf": 0.25}
"""Fraction of training words replaced by UNK: higher for models with characters, which do not need a word's id."""

EXAMPLES = 6

COLOURS = {
    "#9ecae9": ("NOUN", "PROPN", "PRON"),
    "#fdbf85": ("VERB", "AUX"),
    "#a8d8b0": ("ADJ", "ADV", "NUM", "DET"),
    "#e8b7d4": ("ADP", "CCONJ", "SCONJ", "PART"),
    "#dddddd": ("PUNCT", "SYM", "INTJ", "X"),
}
"""Colours of tags: nouns, verbs, modifiers, function words, the rest."""


@dataclass(frozen=True)
class Config:
    """One model.

    Attributes:
        model: architecture.
        sentences: size of the training set; 0: all of it.
        features: width of the hidden layers.
        epochs: passes over the training data.
        batch_size: sequences of a batch.
        shapes: lengths that sentences are padded to.
        dropout: fraction of activations set to 0 in training.
        unknown: fraction of training words replaced by UNK.
        learning_rate: peak of Adam's learning rate.
        seeds: random seeds, trained together.
        longest: rows with more tokens are left out and counted; 0: none.
        truncate: rows with more tokens are cut to it and counted; 0: none.
        skip_bad: leave malformed rows out and count them, instead of an error.
        conllu: your own treebank in place of English EWT: a file to train on, and perhaps one for the test.
            Without the second, a tenth of the first is held out.
    """

    model: Model = "letters"
    sentences: int = 0
    features: int = 256
    epochs: int = 8
    batch_size: int = 32
    shapes: int = 4
    dropout: float = 0.5
    unknown: float = 0.05
    learning_rate: float = 3e-3
    seeds: int = 3
    longest: int = 0
    truncate: int = 0
    skip_bad: bool = False
    conllu: tuple[str, ...] = runs.own_data(())

    def __post_init__(self) -> None:
        object.__setattr__(self, "conllu", tuple(self.conllu))  # JSON has lists
        if len(self.conllu) > 2:
            raise InputError(f"conllu must name one or two files, got {len(self.conllu)}")


def configs(scale: runs.Scale, own: bool = False) -> list[Config]:
    """Models that each add one part to the previous one; at gpu scale all of them; the same on an own treebank."""
    if scale == "smoke":
        return [Config("crf", sentences=0 if own else 200, features=16, epochs=1, shapes=1, seeds=1)]
    features, epochs, seeds = {"laptop": (256, 8, 3), "gpu": (512, 20, 5)}[scale]
    every = Config(features=features, epochs=epochs, seeds=seeds)
    models: tuple[Model, ...] = get_args(Model) if scale == "gpu" else ("window", "words", "letters")
    return [replace(every, model=model, unknown=UNKNOWN[model]) for model in models]


def build(config: Config, words: int, letters: int) -> models.Module:
    """A tagger of word embeddings with 100 features, and 80 features of characters."""
    both_ways, characters = (
        models.Bidirectional(config.features, models.LSTMCell()),
        models.CharacterCNN(letters, embedding=25, features=80, kernel_size=5),
    )
    match config.model:
        case "window":
            backbone, characters = models.Window(config.features), None
        case "words":
            backbone, characters = both_ways, None
        case "forward":
            backbone = models.LSTM(round(0.8 * config.features))
        case "letters" | "crf":
            backbone = both_ways
        case _:
            assert_never(config.model)
    options: dict[str, Any] = {"dropout": config.dropout, "unknown": config.unknown}
    tagger = models.Tagger(backbone, len(UPOS), words, embedding=100, characters=characters, **options)
    return models.CRF(tagger) if config.model == "crf" else tagger


@functools.lru_cache(maxsize=1)
def data(
    sentences: int, longest: int = 0, truncate: int = 0, skip_bad: bool = False, own_files: tuple[str, ...] = ()
) -> Tagging:
    """UD English EWT, or an own treebank, with its own division into words."""
    if own_files:
        paths = [Path(name) for name in own_files]
    else:
        names = [f"pos/ud_english_ewt/en_ewt-ud-{part}.conllu" for part in ("train", "dev")]
        paths = [files.data_folder(*names) / name for name in names]
    parts, skipped = zip(*(treebank.conllu(path, skip_bad=skip_bad) for path in paths), strict=True)
    if sentences:
        parts = [part[:sentences] for part in parts]
    if len(parts) == 1:
        parts = hold_out(parts[0], own.held_out(paths[0], len(parts[0])), seed=1)
    train, test = parts
    held_out = own.held_out(paths[0], len(train), parts=1) if own_files else min(500, len(train) // 5)
    options: dict[str, Any] = {"held_out": held_out, "longest": longest, "truncate": truncate}
    task = tasks.Tagging.of(train, test, seed=0, least=own.least(len(train)) if own_files else 2, **options)
    if text := files.summary("sentences", malformed=sum(skipped), long=task.left_out, cut=task.cut):
        print(f"warning: {text}", file=sys.stderr)
    return task


def measure(records: list[runs.Record]) -> None:
    """Train, then tag the development part."""
    (record,) = records
    config: Config = record.config
    task = data(config.sentences, config.longest, config.truncate, config.skip_bad, config.conllu)
    record.keep("words.json", task.speller.words.to_json())
    record.keep("letters.json", task.speller.letters.to_json())
    sizes = record.keep_sizes(words=len(task.speller.words), letters=len(task.speller.letters))
    model = build(record.config, **sizes)
    state = fit(record, task, model)

    test, unseen = task.encode(task.test), task.unseen(task.test)
    mask, labels = np.asarray(test.mask), np.asarray(test.labels)
    tag, params = jax.jit(functools.partial(guessed, model)), early_stopping.chosen(state)
    seeds = [jax.tree.map(itemgetter(seed), params) for seed in range(record.config.seeds)]
    guesses = np.stack([evaluate.in_chunks(functools.partial(tag, seed), test, batch_size=64) for seed in seeds])
    right = 1.0 * (guesses == labels[None])
    # A small test part may hold no such word.
    rare = dict.fromkeys(metrics.Band._fields)
    if unseen.any():
        rare = metrics.band(right[:, unseen].mean(axis=1))._asdict()
    table = 1.0 * (_most_frequent(task) == labels)
    row = runs.scores(record, "accuracy", right[:, mask].mean(axis=1)) | {
        "validation_error": float(np.median(state.opt_state.loss)),
        "unseen": rare["median"],
        "unseen_low": rare["low"],
        "unseen_high": rare["high"],
        "table": float(table[mask].mean()),
        "table_unseen": float(table[unseen].mean()) if unseen.any() else None,
        "unseen_words": float(unseen.sum() / mask.sum()),
    }
    record.keep("examples.json", json.dumps(_examples(task, guesses[0], mask, unseen), ensure_ascii=False, indent=1))
    record.finish(row, confusion=metrics.confusion(labels, guesses[0], len(UPOS), mask))


def fit(record: runs.Record, task: Tagging, model: models.Module) -> train.TrainState:
    """Train all random seeds, and keep of each the parameters with the fewest validation errors."""
    config: Config = record.config
    buckets = task.buckets(task.train, min(config.batch_size, len(task.train)), config.shapes)
    validation = task.buckets(task.validation, 1, min(2, config.shapes)).parts

    def loss(params, batch, key):
        found = model.apply(params, *batch.inputs, mask=batch.mask, train=True, rngs={"dropout": key})
        if config.model == "crf":
            emissions, transitions = found
            return -crf.log_likelihood(emissions, transitions, batch.labels, batch.mask).sum() / batch.mask.sum()
        return losses.cross_entropy(found, batch.labels, batch.mask)

    def validate(params):
        wrong = [(guessed(model, params, part) != part.labels) & part.mask for part in validation]

        def fraction(chosen):
            errors = [jnp.sum(one & which) for one, which in zip(wrong, chosen, strict=True)]
            return jnp.sum(jnp.stack(errors)) / jnp.sum(jnp.stack([which.sum() for which in chosen]))

        unknown = [part.inputs.ids == UNK for part in validation]
        return fraction([part.mask for part in validation]), {"validation_unknown": fraction(unknown)}

    return runs.train_group(
        [record],
        lambda key: model.init(key, *validation[0].inputs),
        loss,
        buckets,
        keys=jax.random.split(jax.random.key(0), config.seeds),
        steps=config.epochs * buckets.per_epoch,
        steps_per_report=buckets.per_epoch,
        validate=validate,
    )


def _examples(task: Tagging, guesses: np.ndarray, mask: np.ndarray, unseen: np.ndarray) -> list[dict[str, Any]]:
    """The first development sentences that fit into the figure and contain a word that is not in the training part."""
    fits = (mask.sum(axis=1) >= 7) & (mask.sum(axis=1) <= 11) & unseen.any(axis=1)
    return [
        {
            "words": task.test[place].words,
            "tags": task.test[place].tags,
            "guesses": [UPOS[tag] for tag in guesses[place][mask[place]]],
            "unseen": unseen[place][mask[place]].tolist(),
        }
        for place in np.flatnonzero(fits)[:EXAMPLES]
    ]


def guessed(model, params, batch):
    """The best tags: the most likely one of each word, or with a CRF those of the best path."""
    found = model.apply(params, *batch.inputs, mask=batch.mask)
    if isinstance(found, tuple):
        emissions, transitions = found
        return crf.viterbi(emissions, transitions, batch.mask).tags
    return jnp.argmax(found, axis=-1)


def _most_frequent(task: Tagging) -> np.ndarray:
    """The most frequent tag of each development word in training; for unseen words, that of words seen once."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sentence in task.train:
        for word, tag in zip(*sentence, strict=True):
            counts[word][tag] += 1
    once: Counter[str] = sum((found for found in counts.values() if found.total() == 1), Counter())
    best = {word: UPOS.index(found.most_common(1)[0][0]) for word, found in counts.items()}
    other = UPOS.index((once or sum(counts.values(), Counter())).most_common(1)[0][0])
    return pad([[best.get(word, other) for word in sentence.words] for sentence in task.test])[0]


def tag(records: list[runs.Record], sentence: str) -> None:
    """Tag a sentence, its words and punctuation marks separated by spaces, with the best finished model."""
    record = min(records, key=lambda record: record.result["validation_error"])
    speller = Speller(*(Vocabulary.from_json(record.read(f"{name}.json")) for name in ("words", "letters")))
    if not (words := sentence.split()):
        raise InputError(f"the sentence must hold a word, got {sentence!r}")
    inputs, mask = speller.read([words])
    run = runs.load(record.folder)
    batch = Labelled(jax.tree.map(jnp.asarray, inputs), jnp.zeros(mask.shape, int), jnp.asarray(mask))
    found = guessed(run.model, run.params(), batch)[0]
    print(f"{record.folder.name}: {100 * record.result['accuracy']:.1f} % of the development words")
    for word, number, place in zip(words, inputs.ids[0], found, strict=True):
        print(f"  {UPOS[int(place)]:6}{word}{'   (unknown word)' if number == UNK else ''}")


def draw(records: list[runs.Record]) -> Figure:
    """Accuracy of each model on all words and on unseen ones, the confusion matrix of the best, and some sentences."""
    figure, axes = plot.figure(2, 2, width=13.5, height=10.0)
    places = range(len(records))
    words = 100 * records[0].result["unseen_words"]
    for ax, name, low, high, table, title in (
        (axes[0, 0], "accuracy", "low", "high", "table", "all words"),
        (
            axes[0, 1],
            "unseen",
            "unseen_low",
            "unseen_high",
            "table_unseen",
            f"words that are not in the training part ({words:.1f} %)",
        ),
    ):
        for place, record in zip(places, records, strict=True):
            if record.result[name] is None:
                continue
            columns = [[100 * record.result[column]] for column in (name, low, high)]
            style = "linear" if record.config.model == "window" else "lstm"
            plot.points(ax, [place], *columns, label="", style=style)
            ax.annotate(f"{columns[0][0]:.1f}", (place, columns[0][0]), (8, -3), textcoords="offset points")
        if (frequent := records[0].result[table]) is not None:
            plot.baseline(ax, [-0.5, len(records) - 0.5], [100 * frequent] * 2, label="most frequent tag of a word")
        plot.variants(ax, [plot.over_seeds(record.config.seeds for record in records)])
        names = [f"{LABEL[r.config.model]}\n{r.result['parameters'] / 1e6:.2f} M" for r in records]
        ax.set_xticks(places, names, fontsize=8)
        ax.set(ylabel="accuracy (%)", xlabel="model, parameters", title=title, xlim=(-0.5, len(records) - 0.5))
        ax.margins(y=0.1)
    plot.legend(axes[0, 0], loc="upper left")

    best = min(records, key=lambda record: record.result["validation_error"])
    called = LABEL[best.config.model].replace("\n", " ")
    counts = best.arrays["confusion"]
    seen = counts.sum(axis=1) > 0
    fractions = counts[seen] / counts[seen].sum(axis=1, keepdims=True)
    ax = axes[1, 0]
    # The square root makes errors of a few percent visible.
    plot.heat_map(
        ax, np.sqrt(fractions), [f"{tag} ({n})" for tag, n in zip(UPOS, counts.sum(axis=1), strict=True) if n], UPOS
    )
    ax.set(
        xlabel="predicted tag", ylabel="true tag (words)", title=f"confusion matrix (root of the fraction)\n{called}"
    )
    _sentences(axes[1, 1], json.loads(best.read("examples.json")))
    axes[1, 1].set_title(f"unseen words in bold, the true tag in brackets\n{called}")
    return figure


def _sentences(ax: Axes, examples: list[dict[str, Any]]) -> None:
    """Each word above its tag, coloured by kind."""
    colour = {tag: colour for colour, tags in COLOURS.items() for tag in tags}
    ax.axis("off")
    ax.set(xlim=(0, 88), ylim=(-len(examples), 0.2))
    for row, example in enumerate(examples):
        left = 0.0
        for word, true, guess, unseen in zip(
            *(example[k] for k in ("words", "tags", "guesses", "unseen")), strict=True
        ):
            below = guess if guess == true else f"{guess} ({true})"
            width = max(1.35 * len(word), 0.95 * len(below), 2.0) + 0.8
            box = {"facecolor": colour[guess], "edgecolor": "none" if guess == true else "black", "pad": 1.6}
            weight = "bold" if unseen else "normal"
            ax.text(left + width / 2, -row - 0.3, word, ha="center", fontsize=8.5, weight=weight)
            ax.text(left + width / 2, -row - 0.62, below, ha="center", fontsize=5.5, bbox=box)
            left += width


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    accuracy = {model: runs.value(rows, "accuracy", model=model) for model in ("window", "words", "letters")}
    unseen = [runs.value(rows, "unseen", model=model) for model in ("words", "letters")]
    return [
        runs.check("words alone, characters", [accuracy["words"], accuracy["letters"]], "91.7, 94.1 %"),
        runs.check("words not in the training part", unseen, "56, 74 %"),
        runs.check("a linear model of five words has less", accuracy["words"] - accuracy["window"], ".5 %"),
        runs.check("the most frequent tag", runs.value(rows, "table", model="words"), "86 %"),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect, tag=tag)
