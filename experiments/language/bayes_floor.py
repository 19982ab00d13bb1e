"""How far above the Bayes floor does a language model stop?

Paper     Shai et al. 2024, arXiv:2405.15943 (mess3); Weiss 1973 (the even process); Cover & Thomas 2006, theorem 4.5.1
Figure    experiments/figures/bayes_floor.png
Question  The entropy rate h of three hidden Markov sources is known. Regret is how many nats a token a model is above
          the Bayes predictor; with R tokens in view, no model has less than H(X_{R+1} | X_1 … X_R) - h. Does training
          reach this floor, and where do models stop that see all tokens?
Expect    h: (2/3) ln 2 = .462098 for the even process, .79346 for mess3, 1.26048 to 1.26069 for the random source.
          Floors of the even process .0719, .0360, .0090 at R = 3, 5, 9, of mess3 .0643, .0199, .0047, .0013 at R = 1 to
          4. TCNs on the even process reach theirs within 2 % or 4 standard errors, and no model is more than 4 below.
          GRU at most 1e-3 on the even process; Transformers with rotary positions at most .001 with 4 layers and .02
          with 2, with learned positions .02; with sinusoids .07, as a model of three tokens.
Answer    Nats above Bayes on the even process: TCNs of 3, 5 and 9 tokens
          {regret source=even model=tcn reach=3:.4f}, {regret source=even model=tcn reach=5:.4f} and
          {regret source=even model=tcn reach=9:.4f} (floors {floor source=even model=tcn reach=3:.4f},
          {floor source=even model=tcn reach=5:.4f}, {floor source=even model=tcn reach=9:.4f}); a GRU
          {regret source=even model=gru:.4f}, a Transformer with rotary positions and 4 layers
          {regret source=even model=transformer positions=rotary layers=4:.4f}, with sinusoids and 2 layers
          {regret source=even model=transformer positions=sinusoids:.4f}.
Fair      Width 24, equal batches, fresh sequences, one learning rate for each architecture: that of the Transformer is
          the better one of .003 and .01 for 4 layers on the figure's own test text, the others are not searched.
          Transformers that see all have 1,000 steps, the others 500. Regret is the divergence of the model's from the
          Bayes predictor's probabilities: the mean over the next token is exact, that over the past is sampled.
          Positions from 24 on, where the Bayes predictor has settled: earlier ones have lower floors. Parameters are
          those of the least regret on 256 other sequences, looked at 20 times.
Cost      26 min of CPU time, 46 min on two cores that others used too
Run       python experiments/language/bayes_floor.py
Next      python experiments/language/bayes_floor.py --model transformer --positions sinusoids --steps 5000
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import early_stopping, evaluate, losses, models, plot, runs, tasks
from seqjax.theory import bounds, sources
from seqjax.types import InputError, Labelled, SpecialTokens

SourceName = Literal["even", "mess3", "random"]
Model = Literal["exact", "tcn", "window", "gru", "mingru", "lru", "transformer"]
Positions = Literal["rotary", "learned", "sinusoids"]

TITLE: dict[SourceName, str] = {
    "even": "even process (2 symbols)", "mess3": "mess3 (3 symbols)", "random": "random source (4 symbols)",
}  # fmt: skip

ENUMERATED: dict[SourceName, int] = {"even": 64, "mess3": 10, "random": 9}
"""Length of the words from which the entropy rate is known (`Source.entropy_rate`)."""

LEARNING_RATE = {"tcn": 1e-2, "window": 1e-2, "gru": 1e-2, "mingru": 1e-2, "lru": 1e-2, "transformer": 3e-3}

TAPS: dict[int, tuple[int, tuple[int, ...]]] = {1: (1, (1,)), 3: (2, (1,)), 5: (2, (1, 1)), 9: (2, (1, 1, 2))}
"""Kernel sizes and dilations of TCNs by the number of tokens that they see."""

REACHES: dict[SourceName, dict[Model, tuple[int, ...]]] = {
    "even": {"tcn": (3, 5, 9), "window": (3, 5, 9)},
    "mess3": {"tcn": (1, 3), "window": (2, 4)},
    "random": {"tcn": (1, 3), "window": (2, 4)},
}
"""Tokens that the trained models of each source see."""

LONGEST: dict[SourceName, int] = {"even": 10, "mess3": 5, "random": 5}
"""Up to which number of tokens the floor is drawn."""

SETTLED = 24
"""The first position that counts."""

LOOKED_AT, TEST_SEQUENCES = 256, 4_096

Predicted = Float64[np.ndarray, "rows time symbols"]

RUNS = 13
"""Lengths of runs of 1, from 0 on, whose next token is drawn."""


@dataclass(frozen=True)
class Config:
    """One model on one source.

    Attributes:
        source: of the text.
        model: architecture; exact: the best predictor from `reach` tokens, which is not trained.
        reach: R, tokens that it sees, the present one included; 0: all.
        positions: encoding of the Transformer's positions.
        layers: of the Transformer.
        features: width.
        length: tokens of a sequence; the first 24 do not count.
        steps: training updates.
        batch_size: sequences of a batch.
        learning_rate: peak of Adam's learning rate; 0: the architecture's own.
        seeds: random seeds, trained together.
    """

    source: SourceName = "even"
    model: Model = "gru"
    reach: int = 0
    positions: Positions = "rotary"
    layers: int = 2
    features: int = 24
    length: int = 64
    steps: int = 500
    batch_size: int = 64
    learning_rate: float = runs.traced(0.0)
    seeds: int = 3

    def __post_init__(self) -> None:
        if self.length <= SETTLED:
            raise InputError(f"--length must be > {SETTLED}, got {self.length}")
        limited = self.model in ("exact", "tcn", "window")
        possible = list(TAPS) if self.model == "tcn" else range(1 + (self.model == "window"), SETTLED)
        if limited and self.reach not in possible:
            ends = ", ".join(map(str, TAPS)) if self.model == "tcn" else f"{min(possible)} to {max(possible)}"
            raise InputError(f"--reach must be one of {ends} for {self.model}, got {self.reach}")
        if self.reach and not limited:
            raise InputError(f"--reach must be 0 for {self.model}, which sees all tokens, got {self.reach}")


def configs(scale: runs.Scale) -> list[Config]:
    """Models of few tokens and of all on every source; on the even process every position encoding."""
    if scale == "smoke":
        short = Config(length=32, steps=20, batch_size=8, seeds=2)
        return [replace(short, model="exact", reach=3), replace(short, model="tcn", reach=3), short]
    longer = {"laptop": 1, "gpu": 10}[scale]
    base = Config(steps=500 * longer, seeds={"laptop": 3, "gpu": 5}[scale])
    found = []
    for source, reaches in REACHES.items():
        here = replace(base, source=source)
        found += [replace(here, model="exact", reach=reach, seeds=1) for reach in range(1, 1 + LONGEST[source])]
        found += [replace(here, model=model, reach=reach) for model in reaches for reach in reaches[model]]
        found += [replace(here, model=model) for model in ("gru", "mingru", "lru")]
        attention = replace(here, model="transformer", steps=1_000 * longer)
        found += [attention]
        if source == "even":
            found += [replace(attention, layers=4)]
            found += [replace(attention, positions=positions) for positions in get_args(Positions)[1:]]
    return found


def source_of(name: SourceName) -> sources.Source:
    """The source with a name."""
    match name:
        case "even":
            return sources.even_process()
        case "mess3":
            return sources.mess3()
        case "random":
            return sources.random_source()
        case _:
            assert_never(name)


def build(config: Config) -> models.Module:
    """A language model of the source's symbols."""
    # Every symbol is an ordinary token.
    special = SpecialTokens(pad=None, sos=0, eos=1, never=())
    vocab = source_of(config.source).symbols
    return models.LanguageModel(backbone(config), vocab, embedding=config.features, special=special)


