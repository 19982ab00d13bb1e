"""Can the creature's unknown language be learned well enough to translate it for the villagers?

Paper     Bahdanau, Cho & Bengio 2015, arXiv:1409.0473; Vaswani et al. 2017, arXiv:1706.03762; Bengio et al. 2015,
          arXiv:1506.03099 (scheduled sampling); seed S3, whose story this is
Figure    experiments/figures/creature.png
Question  A language with its own word order and endings: do encoder-decoders translate sentences they have never seen
          without a fault, with and without attention? And what does teacher forcing, the true translation so far
          instead of the model's own, do for them?
Expect    Unseen sentences exact: >= 99 % with attention and with the Transformer. Without attention, fewer the longer
          they are. After 600 steps, half of the true tokens teach as well as all; with none at all a tenth is lost.
Fair      Equal parameters (within 5 %), steps and data; one learning rate for both GRUs, a third of it for the
          Transformer, as usual. The curve over teacher forcing is one network after fewer steps, all its runs alike.
Differs   from seed S3: a language that has a grammar and as many sentences as anyone asks for, instead of a few pairs;
          no sentence is tested in another form of which the model was trained.
Cost      19 min on one CPU core
Run       python experiments/seq2seq/creature.py
Next      python experiments/seq2seq/creature.py --translate "rasumu pype pulo repi su tiky tymine ke"
"""

from dataclasses import dataclass
from typing import Any, Literal, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import evaluate, losses, metrics, models, plot, runs, sweep, tasks, train
from seqjax.tasks import Creature
from seqjax.tasks.creature import TARGET_LENGTH
from seqjax.types import EOS, PAD, Seq2SeqBatch

Model = Literal["context", "attention", "transformer"]

LEARNING_RATE = {"context": 3e-3, "attention": 3e-3, "transformer": 1e-3}

LABEL = {"context": "GRU, context vector", "attention": "GRU, attention", "transformer": "Transformer"}

TEST_SENTENCES, EXAMPLES = 2000, 4

LENGTHS = ((1, 9), (10, 13), (14, 17), (18, 21), (22, 25), (26, 37))
"""Tokens of a source sentence, its EOS among them, in the groups by which translations are judged apart."""


@dataclass(frozen=True)
class Config:
    """One model, and how often it reads back the true token in training; a learning rate of 0 stands for its own."""

    model: Model = "attention"
    teacher_forcing: float = 1.0
    steps: int = 3_000
    batch_size: int = 64
    learning_rate: float = runs.traced(0.0)
    seeds: int = 1

    @property
    def rate(self) -> float:
        """The learning rate in use."""
        return self.learning_rate or LEARNING_RATE[self.model]


def configs(scale: runs.Scale) -> list[Config]:
    """Every model, and one of them for fewer steps with less and less teacher forcing."""
    if scale == "smoke":
        return [Config(teacher_forcing=ratio, steps=20, seeds=2) for ratio in (1.0, 0.5)]
    steps, fewer, ratios, seeds = {
        "laptop": (3_000, 600, (1.0, 0.75, 0.5, 0.0), 1),
        "gpu": (20_000, 5_000, (1.0, 0.75, 0.5, 0.25, 0.0), 5),
    }[scale]
    return [
        *[Config(model=model, steps=steps, seeds=seeds) for model in get_args(Model)],
        *[Config(teacher_forcing=ratio, steps=fewer, seeds=seeds) for ratio in ratios],
    ]


def build(config: Config) -> nn.Module:
    """About 0.47 M parameters each."""
    match config.model:
        case "context":
            encoder, decoder = models.Recurrent(224), models.RecurrentDecoder(224, bridge=models.CopyState())
        case "attention":
            attention = models.AdditiveAttention(64)
            encoder, decoder = models.Bidirectional(192), models.BahdanauDecoder(160, attention=attention)
        case "transformer":
            encoder = models.Transformer(100, heads=4, layers=2, expansion=2, causal=False)
            decoder = models.TransformerDecoder(100, heads=4, layers=2, expansion=2)
        case _:
            assert_never(config.model)
    sizes = [len(side) for side in (tasks.Creature().source_vocabulary, tasks.Creature().target_vocabulary)]
    return models.EncoderDecoder(encoder, decoder, *sizes, embedding=64)


def measure(records: list[runs.Record]) -> None:
    """Seeds and learning rates are one program, and every batch is a fresh one."""
    group = [record.config for record in records]
    config = group[0]
    task, model = tasks.Creature(), build(config)

    def loss(params, batch, key):
        options = {"source_mask": batch.source_mask, "target_mask": batch.target_mask}
        read = [batch.source, batch.target]
        if config.teacher_forcing < 1:  # at 1 all tokens are known beforehand, and read at once
            options |= {"method": "scheduled", "rngs": {"sampling": key}}
            read.append(config.teacher_forcing)
        logits = jnp.asarray(model.apply(params, *read, **options))
        return losses.cross_entropy(logits, batch.target, batch.target_mask), {}

    def sample(key, rate):
        return task.sample(key, config.batch_size)

    train_key, test_key = jax.random.split(jax.random.key(0))
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

    test = jax.tree.map(np.asarray, task.held_out(test_key, TEST_SENTENCES))
    said = evaluate.greedy(model, state.params, test)
    exact = (said == test.target[None]).all(axis=2)
    tokens = test.source_mask.sum(axis=1)
    by_length = [exact[:, (tokens >= low) & (tokens <= high)].mean(axis=1) for low, high in LENGTHS]
    by_length = np.stack(by_length, axis=1)
    params = jax.tree.map(lambda leaf: leaf[0], state.params)
    shown = look(task, model, params, test)
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
        examples = [
            [task.read_source(test.source[n]), task.read_target(test.target[n]), task.read_target(said[runs_of][0][n])]
            for n in range(EXAMPLES)
        ]
        record.finish(row, by_length=by_length[runs_of], examples=np.array(examples), **shown)


