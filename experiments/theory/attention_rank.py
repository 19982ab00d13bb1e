"""How wide must an attention head be for a relation between inputs?

Paper     Jiang & Li 2024, arXiv:2305.18475 (NeurIPS), sec. 4
Figure    experiments/figures/attention_rank.png
Question  Every output is an average of all inputs, weighted by softmax of a relation rho(x_t, x_s) that is a sum of r
          products, the i-th of size i^-alpha. How well does a Transformer of one head learn it, whose logits have rank
          m, and is m = r where the error falls?
Expect    No: after 2,000 steps the error does not fall at m = r, nor with m at all beyond 2. With all terms it is .025
          at m = 1 and .01 from 2 on, a tenth (.1) of the error of the true relation cut to rank m, for which the
          networks around the head must compensate; with 2 or 6 terms it stays at .03 even where rank m suffices. What
          limits it so early is training, not rank: the paper's curve needs more steps than these.
Answer    For a relation of 64 products (alpha = 1), heads of width 1, 2 and 8 end at errors of
          {error alpha=1 rank=64 head_dim=1:.3f}, {error alpha=1 rank=64 head_dim=2:.3f} and
          {error alpha=1 rank=64 head_dim=8:.3f}; the relation itself, cut to these ranks, leaves
          {cut alpha=1 rank=64 head_dim=1:.2f}, {cut alpha=1 rank=64 head_dim=2:.2f} and
          {cut alpha=1 rank=64 head_dim=8:.2f}.
Fair      Same networks around the head (three layers of 128), steps and batches for every m; one learning rate.
Differs   from the paper: 2,000 steps on fresh sequences. No floor is drawn: none is known for softmax. The error of
          the true relation, cut to its m largest terms, is an upper bound of the best with m.
Cost      12 min on one CPU core
Run       python experiments/theory/attention_rank.py
Next      python experiments/theory/attention_rank.py --alpha 1 --rank 6 --head-dim 4 5 6 7 --steps 16000
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from _columns import band, columns
from jax import Array
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import evaluate, losses, models, plot, runs
from seqjax.types import Batch

LENGTH, TERMS = 16, 64
"""Steps of a sequence, and the number of terms that counts as all."""

LOWEST = 1e-5
"""Smaller errors are drawn as this."""


@dataclass(frozen=True)
class Config:
    """One width of the head on one relation.

    Attributes:
        alpha: the i-th term of the relation has size i^-alpha.
        rank: terms of the relation.
        head_dim: width of queries and keys.
        steps: training updates.
        batch_size: sequences of a batch.
        learning_rate: peak of Adam's learning rate.
        seeds: random seeds, trained together.
    """

    alpha: float = runs.traced(1.0)
    rank: int = runs.traced(6)
    head_dim: int = 4
    steps: int = 2_000
    batch_size: int = 64
    learning_rate: float = runs.traced(2e-3)
    seeds: int = 3


def configs(scale: runs.Scale) -> list[Config]:
    """Two relations of few terms, and one of all for each alpha."""
    if scale == "smoke":
        return [Config(head_dim=2, rank=rank, steps=20, seeds=2) for rank in (2, 6)]
    steps, widths, seeds = {"laptop": (2_000, (1, 2, 4, 6, 8), 3), "gpu": (50_000, (1, 2, 3, 4, 6, 8, 12, 16), 5)}[
        scale
    ]
    relations = [(1.0, 2), (1.0, 6), (1.0, TERMS), (0.55, TERMS)]
    return [Config(a, r, m, steps, seeds=seeds) for m in widths for a, r in relations]


def relation(alpha: float, rank: int, terms: int = TERMS) -> list[float]:
    """Sizes of all terms; 0 beyond the first `rank` or `terms`."""
    return [i**-alpha if i <= min(rank, terms) else 0.0 for i in range(1, TERMS + 1)]


def respond(x: Array, sizes: Array) -> Array:
    """y_t = sum_s softmax_s(rho(x_t, x_s)) x_s, rho(u, v) = sum_i sizes_i 2 sin(2 pi i u) sin(2 pi i v)."""
    waves = jnp.sin(2 * jnp.pi * jnp.arange(1, TERMS + 1)[None, None] * x)
    logits = jnp.matmul(2 * sizes * waves, jnp.swapaxes(waves, 1, 2), precision=jax.lax.Precision.HIGHEST)
    return jnp.matmul(jax.nn.softmax(logits, axis=-1), x, precision=jax.lax.Precision.HIGHEST)


def build(config: Config) -> models.Module:
    """One head between networks of three layers."""
    return models.SingleHeadTransformer(1, config.head_dim)


def sample(key, sizes: Array, rows: int) -> Batch:
    """Uniform inputs, which are the same for all relations with equal keys, and the outputs."""
    x = jax.random.uniform(key, (rows, LENGTH, 1))
    return Batch(x, respond(x, sizes[None, None]))


def measure(records: list[runs.Record]) -> None:
    """Errors are fractions of the outputs' variance."""
    config: Config = records[0].config
    model = build(config)

    def loss(params, batch, key):
        return losses.squared_error(model.apply(params, batch.inputs), batch.targets)

    train_key, test_key = jax.random.split(jax.random.key(0))
    relations = jnp.array([relation(record.config.alpha, record.config.rank) for record in records])
    state = runs.train_group(
        records,
        lambda key: model.init(key, jnp.zeros((1, LENGTH, 1))),
        loss,
        lambda key, sizes: sample(key, sizes, config.batch_size),
        keys=jax.random.split(train_key, config.seeds),
        settings=relations,
    )

    rows = 200 if config.steps < 100 else 10_000  # a smoke test
    predictions = evaluate.predict(model.apply, state.params, sample(test_key, relations[0], rows).inputs)
    for record, sizes, of_record in zip(records, relations, runs.by_record(records, predictions), strict=True):
        test = sample(test_key, sizes, rows)
        targets = np.asarray(test.targets, np.float64)
        row = runs.scores(record, "error", ((of_record - targets) ** 2).mean(axis=(1, 2, 3)) / targets.var())
        cut = respond(test.inputs, jnp.array(relation(record.config.alpha, record.config.rank, config.head_dim)))
        record.finish(row | {"cut": float(((np.asarray(cut) - targets) ** 2).mean() / targets.var())})