def backbone(config: Config) -> models.Module:
    """The architecture; `receptive_field` is `reach`, where it is limited."""
    transformer = partial(models.Transformer, config.features, heads=2, expansion=2)
    match config.model:
        case "tcn":
            kernel_size, dilations = TAPS[config.reach]
            return models.TCN(config.features, kernel_size, dilations)
        case "window":
            layers = 2 if config.reach % 2 else 1
            window = 1 + (config.reach - 1) // layers
            return transformer(layers=layers, window=window, positions=models.Rotary())
        case "gru":
            return models.GRU(config.features)
        case "mingru":
            return models.MinGRU(config.features)
        case "lru":
            return models.LRU(config.features, layers=2)
        case "transformer":
            encodings = {
                "rotary": models.Rotary(), "learned": models.Learned(config.length), "sinusoids": models.Sinusoidal(),
            }  # fmt: skip
            return transformer(layers=config.layers, positions=encodings[config.positions])
        case "exact":
            raise InputError("--model exact is no network: it has no parameters to load")
        case _:
            assert_never(config.model)


def measure(records: list[runs.Record]) -> None:
    """Seeds are one program; regret on fresh sequences, against the floor of so many tokens."""
    config: Config = records[0].config
    source = source_of(config.source)
    task = tasks.HiddenMarkov(source, config.length)
    train_key, look_key, test_key = jax.random.split(jax.random.key(0), 3)
    test = task.sample(test_key, 64 if config.steps < 100 else TEST_SEQUENCES)
    best = task.bayes(test)
    if config.model == "exact":
        predicted = window_predictor(source, np.asarray(test.inputs), config.reach)[None]
    else:
        predicted = train(records, task, train_key, look_key, test)
    rows = np.stack([divergence(best[:, SETTLED:], one[:, SETTLED:]).mean(axis=1) for one in predicted])
    regret, error = bounds.mean_and_error(rows)
    rate = source.entropy_rate(ENUMERATED[config.source])
    floor = source.window_floor(config.reach, ENUMERATED[config.source]) if config.reach else 0.0
    bounds.require_above(floor, regret, error)
    after = after_runs(np.asarray(test.inputs), predicted) if config.source == "even" else np.zeros(0)
    row = {"floor": floor, "error": float(error.max()), "rate_low": rate.low, "rate_high": rate.high}
    if config.reach:
        row["on_floor"] = bool((np.abs(regret - floor) <= np.maximum(0.02 * floor, 4 * error)).all())
    for record in records:
        record.finish(runs.scores(record, "regret", regret) | row, after=after)


