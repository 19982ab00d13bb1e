"""What does a tagger miss that reads only from left to right?

Paper     Schuster & Paliwal 1997 (bidirectional networks); Linzen, Dupoux & Goldberg 2016, arXiv:1611.01368
          (subject-verb agreement, which they use in the other direction)
Figure    experiments/figures/agreement.png
Question  Only the verb, some words later, tells whether a noun such as "sheep" is singular or plural. How often do
          causal models tag such nouns correctly, and how often do bidirectional ones?
Expect    Bidirectional: >= 99.9 % of the nouns at every distance. Causal: 72.5 %, the most that any causal tagger can
          reach: half of the first nouns, and 80 % of the later ones, whose number the clause before predicts.
Answer    With the verb {distance model=transformer distance=16} words later, a forward GRU tags
          {nouns model=forward_gru distance=16:.1%} of the nouns correctly and a causal Transformer
          {nouns model=causal_transformer distance=16:.1%}, where {ceiling model=forward_gru distance=16:.1%} is the
          expected best of any causal model; a bidirectional GRU has {nouns model=both_ways_gru distance=16:.1%}.
Fair      Same data and steps; equal parameters (within 1 %) of the two GRUs and of the two Transformers; learning
          rate 3e-3, of the Transformers 1e-3, not searched.
Cost      6 min on one CPU core
Run       python experiments/language/agreement.py
Next      python experiments/language/agreement.py --model forward_gru both_ways_gru --distance 64
"""

from dataclasses import dataclass
from typing import Literal, assert_never, get_args

import jax
import numpy as np
from matplotlib.figure import Figure

from seqjax import evaluate, losses, metrics, models, plot, runs, tasks
from seqjax.tasks.agreement import TAGS
from seqjax.theory import bounds

Model = Literal["forward_gru", "both_ways_gru", "causal_transformer", "transformer"]

LABEL = {
    "forward_gru": "GRU, causal", "both_ways_gru": "GRU, bidirectional", "causal_transformer": "Transformer, causal",
    "transformer": "Transformer, bidirectional",
}  # fmt: skip

LOOK: dict[str, tuple[str, int]] = {
    "forward_gru": ("gru", 1), "both_ways_gru": ("gru", 0), "causal_transformer": ("transformer", 1),
    "transformer": ("transformer", 0),
}  # fmt: skip

LEARNING_RATE = {"forward_gru": 3e-3, "both_ways_gru": 3e-3, "causal_transformer": 1e-3, "transformer": 1e-3}

CAUSAL = ("forward_gru", "causal_transformer")

TEST_SEQUENCES = 4000


@dataclass(frozen=True)
class Config:
    """One model at one distance.

    Attributes:
        model: architecture.
        distance: words from nouns to their verbs.
        steps: training updates.
        batch_size: sequences of a batch.
        learning_rate: peak of Adam's learning rate; 0: the architecture's own.
        seeds: random seeds, trained together.
    """

    model: Model = "both_ways_gru"
    distance: int = 8
    steps: int = 800
    batch_size: int = 32
    learning_rate: float = runs.traced(0.0)
    seeds: int = 3


def configs(scale: runs.Scale) -> list[Config]:
    """Every model at several distances."""
    if scale == "smoke":
        return [Config("forward_gru", 2, steps=20, seeds=2)]
    steps, distances, seeds = {
        "laptop": (800, (1, 4, 16), 3),
        "gpu": (10_000, (1, 4, 16, 32, 64, 128), 5),
    }[scale]
    return [Config(model, distance, steps, seeds=seeds) for model in get_args(Model) for distance in distances]


def build(config: Config) -> models.Module:
    """A tagger; GRUs of about 10,000 parameters, Transformers of 17,000."""
    match config.model:
        case "forward_gru":
            backbone = models.GRU(48)
        case "both_ways_gru":
            backbone = models.Bidirectional(64, models.GRUCell())
        case "causal_transformer" | "transformer":
            causal = config.model == "causal_transformer"
            backbone = models.Transformer(32, heads=4, layers=2, expansion=2, causal=causal)
        case _:
            assert_never(config.model)
    return models.Tagger(backbone, len(TAGS), tasks.Agreement(config.distance).vocab, embedding=16)


