"""Can a network learn to translate an unknown language without a fault?

Paper     Bahdanau, Cho & Bengio 2015, arXiv:1409.0473; Vaswani et al. 2017, arXiv:1706.03762; Bengio et al. 2015,
          arXiv:1506.03099 (scheduled sampling); the creature and its villagers are of tutorial `attention`
Figure    experiments/figures/creature.png
Question  A language with its own word order and endings: do encoder-decoders, with and without attention, translate
          unseen sentences without a fault? And how much do they need teacher forcing (the true translation so far as
          the decoder's input, instead of its own output)?
Expect    Unseen sentences exact: >= 99 % with attention and with the Transformer; without attention, fewer the longer
          they are. After 600 steps, half of the true tokens teach as well as all (<= 1 % is lost); with none at all
          a tenth (.1) is lost.
Answer    Of unseen sentences, {exact model=attention teacher_forcing=1 steps=3000:.1%} are translated exactly with
          attention, {exact model=transformer:.1%} by a Transformer and {exact model=context:.1%} from a context vector;
          after 600 steps, attention has {exact model=attention teacher_forcing=1 steps=600:.1%} with teacher forcing
          and {exact model=attention teacher_forcing=0:.1%} without.
Fair      Equal parameters (within 5 %), steps and data; one learning rate for both GRUs, a third of it for the
          Transformer, not searched. The curve over teacher forcing is one network after fewer steps.
Differs   from the tutorial: a language with a grammar and unlimited sentences, instead of a few pairs; no test sentence
          is another form of a training sentence.
Cost      19 min on one CPU core
Run       python experiments/seq2seq/creature.py
Next      python experiments/seq2seq/creature.py --translate "rasumu pype pulo repi su tiky tymine ke"
"""

from dataclasses import dataclass
from typing import Literal, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from _seq2seq import attention_map, draw_attention_map, draw_percentages, train
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import evaluate, losses, models, plot, runs, tasks
from seqjax.tasks.creature import TARGET_LENGTH
from seqjax.types import EOS, PAD, InputError, Params, Seq2SeqBatch

Model = Literal["context", "attention", "transformer"]

LEARNING_RATE = {"context": 3e-3, "attention": 3e-3, "transformer": 1e-3}

LABEL = {"context": "GRU, context vector", "attention": "GRU, attention", "transformer": "Transformer"}

LOOK = {"context": "gru", "attention": "attention", "transformer": "transformer"}

TEST_SENTENCES, EXAMPLES = 2000, 4

LENGTHS = ((1, 9), (10, 13), (14, 17), (18, 21), (22, 25), (26, 37))
"""Groups of source sentences by length, in tokens including EOS."""


@dataclass(frozen=True)
class Config:
    """One model.

    Attributes:
        model: architecture.
        teacher_forcing: fraction of target words that training feeds back instead of the model's own.
        steps: training updates.
        batch_size: sequences of a batch.
        learning_rate: peak of Adam's learning rate; 0: the architecture's own.
        seeds: random seeds, trained together.
    """

    model: Model = "attention"
    teacher_forcing: float = 1.0
    steps: int = 3_000
    batch_size: int = 64
    learning_rate: float = runs.traced(0.0)
    seeds: int = 1


def configs(scale: runs.Scale) -> list[Config]:
    """Every model, and one of them for fewer steps with decreasing teacher forcing."""
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


def build(config: Config) -> models.Module:
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
    config: Config = records[0].config
    task, model = tasks.Creature(), build(config)

    def loss(params, batch, key):
        options = {"source_mask": batch.source_mask, "target_mask": batch.target_mask}
        inputs = [batch.source, batch.target]
        if config.teacher_forcing < 1:  # at 1 all inputs are known in advance, and read at once
            options |= {"method": "scheduled", "rngs": {"sampling": key}}
            inputs.append(config.teacher_forcing)
        logits = model.apply(params, *inputs, **options)
        return losses.cross_entropy(logits, batch.target, batch.target_mask)

    train_key, test_key = jax.random.split(jax.random.key(0))
    state = train(records, model, task.sample, loss, key=train_key, rates=LEARNING_RATE)

    test = jax.tree.map(np.asarray, task.held_out(test_key, TEST_SENTENCES))
    translations = evaluate.greedy(model, state.params, test)
    exact = (translations == test.target[None]).all(axis=2)
    tokens = test.source_mask.sum(axis=1)
    by_length = [exact[:, (tokens >= low) & (tokens <= high)].mean(axis=1) for low, high in LENGTHS]
    attention = attend(task, model, jax.tree.map(lambda leaf: leaf[0], state.params), test)
    of_runs = exact.mean(axis=1), np.stack(by_length, axis=1), translations
    for record, (of_all, of_lengths, written) in zip(records, runs.by_record(records, of_runs), strict=True):
        examples = [
            [task.read_source(test.source[n]), task.read_target(test.target[n]), task.read_target(written[0, n])]
            for n in range(EXAMPLES)
        ]
        row = runs.scores(record, "exact", of_all)
        record.finish(row, by_length=of_lengths, examples=np.array(examples), **attention)


