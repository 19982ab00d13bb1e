"""What do trained networks remember, measured on their outputs alone?

Paper     Wang, Li & Li 2023, arXiv:2305.19190 (figs. 5, 6); Wang & Li 2023, arXiv:2311.14495
Figure    experiments/figures/queried_memory.png
Question  M(t), the largest |y_t - y_{t-1}| / |x| over steps of height x, is |rho(t)| of a linear target
          y_t = sum_s rho(s) x_{t-s}. Networks of every kind are trained on white noise, where rho is a delay of 8,
          an exponential or a power law. Is their memory that of the target, at every height?
Expect    The delay: every network that learned it (error < .01) has its peak at lag 8, within .05 of the height 1. A
          linear RNN is within .05 of every kernel, and has the same memory at all heights (within 1e-3). A GRU has not:
          a constant input sums up to more than noise ever does, and at larger heights memory that fades ends sooner
          (heights differ by more than .1 of the largest value).
Answer    On the delay, {learned model=gru target=shift} of {seeds model=gru target=shift} GRUs have learned it, with
          peaks of {peak model=gru target=shift:.2f} at lag {place model=gru target=shift:.0f} (medians); the memory of
          a TCN is {distance model=tcn target=shift:.2f} from the exact one, as a fraction of its largest value. On the
          power law it is {distance model=gru target="power law":.2f} for the GRU,
          {distance model=tcn target="power law":.2f} for the TCN and
          {distance model=linear target="power law":.1e} for a linear RNN. A Transformer that has learned the delay
          ({learned model=transformer target=shift} of {seeds model=transformer target=shift} random seeds) has next to
          none (peak {peak model=transformer target=shift:.2f}): on a constant input all values are equal, and attention
          to any of them gives the same.
Fair      Equal parameters (within 5 %; the linear RNN: 305), steps and batches. One learning rate for the three
          targets: of RNN, GRU, LSTM, TCN and Transformer as good as possible on shift_memory and convolution_memory
          (table in figures/learning_rates.json), of the others not searched. Heights +-.5, 1 and 2 are those that noise
          of variance 1 has.
Differs   from the papers: time is discrete; the answer to x = 0 is subtracted, and |x| >= .5, since the definition
          amplifies a network's own drift as x -> 0. No sentiment networks: training them takes as long as all of these
          (experiments/language/sentiment.py).
Cost      13 min of CPU time, 20 min on two cores that others used too
Run       python experiments/theory/queried_memory.py
Next      python experiments/theory/queried_memory.py --model gru mingru --target shift --steps 10000 --out results/mine
"""

import functools
from dataclasses import dataclass
from typing import Literal, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import evaluate, losses, metrics, models, plot, runs, tasks
from seqjax.tasks.convolution import convolve
from seqjax.theory import queried_memory, targets
from seqjax.types import Batch

Model = Literal[
    "linear", "rnn", "gru", "lstm", "lru", "mingru", "selective_ssm", "gated_deltanet", "tcn", "transformer"
]
Target = Literal["shift", "exponential", "power law"]

NAME = {"shift": "a delay of 8", "exponential": "an exponential", "power law": "a power law"}

LEARNING_RATE = {
    "linear": 0.03, "rnn": 0.01, "gru": 0.03, "lstm": 0.1, "lru": 0.01, "mingru": 0.01, "selective_ssm": 0.01,
    "gated_deltanet": 0.01, "tcn": 0.03, "transformer": 0.01,
}  # fmt: skip

GROUPS = ("rnn", "gru", "lstm"), ("lru", "mingru", "selective_ssm", "gated_deltanet"), ("linear", "tcn", "transformer")
"""The networks of each panel: the bands of all would hide each other."""

BY_HEIGHT = "gru"
"""The network whose memory is drawn for each height."""

DELAY, LENGTH = 8, 32
"""Steps between an input and its target; steps of a sequence, and lags at which memory is measured."""

HEIGHTS = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)

LEARNED = 0.01
"""The mean squared error below which a network counts as having learned the delay."""

LEAST = 1e-3
"""Less memory is drawn as this."""

WEIGHT = 1 - np.arange(LENGTH) / LENGTH
"""The fraction of a sequence's steps that each lag of the kernel reaches."""


