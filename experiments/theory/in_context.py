"""What do sequence models learn to do in context: counting, least squares, or the delta rule?

Paper     Edelman et al. 2024, arXiv:2402.11004 (chains); Garg et al. 2022, arXiv:2208.01066, Ahn et al. 2023,
          arXiv:2306.00297, and Schlag et al. 2021, arXiv:2102.11174 (regression)
Figure    experiments/figures/in_context.png
Question  Every sequence has a Markov chain, or a linear map, of its own. Does a Transformer find the Bayes predictor of
          chains, and when does it stop counting tokens alone? Are linear attention and the delta rule, trained, as good
          as their exact curves, and is anything better?
Expect    Chains of 3 symbols at position 127: .84 nats for the Bayes predictor, .99 for unigram counts. A Transformer
          of 2 layers comes within .005 of Bayes in 1,500 steps; before, it is less than .04 from unigram counts
          and more than .12 from Bayes, which 600 steps at a tenth of the rate end in. Regression, d = 8: weights by
          hand on (d-1)/(n+d-1) and (1-1/d)^n within 4 standard errors; linear attention trained for n = 4, 8, 16 within
          2 %, never below; trained for all n and divided by n + c: c = 6.7 to 7.3. A DeltaNet of one layer within 5 %
          or 3 standard errors of (1-1/d)^n, and a Transformer .55, .30, .12 at n = 4, 8, 16.
Answer    On Markov chains a Transformer of 2 layers ends {kl task=chain model=transformer layers=2 steps=1500:.4f} nats
          above Bayes after 1,500 steps and, after 600 at a tenth of the learning rate,
          {kl task=chain model=transformer layers=2 steps=600:.3f}. Regression, n = 8 examples of 8 dimensions: linear
          attention {error model=linear_attention examples=8:.3f} (best possible
          {curve model=linear_attention examples=8:.3f}), a DeltaNet {error_8 model=deltanet:.3f} (the delta rule:
          {curve_8 model=deltanet:.3f}), a Transformer {error_8 task=regression model=transformer:.3f}. Linear attention
          divided by n + c learns c = {c model=divided:.2f}.
Fair      Fresh sequences at every step; learning rates not searched. Nats and distances are exact given the tokens so
          far: the mean over the next token is not sampled. Trained linear attention is the bare layer, without norm,
          convolution, gate or MLP, with which the bound does not hold; its error is that of the best one plus the
          difference on the same draws.
Differs   from the papers: the small chain of 3 symbols; x on a sphere.
Cost      37 min of CPU time, 59 min on two cores that others used too
Run       python experiments/theory/in_context.py
Next      python experiments/theory/in_context.py --task chain --model transformer --layers 3 --steps 1500
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple, assert_never

import jax
import jax.numpy as jnp
import numpy as np
from _in_context_figure import COUNTED, INPUTS, LINEAR, SHORT, UNIGRAM, Model, curve_of, draw
from flax import linen as nn
from jaxtyping import Array, Float, Float64

from seqjax import early_stopping, evaluate, losses, models, runs, tasks
from seqjax.theory import bounds, in_context
from seqjax.types import Batch, InputError, SpecialTokens

Task = Literal["chain", "regression"]

LEARNING_RATE: dict[Task, dict[str, float]] = {
    "chain": {"transformer": 3e-3, "gru": 1e-2},
    "regression": {
        "transformer": 1e-3, "gru": 3e-3, "deltanet": 3e-3, "linear_attention": 1e-2, "divided": 1e-2,
    },
}  # fmt: skip

SLOW = 3e-4
"""The rate of the schedule of `SHORT` steps: a tenth of the rate of the others."""

LOOK, LATE = 10, 32
"""Steps between two looks at a chain's model, and the last positions of the sequence that they average over."""

LOOKED_AT, TEST_CHAINS, TEST_MAPS = 128, 2_048, 16_384


