"""Which architecture is the best language model after short training, and does any beat n-grams?

Paper     Karpathy, nanoGPT (github.com/karpathy/nanoGPT, README: Tiny Shakespeare on a CPU); Kneser & Ney 1995; Bai,
          Kolter & Koltun 2018, arXiv:1803.01271, table 1
Figure    experiments/figures/text_generation.png
Question  Equal parameters, tokens and steps: how many bits per character of held-out text does each architecture need,
          and how many does a Kneser-Ney 5-gram model of the same training text need, which is counted in a second?
Expect    Transformer on the last 5 % of Tiny Shakespeare: 1.83 nats per character (nanoGPT of this size after as many
          steps: 1.88 on its last 10 %). After 1.5 million characters, 1.6 epochs, GRU (1.70) and LSTM (1.74) are better
          than it and than the 5-gram model (1.75); LRU (1.79), RNN (1.80) and TCN (1.86) are not. On the Penn Treebank,
          after as few steps, the 5-gram model is better than an LSTM in every unit.
Answer    Bits per character of held-out Tiny Shakespeare: GRU {bits corpus=shakespeare model=gru:.2f}, LSTM
          {bits corpus=shakespeare model=lstm:.2f}, Transformer {bits corpus=shakespeare model=transformer:.2f}, counted
          5-grams {5_gram corpus=shakespeare model=gru:.2f}; of the Penn Treebank: LSTM on characters
          {bits corpus=penn unit=characters:.2f}, 5-grams {5_gram corpus=penn unit=characters:.2f}.
Fair      Equal parameters (0.83 M within 1 %; for words, plus the tied embeddings), equal tokens in the same windows;
          usual learning rates for each architecture, not searched. Parameters are those with the best validation loss.
          Bits are per character for all units, with line ends counted.
Differs   from nanoGPT: rotary positions, Adam as everywhere here instead of AdamW (norms clipped at 1, warm-up, half a
          cosine to 0), every architecture, evaluation on all of the held-out text. From common practice with the Penn
          Treebank: windows start anywhere with empty memory, and the last 5 % of the training sentences are the
          validation data.
Cost      25 min on one CPU core
Data      shakespeare ptb
Run       python experiments/language/text_generation.py
Next      python experiments/language/text_generation.py --prompt "This is a very good" --temperature 0.7
"""

import functools
import math
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple, assert_never, get_args

import jax
import numpy as np
from _text import fit, nats_per_token
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import decode, early_stopping, explore, metrics, models, plot, pretrained, runs, tasks
from seqjax.data import files, plain_text
from seqjax.data.language import Language
from seqjax.data.tokenizers import Characters, Subwords, Whitespace
from seqjax.decode import Beams, Decoded
from seqjax.tasks.text_generation import TextGeneration
from seqjax.theory import ngrams
from seqjax.types import EOS, InputError

Corpus = Literal["shakespeare", "penn", "own"]
Unit = Literal["characters", "pieces", "words"]
Model = Literal["rnn", "gru", "lstm", "tcn", "lru", "transformer"]
Size = Literal["small", "large"]

LEARNING_RATE = {"rnn": 1e-3, "gru": 3e-3, "lstm": 3e-3, "tcn": 1e-3, "lru": 3e-3, "transformer": 3e-3}
"""Usual values for each architecture at small size; 3e-3 for the Transformer was the first one tried."""

LABEL = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM", "tcn": "TCN", "lru": "LRU", "transformer": "Transformer"}

PIECES = 2_000
"""Vocabulary size of the byte-pair encoding."""

WRITTEN = {"characters": 300, "pieces": 100, "words": 50}
"""Tokens of a generated text."""

BEGIN = 20
"""Characters at the beginning of an own text, with which a sample begins."""

ORDER = 5
"""Order of the longest n-gram model."""


