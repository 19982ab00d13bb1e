"""How many bits per character do the two small language models need that come with the package?

Paper     tutorial `approximation`, whose `TextGenerator` writes by characters or by words; Karpathy 2015 (char-rnn,
          Tiny Shakespeare); Press & Wolf 2017, arXiv:1608.05859 (tied embeddings); Kneser & Ney 1995
Figure    experiments/figures/shipped_language_models.png
Question  A GRU on characters and one on words, trained for minutes and stored in less than 1 MB each: how many bits per
          character of held-out Tiny Shakespeare do they need, and how many do counted n-grams?
Expect    Characters: 2.45 bits, as the GRU of twice the size in `text_generation`, and fewer than the 5-gram model.
          Words: fewer bits per word than the 3-gram model of words; 10 % of the held-out words are not in the
          vocabulary and have to be spelled.
Answer    Per character of held-out text: {bits model=shakespeare_gru_characters_128:.2f} bits by characters (counted
          5-grams: {counted_bits model=shakespeare_gru_characters_128:.2f}), and
          {bits model=shakespeare_gru_words_64:.2f} by words, {unknown model=shakespeare_gru_words_64:.1%} of which are
          unknown and spelled; per word, with unknown ones unspelled,
          {token_bits model=shakespeare_gru_words_64:.2f} (counted 3-grams:
          {counted_token_bits model=shakespeare_gru_words_64:.2f}).
Fair      no comparison of the two units: sizes and steps differ. The n-gram models are counted on the same training
          text with the same vocabulary. Bits are per character for both units, line ends included: unknown words are
          spelled by counted character 3-grams of the rare words of the training text. One random seed, first settings
          tried. Parameters are those with the best validation loss; bits are those of the weights as they are stored,
          in half precision.
Cost      29 min on two CPU cores that many others used too; 10 min of CPU time
Data      shakespeare
Run       python experiments/language/shipped_language_models.py
Next      python experiments/language/shipped_language_models.py --model shakespeare_gru_characters_128 --dropout 0.2
"""

import dataclasses
import functools
import json
import sys
import textwrap
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from _text import fit, nats_per_token
from matplotlib.figure import Figure

from seqjax import early_stopping, explore, models, plot, pretrained, runs, tasks
from seqjax.data import files, plain_text
from seqjax.data.tokenizers import MARK, Characters, MarkedWords
from seqjax.data.vocabulary import Vocabulary
from seqjax.runs.folder import write_json
from seqjax.tasks.text_generation import TextGeneration
from seqjax.theory.ngrams import KneserNey
from seqjax.types import EOS, UNK

ORDER = {"characters": 5, "words": 3}
"""Of the counted models, of each unit."""

SPELLING_ORDER = 3

LEAST = 3
"""Words that are rarer in the training text are unknown."""

PROMPT = "ROMEO:\n"

LENGTH = {"characters": 600, "words": 160}
"""Tokens of a text in the figure."""

HELD_OUT = "the last 5 % of the characters of tinyshakespeare/input.txt"

DRAWN = 23
"""Lines of a text in the figure."""


@dataclass(frozen=True)
class Config:
    """One of the models.

    Attributes:
        model: name of the shipped model.
        steps: training updates.
        batch_size: windows of a batch.
        dropout: fraction of activations set to 0 in training.
        learning_rate: peak of Adam's learning rate.
        seeds: random seeds, trained together.
        lines: most lines of the text; 0: all of it.
    """

    model: pretrained.TextName = "shakespeare_gru_characters_128"
    steps: int = 1_500
    batch_size: int = 32
    dropout: float = 0.0
    learning_rate: float = 4e-3
    seeds: int = 1
    lines: int = 0


def configs(scale: runs.Scale) -> list[Config]:
    """Both models."""
    dropout = {"characters": 0.0, "words": 0.3}
    both = [Config(model=name, dropout=dropout[unit_of(name)]) for name in get_args(pretrained.TextName)]
    if scale == "smoke":
        return [dataclasses.replace(config, steps=20, batch_size=2, lines=200) for config in both]
    return both


