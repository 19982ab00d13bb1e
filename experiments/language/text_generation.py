"""Which architecture writes the best prose after one look at the text, and does any beat counting n-grams?

Paper     Karpathy, nanoGPT (github.com/karpathy/nanoGPT, README: Tiny Shakespeare on a CPU); Kneser & Ney 1995; Bai,
          Kolter & Koltun 2018, arXiv:1803.01271, table 1; seed S4
Figure    experiments/figures/text_generation.png
Question  Equal parameters, tokens and steps: how many bits does each architecture need for a character of held-out
          text, and how many does the 5-gram model of the same training text need, which is counted in a second?
Expect    Transformer on the last 5 % of Tiny Shakespeare: 1.83 nats a character (nanoGPT of this size after as many
          steps: 1.88 on its last 10 %). After 1.5 million characters, each seen 1.6 times, GRU (1.70) and LSTM (1.74)
          are ahead of it and just beat the 5-gram model (1.75); LRU (1.79), RNN (1.80) and TCN (1.86) do not. On the
          Penn Treebank, with as few steps, the 5-gram model stays ahead of an LSTM in every unit.
Fair      Equal parameters (0.83 M within 1 %; with words, the tied embeddings come on top), equal tokens in the same
          windows; learning rates as usual for each kind, not searched. Parameters are those of the best validation.
          Bits are a character's for all units, line ends counted.
Differs   from nanoGPT: rotary positions, Adam as everywhere here instead of AdamW (norms clipped at 1, warm-up, half a
          cosine to 0), every architecture, evaluation on all of the held-out text. From seed S4: real text, characters
          and words and pieces, sampling with temperature and truncation. From the usual with the Penn Treebank: windows
          start anywhere with empty memory, and the last 5 % of the training sentences choose the parameters.
Cost      25 min on one CPU core
Run       SEQJAX_DATA=path/to/data python experiments/language/text_generation.py
Next      python experiments/language/text_generation.py --prompt "This is a very good"
"""

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import decode, evaluate, explore, losses, metrics, models, plot, runs, sweep, tasks, train
from seqjax.data import files, plain_text
from seqjax.data.language import Language
from seqjax.data.tokenizers import Characters, Subwords, Whitespace
from seqjax.decode import Beams, Decoded
from seqjax.tasks.text_generation import TextGeneration
from seqjax.theory import ngrams
from seqjax.types import EOS

Corpus = Literal["shakespeare", "penn"]
Unit = Literal["characters", "pieces", "words"]
Model = Literal["rnn", "gru", "lstm", "tcn", "lru", "transformer"]
Size = Literal["small", "large"]

LEARNING_RATE = {"rnn": 1e-3, "gru": 3e-3, "lstm": 3e-3, "tcn": 1e-3, "lru": 3e-3, "transformer": 3e-3}
"""As usual for each kind at small size; 3e-3 for the Transformer was tried first, and kept."""

LABEL = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM", "tcn": "TCN", "lru": "LRU", "transformer": "Transformer"}

PIECES = 2_000
"""Symbols of the byte-pair encoding."""

VALIDATED = 192
"""Windows of the validation text, spread over all of it, by which parameters are chosen."""

WRITTEN = {"characters": 300, "pieces": 100, "words": 50}
"""Tokens of a continuation."""

ORDER = 5
"""Tokens of the longest n-gram that is counted."""