@dataclass(frozen=True)
class Config:
    """One architecture on one text.

    Attributes:
        corpus: Tiny Shakespeare, the Penn Treebank, or own for a file of your own, which `text` names.
        unit: what a token is.
        model: architecture.
        size: number of parameters: about 0.8 or 10.8 million.
        length: tokens of a window; with --prompt, of the text to generate.
        batch_size: windows of a batch.
        steps: training updates.
        dropout: fraction of activations set to 0 in training.
        learning_rate: peak of Adam's learning rate; 0: the architecture's own, a third of it for large models.
        seeds: random seeds, trained together.
        lines: most lines of each file; 0: all of it.
        skip_bad: leave malformed lines out and count them, instead of an error.
        text: your own text in place of the corpora, by characters.
    """

    corpus: Corpus = "shakespeare"
    unit: Unit = "characters"
    model: Model = "transformer"
    size: Size = "small"
    length: int = 64
    batch_size: int = 12
    steps: int = 2_000
    dropout: float = 0.0
    learning_rate: float = 0.0
    seeds: int = 3
    lines: int = 0
    skip_bad: bool = False
    text: str = runs.own_data()

    def __post_init__(self) -> None:
        runs.settle_own(self, "corpus", "text")


def configs(scale: runs.Scale, own: bool = False) -> list[Config]:
    """Every architecture on Tiny Shakespeare, or on an own text; the Penn Treebank by characters, pieces and words."""
    if scale == "smoke":
        return [Config(model="rnn", length=8, batch_size=2, steps=20, seeds=2, lines=150)]
    if scale == "laptop":
        full, penn = Config(seeds=1), Config(corpus="penn", model="lstm", seeds=1)
    else:
        full = Config(size="large", length=256, batch_size=64, steps=5_000, dropout=0.2)
        penn = replace(full, corpus="penn", model="lstm", dropout=0.4, steps=10_000)
    every = [replace(full, model=model) for model in get_args(Model)]
    if own:
        return every
    units: list[Config] = [replace(penn, unit=unit) for unit in get_args(Unit)]
    others: tuple[Model, ...] = ("gru", "transformer") if scale == "gpu" else ()
    words = [replace(penn, unit="words", model=model) for model in others]
    return [*every, *units, *words]


def build(config: Config, vocab: int) -> models.Module:
    """Small: 0.83 M parameters within 1 %, as nanoGPT's CPU model; large: 10.8 M within 3 %, as its GPU model."""
    small = config.size == "small"
    depth: dict[str, Any] = {"layers": 2 if small else 3, "dropout": config.dropout}
    match config.model:
        case "rnn":
            backbone = models.RNN(491 if small else 1420, **depth)
        case "gru":
            backbone = models.GRU(277 if small else 804, **depth)
        case "lstm":
            backbone = models.LSTM(238 if small else 694, **depth)
        case "tcn":
            dilations = (1, 2, 4, 8) if small else (1, 2, 4, 8, 16, 32)  # 61 and 253 tokens are seen
            backbone = models.TCN(184 if small else 548, 3, dilations, dropout=config.dropout)
        case "lru":
            width, layers = (180, 4) if small else (540, 6)
            backbone = models.LRU(width, layers=layers, dropout=config.dropout)
        case "transformer":
            width, heads, layers = (128, 4, 4) if small else (384, 6, 6)
            shape: dict[str, Any] = {"heads": heads, "layers": layers, "dropout": config.dropout}
            backbone = models.Transformer(width, positions=models.Rotary(), **shape)
        case _:
            assert_never(config.model)
    embedding = 128 if small else 384
    tied = config.unit != "characters"  # where the vocabulary is large, one table is most of the parameters
    return models.LanguageModel(backbone, vocab, embedding=embedding, dropout=config.dropout, tied=tied)


@functools.lru_cache(maxsize=1)
def data(
    corpus: Corpus, unit: Unit, length: int, lines: int, skip_bad: bool = False, own_text: str = ""
) -> TextGeneration:
    """Training, validation and test text as ids; the test text is the last 5 % (Penn Treebank: its validation file)."""
    if corpus != "penn":
        if unit != "characters":
            raise InputError(f"unit must be characters for {corpus}, whose lines are part of the text, got {unit}")
        shakespeare = "text/tinyshakespeare/input.txt"
        path = Path(own_text) if corpus == "own" else files.data_folder() / shakespeare
        text, bad = plain_text.read(path, skip_bad=skip_bad)
        warn(bad)
        text = "\n".join(text.split("\n")[: lines or None])
        held_out = len(text) // 20
        if corpus == "own":
            if len(text) < 4 * length:
                wanted = f"{4 * length} characters or more for --length {length}"
                raise files.DataError([f"{path}: expected {wanted}, found {len(text)}"])
            held_out = max(held_out, length)  # a window
        return tasks.TextGeneration.of_text(plain_text.split(text, held_out=held_out), Characters(), length=length)
    folder = files.data_folder() / "text"
    (train, bad), (public, more) = (
        plain_text.sentences(folder / "ptb" / f"ptb.{part}.txt", skip_bad=skip_bad) for part in ("train", "valid")
    )
    warn(bad + more)
    train, public = train[: lines or None], public[: lines or None]
    kept = len(train) - len(train) // 20
    match unit:
        case "characters":
            tokenizer = Characters()
        case "pieces":
            tokenizer = Subwords.train(train[:kept], size=PIECES, lower=False)
        case "words":
            tokenizer = Whitespace()
        case _:
            assert_never(unit)
    return tasks.TextGeneration.of_sentences(train[:kept], train[kept:], public, tokenizer, length=length)