def unit_of(name: str) -> str:
    """Characters or words."""
    return name.split("_")[2]


def build(config: Config, vocab: int) -> models.LanguageModel:
    """The model without parameters."""
    return pretrained.build_language_model(config.model, vocab, config.dropout)


class Source(NamedTuple):
    """A text as a task, and its parts as they are."""

    task: TextGeneration
    parts: plain_text.Parts


@functools.lru_cache(maxsize=2)
def data(name: str, lines: int = 0) -> Source:
    """Tiny Shakespeare as in `text_generation`: the last 5 % are the test text, as many before them for validation."""
    text, _ = plain_text.read(files.data_folder() / "text" / "tinyshakespeare" / "input.txt")
    text = "\n".join(text.split("\n")[: lines or None])
    parts = plain_text.split(text, held_out=len(text) // 20)
    words, window = unit_of(name) == "words", int(name.split("_")[3])
    tokenizer = MarkedWords(lower=False, lines=True) if words else Characters()
    return Source(tasks.TextGeneration.of_text(parts, tokenizer, length=window, least=LEAST if words else 1), parts)


def measure(records: list[runs.Record]) -> None:
    """Train, round to half precision, evaluate on the whole held-out text, and write a text."""
    (record,) = records
    config: Config = record.config
    source = data(config.model, config.lines)
    task, language = source.task, source.task.language
    record.keep("language.json", language.to_json())
    model = build(config, **record.keep_sizes(vocab=len(language.vocabulary)))
    params = jax.tree.map(rounded, early_stopping.chosen(fit(record, task, model)))
    found = [score(source, value) for value in nats_per_token(model, params, task, task.test, task.length)]
    writer = explore.Writer(model, jax.tree.map(itemgetter(0), params), language, task.length)
    unit = unit_of(config.model)
    record.keep("sample.txt", "".join(explore.TextGenerator({unit: writer}, prompt=PROMPT, length=LENGTH[unit]).text()))
    counted = KneserNey.fit(task.train.ids, order=ORDER[unit], vocab=len(language.vocabulary))
    reference = score(source, counted.surprise(task.test.ids)[1:].mean())
    baselines = {f"counted_{column}": reference[column] for column in ("bits", "token_bits")}
    # The shipped one instead of the median.
    record.finish(runs.scores(record, "bits", [one["bits"] for one in found]) | found[0] | baselines)


def rounded(leaf: Any) -> Any:
    """Parameters as they are read from a file in half precision."""
    return jnp.asarray(leaf, jnp.float16).astype(jnp.float32)


def score(source: Source, nats: float) -> dict[str, float]:
    """Bits per character and per token of the test text, from nats per token; unknown tokens are spelled in the first.

    Both together are the length of a code for the whole text, up to repeated spaces.
    """
    task, spelled = source.task, spelling_bits(source)
    return {
        "bits": task.test.bits(nats) + spelled,
        "token_bits": float(nats / np.log(2)),
        "spelling_bits": spelled,
        "unknown": float((task.test.ids[1:] == UNK).mean()),
    }


def spelling_bits(source: Source) -> float:
    """Bits per character of the test text for the letters of its unknown tokens, by n-grams of the rare ones."""
    language = source.task.language
    known = {*language.vocabulary.symbols}
    train, test = (language.tokenizer.split(part) for part in (source.parts.train, source.parts.test))
    rare, new = ([token for token in tokens if token not in known] for tokens in (train, test))
    if not new:
        return 0.0
    letters = Vocabulary.count([[*source.parts.train, *MARK]])

    def spelled(tokens: list[str]) -> np.ndarray:
        return np.array([EOS, *(i for token in tokens for i in (*letters.encode([*token]), EOS))], np.int32)

    model = KneserNey.fit(spelled(rare or train), order=SPELLING_ORDER, vocab=len(letters))
    return float(model.surprise(spelled(new))[1:].sum() / np.log(2) / source.task.test.characters)


def draw(records: list[runs.Record]) -> Figure:
    """Validation bits during training, held-out bits beside counted n-grams, and a text of each model."""
    if is_whole(records):
        ship(records)
    figure, axes = plot.figure(1, 4, width=17.0, height=4.4)
    curves, bars, *texts = axes[0]
    curves.get_gridspec().set_width_ratios([1, 1, 1.3, 1.3])
    for place, record in enumerate(records):
        unit = unit_of(record.config.model)
        steps, bands = record.curve("validation_bits")
        read = [step * record.config.batch_size * int(record.config.model.split("_")[3]) / 1e6 for step in steps]
        look = {"style": "gru", "variant": place}
        plot.curve(curves, read, *bands, label=unit + ", unknown ones unspelled" * (unit == "words"), **look)
        row = record.result
        plot.points(bars, [place], [row["bits"]], [row["low"]], [row["high"]], **look,
                    label=f"{unit} ({row['parameters']:,} parameters)")  # fmt: skip
    curves.set(xlabel="training tokens (millions)", ylabel="bits per character, validation")
    curves.set_title(f"GRU, {plot.over_seeds(record.config.seeds for record in records)}", fontsize=10)
    plot.legend(curves)
    for place, record in enumerate(records):
        order = ORDER[unit_of(record.config.model)]
        plot.levels(bars, [place], [record.result["counted_bits"]], linestyle="--" if place else "-",
                    label=f"{order}-gram model of the same unit, Kneser-Ney")  # fmt: skip
    bars.set(ylabel="bits per character, last 5 % of the text", xlim=(-0.7, len(records) - 0.3))
    bars.set_xticks(range(len(records)), [unit_of(record.config.model) for record in records])
    bars.legend(frameon=False, fontsize=7.5, loc="lower center", bbox_to_anchor=(0.5, 1))
    for ax, record in zip(texts, records, strict=False):
        ax.axis("off")
        lines = [piece for line in record.read("sample.txt").split("\n") for piece in textwrap.wrap(line, 58) or [""]]
        shown = {"va": "top", "fontsize": 8, "family": "monospace", "transform": ax.transAxes, "parse_math": False}
        ax.text(0, 1, "\n".join(lines[:DRAWN]), **shown)
        ax.set_title(f"{unit_of(record.config.model)}, temperature 0.8", fontsize=10)
    return figure


def is_whole(records: list[runs.Record]) -> bool:
    """Whether these are both models, each as it is shipped: weights change with the committed figure."""
    have_weights = all(isinstance(record, runs.Record) for record in records)  # not those of a committed figure
    return have_weights and [r.config for r in records] == configs("laptop") and "--publish" in sys.argv


def ship(records: list[runs.Record]) -> None:
    """Write the weights of each model, those of the first seed, with configuration, bits and vocabulary."""
    for record in records:
        name = record.config.model
        params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), runs.load(record.folder).params(seed=0))
        result = {key: value for key, value in record.result.items() if key not in ("learning_rate", "low", "high")}
        task = f"TextGeneration of Tiny Shakespeare by {unit_of(name)}"
        pretrained.write_params(pretrained.FOLDER / f"{name}.safetensors", params, task)
        summary = {"config": dataclasses.asdict(record.config), "seed": 0, "held_out": HELD_OUT, "result": result}
        language = json.loads(record.read("language.json"))
        write_json(pretrained.FOLDER / f"{name}.json", summary | {"language": language})


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    letters, words = (runs.select(rows, model=f"shakespeare_gru_{unit}") for unit in ("characters_128", "words_64"))
    return [
        runs.check("characters, bits", runs.value(letters, "bits"), "2.45"),
        runs.less("characters: fewer than 5-grams", runs.value(letters, "bits"), runs.value(letters, "counted_bits")),
        runs.less(
            "words: fewer bits per word than 3-grams",
            runs.value(words, "token_bits"),
            runs.value(words, "counted_token_bits"),
        ),
        runs.check("words that are not in the vocabulary", runs.value(words, "unknown"), "10 %"),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