@dataclass(frozen=True)
class Config:
    """One model on chains, or on linear maps.

    Attributes:
        task: what every sequence has one of.
        model: architecture; divided: linear attention over n + c, with a trained c.
        layers: of the Transformer.
        features: width.
        examples: of a regression, the most.
        length: of a chain, tokens.
        steps: training updates.
        batch_size: sequences of a batch.
        learning_rate: peak of Adam's learning rate; 0: the architecture's own.
        seeds: random seeds, trained together.
    """

    task: Task = "regression"
    model: Model = "transformer"
    layers: int = 2
    features: int = 32
    examples: int = 16
    length: int = 127
    steps: int = 1_500
    batch_size: int = 64
    learning_rate: float = runs.traced(0.0)
    seeds: int = 3

    def __post_init__(self) -> None:
        if self.task == "chain" and self.model not in ("transformer", "gru"):
            raise InputError(f"--model must be transformer or gru for chains, got {self.model}")


def configs(scale: runs.Scale) -> list[Config]:
    """A Transformer with a long and a short schedule, and what is less, on chains; every model on linear maps."""
    if scale == "smoke":
        short = Config(examples=4, length=16, steps=20, batch_size=8, features=16, seeds=2)
        return [
            replace(short, task="chain"),
            replace(short, model="linear_attention"),
            replace(short, model="delta_rule_by_hand"),
        ]
    longer, seeds = {"laptop": (1, 3), "gpu": (10, 5)}[scale]
    chain = Config("chain", steps=1_500 * longer, seeds=seeds)
    maps = Config("regression", seeds=seeds)
    wide = replace(maps, features=64, steps=6_000 * longer)
    return [
        chain,
        replace(chain, steps=SHORT, learning_rate=SLOW),
        replace(chain, layers=1),
        replace(chain, model="gru"),
        *[replace(maps, model=model, seeds=1) for model in ("linear_attention_by_hand", "delta_rule_by_hand")],
        *[replace(maps, model="linear_attention", features=INPUTS, examples=n, steps=2_000 * longer) for n in COUNTED],
        replace(maps, model="divided", features=INPUTS, batch_size=256, steps=3_000 * longer),
        replace(maps, model="deltanet", steps=4_000 * longer),
        wide,
        replace(wide, model="gru"),
    ]


class Divided(models.Module):
    """A regressor whose prediction at a question is divided by n + c, after n examples; c is trained.

    Attributes:
        regressor: reads a question and an example in turn.
    """

    regressor: nn.Module

    @nn.compact
    def __call__(self, x: Float[Array, "batch time inputs"]) -> Float[Array, "batch time targets"]:
        log_c = self.param("log_c", nn.initializers.zeros, ())
        examples = jnp.arange(x.shape[1]) // 2
        return self.regressor(x) / (examples + jnp.exp(log_c))[None, :, None]


def build(config: Config) -> models.Module:
    """A language model of chains, or a regressor."""
    if config.task == "chain":
        # Every symbol is an ordinary token.
        special = SpecialTokens(pad=None, sos=0, eos=1, never=())
        return models.LanguageModel(backbone(config), 3, embedding=config.features, special=special)
    regressor = models.Regressor(backbone(config))
    return Divided(regressor) if config.model == "divided" else regressor


def backbone(config: Config) -> models.Module:
    """The architecture."""
    match config.model:
        case "transformer":
            return models.Transformer(
                config.features, heads=4, layers=config.layers, expansion=2, positions=models.Rotary()
            )
        case "gru":
            return models.GRU(config.features)
        case "deltanet":
            return models.GatedDeltaNet(config.features, layers=1, heads=1, gate=False)
        case "linear_attention" | "divided":
            return models.GatedDeltaNet(config.features, layers=1, heads=1, gate=False, delta=False, bare=True)
        case "linear_attention_by_hand" | "delta_rule_by_hand":
            raise InputError(f"--model {config.model} is no network: it has no parameters to load")
        case _:
            assert_never(config.model)


def measure(records: list[runs.Record]) -> None:
    """Seeds are one program; nats on fresh chains, or squared errors on fresh maps."""
    (measure_chains if records[0].config.task == "chain" else measure_maps)(records)