def draw(records: list[runs.Record]) -> Figure:
    """Error against the width of the head: few terms, and all of them."""
    figure, axes = plot.figure(1, 2, width=11, height=4.6)
    few = [record for record in records if record.config.alpha == 1.0]
    everything = [record for record in records if record.config.rank == TERMS]
    panel(axes[0, 0], few, lambda config: f"r = {config.rank if config.rank < TERMS else 'all'}")
    seeds = plot.over_seeds(record.config.seeds for record in records)
    axes[0, 0].set_title(f"terms of size 1/i, r of them; {seeds}", fontsize=10)
    panel(axes[0, 1], everything, lambda config: f"size i^-{config.alpha:g}")
    axes[0, 1].set_title(f"all terms; {seeds}", fontsize=10)
    return figure


def panel(ax: Axes, records: list[runs.Record], name) -> None:
    """Trained errors; dotted, those of the true relation cut to rank m."""
    lines: dict[str, list[runs.Record]] = {}
    for record in sorted(records, key=lambda record: record.config.head_dim):
        lines.setdefault(name(record.config), []).append(record)
    for style, (label, line) in enumerate(lines.items()):
        widths = [record.config.head_dim for record in line]
        plot.curve(ax, widths, *band(line), label=f"{label}, trained", style=style)
        (cut,) = columns(line, "cut")
        look = plot.look(style) | {"linestyle": ":", "linewidth": 1.0, "markersize": 6, "markerfacecolor": "white"}
        # Where all terms are left the error is 0, which a log axis lacks.
        shown = np.where(cut > LOWEST, cut, np.nan)
        name = f"{label}, true relation cut to rank m" + ("" if (cut > LOWEST).all() else " (from m = r on: 0)")
        ax.plot(widths, shown, label=name, **look)
    widths = sorted({record.config.head_dim for record in records})
    if widths:
        plot.baseline(ax, [widths[0], widths[-1]], [1, 1], label="best constant")
        ax.set_xticks(widths, [str(width) for width in widths])
    ax.set(yscale="log", ylim=(LOWEST, 2), xlabel="width of the head, m", ylabel="squared error / variance")
    plot.legend(ax, loc="lower left")


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""

    def errors(rank: int, *widths: int) -> list[float]:
        return runs.values(rows, "error", rank=rank, head_dim=widths, steps=2000)

    def band(end: str, alpha: float, rank: int, width: int) -> float:
        return runs.value(rows, end, alpha=alpha, rank=rank, head_dim=width, steps=2000)

    relations = sorted({(row["alpha"], row["rank"]) for row in rows})
    beyond = [(band("high", *relation, 8), band("low", *relation, 2)) for relation in relations]
    cut = [row for row in runs.select(rows, rank=64, head_dim=(2, 4, 6, 8)) if row["cut"]]
    return [
        runs.every("no band at m = 8 is below that at m = 2", [high >= low for high, low in beyond if high + low > 0]),
        runs.check("all terms, m = 1", errors(64, 1), ".025"),
        runs.check("all terms, from m = 2 on", errors(64, 2, 4, 6, 8), ".01"),
        runs.check(
            "all terms, from m = 2 on, of the error of the cut", [row["error"] / row["cut"] for row in cut], ".1"
        ),
        runs.check("2 or 6 terms, where rank m suffices", errors(2, 2, 4, 6, 8) + errors(6, 6, 8), ".03"),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