@dataclass(frozen=True)
class Config:
    """One architecture on one memory.

    Attributes:
        model: architecture.
        target: memory of the task.
        steps: training updates.
        batch_size: sequences of a batch.
        learning_rate: peak of Adam's learning rate; 0: the architecture's own.
        seeds: random seeds, trained together.
    """

    model: Model = "gru"
    target: Target = runs.traced("shift")  # noqa: RUF009
    steps: int = 1_000
    batch_size: int = 32
    learning_rate: float = runs.traced(0.0)
    seeds: int = 3


def configs(scale: runs.Scale) -> list[Config]:
    """Every architecture on every memory; an architecture's memories are trained together."""
    steps, seeds = {"smoke": (10, 2), "laptop": (1_000, 3), "gpu": (10_000, 5)}[scale]
    names = ("linear", "gru") if scale == "smoke" else get_args(Model)
    return [Config(model, target, steps, seeds=seeds) for model in names for target in get_args(Target)]


def build(config: Config) -> models.Module:
    """All but the linear one have 7,050 parameters, give or take 5 %."""
    match config.model:
        case "linear":
            backbone = models.RNN(16, activation=jax.nn.identity)
        case "rnn":
            backbone = models.RNN(82)
        case "gru":
            backbone = models.GRU(47)
        case "lstm":
            backbone = models.LSTM(41)
        case "lru":
            backbone = models.LRU(23, layers=2, ring=(0.9, 0.999))
        case "mingru":
            backbone = models.MinGRU(20, layers=2)
        case "selective_ssm":
            backbone = models.SelectiveSSM(19, layers=2)
        case "gated_deltanet":
            backbone = models.GatedDeltaNet(17, heads=1, layers=2)
        case "tcn":
            backbone = models.TCN(16, kernel_size=3, dilations=(1, 2, 4, 8, 16))
        case "transformer":
            backbone = models.Transformer(20, heads=2, layers=2, expansion=2, positions=models.Rotary())
        case _:
            assert_never(config.model)
    return models.Regressor(backbone)


def kernel(target: Target) -> np.ndarray:
    """rho: of the shift that of `tasks.Shift(8, 32)`, the others scaled so that the zero predictor has error 1."""
    match target:
        case "shift":
            return targets.shift(DELAY, LENGTH)
        case "exponential":
            weights = targets.exponentials((np.exp(-0.1),), LENGTH)
        case "power law":
            weights = targets.power_law(1.1, LENGTH)
        case _:
            assert_never(target)
    return weights / np.sqrt(WEIGHT @ weights**2)


def sample(key, rho, rows: int) -> Batch:
    """White noise, and the same through a kernel."""
    noise = tasks.Shift(DELAY, LENGTH).sample(key, rows).inputs
    return Batch(noise, convolve(noise[..., 0], rho)[..., None])


def measure(records: list[runs.Record]) -> None:
    """All memories and seeds of an architecture are one program; then the memory of each, and its error."""
    config: Config = records[0].config
    model = build(config)

    def loss(params, batch, key):
        return losses.squared_error(model.apply(params, batch.inputs), batch.targets)

    train_key, test_key = jax.random.split(jax.random.key(DELAY))
    kernels = np.array([kernel(record.config.target) for record in records])
    settings = jnp.asarray(kernels, jnp.float32)
    state = runs.train_group(
        records,
        lambda key: model.init(key, jnp.zeros((1, LENGTH, 1))),
        loss,
        lambda key, rho: sample(key, rho, config.batch_size),
        keys=jax.random.split(train_key, config.seeds),
        rates=LEARNING_RATE,
        settings=settings,
    )
    tests = [np.asarray(sample(test_key, rho, 500).targets) for rho in settings]
    predictions = evaluate.predict(model.apply, state.params, sample(test_key, settings[0], 500).inputs)
    found = memories(model, state.params)
    parts = (runs.by_record(records, part) for part in (predictions, found))
    for record, rho, test, of_test, memory in zip(records, kernels, tests, *parts, strict=True):
        record.finish(judge(record, rho, ((of_test - test) ** 2).mean(axis=(1, 2, 3)), memory), memory=memory)


@functools.partial(jax.jit, static_argnums=0)
def memories(model: models.Module, params) -> jax.Array:
    """By seed, height and lag."""
    heights = jnp.array(HEIGHTS)[:, None]

    def of_seed(params):
        return queried_memory.by_height(functools.partial(model.apply, params), heights, LENGTH)

    return jax.vmap(of_seed)(params)