def train(
    records: list[runs.Record], task: tasks.HiddenMarkov, key: jax.Array, look_key: jax.Array, test: Labelled
) -> Float64[np.ndarray, "runs rows time symbols"]:
    """Probabilities of the trained models for the test sequences."""
    config: Config = records[0].config
    model = build(config)
    look = task.sample(look_key, 16 if config.steps < 100 else LOOKED_AT)
    best = jnp.asarray(task.bayes(look), jnp.float32)

    def loss(params, batch, key):
        return losses.cross_entropy(model.apply(params, batch.inputs), batch.labels)

    def validate(params):
        logs = jax.nn.log_softmax(model.apply(params, look.inputs))
        return jnp.mean(jnp.sum(jax.scipy.special.xlogy(best, best) - best * logs, axis=-1)[:, SETTLED:]), {}

    state = runs.train_group(
        records,
        lambda key: model.init(key, jnp.zeros((1, config.length), int)),
        loss,
        lambda key: task.sample(key, config.batch_size),
        keys=jax.random.split(key, config.seeds),
        rates=LEARNING_RATE,
        validate=validate,
    )
    logits = evaluate.predict(model.apply, early_stopping.chosen(state), test.inputs)
    return np.asarray(jax.nn.softmax(logits), np.float64)


def divergence(
    p: Float64[np.ndarray, "*points symbols"], q: Float64[np.ndarray, "*points symbols"]
) -> Float64[np.ndarray, "*points"]:
    """sum p ln(p / q) over the last axis, in nats; infinite where q is 0 and p is not."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p > 0, p * (np.log(p) - np.log(q)), 0.0).sum(axis=-1)


def window_predictor(source: sources.Source, tokens: np.ndarray, reach: int) -> Predicted:
    """The best predictor from the last `reach` tokens: the Bayes predictor of a sequence that begins with them."""
    begin = source.predict(tokens[:, : reach - 1]) if reach > 1 else np.zeros((len(tokens), 0, source.symbols))
    windows = np.lib.stride_tricks.sliding_window_view(tokens, reach, axis=1)
    words, place = np.unique(windows.reshape(-1, reach), axis=0, return_inverse=True)
    last = source.predict(words)[:, -1][place.reshape(windows.shape[:2])]
    return np.concatenate([begin, last], axis=1)


def after_runs(tokens: np.ndarray, predicted: Float64[np.ndarray, "runs rows time 2"]) -> Float64[np.ndarray, "runs n"]:
    """Mean probability of a 1 after a 0 and n more 1, n = 0 …, at the positions that count."""
    lengths = np.full(tokens.shape, -1)
    run = np.full(len(tokens), -1)  # before the first 0 its length is not known
    for time, now in enumerate(tokens.T):
        run = np.where(now == 0, 0, np.where(run >= 0, run + 1, run))
        lengths[:, time] = run
    lengths = lengths[:, SETTLED:]
    found = np.full((len(predicted), RUNS), np.nan)
    for length in range(RUNS):
        if (here := lengths == length).any():
            found[:, length] = predicted[:, :, SETTLED:, 1][:, here].mean(axis=1)
    return found


def name_of(config: Config) -> str:
    """In the figure."""
    if config.model != "transformer":
        return str(plot.STYLE[config.model]["label"])
    return f"{config.positions}, {config.layers} layers"


def look_of(config: Config) -> dict[str, Any]:
    """Style and variant: a Transformer is lighter without rotary positions."""
    variant = get_args(Positions).index(config.positions) if config.model == "transformer" else 0
    return {"style": config.model, "variant": variant}


def draw(records: list[runs.Record]) -> Figure:
    """Regret against receptive field on each source; during training; and what follows a run of 1."""
    figure, axes = plot.figure(2, 3, width=17.0, height=9.4)
    for ax, source in zip(axes[0], get_args(SourceName), strict=True):
        _draw_reaches(ax, [record for record in records if record.config.source == source], source)
    trained = [record for record in records if record.config.model != "exact"]
    _draw_training(axes[1, 0], trained, ("tcn", "gru"))
    # The rotary one with more layers alone, so that every line has a look of its own.
    attention = [r for r in trained if r.config.positions != "rotary" or r.config.layers > 2]
    _draw_training(axes[1, 1], attention, ("transformer",))
    _draw_runs(axes[1, 2], [r for r in records if r.config.model == "exact" or r in attention])
    return figure


def _draw_reaches(ax: Axes, records: list[runs.Record], source: SourceName) -> None:
    """The floor of every number of tokens, models of so many tokens on it, and at the right those that see all."""
    reaches = range(LONGEST[source] + 1)
    unlimited = [record for record in records if not record.config.reach]
    lowest = 1e-5 if source == "even" else 1e-4
    ax.set(yscale="log", ylim=(lowest, 5), ylabel="regret (nats a token above Bayes)")
    setting = source_of(source)
    floors = [setting.window_floor(reach, ENUMERATED[source]) for reach in reaches]
    plot.floor(ax, reaches, np.maximum(floors, lowest / 10), label="out of reach of R tokens", style="any")
    exact = [record for record in records if record.config.model == "exact"]
    ax.plot(
        [record.config.reach for record in exact], [record.result["regret"] for record in exact], "k+", markersize=9,
        label="best predictor of R tokens, on the test text",
    )  # fmt: skip
    for shift, model in ((-0.3, "tcn"), (-0.15, "window")):  # where the floor is that of `reach`
        line = [record for record in records if record.config.model == model]
        if line:
            places = [record.config.reach + shift for record in line]
            plot.points(ax, places, *_columns(line, lowest), label=plot.STYLE[model]["label"], style=model)
    places = [reaches[-1] + 1.5 + number for number in range(len(unlimited))]
    for place, record in zip(places, unlimited, strict=True):
        plot.points(ax, [place], *_columns([record], lowest), label="", **look_of(record.config))
    ax.axvline(reaches[-1] + 0.75, color="0.6", linewidth=0.8)
    ticks = [str(reach) for reach in reaches] + [name_of(record.config) for record in unlimited]
    ax.set_xticks([*reaches, *places], ticks, fontsize=8)
    for label in ax.get_xticklabels()[len(reaches) :]:
        label.set(rotation=30, ha="right", rotation_mode="anchor")
    ax.set_xlabel("R, tokens that the model sees | models that see all")
    rate = setting.entropy_rate(ENUMERATED[source])
    known = " to ".join(dict.fromkeys(f"{end:.5f}" for end in rate))
    seeds = plot.over_seeds(record.config.seeds for record in records if record.config.model != "exact")
    ax.set_title(f"{TITLE[source]}, entropy rate {known} nats\n{seeds}", fontsize=10)
    plot.legend(ax, loc="upper right")


def _columns(line: list[runs.Record], lowest: float) -> list[list[float]]:
    """Median, smallest and largest regret, none of them below what is drawn."""
    return [[max(record.result[name], 1.2 * lowest) for record in line] for name in ("regret", "low", "high")]


def _draw_training(ax: Axes, records: list[runs.Record], chosen: Sequence[Model]) -> None:
    """Regret on the even process against tokens of training, with the floors that it comes to."""
    line = [record for record in records if record.config.source == "even" and record.config.model in chosen]
    ax.set(xscale="log", yscale="log", xlabel="training tokens", ylabel="regret (nats a token above Bayes)")
    ends = [math.inf, 0.0] if line else [1e5, 5e6]
    reaches = list(REACHES["even"]["tcn"])
    for record in line:
        config: Config = record.config
        steps, found = record.curve("validation")
        look = look_of(config)
        label = f"TCN, R = {config.reach}" if config.model == "tcn" else name_of(config)
        if config.model == "tcn":
            look["variant"] = reaches.index(config.reach) if config.reach in reaches else 0
        tokens = np.array(steps) * config.batch_size * config.length
        ends = [min(ends[0], tokens[0]), max(ends[1], tokens[-1])]
        plot.curve(ax, tokens, *plot.bands(np.maximum(found, 1e-6), len(line)), label=label, **look)
    for reach in reaches:
        floor = source_of("even").window_floor(reach, ENUMERATED["even"])
        plot.baseline(ax, ends, [floor] * 2, label=None)
        ax.annotate(f"floor of {reach} tokens", (ends[1], floor), (0, -10), textcoords="offset points", fontsize=8,
                    ha="right")  # fmt: skip
    tokens = [10**power * first for power in range(4, 10) for first in (1, 3)]
    ax.set_xticks(tokens, [f"{count:,}" for count in tokens])
    ax.minorticks_off()
    ax.set_xlim(*ends)
    seeds = plot.over_seeds((record.config.seeds for record in line), len(line))
    ax.set_title(f"{TITLE['even']}, during training\n{seeds}", fontsize=10)
    plot.legend(ax, loc="lower left")


def _draw_runs(ax: Axes, records: list[runs.Record]) -> None:
    """Probability of a 1 after a 0 and n more 1."""
    lengths = np.arange(RUNS)
    ax.plot(lengths, np.where(lengths % 2, 1.0, 0.5), color="black", linewidth=0.9, label="Bayes: counts them")
    three = [r for r in records if (r.config.source, r.config.model, r.config.reach) == ("even", "exact", 3)]
    if three:
        ax.plot(lengths, three[0].arrays["after"][0], "k+", markersize=10, label="best predictor of 3 tokens")
    line = [r for r in records if r.config.source == "even" and r.config.model == "transformer"]
    for record in line:
        found = np.quantile(record.arrays["after"], (0.5, 0, 1), axis=0)
        plot.curve(ax, lengths, *found, label=name_of(record.config), **look_of(record.config))
    ax.set(xlabel="n, length of the run of 1 so far", ylabel="probability of another 1", ylim=(0.3, 1.05))
    seeds = plot.over_seeds(record.config.seeds for record in line)
    ax.set_title(f"do Transformers tell even runs from odd ones?\n{seeds}", fontsize=10)
    plot.legend(ax, loc="lower right", ncols=2)


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""

    def floors(source: str, *reaches: int) -> list[float]:
        return [runs.value(rows, "floor", source=source, model="exact", reach=reach) for reach in reaches]

    def rate(source: str, end: str) -> float:
        return max(runs.values(rows, f"rate_{end}", source=source), default=math.nan)

    def transformer(**wanted: Any) -> list[float]:
        return [runs.value(rows, "high", source="even", model="transformer", **wanted)]

    trained = [row for row in rows if row["model"] != "exact"]
    limited = [row for row in trained if row["reach"]]
    even = runs.select(trained, source="even", model="tcn")
    gru = runs.value(rows, "high", source="even", model="gru")
    return [
        runs.check("even process, entropy rate", rate("even", "high"), ".462098"),
        runs.check("mess3, entropy rate", [rate("mess3", "low"), rate("mess3", "high")], ".79346, .79346"),
        runs.check("random source, entropy rate", [rate("random", "low"), rate("random", "high")], "1.26048, 1.26069"),
        runs.check("even process, floors at R = 3, 5, 9", floors("even", 3, 5, 9), ".0719, .0360, .0090"),
        runs.check("mess3, floors at R = 1 to 4", floors("mess3", 1, 2, 3, 4), ".0643, .0199, .0047, .0013"),
        runs.every("even process: every TCN within 2 % or 4 standard errors", [row["on_floor"] for row in even]),
        runs.every("no model is below its floor", [row["low"] >= row["floor"] - 4 * row["error"] for row in limited]),
        runs.check("even process, GRU, worst seed", gru, "<= 1e-3"),
        runs.check("rotary, 4 layers, worst seed", transformer(positions="rotary", layers=4), "<= .001"),
        runs.check("rotary, 2 layers, worst seed", transformer(positions="rotary", layers=2), "<= .02"),
        runs.check("learned positions, worst seed", transformer(positions="learned"), "<= .02"),
        runs.check("sinusoids", runs.value(rows, "regret", source="even", positions="sinusoids"), ".07"),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