def measure(records: list[runs.Record]) -> None:
    """Train all random seeds and learning rates as one program; every batch is new."""
    config: Config = records[0].config
    task, model = tasks.Agreement(config.distance), build(config)

    def loss(params, batch, key):
        return losses.cross_entropy(model.apply(params, batch.inputs), batch.labels)

    train_key, test_key = jax.random.split(jax.random.key(0))
    test = task.sample(test_key, TEST_SEQUENCES)
    state = runs.train_group(
        records,
        lambda key: model.init(key, test.inputs[:1]),
        loss,
        lambda key: task.sample(key, config.batch_size),
        keys=jax.random.split(train_key, config.seeds),
        rates=LEARNING_RATE,
    )
    logits = evaluate.predict(model.apply, state.params, test.inputs)
    right = 1.0 * (logits.argmax(axis=-1) == np.asarray(test.labels)[None])
    for record, of_record in zip(records, runs.by_record(records, right), strict=True):
        nouns = of_record[:, :, task.nouns]  # seeds, sequences, clauses
        if config.model in CAUSAL:  # a model above this has seen the future
            bounds.require_below(task.ceiling, *bounds.mean_and_error(nouns.mean(axis=2)))
        row = runs.scores(record, "nouns", nouns.mean(axis=(1, 2))) | {
            "ceiling": task.ceiling,
            "others": float(of_record[:, :, ~task.nouns].mean()),
        }
        record.finish(row, by_clause=nouns.mean(axis=1))


def draw(records: list[runs.Record]) -> Figure:
    """Accuracy on nouns by distance and by clause, with the most that a causal tagger can reach."""
    figure, axes = plot.figure(1, 2, width=11.5, height=4.6)
    left, right = axes[0]
    distances, task = sorted({record.config.distance for record in records}), tasks.Agreement()
    for number, (model, (style, variant)) in enumerate(LOOK.items()):
        line = sorted((r for r in records if r.config.model == model), key=lambda record: record.config.distance)
        if not line:
            continue
        aside = 0.16 * (number - 1.5)  # side by side, not on top of each other
        columns = [[100 * record.result[name] for record in line] for name in ("nouns", "low", "high")]
        label = f"{LABEL[model]} ({line[0].result['parameters']:,})"
        places = [distances.index(record.config.distance) + aside for record in line]
        plot.points(left, places, *columns, label=label, style=style, variant=variant)
        bands = [metrics.band(100 * column) for column in line[-1].arrays["by_clause"].T]
        places = [clause + aside for clause in range(1, len(bands) + 1)]
        plot.points(right, places, *zip(*bands, strict=True), label=LABEL[model], style=style, variant=variant)
    known = {"label": "the most a causal tagger can expect", "linestyle": "--"}
    plot.levels(left, range(len(distances)), [100 * task.ceiling] * len(distances), **known)
    later = 100 * max(task.repeat, 1 - task.repeat)
    plot.levels(right, range(1, task.clauses + 1), [50.0, *[later] * (task.clauses - 1)], **known)
    left.set_xticks(range(len(distances)), [str(distance) for distance in distances])
    left.set(xlabel="words from the noun to its verb", ylabel="nouns tagged correctly (%)", ylim=(45, 102))
    title = f"{plot.over_seeds(record.config.seeds for record in records)}; parameters in brackets"
    plot.legend(left, title=title, title_fontsize=8, loc="lower center")
    right.set_xticks(range(1, task.clauses + 1))
    right.set(xlabel="clause", ylabel="nouns tagged correctly (%)", ylim=(45, 102), title=f"{distances[-1]} words away")
    return figure


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    ahead = runs.select(rows, model=("forward_gru", "causal_transformer"))
    return [
        runs.check(
            "bidirectional, nouns", runs.values(rows, "nouns", model=("both_ways_gru", "transformer")), ">= 99.9 %"
        ),
        runs.every("causal: 72.5 % is in the band of every one", [row["low"] <= 0.725 <= row["high"] for row in ahead]),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