def measure_chains(records: list[runs.Record]) -> None:
    """Distance to the Bayes predictor at each position, and to both predictors while training."""
    config: Config = records[0].config
    small = config.steps < 100
    task, model = tasks.ContextChain(length=config.length), build(config)
    train_key, look_key, test_key = jax.random.split(jax.random.key(0), 3)
    look = task.sample(look_key, 16 if small else LOOKED_AT)
    known = {name: jnp.asarray(of(look)[:, -LATE:], jnp.float32) for name, of in predictors(task).items()}

    def loss(params, batch, key):
        return losses.cross_entropy(model.apply(params, batch.inputs), batch.labels)

    def validate(params):
        logs = jax.nn.log_softmax(model.apply(params, look.inputs)[:, -LATE:])
        found = {name: jnp.mean(jnp.sum(p * (jnp.log(p) - logs), axis=-1)) for name, p in known.items()}
        return found["bayes"], {"unigram": found["unigram"]}

    state = runs.train_group(
        records,
        lambda key: model.init(key, jnp.zeros((1, config.length), int)),
        loss,
        lambda key: task.sample(key, config.batch_size),
        keys=jax.random.split(train_key, config.seeds),
        rates=LEARNING_RATE[config.task],
        steps_per_report=LOOK,
        validate=validate,
    )
    test = task.sample(test_key, 64 if small else TEST_CHAINS)
    logits = evaluate.predict(model.apply, early_stopping.chosen(state), test.inputs)
    logs = np.asarray(jax.nn.log_softmax(logits), np.float64)
    exact = {name: of(test) for name, of in predictors(task).items()}
    distances = {name: (p * (np.log(p) - logs)).sum(axis=-1) for name, p in exact.items()}  # seeds, rows, positions
    bounds.require_above(0.0, *bounds.mean_and_error(np.moveaxis(distances["bayes"], 1, 2)))
    lines = {name: -(exact["bayes"] * np.log(p)).sum(axis=-1).mean(axis=0) for name, p in exact.items()}
    late = {name: float(jnp.mean(-jnp.sum(known["bayes"] * jnp.log(p), axis=-1))) for name, p in known.items()}
    for record, bayes in zip(records, runs.by_record(records, distances["bayes"]), strict=True):
        means, errors = bounds.mean_and_error(bayes[..., -1])
        steps, *looks = (_by_seed(record, name) for name in ("step", "validation", "unigram"))
        first, last = phase(steps[0], *looks)
        row = {"error": float(errors.max()), "bayes": lines["bayes"][-1], "unigram": lines["unigram"][-1]}
        row |= {"phase_seeds": len(first), "phase_ends_in_it": bool(len(last)) and bool((last == steps[0, -1]).all())}
        if len(first):
            row |= {"phase_from": float(np.median(first)), "phase_until": float(np.median(last))}
        record.finish(
            runs.scores(record, "kl", means) | row,
            nats=bayes.mean(axis=1) + lines["bayes"],
            lines=np.stack([lines["bayes"], lines["unigram"]]),
            late=np.array([late["bayes"], late["unigram"]]),
            steps=steps[0],
            looks=np.stack(looks),
        )


def predictors(task: tasks.ContextChain) -> dict[str, Callable[[Any], Float64[np.ndarray, "batch time symbols"]]]:
    """The best predictor, and the one that counts tokens alone."""
    return {"bayes": task.bayes, "unigram": task.unigram}


def _by_seed(record: runs.Record, column: str) -> Float64[np.ndarray, "seeds looks"]:
    """A column of the history of a run."""
    seeds = range(record.config.seeds)
    return np.array([[row[column] for row in record.history if row["seed"] == seed] for seed in seeds], float)


def phase(
    steps: Float64[np.ndarray, " looks"],
    bayes: Float64[np.ndarray, "seeds looks"],
    unigram: Float64[np.ndarray, "seeds looks"],
) -> tuple[Float64[np.ndarray, " some"], Float64[np.ndarray, " some"]]:
    """The first and the last step of the unigram phase, of the seeds that have one."""
    inside = (unigram < UNIGRAM["unigram"]) & (bayes > UNIGRAM["bayes"])
    inside = inside[inside.any(axis=1)]
    return steps[inside.argmax(axis=1)], steps[len(steps) - 1 - inside[:, ::-1].argmax(axis=1)]


