"""How much of a linear memory passes through a code of N numbers?

Paper     Li, Jiang & Li 2022, On the approximation properties of recurrent encoder-decoder architectures (ICLR)
Figure    experiments/figures/encoder_decoder_rank.png
Question  The input is 32 steps of white noise, the output y_t = sum_s rho(t, s) x_{-s} for 32 more. The decoder gets
          only N numbers. Is the error that of the best approximation of rho of rank N, does training reach it, and
          which models are better?
Expect    Linear: the sum of sigma_n^2 beyond N, over that of all, and never less. SVD weights reach it (within 1e-3),
          training comes within 5e-6 of it at N = 1, 2.3 % at N = 8. sigma_n = 1/n up to 8 leaves .345, .182, .068,
          .024, 0 at N = 1, 2, 4, 6, 8; n^-1/8 up to 8 leaves .828, .684, .432, .208, 0; n^-2 leaves .076, .018, .0033.
          Adam does not stay at SVD weights: round-off is enough to drive it up to 1.9 times the floor, and it comes
          back as its rate falls to 0. On n^-1/8 GRUs, for which that floor does not hold, end 1, 8 and 12 % below it (N
          = 1, 2, 4); with attention .027, .016 and .010 are left, 30 to 44 times below it (medians).
Answer    With a code of 4 numbers and a target of singular values n^(-1/8), n = 1 to 8, no linear model has an error
          below {floor model=linear target="n^-1/8 to 8" code=4:.3f}; a trained linear model has
          {error model=linear target="n^-1/8 to 8" code=4:.3f}, a GRU {error model=gru target="n^-1/8 to 8" code=4:.3f},
          and one with attention {error model=attention target="n^-1/8 to 8" code=4:.3f}.
Fair      Both sides have 32 states; Adam at 1e-2 (3e-3 was tried, and is worse for GRUs and wide codes). Linear: the
          population's loss in float64, 4,000 steps, 5 seeds. GRUs: 2,000 steps on fresh samples, 3 seeds, and n^-1/8
          only. The code is N numbers, with linear maps to and from it, for all. Attention bypasses it: each step of the
          decoder also sees the encoder's 32 states of 32 numbers, averaged by each of 4 heads.
Differs   from the paper: 32 states, not 128; the rates of the damped exponentials are chosen here; n^-2 ends at 32.
Cost      6 min on one CPU core, of which linear models take about 2
Run       python experiments/theory/encoder_decoder_rank.py
Next      python experiments/theory/encoder_decoder_rank.py --model gru --target "n^-1 to 8" --code 1 2 4 --steps 10000
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from _columns import band, scores
from flax.traverse_util import flatten_dict, unflatten_dict
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import evaluate, models, plot, runs, sweep, train
from seqjax.theory import bounds, coding, fits, targets
from seqjax.types import InputError

Model = Literal["constructed", "linear", "gru", "attention"]
Start = Literal["random", "constructed", "disturbed"]
Target = Literal[
    "n^-1/8 to 8", "n^-1 to 8", "n^-1 to 6", "n^-1 to 4", "n^-1 to 2", "n^-2",
    "reversal", "delay 8", "gaussian", "cosine", "power law",
]  # fmt: skip

SPECTRUM: dict[Target, tuple[float, int]] = {
    "n^-1/8 to 8": (1 / 8, 8), "n^-1 to 8": (1.0, 8), "n^-1 to 6": (1.0, 6), "n^-1 to 4": (1.0, 4),
    "n^-1 to 2": (1.0, 2), "n^-2": (2.0, 32),
}  # fmt: skip
"""Targets that are defined by their singular values: the exponent, and the n after which they are 0."""

LABEL: dict[Model, str] = {
    "linear": "linear RNNs, trained", "gru": "GRUs, trained", "attention": "GRUs with attention, trained",
}  # fmt: skip
START: dict[Start, str] = {
    "random": "random weights", "constructed": "SVD weights", "disturbed": "SVD weights with noise",
}  # fmt: skip

LENGTH = 32
"""Steps of input, and of output; and the width of both sides, which is enough for every code and every output."""

WIDEST = 8
"""Numbers in the code of a trained model; of these, those beyond N are masked."""

DISTURBANCE = 1e-3
"""Standard deviation of the noise added to each constructed weight, where most are 0 or 1."""

TEST_SEQUENCES = 4096


@dataclass(frozen=True)
class Config:
    """One model with a code of some numbers on one target.

    Attributes:
        model: architecture.
        target: singular values of the memory.
        code: numbers of the code.
        start: initial weights of linear models.
        learning_rate: peak of Adam's learning rate.
        steps: training updates.
        batch_size: sequences of a batch.
        seeds: random seeds, trained together.
    """

    model: Model = "linear"
    target: Target = runs.traced("n^-1 to 8")  # noqa: RUF009
    code: int = runs.traced(4)
    start: Start = "random"
    learning_rate: float = runs.traced(1e-2)
    steps: int = 4_000
    batch_size: int = 32
    seeds: int = 5


def configs(scale: runs.Scale) -> list[Config]:
    """Linear models on all spectra, gates and attention where the floor is highest, SVD weights on every target."""
    if scale == "smoke":
        return [Config("linear", start="disturbed", steps=100, seeds=2), Config("gru", steps=100, seeds=2)]
    longer = {"laptop": 1, "gpu": 10}[scale]
    laws, codes, every = list(SPECTRUM), (1, 2, 4, 6, 8), range(1, WIDEST + 1)
    gated = {"laptop": laws[:1], "gpu": laws}[scale]
    return [
        *[Config("constructed", target, code) for target in laws for code in every],
        *[Config("constructed", target, code) for target in get_args(Target)[len(laws) :] for code in (1, 2, 4, 8, 16)],
        *[Config("linear", target, code) for target in laws for code in codes],
        *[Config("linear", "n^-1 to 8", code, start) for start in ("constructed", "disturbed") for code in (1, 2, 4)],
        *[
            Config(model, target, code, steps=2_000 * longer, seeds=3)
            for model in ("gru", "attention")
            for target in gated
            for code in (1, 2, 4)
        ],
    ]


def kernel(target: Target) -> np.ndarray:
    """rho(t, s), its squares adding up to 1."""
    match target:
        case "reversal":
            matrix = targets.reversal(LENGTH)
        case "delay 8":
            matrix = targets.hankel(targets.shift(8, 2 * LENGTH - 1), LENGTH)
        case "gaussian":
            matrix = targets.gaussian(3.0, LENGTH)
        case "cosine":
            matrix = targets.cosine(0.0375, LENGTH)
        case "power law":
            matrix = targets.hankel(targets.power_law(1.1, 2 * LENGTH - 1), LENGTH)
        case _:
            exponent, last = SPECTRUM[target]
            # Damped exponentials; at Chebyshev's nodes all 32 of them are independent in float64.
            bases = np.cos(np.pi * (np.arange(last) + 0.5) / LENGTH)
            written, seen = targets.orthonormal(0.95 * bases, LENGTH), targets.orthonormal(0.9 * bases, LENGTH)
            matrix = targets.low_rank(np.arange(1, last + 1) ** -exponent, written, seen)
    return matrix / np.linalg.norm(matrix)


def build(config: Config, code: int = WIDEST) -> models.Module:
    """Two recurrent sides and the code between them; attention also shows the decoder all states of the encoder."""
    linear = models.RNNCell(jax.nn.identity)
    bridge = models.LowRankBridge(code)
    match config.model:
        case "constructed" | "linear":
            sides = models.Recurrent(LENGTH, linear), models.RecurrentDecoder(LENGTH, linear, bridge=bridge)
        case "gru":
            sides = models.Recurrent(LENGTH), models.RecurrentDecoder(LENGTH, bridge=bridge)
        case "attention":
            attention = models.MultiHeadAttention(LENGTH)
            sides = models.Recurrent(LENGTH), models.LuongDecoder(LENGTH, bridge=bridge, attention=attention)
        case _:
            assert_never(config.model)
    return models.EncoderDecoderRegressor(*sides)


def respond(matrix, x):
    """The target's output for inputs."""
    return jnp.einsum("ts,bsi->bti", matrix, x[:, ::-1])