@dataclass(frozen=True)
class Config:
    """One architecture on one text, of which `lines` bounds each file (0: all of it).

    A learning rate of 0 stands for the architecture's own.
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

    @property
    def rate(self) -> float:
        """The learning rate in use; a large model takes a third."""
        return self.learning_rate or LEARNING_RATE[self.model] / (1 if self.size == "small" else 3)


def configs(scale: runs.Scale) -> list[Config]:
    """Every architecture on Tiny Shakespeare; the Penn Treebank by characters, pieces and words."""
    if scale == "smoke":
        return [Config(model="rnn", length=8, batch_size=2, steps=20, seeds=2, lines=150)]
    if scale == "laptop":
        full, penn = Config(seeds=1), Config(corpus="penn", model="lstm", seeds=1)
    else:
        full = Config(size="large", length=256, batch_size=64, steps=5_000, dropout=0.2)
        penn = replace(full, corpus="penn", model="lstm", dropout=0.4, steps=10_000)
    units: list[Config] = [replace(penn, unit=unit) for unit in get_args(Unit)]
    others: tuple[Model, ...] = ("gru", "transformer") if scale == "gpu" else ()
    words = [replace(penn, unit="words", model=model) for model in others]
    return [*(replace(full, model=model) for model in get_args(Model)), *units, *words]


def build(config: Config, vocab: int) -> nn.Module:
    """Small: 0.83 M parameters within 1 %, as nanoGPT's for a CPU; large: 10.8 M within 3 %, as its for a GPU."""
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
def data(corpus: Corpus, unit: Unit, length: int, lines: int) -> TextGeneration:
    """The text as ids: to learn from, to choose by, and the last 5 % of it (Penn Treebank: its validation file)."""
    folder = files.data_folder() / "text"
    if corpus == "shakespeare":
        if unit != "characters":
            raise ValueError(f"unit must be characters for shakespeare, whose lines are part of the text, got {unit}")
        text = plain_text.read(folder / "tinyshakespeare" / "input.txt")
        text = "\n".join(text.split("\n")[: lines or None])
        return tasks.TextGeneration.of_text(
            plain_text.split(text, held_out=len(text) // 20), Characters(), length=length
        )
    train, public = (
        plain_text.sentences(folder / "ptb" / f"ptb.{part}.txt")[: lines or None] for part in ("train", "valid")
    )
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


@functools.lru_cache(maxsize=1)
def counted(corpus: Corpus, unit: Unit, length: int, lines: int) -> dict[str, float]:
    """Bits a character by counting alone: Kneser-Ney models of the training text, and what no bigram can beat."""
    task = data(corpus, unit, length, lines)
    vocab, test = len(task.language.vocabulary), task.test
    found = {"bigram_floor": test.bits(ngrams.plug_in_entropy(test.ids, 2))}
    for order in (1, 2, ORDER):
        model = ngrams.KneserNey.fit(task.train.ids, order=order, vocab=vocab)
        found[f"{order}_gram"] = test.bits(model.surprise(test.ids)[1:].mean())
    return found


def measure(records: list[runs.Record]) -> None:
    """Train on windows that start anywhere, choose by validation windows, judge on the whole held-out text."""
    group = [record.config for record in records]
    (config,), (record,) = group, records
    task = data(config.corpus, config.unit, config.length, config.lines)
    record.keep("language.json", task.language.to_json())
    model = build(config, len(task.language.vocabulary))

    def costs(params, windows):
        logits = jnp.asarray(model.apply(params, windows.inputs))
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, windows.labels)
        return jnp.where(windows.counted, nats, 0.0).sum(axis=1)

    def loss(params, batch, key):
        logits = jnp.asarray(model.apply(params, batch.inputs, train=True, rngs={"dropout": key}))
        return losses.cross_entropy(logits, batch.labels), {}

    def sample(key, rate):
        return task.sample(key, config.batch_size)

    # All of the validation text would take as long as a quarter of the training.
    every = task.windows(task.validation, stride=config.length)
    rows = np.linspace(0, len(every.inputs) - 1, min(VALIDATED, len(every.inputs))).astype(int)
    few = jax.tree.map(lambda array: jnp.asarray(array[rows, None]), every)

    def validate(params):
        nats = jax.lax.map(functools.partial(costs, params), few, batch_size=12).sum() / few.counted.sum()
        return nats, {"validation_bits": nats * task.validation.bits(1.0)}

    state, advance = sweep.sweep(
        lambda key: model.init(key, jnp.zeros((1, config.length), jnp.int32)),
        loss,
        lambda rate: train.adam(rate, config.steps),
        sample,
        keys=jax.random.split(jax.random.key(0), config.seeds),
        settings=jnp.full(config.seeds, config.rate),
        steps=config.steps // 20,
        vectorise=False,
    )
    state = runs.fit(records, *sweep.keep_best(state, advance, validate), config.steps)
    params = sweep.chosen(state)

    @jax.jit
    def judged(windows):
        return jax.lax.map(lambda params: costs(params, windows), params).T

    def nats(stride):
        windows = task.windows(task.test, stride=stride)
        return evaluate.in_chunks(judged, windows, batch_size=24).sum(axis=0) / windows.counted.sum()

    apart = nats(config.length)
    bits = metrics.band([task.test.bits(value) for value in apart])
    # Every token but the first ones from three quarters of a window or more.
    overlapping = metrics.band([task.test.bits(value) for value in nats(config.length // 4)])
    first = jax.tree.map(lambda leaf: leaf[0], params)
    write = writer(config, model, first, task.language)
    record.keep("sample.txt", write("ROMEO:" if config.corpus == "shakespeare" else "", "temperature 0.8"))
    row = {
        "learning_rate": config.rate,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(first)),
        "nats": metrics.band(apart).median,
        "perplexity": float(np.exp(metrics.band(apart).median)),
        "bits": bits.median,
        "low": bits.low,
        "high": bits.high,
        "overlapping_bits": overlapping.median,
        **counted(config.corpus, config.unit, config.length, config.lines),
    }
    record.finish(row)


def ways() -> dict[str, Callable[..., Decoded | Beams]]:
    """How the next token may be chosen, by name."""
    drawn = functools.partial(decode.sample, jax.random.key(0))
    return {
        "likeliest token": decode.greedy,
        "temperature 0.8": functools.partial(drawn, temperature=0.8),
        "top-k 10": functools.partial(drawn, top_k=10),
        "top-p 0.9": functools.partial(drawn, top_p=0.9),
        "min-p 0.1": functools.partial(drawn, min_p=0.1),
        "beam of 5": functools.partial(decode.beam, width=5),
    }


def writer(config: Config, model: nn.Module, params: Any, language: Language) -> Callable[[str, str], str]:
    """Continues a prompt in one of the `ways`, with as many of the last tokens in view as in training."""
    # A sentence follows the end of another; a text in one piece has no such mark.
    prefix = () if config.corpus == "shakespeare" else (EOS,)
    write = explore.Writer(model, params, language, config.length, prefix)
    return lambda prompt, way: "".join(write(prompt, ways()[way], length=WRITTEN[config.unit]))


def prompt(records: list[runs.Record], text: str) -> None:
    """How the best finished model goes on from a text: likeliest, temperature, top-k, top-p, min-p, beam search.

    The best of those that know the most of its characters or words.
    """
    languages = [Language.from_json(record.read("language.json")) for record in records]
    unknowns = [language.unknown(text) for language in languages]
    best = min(range(len(records)), key=lambda place: (len(unknowns[place]), records[place].result["bits"]))
    record, language, unknown = records[best], languages[best], unknowns[best]
    config = record.config
    if unknown:
        if config.unit == "characters":
            raise ValueError(
                f"the prompt must hold characters of the training text, got {', '.join(map(repr, unknown))}"
            )
        print(f"warning: read as <unk>: {', '.join(unknown)}", file=sys.stderr)
    write = writer(config, build(config, len(language.vocabulary)), runs.load(record.folder).params(), language)
    print(f"{record.folder.name}: {record.result['bits']:.3f} bits a character")
    for way in ways():
        print(f"\n--- {way}\n{write(text, way)}")


def draw(records: list[runs.Record]) -> Figure:
    """Bits while learning, bits on the held-out text beside n-grams, the Penn Treebank by units, and a sample."""
    figure, axes = plot.figure(2, 2, width=13.5, height=9.5)
    style = {model: number for number, model in enumerate(get_args(Model))}
    plays = [record for record in records if record.config.corpus == "shakespeare"]
    news = [record for record in records if record.config.corpus == "penn"]

    ax: Axes = axes[0, 0]
    for record in plays:
        history = runs.load(record.folder).history
        steps = sorted({row["step"] for row in history})
        bands = [metrics.band([row["validation_bits"] for row in history if row["step"] == step]) for step in steps]
        read = [step * record.config.batch_size * record.config.length / 1e6 for step in steps]
        plot.curve(
            ax, read, *zip(*bands, strict=True), label=LABEL[record.config.model], style=style[record.config.model]
        )
    ax.set(xlabel="characters read (millions)", ylabel="bits a character, validation text", title="Tiny Shakespeare")
    plot.legend(ax)

    ax = axes[0, 1]
    for place, record in enumerate(plays):
        row, model = record.result, record.config.model
        name = f"{LABEL[model]} ({row['parameters']:,} parameters)"
        plot.points(ax, [place], [row["bits"]], [row["low"]], [row["high"]], label=name, style=style[model])
        above = row["bits"] > row["5_gram"]  # away from that line
        ax.annotate(f"{row['nats']:.3f} nats", (place, row["high"]), (0, 7 if above else -15), fontsize=8, ha="center",
                    textcoords="offset points")  # fmt: skip
    ax.set_xticks(range(len(plays)), [LABEL[record.config.model] for record in plays])
    ends = [-0.6, len(plays) + 1.6]  # room for the names of the lines
    ax.set(ylabel="bits a character, last 5 % of the text", xlim=ends, title="Tiny Shakespeare")
    if plays:
        row = plays[0].result
        for key, name in _lines():
            plot.baseline(ax, ends, [row[key]] * 2, label=None)
            ax.annotate(f"{name}: {row[key]:.2f}", (ends[1], row[key]), (0, 3), textcoords="offset points", fontsize=8,
                        ha="right")  # fmt: skip

    ax = axes[1, 0]
    units = [unit for unit in get_args(Unit) if any(record.config.unit == unit for record in news)]
    for model, number in style.items():
        rows = [record for record in news if record.config.model == model]
        if rows:
            places = [units.index(record.config.unit) + 0.12 * (number - 2) for record in rows]
            columns = [[record.result[name] for record in rows] for name in ("bits", "low", "high")]
            plot.points(ax, places, *columns, label=LABEL[model], style=number)
            for place, record in zip(places, rows, strict=True):
                if record.config.unit == "words":
                    ax.annotate(f"{record.result['perplexity']:.0f}", (place, record.result["high"]), (0, 6),
                                textcoords="offset points", fontsize=8, ha="center")  # fmt: skip
    by_unit = {record.config.unit: record.result for record in news}
    found = [by_unit[unit][f"{ORDER}_gram"] for unit in units]
    plot.levels(ax, range(len(units)), found, label=f"{ORDER}-gram model of the unit, Kneser-Ney", linestyle="--")
    ax.set_xticks(range(len(units)), units)
    ax.set(ylabel="bits a character, validation file", title="Penn Treebank by unit (numbers: perplexity of a word)")
    ax.set_xlim(-0.6, len(units) - 0.4)
    plot.legend(ax)

    ax = axes[1, 1]
    ax.axis("off")
    if plays:
        best = min(plays, key=lambda record: record.result["bits"])
        shown = best.read("sample.txt").splitlines()[:18]
        ax.text(0, 1, "\n".join(shown), va="top", fontsize=9, family="monospace", transform=ax.transAxes)
        ax.set_title(f"{LABEL[best.config.model]} after “ROMEO:”, temperature 0.8")
    return figure


def _lines() -> list[tuple[str, str]]:
    """What is drawn across: keys of a result, and what they mean."""
    return [
        ("1_gram", "unigram model"),
        ("2_gram", "bigram model"),
        ("bigram_floor", "no bigram model can be below"),
        (f"{ORDER}_gram", f"{ORDER}-gram model, Kneser-Ney"),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, prompt=prompt)