class Maps(NamedTuple):
    """Examples and questions of linear maps; after n examples, x[n] is asked.

    Attributes:
        shown: x and y of each example.
        asked: x and 0.
    """

    shown: Float[Array, "rows examples inputs"]
    asked: Float[Array, "rows examples inputs"]

    @classmethod
    def of(cls, batch: Batch) -> "Maps":
        """Those of `ContextRegression` with a question after every number of examples."""
        asked = batch.inputs[:, ::2]
        return cls(jnp.concatenate([asked[..., :-1], batch.targets[:, ::2]], axis=-1), asked)

    @property
    def x(self) -> Float64[np.ndarray, "rows examples inputs"]:
        """In float64, as what is compared with exact predictors."""
        return np.asarray(self.shown[..., :-1], np.float64)

    @property
    def y(self) -> Float64[np.ndarray, "rows examples"]:
        """As x."""
        return np.asarray(self.shown[..., -1], np.float64)

    def after(self, examples: int) -> Float[Array, "rows time inputs"]:
        """One question after so many examples."""
        return jnp.concatenate([self.shown[:, :examples], self.asked[:, examples : examples + 1]], axis=1)


def measure_maps(records: list[runs.Record]) -> None:
    """Squared errors after every number of examples, against their floors."""
    config: Config = records[0].config
    train_key, test_key = jax.random.split(jax.random.key(0))
    rows = 64 if config.steps < 100 else TEST_MAPS
    most = max(config.examples, COUNTED[-1]) if config.model == "linear_attention" else config.examples
    batch = tasks.ContextRegression(INPUTS, most).sample(test_key, rows)
    maps = Maps.of(batch)
    if config.model in ("linear_attention_by_hand", "delta_rule_by_hand"):
        counts = np.arange(most + 1)
        predicted = evaluate.in_chunks(jax.jit(partial(by_hand, config.model)), batch.inputs)[None, :, ::2]
    else:
        counts, predicted = train_maps(records, maps, batch.inputs, train_key)
    numbers = [int(n) for n in counts]
    floor = np.array([in_context.ridge(n, INPUTS) for n in numbers])
    squares = (predicted - maps.y[None][:, :, counts]) ** 2  # seeds, rows, numbers of examples
    errors, spread = bounds.mean_and_error(np.moveaxis(squares, 1, 2))
    bounds.require_above(floor[None], errors, spread + 1e-6)
    # What the model is compared with, on the same draws.
    bound = config.model in LINEAR
    exact = in_context.predict_linear_attention if bound else in_context.predict_delta_rule
    curve = curve_of(config.model, counts)
    best = np.stack([exact(maps.x[:, :n], maps.y[:, :n], maps.x[:, n]) - maps.y[:, n] for n in numbers], axis=1) ** 2
    difference, paired = bounds.mean_and_error(np.moveaxis(squares - best[None], 1, 2))
    if bound:
        bounds.require_above(0.0, difference, paired + 1e-6)
        if config.model != "linear_attention_by_hand":
            errors, spread = curve + difference, paired
    own = numbers.index(config.examples)
    for record in records:
        row = runs.scores(record, "error", errors[:, own])
        row |= {"spread": float(spread[:, own].max()), "floor": floor[own], "curve": curve[own]}
        for n in (n for n in COUNTED if n in numbers):
            place = numbers.index(n)
            row |= {f"error_{n}": float(np.median(errors[:, place])), f"curve_{n}": curve[place]}
            row |= {f"low_{n}": float(errors[:, place].min()), f"high_{n}": float(errors[:, place].max())}
            row |= {f"spread_{n}": float(spread[:, place].max())}
        if config.model == "divided":
            c = np.exp(np.asarray(early_stopping.chosen(record.state)["params"]["log_c"]))
            row |= {"c": float(np.median(c)), "c_low": float(c.min()), "c_high": float(c.max())}
        record.finish(row, counts=counts, errors=errors, spread=spread)