def measure(records: list[runs.Record]) -> None:
    """Errors are summed over the steps of output, and relative to the target."""
    config: Config = records[0].config
    kernels = [kernel(record.config.target) for record in records]
    # Linear models are trained on the population's loss in float64, the others on samples.
    exact = config.model in ("constructed", "linear")
    with jax.enable_x64(exact):
        errors = (_construct if config.model == "constructed" else _train)(records, kernels)
    for record, matrix, of_record in zip(records, kernels, errors, strict=True):
        floor = bounds.truncation(matrix, record.config.code)
        if exact:
            bounds.require_above(floor, of_record)
        row = {"parameters": record.parameters, "floor": floor, **scores("error", of_record)}
        if floor > 0:
            row["over_floor"] = row["error"] / floor
        record.finish(row, errors=of_record)


def _construct(records: list[runs.Record], kernels: list[np.ndarray]) -> list[np.ndarray]:
    """The errors of the SVD's weights in the Flax module, from its impulse responses."""
    impulses = jnp.eye(LENGTH)[::-1, :, None]  # the last step of input is s = 0
    errors = []
    for record, matrix in zip(records, kernels, strict=True):
        code = record.config.code
        params = fits.encoder_decoder(matrix, code).params()
        record.parameters = runs.parameter_count(params)
        outputs = np.asarray(build(record.config, code).apply(params, impulses, LENGTH))
        errors.append(np.array([((outputs[..., 0].T - matrix) ** 2).sum()]))
    return errors