def look(task: Creature, model: nn.Module, params: Any, test: Seq2SeqBatch) -> dict[str, np.ndarray]:
    """Where a model looks while it writes a true translation, and the tokens of both sides.

    The sentence is the first of some length with a relative clause: English has it in the middle, the creature last.
    """
    that, tokens = task.target_vocabulary.encode(["that"])[0], test.source_mask.sum(axis=1)
    row = ((test.target == that).any(axis=1) & (tokens >= 14) & (tokens <= 18)).argmax()
    pair = jax.tree.map(lambda side: side[row], test)
    source, target = pair.source[pair.source_mask], pair.target[pair.target_mask]
    looked: Any = model.apply(params, source[None], target[None], method="align")
    return {
        "attention": np.asarray(looked.weights[0]),
        "read": np.array([task.source_vocabulary.symbols[number] for number in source]),
        "written": np.array([task.target_vocabulary.symbols[number] for number in target]),
    }


def translate(records: list[runs.Record], sentence: str) -> None:
    """What each finished model makes of a sentence of the creature."""
    task = tasks.Creature()
    syllables = []
    for word in sentence.split():
        first, *rest = [word[place : place + 2] for place in range(0, len(word), 2)]
        syllables += ["▁" + first, *rest]
    if unknown := task.source_vocabulary.unknown(syllables):
        raise ValueError(f"the sentence must be made of the creature's syllables, got {', '.join(unknown)}")
    source = jnp.array([[*task.source_vocabulary.encode(syllables), EOS]])
    target = jnp.zeros((1, TARGET_LENGTH), int)
    batch = Seq2SeqBatch(source, target, source != PAD, target != PAD)
    print(f"> {sentence}")
    for record in records:
        params = jax.tree.map(lambda leaf: leaf[None], runs.load(record.folder).params())
        said = task.read_target(evaluate.greedy(build(record.config), params, batch)[0, 0])
        print(f"< {said}   ({record.folder.name}: {100 * record.result['exact']:.1f} % exact)")


def draw(records: list[runs.Record]) -> Figure:
    """Exact translations by length and by teacher forcing, where the model looks, and some of what it says."""
    figure, axes = plot.figure(2, 2, width=13.5, height=9)
    trained = [(record.config.steps, record.config.teacher_forcing) for record in records]
    best = [record for record, how in zip(records, trained, strict=True) if how == max(trained)]

    ax: Axes = axes[0, 0]
    places = range(len(LENGTHS))
    for style, model in enumerate(get_args(Model)):
        for record in (record for record in best if record.config.model == model):
            bands = [metrics.band(100 * column) for column in record.arrays["by_length"].T]
            name = f"{LABEL[model]} ({record.result['parameters']:,}): {100 * record.result['exact']:.1f} % of all"
            plot.curve(ax, places, *zip(*bands, strict=True), label=name, style=style)
    ax.set(xlabel="tokens read", ylabel="unseen sentences translated exactly (%)", ylim=(-2, 102))
    ax.set_xticks(places, [f"{low}-{high}" for low, high in LENGTHS])
    plot.legend(ax, title="parameters in brackets", title_fontsize=8, loc="lower left")

    ax = axes[0, 1]
    looking = [record for record in records if record.config.model == "attention"]
    for style, steps in enumerate(sorted({record.config.steps for record in looking}), start=3):
        line = sorted((r for r in looking if r.config.steps == steps), key=lambda r: r.config.teacher_forcing)
        if len(line) > 1:
            ratios = [record.config.teacher_forcing for record in line]
            columns = [[100 * record.result[name] for record in line] for name in ("exact", "low", "high")]
            plot.curve(ax, ratios, *columns, label=f"{LABEL['attention']}, {steps:,} steps", style=style)
            plot.legend(ax, loc="upper left")
    ax.set(xlabel="teacher forcing: share of true tokens read back in training", ylim=(-2, 102))
    ax.set_ylabel("unseen sentences translated exactly (%)")

    ax = axes[1, 0]
    for record in (record for record in best if record.config.model == "attention"):
        shown = record.arrays
        plot.heat_map(ax, shown["attention"].mean(axis=0), shown["written"], shown["read"])
        ax.set(xlabel="read", ylabel="written", title=f"where it looks: {LABEL['attention']}")

    ax = axes[1, 1]
    ax.axis("off")
    lines = []
    for sentences in zip(*[record.arrays["examples"] for record in best], strict=True):
        source, reference, _ = sentences[0]
        lines += [f"> {source}", f"= {reference}"]
        lines += [f"< {said} ({r.config.model})" for r, (_, _, said) in zip(best, sentences, strict=True)]
        lines.append("")
    ax.text(0, 1, "\n".join(lines), va="top", fontsize=8, family="monospace", transform=ax.transAxes)
    ax.set_title("unseen sentences: > the creature's, = the true translation, < the models'", fontsize=10)
    return figure


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, translate=translate)