def train_maps(
    records: list[runs.Record], maps: Maps, inputs: Float[Array, "rows time inputs"], key: jax.Array
) -> tuple[np.ndarray, Float64[np.ndarray, "seeds rows counts"]]:
    """Numbers of examples, and the trained models' predictions after so many.

    Args:
        inputs: the maps with a question after every number of examples.
    """
    config: Config = records[0].config
    model, every = build(config), config.model != "linear_attention"
    task = tasks.ContextRegression(INPUTS, config.examples, every=every)

    def loss(params, batch, key):
        return losses.squared_error(model.apply(params, batch.inputs), batch.targets, batch.weight)

    state = runs.train_group(
        records,
        lambda key: model.init(key, jnp.zeros((1, task.length, INPUTS + 1))),
        loss,
        lambda key: task.sample(key, config.batch_size),
        keys=jax.random.split(key, config.seeds),
        rates=LEARNING_RATE[config.task],
    )
    if every:
        predicted = evaluate.predict(model.apply, state.params, inputs)[:, :, ::2, 0]
        return np.arange(config.examples + 1), predicted.astype(np.float64)
    counts = np.array(sorted({1, 2, *COUNTED, config.examples}))
    predicted = [evaluate.predict(model.apply, state.params, maps.after(int(n)))[:, :, -1, 0] for n in counts]
    return counts, np.stack(predicted, axis=2).astype(np.float64)


def by_hand(model: Model, inputs: Float[Array, "rows time inputs"]) -> Float[Array, "rows time"]:
    """Predictions of the best linear attention for every n, and of the delta rule, by the package's recurrences."""
    x, y = inputs[:, :, None, :-1], inputs[:, :, None, -1:]
    examples = jnp.arange(inputs.shape[1])
    if model == "linear_attention_by_hand":
        _, read = models.linear_attention(x, x, y)
        return read[:, :, 0, 0] / (examples // 2 + INPUTS - 1)[None]
    keys = x / INPUTS**0.5
    shown = jnp.broadcast_to((examples % 2)[None, :, None], keys.shape[:3]).astype(x.dtype)
    _, read = models.delta_rule(keys, keys, y, jnp.ones_like(shown), shown)
    return read[:, :, 0, 0]


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    transformer = runs.select(rows, task="chain", model="transformer", layers=2)
    long = [row for row in transformer if row["steps"] != SHORT]
    short = runs.select(transformer, steps=SHORT)
    trained = runs.select(rows, model="linear_attention")

    def columns(name: str, model: str) -> list[float]:
        found = runs.select(rows, task="regression", model=model)
        return [row[f"{name}_{n}"] for row in found for n in COUNTED if f"{name}_{n}" in row]

    def away(model: str, end: str) -> list[float]:
        """Distance from the curve."""
        return [abs(e - c) for e, c in zip(columns(end, model), columns("curve", model), strict=True)]

    def near(model: str, end: str, errors: float, relative: float) -> list[bool]:
        spread, curve = columns("spread", model), columns("curve", model)
        limits = [max(errors * s, relative * c) for s, c in zip(spread, curve, strict=True)]
        return [distance <= limit for distance, limit in zip(away(model, end), limits, strict=True)]

    ends = [row[end] for row in runs.select(rows, model="divided") for end in ("c_low", "c_high")]
    return [
        runs.check("chains, Bayes at position 127", [row["bayes"] for row in long], ".84"),
        runs.check("chains, unigram counts at position 127", [row["unigram"] for row in long], ".99"),
        runs.check("2 layers, distance from Bayes, worst seed", [row["high"] for row in long], "<= .005"),
        runs.every("every seed is in the unigram phase first", [row["phase_seeds"] == row["seeds"] for row in long]),
        runs.every("600 steps at a tenth of the rate end in it", [row["phase_ends_in_it"] for row in short]),
        runs.every(
            "weights by hand are on their curves",
            near("linear_attention_by_hand", "error", 4, 0) + near("delta_rule_by_hand", "error", 4, 0),
        ),
        runs.check(
            "linear attention above the best, worst seed",
            [row["high"] / row["curve"] - 1 for row in trained],
            "<= 2 %",
        ),
        runs.every(
            "linear attention is never below", [row["low"] >= row["curve"] - 4 * row["spread"] for row in trained]
        ),
        runs.check("linear attention, learned c", ends, "6.7 to 7.3"),
        runs.every("DeltaNet on the delta rule's curve", near("deltanet", "error", 3, 0.05)),
        runs.check("Transformer, n = 4, 8, 16", columns("error", "transformer"), ".55, .30, .12"),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