def _train(records: list[runs.Record], kernels: list[np.ndarray]) -> list[np.ndarray]:
    """The errors of each record's seeds; targets, codes, learning rates and seeds are one program."""
    config: Config = records[0].config
    model, codes = build(config), [record.config.code for record in records]
    if max(codes) > WIDEST:
        raise InputError(f"code must be <= {WIDEST} for a trained model, got {max(codes)}")

    def predict(params, x):
        return model.apply(params, x, LENGTH)

    def loss(params, batch, key):
        x, setting = batch
        params = _mask(params, setting["mask"])
        if config.model == "linear":
            return jnp.sum((coding.response(params, LENGTH, LENGTH) - setting["kernel"]) ** 2)
        return jnp.mean(jnp.sum((predict(params, x) - respond(setting["kernel"], x)) ** 2, axis=(1, 2)))

    def sample(key, setting):
        if config.model == "linear":
            return None, setting
        return jax.random.normal(key, (config.batch_size, LENGTH, 1)), setting

    settings = {
        "rate": jnp.array([record.config.learning_rate for record in records]),
        "kernel": jnp.array(np.stack(kernels)),
        "mask": jnp.array([[float(number < code) for number in range(WIDEST)] for code in codes]),
    }
    settings = jax.tree.map(lambda leaf: jnp.repeat(leaf, config.seeds, axis=0), settings)
    train_key, noise_key, test_key = jax.random.split(jax.random.key(0), 3)
    state, advance = sweep.sweep(
        lambda key: jax.tree.map(lambda leaf: leaf.astype(float), model.init(key, jnp.zeros((1, LENGTH, 1)), LENGTH)),
        loss,
        lambda setting: train.adam(setting["rate"], config.steps),
        sample,
        keys=jnp.tile(jax.random.split(train_key, config.seeds), len(records)),
        settings=settings,
        steps=config.steps // 100,
    )
    params = state.params
    if config.start != "random":
        params = _constructed(records, kernels, DISTURBANCE * (config.start == "disturbed"), noise_key)
    # Masked weights are zero from the start, so that saved parameters can be used without the mask.
    state = state._replace(params=jax.vmap(_mask)(params, settings["mask"]))
    params = runs.fit(records, state, advance, config.steps).params
    for record, part in zip(records, runs.by_record(records, params), strict=True):
        # Masked weights are not counted: a column of the map to the code, and a row of the map from it.
        masked = 2 * LENGTH * (WIDEST - record.config.code)
        record.parameters = runs.parameter_count(jax.tree.map(lambda leaf: leaf[0], part)) - masked
    if config.model == "linear":
        errors = jax.vmap(lambda params, setting: loss(params, (None, setting), None))(params, settings)
    else:
        x = jax.random.normal(test_key, (TEST_SEQUENCES, LENGTH, 1))
        targets = jax.vmap(respond, (0, None))(settings["kernel"], x)
        errors = ((evaluate.predict(predict, params, x) - targets) ** 2).sum(axis=(2, 3)).mean(axis=1)
    return runs.by_record(records, np.asarray(errors))