def judge(record: runs.Record, rho: np.ndarray, mse: np.ndarray, by_height: np.ndarray) -> runs.Row:
    """The numbers of one network on one target.

    Args:
        mse: of each seed.
        by_height: seeds x heights x lags.
    """
    memory = np.asarray(by_height, np.float64).max(axis=1)
    size = np.abs(rho).max()
    learned = mse < LEARNED
    places, peaks = memory.argmax(axis=1).astype(float), memory.max(axis=1)
    spread = np.ptp(by_height, axis=1).max(axis=1) / size
    row = runs.scores(record, "distance", np.abs(memory - np.abs(rho)[None]).max(axis=1) / size) | {
        "mse": metrics.band(mse).median,
        "spread": metrics.band(spread).median,
        "learned": int(learned.sum()),
        "place": metrics.band(places).median,
        "peak": metrics.band(peaks).median,
    }
    if learned.any():
        of_learned = {"place": places[learned], "peak": peaks[learned]}
        for name, numbers in of_learned.items():
            row |= {f"learned_{name}_low": float(numbers.min()), f"learned_{name}_high": float(numbers.max())}
    return row


def draw(records: list[runs.Record]) -> Figure:
    """A row for each target: the memory of the networks beside the exact one, and that of one network by height."""
    shown = [target for target in get_args(Target) if any(record.config.target == target for record in records)]
    present = {record.config.model for record in records}
    groups = [group for group in GROUPS if present & set(group)]
    across = len(groups) + (BY_HEIGHT in present)
    figure, axes = plot.figure(len(shown), across, width=4.3 * across, height=0.5 + 3.3 * len(shown))
    seeds = plot.over_seeds(record.config.seeds for record in records)
    for row, target in zip(axes, shown, strict=True):
        mine = {record.config.model: record for record in records if record.config.target == target}
        for ax, group in zip(row, groups, strict=False):
            for model in group:
                if model in mine:
                    label = f"{plot.STYLE[model]['label']} (error {mine[model].result['mse']:.0e})"
                    memory = mine[model].arrays["memory"].max(axis=1)
                    draw_memory(ax, *np.quantile(memory, (0.5, 0, 1), axis=0), label=label, style=model)
            finish(ax, target, seeds)
        if BY_HEIGHT in mine:
            heights = np.median(mine[BY_HEIGHT].arrays["memory"], axis=0)
            for style, (height, memory) in enumerate(zip(HEIGHTS, heights, strict=True)):
                draw_memory(row[-1], memory, label=f"x = {height:g}", style=style)
            finish(row[-1], target, f"{plot.STYLE[BY_HEIGHT]['label']} by height of the step; medians")
    return figure


def draw_memory(ax: Axes, *columns: np.ndarray, label: str, style: str | int) -> None:
    """Of one network: the median, with or without the range over seeds."""
    plot.curve(ax, range(LENGTH), *[line.clip(LEAST) for line in columns], label=label, style=style, markers=False)


def finish(ax: Axes, target: Target, title: str) -> None:
    """The exact memory, axes and legend: a logarithmic axis for memory that fades, and a linear one for one lag."""
    plot.baseline(ax, range(LENGTH), np.abs(kernel(target)), label="exact, |rho(t)|")
    ax.set(xlabel="lag t (time steps)", ylabel=f"memory M(t) of {NAME[target]}")
    if target == "shift":
        ax.set_ylim(0, None)
    else:
        ax.set(yscale="log", ylim=(LEAST / 1.5, 3.0))
        ax.set_ylabel(f"memory M(t) of {NAME[target]}\n(less is drawn at {LEAST:g})")
    ax.set_title(title, fontsize=10)
    plot.legend(ax, loc="upper right" if target == "shift" else "lower left")


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    learned = [row for row in runs.select(rows, target="shift") if row["learned"]]
    places, peaks = (
        [row[f"learned_{name}_{end}"] for row in learned for end in ("low", "high")] for name in ("place", "peak")
    )
    linear = runs.select(rows, model="linear")
    fading = runs.select(rows, model="gru", target=("exponential", "power law"))
    return [
        runs.every("the delay, learned: the peak is at lag 8", [place == DELAY for place in places]),
        runs.check("the delay, learned: |height of the peak - 1|", [abs(peak - 1) for peak in peaks], "<= .05"),
        runs.check("linear RNN: distance from the exact memory", runs.values(linear, "distance"), "< .05"),
        runs.check("linear RNN: difference between heights", runs.values(linear, "spread"), "< 1e-3"),
        runs.check("GRU, memory that fades: difference between heights", runs.values(fading, "spread"), "> .1"),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