def attend(task: tasks.Creature, model: models.Module, params: Params, test: Seq2SeqBatch) -> dict[str, np.ndarray]:
    """The attention map of a true translation.

    The sentence is the first of some length with a relative clause, which is in the middle in English and last in the
    creature's language.
    """
    that, tokens = task.target_vocabulary.encode(["that"])[0], test.source_mask.sum(axis=1)
    row = ((test.target == that).any(axis=1) & (tokens >= 14) & (tokens <= 18)).argmax()
    pair = jax.tree.map(lambda side: side[row], test)
    source, target = pair.source[pair.source_mask], pair.target[pair.target_mask]
    return attention_map(model, params, source[None], target[None], (task.source_vocabulary, task.target_vocabulary))


def translate(records: list[runs.Record], sentence: str) -> None:
    """Translate a sentence of the creature with each finished model."""
    task = tasks.Creature()
    syllables = []
    for word in sentence.split():
        first, *rest = [word[place : place + 2] for place in range(0, len(word), 2)]
        syllables += ["▁" + first, *rest]
    if unknown := task.source_vocabulary.unknown(syllables):
        raise InputError(f"the sentence must be made of the creature's syllables, got {', '.join(unknown)}")
    source = jnp.array([[*task.source_vocabulary.encode(syllables), EOS]])
    target = jnp.zeros((1, TARGET_LENGTH), int)
    batch = Seq2SeqBatch(source, target, source != PAD, target != PAD)
    print(f"> {sentence}")
    for record in records:
        run = runs.load(record.folder)
        params = jax.tree.map(lambda leaf: leaf[None], run.params())
        translation = task.read_target(evaluate.greedy(run.model, params, batch)[0, 0])
        print(f"< {translation}   ({record.folder.name}: {100 * record.result['exact']:.1f} % exact)")


def draw(records: list[runs.Record]) -> Figure:
    """Exact translations by length and by teacher forcing, an attention map, and some translations."""
    figure, axes = plot.figure(2, 2, width=13.5, height=9)
    trained = [(record.config.steps, record.config.teacher_forcing) for record in records]
    best = [record for record, how in zip(records, trained, strict=True) if how == max(trained)]

    ax: Axes = axes[0, 0]
    places = range(len(LENGTHS))
    for model in get_args(Model):
        for record in (record for record in best if record.config.model == model):
            name = f"{LABEL[model]} ({record.result['parameters']:,}): {100 * record.result['exact']:.1f} % of all"
            draw_percentages(ax, places, record.arrays["by_length"], label=name, style=LOOK[model])
    ax.set(xlabel="tokens of the source", ylabel="unseen sentences translated exactly (%)", ylim=(-2, 102))
    ax.set_xticks(places, [f"{low}-{high}" for low, high in LENGTHS])
    seeds = plot.over_seeds(record.config.seeds for record in records)
    plot.legend(ax, title=f"{seeds}; parameters in brackets", title_fontsize=8, loc="lower left")

    ax = axes[0, 1]
    with_attention = [record for record in records if record.config.model == "attention"]
    for variant, steps in enumerate(sorted({record.config.steps for record in with_attention}, reverse=True)):
        line = sorted((r for r in with_attention if r.config.steps == steps), key=lambda r: r.config.teacher_forcing)
        if len(line) > 1:
            ratios = [record.config.teacher_forcing for record in line]
            columns = [[100 * record.result[name] for record in line] for name in ("exact", "low", "high")]
            label = f"{LABEL['attention']}, {steps:,} steps"
            plot.curve(ax, ratios, *columns, label=label, style="attention", variant=variant)
            plot.legend(ax, loc="lower left", title=seeds, title_fontsize=8)
    ax.set(xlabel="teacher forcing: fraction of true tokens among the inputs in training", ylim=(-2, 102))
    ax.set_ylabel("unseen sentences translated exactly (%)")

    ax = axes[1, 0]
    for record in (record for record in best if record.config.model == "attention"):
        draw_attention_map(ax, record.arrays)
        ax.set_title(f"attention weights: {LABEL['attention']}")

    ax = axes[1, 1]
    ax.axis("off")
    lines = []
    for sentences in zip(*[record.arrays["examples"] for record in best], strict=True):
        source, reference, _ = sentences[0]
        lines += [f"> {source}", f"= {reference}"]
        lines += [f"< {text} ({record.config.model})" for record, (_, _, text) in zip(best, sentences, strict=True)]
        lines.append("")
    ax.text(0, 1, "\n".join(lines), va="top", fontsize=8, family="monospace", transform=ax.transAxes)
    ax.set_title("unseen sentences: > source, = true translation, < the models' translations", fontsize=10)
    return figure


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""

    def exact(**wanted: object) -> float:
        return runs.value(rows, "exact", **wanted)

    taught = {share: exact(model="attention", steps=600, teacher_forcing=share) for share in (1, 0.5, 0)}
    attention = exact(model="attention", steps=3000)
    return [
        runs.check("exact, attention and Transformer", [attention, exact(model="transformer", steps=3000)], ">= 99 %"),
        runs.less("fewer are exact without attention", exact(model="context", steps=3000), attention),
        runs.check("600 steps: lost with half of the true tokens", taught[1] - taught[0.5], "<= 1 %"),
        runs.check("600 steps: lost with none", taught[1] - taught[0], ".1"),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect, translate=translate)