def _mask(params, mask):
    """The parameters without the map from those numbers of the code for which `mask` is 0."""
    flat: dict[Any, Any] = flatten_dict(params)
    path = ("params", "decoder", "bridge", "code", "kernel")
    return unflatten_dict(flat | {path: flat[path] * mask[None, :]})


def _constructed(records: list[runs.Record], kernels: list[np.ndarray], disturbance: float, key):
    """The SVD's weights for all runs, with noise on all but biases, which no gradient would remove again."""
    weights = []
    for record, matrix in zip(records, kernels, strict=True):
        fit = fits.encoder_decoder(matrix, record.config.code)
        masked = WIDEST - record.config.code
        fit = fit._replace(Q=np.pad(fit.Q, ((0, masked), (0, 0))), P=np.pad(fit.P, ((0, 0), (0, masked))))
        weights += [fit.params()] * record.config.seeds
    leaves, tree = jax.tree.flatten(jax.tree.map(lambda *runs: jnp.stack(runs), *weights))
    keys = jax.random.split(key, len(leaves))
    noise = [disturbance * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    return tree.unflatten([leaf + (more if leaf.ndim > 2 else 0) for leaf, more in zip(leaves, noise, strict=True)])


def draw(records: list[runs.Record]) -> Figure:
    """Three spectra with all models; spectra that end early; training near the floor; other targets."""
    figure, axes = plot.figure(2, 3, width=15.0, height=8.2)
    for ax, target in zip(axes[0], ("n^-1/8 to 8", "n^-1 to 8", "n^-2"), strict=True):
        _draw_spectrum(ax, records, target)
    every = get_args(Target)
    _draw_floors(axes[1, 0], records, "linear", every[1 : len(SPECTRUM) - 1][::-1], 1e-7)
    axes[1, 0].set_title("singular values n^-1 to N0: floors (lines), trained (marks)", fontsize=10)
    _draw_descent(axes[1, 1], records)
    _draw_floors(axes[1, 2], records, "constructed", every[len(SPECTRUM) :], 1e-14)
    axes[1, 2].set_title("other targets: floors (lines), SVD weights (marks)", fontsize=10)
    return figure


def _line(records: list[runs.Record], model: Model, target: Target, start: Start = "random") -> list[runs.Record]:
    """The runs of one model on one target, by the width of the code."""
    line = [r for r in records if (r.config.model, r.config.target, r.config.start) == (model, target, start)]
    return sorted(line, key=lambda record: record.config.code)


def _columns(line: list[runs.Record], lowest: float) -> list[np.ndarray]:
    """Codes, and the errors' medians and ranges over seeds."""
    return [np.array([record.config.code for record in line]), *band(line, lowest=lowest)]


def _floors(target: Target, codes: Sequence[int], lowest: float) -> list[float]:
    return [max(bounds.truncation(kernel(target), code), lowest) for code in codes]


def _draw_spectrum(ax: Axes, records: list[runs.Record], target: Target) -> None:
    """Every model's errors on one target."""
    slow = target == "n^-1/8 to 8"
    ax.set(yscale="linear" if slow else "log", ylim=(0, 1.05) if slow else (1e-6, 1.5), xlim=(0.5, WIDEST + 0.5))
    ax.set(xlabel="numbers in the code, N", ylabel="squared error / |rho|²")
    seeds = plot.over_seeds(record.config.seeds for record in records if record.config.target == target)
    ax.set_title(f"singular values {target}; {seeds}", fontsize=10)
    every = range(1, WIDEST + 1)
    plot.floor(ax, every, _floors(target, every, 1e-9), label="out of reach for linear models", style="linear")
    if fit := _line(records, "constructed", target):
        ax.plot(*_columns(fit, 1e-9)[:2], color="black", linestyle=":", linewidth=2, label="SVD weights in the network")
    for model, label in LABEL.items():
        if line := _line(records, model, target):
            plot.points(ax, *_columns(line, 1e-6), label=label, style=model)
    plot.legend(ax, loc="upper right" if slow else "lower left")


def _draw_floors(ax: Axes, records: list[runs.Record], model: Model, chosen: Sequence[Target], lowest: float) -> None:
    """The floors of some targets, and one model's errors on them."""
    every = range(1, 1 + max([record.config.code for record in records if record.config.model == model], default=8))
    ax.set(yscale="log", ylim=(lowest, 2), xlabel="numbers in the code, N", ylabel="squared error / |rho|²")
    for style, target in enumerate(chosen):
        line = _line(records, model, target)
        plot.floor(ax, every, _floors(target, every, lowest / 100), label=None, style=style, hatch="")
        plot.points(ax, *_columns(line, lowest / 100), label=target, style=style)
    plot.legend(ax, loc="lower right" if len(every) > WIDEST else "upper right")


def _draw_descent(ax: Axes, records: list[runs.Record]) -> None:
    """Excess error of a linear model over its floor during training, from random weights and from the SVD's."""
    ax.set(xscale="log", yscale="log", ylim=(1e-8, 1e3), xlabel="step", ylabel="error / floor - 1")
    seeds = plot.over_seeds(record.config.seeds for record in _line(records, "linear", "n^-1 to 8"))
    ax.set_title(f"linear RNNs while training (n^-1 to 8, N = 4)\n{seeds}", fontsize=10)
    for style, (start, label) in enumerate(START.items()):
        for record in [record for record in _line(records, "linear", "n^-1 to 8", start) if record.config.code == 4]:
            steps, bands = record.curve("loss")
            plot.curve(ax, steps, *(bands / record.result["floor"] - 1), label=label, style=style, markers=False)
    plot.legend(ax)


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    eighth, first = "n^-1/8 to 8", "n^-1 to 8"
    trained = [row for row in runs.select(rows, model="linear", start="random") if row["floor"] > 0]
    constructed = [row for row in runs.select(rows, model="constructed") if row["floor"] > 0]

    def floors(target: str, *codes: int) -> list[float]:
        return [runs.value(rows, "floor", model="constructed", target=target, code=code) for code in codes]

    def excess(code: int) -> list[float]:
        return [row["error"] / row["floor"] - 1 for row in runs.select(trained, code=code)]

    def errors(model: str) -> list[float]:
        return [runs.value(rows, "error", model=model, target=eighth, code=code) for code in (1, 2, 4)]

    nonlinear = {
        m: [runs.ratio(*pair) for pair in zip(errors(m), floors(eighth, 1, 2, 4), strict=True)]
        for m in ("gru", "attention")
    }
    return [
        runs.every("no linear model is below the floor", [row["low"] >= row["floor"] for row in trained]),
        runs.check("SVD weights above the floor", [row["error"] / row["floor"] - 1 for row in constructed], "<= 1e-3"),
        runs.check("training above the floor, N = 1", excess(1), "<= 5e-6"),
        runs.check("training above the floor, N = 8", excess(8), "2.3 %"),
        runs.check("floors of 1/n, N = 1, 2, 4, 6", floors(first, 1, 2, 4, 6), ".345, .182, .068, .024"),
        runs.check("floors of n^-1/8, N = 1, 2, 4, 6", floors(eighth, 1, 2, 4, 6), ".828, .684, .432, .208"),
        runs.check("floors of n^-2, N = 1, 2, 4", floors("n^-2", 1, 2, 4), ".076, .018, .0033"),
        runs.check(
            "n^-1/8: GRU below that floor, N = 1, 2, 4", [1 - share for share in nonlinear["gru"]], "1, 8, 12 %"
        ),
        runs.check("n^-1/8: left with attention, N = 1, 2, 4", errors("attention"), ".027, .016, .010"),
        runs.check("n^-1/8: floor / attention", [runs.ratio(1, share) for share in nonlinear["attention"]], "30 to 44"),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