def warn(malformed: int) -> None:
    """Say how many lines were left out."""
    if text := files.summary("lines", malformed=malformed):
        print(f"warning: {text}", file=sys.stderr)


@functools.lru_cache(maxsize=1)
def counted(
    corpus: Corpus, unit: Unit, length: int, lines: int, skip_bad: bool = False, own_text: str = ""
) -> dict[str, float]:
    """Bits per character of Kneser-Ney models of the training text, and the lower bound of all bigram models."""
    task = data(corpus, unit, length, lines, skip_bad, own_text)
    vocab, test = len(task.language.vocabulary), task.test
    found = {"bigram_floor": test.bits(ngrams.plug_in_entropy(test.ids, 2))}
    for order in (1, 2, ORDER):
        model = ngrams.KneserNey.fit(task.train.ids, order=order, vocab=vocab)
        found[f"{order}_gram"] = test.bits(model.surprise(test.ids)[1:].mean())
    return found


def measure(records: list[runs.Record]) -> None:
    """Train, then evaluate on the whole held-out text, and generate a sample."""
    (record,) = records
    config: Config = record.config
    source = config.corpus, config.unit, config.length, config.lines, config.skip_bad, config.text
    task = data(*source)
    record.keep("language.json", task.language.to_json())
    model = build(config, **record.keep_sizes(vocab=len(task.language.vocabulary)))
    rates = {config.model: LEARNING_RATE[config.model] / (1 if config.size == "small" else 3)}
    params = early_stopping.chosen(fit(record, task, model, rates))

    per_token = functools.partial(nats_per_token, model, params, task, task.test)
    separate = per_token(config.length)
    # Each token but the first ones has three quarters of a window or more as context.
    overlapping = per_token(config.length // 4)
    write = writer(config, model, jax.tree.map(itemgetter(0), params), task.language)
    own_begin = task.language.text(task.train.ids[1 : 1 + BEGIN])
    begin = {"shakespeare": "ROMEO:", "penn": "", "own": own_begin}[config.corpus]
    search = strategies()["temperature 0.8"]
    record.keep("sample.txt", "".join(write(begin, search, length=WRITTEN[config.unit])))
    row = runs.scores(record, "bits", [task.test.bits(value) for value in separate]) | {
        "nats": metrics.band(separate).median,
        "perplexity": float(np.exp(metrics.band(separate).median)),
        "overlapping_bits": metrics.band([task.test.bits(value) for value in overlapping]).median,
        **counted(*source),
    }
    record.finish(row)


def strategies(seed: int = 0, temperature: float | None = None) -> dict[str, Callable[..., Decoded | Beams]]:
    """Decoding strategies by name; with a temperature, random draws at this one alone."""
    sample = functools.partial(decode.sample, jax.random.key(seed))
    if temperature is not None:
        return {f"temperature {temperature:g}": functools.partial(sample, temperature=temperature)}
    return {
        "greedy": decode.greedy,
        "temperature 0.8": functools.partial(sample, temperature=0.8),
        "top-k 10": functools.partial(sample, top_k=10),
        "top-p 0.9": functools.partial(sample, top_p=0.9),
        "min-p 0.1": functools.partial(sample, min_p=0.1),
        "beam search, width 5": functools.partial(decode.beam, width=5),
    }


def writer(config: Config, model: models.Module, params: Any, language: Language) -> explore.Writer:
    """What continues a prompt, in the context length of the training."""
    # EOS separates sentences; the other corpora are one running text.
    prefix = (EOS,) if config.corpus == "penn" else ()
    return explore.Writer(model, params, language, config.length, prefix)


class Trained(NamedTuple):
    """A language model that can continue a prompt: a finished run, or one of the package's.

    Attributes:
        bits: per character of held-out text.
        load: reads its parameters.
    """

    name: str
    unit: str
    model: str
    bits: float
    language: Language
    load: Callable[[], explore.Writer]


def of_run(record: runs.Record) -> Trained:
    """The model of a finished run."""
    config, language = record.config, Language.from_json(record.read("language.json"))

    def load() -> explore.Writer:
        run = runs.load(record.folder)
        return writer(config, run.model, run.params(), language)

    return Trained(record.folder.name, config.unit, config.model, record.result["bits"], language, load)


def of_package(name: pretrained.TextName) -> Trained:
    """A model that comes with the package."""
    _, model, unit, _ = name.split("_")
    write = explore.Writer(*pretrained.load(name))
    bits = files.read_json(pretrained.FOLDER / f"{name}.json")["result"]["bits"]
    return Trained(name, unit, model, bits, write.language, lambda: write)


def prompt(
    records: Sequence[runs.Record] = (),
    text: str = "",
    *,
    temperature: float | None = None,
    seed: int = 0,
    length: int | None = None,
    unit: Unit | None = None,
    model: Model | None = None,
) -> None:
    """Continue a text, by the best finished model that knows most of its tokens, or by one of the package's.

    Args:
        temperature: with --prompt: of random draws, 0 for the likeliest tokens; without it, every decoding strategy.
        seed: with --prompt: of the random draws.
        length: tokens to generate, instead of those of a window.
        unit, model: which of the models to choose from.
    """
    if temperature is not None and not 0 <= temperature < math.inf:
        raise InputError(f"--temperature must be finite and >= 0, got {temperature}")
    if seed < 0:
        raise InputError(f"--seed must be >= 0, got {seed}")
    if length is not None and length < 1:
        raise InputError(f"--length must be >= 1, got {length}")

    def fitting(found: Iterable[Trained]) -> list[Trained]:
        return [one for one in found if unit in (None, one.unit) and model in (None, one.model)]

    candidates = fitting(map(of_run, records)) or fitting(map(of_package, get_args(pretrained.TextName)))
    if not candidates:
        named = " and ".join(f"--{name} {value}" for name, value in (("unit", unit), ("model", model)) if value)
        raise InputError(f"{named} must be that of a finished run or of a model of the package, found none")
    best = min(candidates, key=lambda one: (len(one.language.unknown(text)), one.bits))
    if unknown := best.language.unknown(text):
        if best.unit == "characters":
            raise InputError(
                f"the prompt must hold characters of the training text, got {', '.join(map(repr, unknown))}"
            )
        print(f"warning: read as <unk>: {', '.join(unknown)}", file=sys.stderr)
    write = best.load()
    print(f"{best.name}: {best.bits:.3f} bits per character")
    for name, search in strategies(seed, temperature).items():
        print(f"\n--- {name}\n{''.join(write(text, search, length=length or WRITTEN[best.unit]))}")


def draw(records: list[runs.Record]) -> Figure:
    """Validation bits during training, test bits beside n-gram models, the Penn Treebank by unit, and a sample."""
    figure, axes = plot.figure(2, 2, width=13.5, height=9.5)
    plays = [record for record in records if record.config.corpus != "penn"]
    title = "Tiny Shakespeare" if not plays or plays[0].config.corpus != "own" else Path(plays[0].config.text).name
    news = [record for record in records if record.config.corpus == "penn"]

    ax: Axes = axes[0, 0]
    for record in plays:
        steps, bands = record.curve("validation_bits")
        read = [step * record.config.batch_size * record.config.length / 1e6 for step in steps]
        shown = plot.bands(bands, len(plays))
        plot.curve(ax, read, *shown, label=LABEL[record.config.model], style=record.config.model)
    seeds = plot.over_seeds((record.config.seeds for record in plays), len(plays)) if plays else ""
    ax.set(xlabel="training characters (millions)", ylabel="bits per character, validation", title=f"{title}, {seeds}")
    plot.legend(ax)

    ax = axes[0, 1]
    for place, record in enumerate(plays):
        row, model = record.result, record.config.model
        name = f"{LABEL[model]} ({row['parameters']:,} parameters)"
        plot.points(ax, [place], [row["bits"]], [row["low"]], [row["high"]], label=name, style=model)
        above = row["bits"] > row["5_gram"]  # the label is on the side away from that line
        ax.annotate(f"{row['bits']:.2f}", (place, row["high"]), (0, 7 if above else -15), fontsize=8, ha="center",
                    textcoords="offset points")  # fmt: skip
    ax.set_xticks(range(len(plays)), [LABEL[record.config.model] for record in plays])
    ends = [-0.6, len(plays) + 1.6]  # with space for the labels of the lines
    ax.set(ylabel="bits per character, last 5 % of the text", xlim=ends, title=title)
    ax.margins(y=0.1)
    if plays:
        row = plays[0].result
        for key, name in _lines():
            plot.baseline(ax, ends, [row[key]] * 2, label=None)
            ax.annotate(f"{name}: {row[key]:.2f}", (ends[1], row[key]), (0, 3), textcoords="offset points", fontsize=8,
                        ha="right")  # fmt: skip

    ax = axes[1, 0]
    units = [unit for unit in get_args(Unit) if any(record.config.unit == unit for record in news)]
    for number, model in enumerate(get_args(Model)):
        rows = [record for record in news if record.config.model == model]
        if rows:
            places = [units.index(record.config.unit) + 0.12 * (number - 2) for record in rows]
            columns = [[record.result[name] for record in rows] for name in ("bits", "low", "high")]
            plot.points(ax, places, *columns, label=LABEL[model], style=model)
            for place, record in zip(places, rows, strict=True):
                if record.config.unit == "words":
                    ax.annotate(f"perplexity {record.result['perplexity']:.0f}", (place, record.result["high"]), (0, 6),
                                textcoords="offset points", fontsize=8, ha="center")  # fmt: skip
    ax.axis("on" if news else "off")
    by_unit = {record.config.unit: record.result for record in news}
    found = [by_unit[unit][f"{ORDER}_gram"] for unit in units]
    plot.levels(ax, range(len(units)), found, label=f"{ORDER}-gram model of the same unit, Kneser-Ney", linestyle="--")
    ax.set_xticks(range(len(units)), units)
    title = "Penn Treebank by unit" if news else ""
    ax.set(ylabel="bits per character, validation file", title=title)
    ax.set_xlim(-0.6, len(units) - 0.4)
    plot.legend(ax)

    ax = axes[1, 1]
    ax.axis("off")
    if plays:
        best = min(plays, key=lambda record: record.result["bits"])
        lines = best.read("sample.txt").splitlines()
        shown = [part for line in lines for part in textwrap.wrap(line, 72) or [""]][:18]
        ax.text(0, 1, "\n".join(shown), va="top", fontsize=9, family="monospace", transform=ax.transAxes)
        after = "“ROMEO:”" if best.config.corpus == "shakespeare" else f"{BEGIN} characters of the text"
        ax.set_title(f"{LABEL[best.config.model]} after {after}, temperature 0.8")
    return figure


def _lines() -> list[tuple[str, str]]:
    """The baselines: columns of a result, and their labels."""
    return [
        ("1_gram", "unigram model"),
        ("2_gram", "bigram model"),
        ("bigram_floor", "lower bound of all bigram models"),
        (f"{ORDER}_gram", f"{ORDER}-gram model, Kneser-Ney"),
    ]


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    text = runs.select(rows, corpus="shakespeare", unit="characters")
    penn = runs.select(rows, corpus="penn", model="lstm")
    nats = {row["model"]: row["nats"] for row in text}
    better, worse = ("gru", "lstm"), ("lru", "rnn", "tcn")
    counted = [row["5_gram"] * math.log(2) for row in text]
    return [
        runs.check("Transformer, nats per character", nats.get("transformer", math.nan), "1.83"),
        runs.check("GRU, LSTM, nats", [nats.get(model, math.nan) for model in better], "1.70, 1.74"),
        runs.check("5-gram model, nats", counted, "1.75"),
        runs.check("LRU, RNN, TCN, nats", [nats.get(model, math.nan) for model in worse], "1.79, 1.80, 1.86"),
        runs.less(
            "GRU and LSTM need fewer than 5-grams",
            [nats.get(m, math.nan) for m in better],
            min(counted, default=math.nan),
        ),
        runs.less("LRU, RNN and TCN do not", max(counted, default=math.nan), [nats.get(m, math.nan) for m in worse]),
        runs.less(
            "Penn: 5-grams need fewer bits per character than the LSTM in every unit",
            runs.values(penn, "5_gram"),
            runs.values(penn, "bits"),
        ),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect, prompt=prompt)
