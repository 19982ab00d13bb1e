"""What each kind of network reads: shapes and applications of sequence modelling, encoder-decoders, receptive fields.

Paper     Jiang, Li & Li 2021, arXiv:2107.09355 (convolutions that double their dilation); Bai, Kolter & Koltun 2018,
          arXiv:1803.01271 (TCN); Sutskever, Vinyals & Le 2014, arXiv:1409.3215 (the vector handed over); Bahdanau, Cho
          & Bengio 2015, arXiv:1409.0473 (attention); the pictures of the tutorials `sequence_shapes`, `translation`
          and `approximation`
Figure    experiments/figures/diagrams.png
Question  Which steps of a sequence does each kind of network read for one output?
Expect    Receptive fields read off gradients are those that models state: 16 steps with 8 weights for the dilated
          linear network of `approximation`; for a TCN with as many dilations, 1 + 2 (kernel_size - 1) sum(dilations).
Answer    A dilated linear network with {parameters model="dilated linear network"} weights reads
          {receptive_field model="dilated linear network"} steps (stated: {stated model="dilated linear network"}), a
          TCN {receptive_field model=TCN} (stated: {stated model=TCN}).
Cost      10 s on one CPU core
Run       python experiments/tutorials/diagrams.py
Next      python experiments/tutorials/diagrams.py --kernel-size 3 --dilations 1 2 4 --out results/diagrams
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from seqjax import models, plot, runs
from seqjax.runs import process, read_header
from seqjax.runs.checks import print_checks
from seqjax.runs.folder import write_json

INPUT, STATE, OUTPUT = ("white", "black"), ("#c6dbef", "black"), ("#2a5d8f", "white")
"""Fill and ink of a box: one hue, from light to dark, so that the three differ in grey too."""

PALE, SOFT = "0.82", "0.45"

LINEAR_LAYERS = 4
"""As in the picture of the tutorial `approximation`."""

STEP = 1.2
"""From the middle of a box to the middle of the next one."""


@dataclass(frozen=True)
class Options:
    """Which TCN is drawn, and where to."""

    kernel_size: Annotated[int, tyro.conf.arg(help="taps of each of the TCN's convolutions")] = 2
    dilations: Annotated[tuple[int, ...], tyro.conf.arg(help="of the TCN, one block each")] = (1, 2, 4)
    out: Annotated[Path, tyro.conf.arg(help="where diagrams.png and a folder of single ones go")] = (
        Path(__file__).parents[1] / "figures"
    )


class Reads(NamedTuple):
    """A causal network of one channel a layer, all of whose weights are 1.

    Attributes:
        name: what it is.
        parameters: of the network as it is drawn.
        stated: the receptive field, as the model gives it.
        layers: for each layer, which steps of the one below (second axis) a step (first axis) reads.
        inputs: which inputs have a gradient at an output (first axis).
    """

    name: str
    parameters: int
    stated: int
    layers: list[np.ndarray]
    inputs: np.ndarray

    @property
    def found(self) -> int:
        """The receptive field, counted."""
        return int(self.inputs[-1].sum())


def linear_reads(layers: int) -> Reads:
    """The dilated linear network of the tutorial `approximation`."""
    return _reads("dilated linear network", [models.LinearDilatedCNN(1, n) for n in range(1, layers + 1)])


def tcn_reads(kernel_size: int, dilations: tuple[int, ...]) -> Reads:
    """The TCN, block by block: two convolutions with a shortcut around them."""
    blocks = range(1, len(dilations) + 1)
    return _reads("TCN", [models.TCN(1, kernel_size, dilations[:count]) for count in blocks])


def _reads(name: str, stacks: list[Any]) -> Reads:
    """Of a network's first layer, its first two, and so on, to the whole.

    With weights of 1 and positive inputs no relu is closed and nothing cancels. Jacobians of the first n layers and of
    the first n - 1 then differ by the factor that is the n-th layer's own.
    """
    time = stacks[-1].receptive_field + 4
    x = jnp.ones((1, time, 1))
    below, layers, size = np.eye(time), [], 0
    for stack in stacks:
        params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), jax.eval_shape(stack.init, jax.random.key(0), x))
        size = sum(leaf.size for leaf in jax.tree.leaves(params))
        gradient = jax.jit(jax.jacobian(lambda x, stack=stack, params=params: stack.apply(params, x)[0, :, 0]))(x)
        whole = np.asarray(gradient, float)[:, 0, :, 0]
        layers.append(abs(np.linalg.solve(below.T, whole.T).T) > 1e-6)
        below = whole
    return Reads(name, size, stacks[-1].receptive_field, layers, below != 0)


def draw_shapes(ax: Axes) -> None:
    """Five panels from left to right, with the tasks of this repository for examples."""
    panels = (
        ("one to one", "image classification", ["image"], ["ring"]),
        ("one to many", "captioning", ["image"], ["a", "red", "cross", "."]),
        ("many to one", "sentiment", ["a", "fine", "film"], ["good"]),
        ("many to many, aligned", "tagging", ["dogs", "bark", "loudly"], ["noun", "verb", "adverb"]),
        ("many to many, not aligned", "translation", ["eres", "fuerte", "."], ["you", "are", "strong", "."]),
    )
    left = 0.0
    for title, example, read, written in panels:
        apart = title.endswith("not aligned")
        steps = len(read) + len(written) if apart else max(len(read), len(written))
        first_output = len(read) if apart else steps - len(written)
        for step in range(steps):
            x = left + STEP * step
            _box(ax, x, 1, "", STATE)
            if step:
                arrow = "<->" if title.endswith(", aligned") else "->"
                _arrow(ax, (x - STEP, 1), (x, 1), style=arrow, along="x")
            if step < len(read):
                _box(ax, x, 0, read[step], INPUT)
                _arrow(ax, (x, 0), (x, 1))
            if step >= first_output:
                _box(ax, x, 2, written[step - first_output], OUTPUT)
                _arrow(ax, (x, 1), (x, 2))
            if step > first_output and title in (panels[1][0], panels[4][0]):
                # The word just written is read next.
                ends = {"style": "->", "color": SOFT, "dashes": (0, (3, 2)), "curve": "arc3,rad=-0.25"}
                _link(ax, (x - STEP + 0.38, 1.76), (x - 0.2, 1.27), **ends)
        middle = left + STEP * (steps - 1) / 2
        ax.text(middle, 2.95, title, ha="center", fontsize=9.5, fontweight="bold")
        ax.text(middle, 2.58, example, ha="center", fontsize=8.5, color=SOFT)
        left += STEP * max(steps, 2.4) + 0.7
    for height, name in enumerate(("input", "state", "output")):
        ax.text(-0.75, height, name, ha="right", va="center", fontsize=8.5, color=SOFT)
    _frame(ax, (-1.5, left - 1.1), (-0.45, 3.35))


def draw_recurrence(ax: Axes) -> None:
    """The loop on the left, the same network step by step on the right."""
    _box(ax, 0, 0, "$x_t$", INPUT)
    _box(ax, 0, 1, "$h_t$", STATE)
    _box(ax, 0, 2, "$o_t$", OUTPUT)
    _arrow(ax, (0, 0), (0, 1), label="U")
    _arrow(ax, (0, 1), (0, 2), label="c")
    turn = np.linspace(-2.25, 2.25, 50)
    ax.plot(0.68 + 0.32 * np.cos(turn), 1 + 0.24 * np.sin(turn), color="black", linewidth=0.9, zorder=1)
    _link(ax, (0.5, 1.2), (0.42, 1.12), style="->")
    ax.text(1.08, 1, "W", ha="left", va="center", fontsize=9, style="italic")
    ax.text(1.75, 1, "=", ha="center", va="center", fontsize=16)
    first, steps = 2.7, 4
    _box(ax, first, 1, "$h_0 = 0$", STATE)
    for step in range(1, steps + 1):
        x = first + 1.35 * step
        _arrow(ax, (x - 1.35, 1), (x, 1), along="x", label="W")
        _box(ax, x, 0, f"$x_{step}$", INPUT)
        _box(ax, x, 1, f"$h_{step}$", STATE)
        _box(ax, x, 2, f"$o_{step}$", OUTPUT)
        _arrow(ax, (x, 0), (x, 1), label="U")
        _arrow(ax, (x, 1), (x, 2), label="c")
        if step < steps:
            ends = {"style": "->", "color": SOFT, "dashes": (0, (3, 2)), "curve": "arc3,rad=0.0"}
            _link(ax, (x + 0.38, 1.8), (x + 1.35 - 0.38, 0.2), **ends)
    middle = first + 1.35 * steps / 2
    ax.text(middle, 2.72, r"$h_t = \sigma(W h_{t-1} + U x_t + b), \quad o_t = c^\top h_t$", ha="center", fontsize=11)
    words = "$U$, $W$ and $c$ are the same at every step; dashed: where a model goes on by itself, $x_{t+1} = o_t$"
    ax.text(first / 2 + middle / 2, -0.62, words, ha="center", fontsize=8.5, color=SOFT)
    _frame(ax, (-0.7, first + 1.35 * steps + 0.6), (-0.85, 3.05))


def draw_applications(ax: Axes) -> None:
    """What is read and what is written in the applications that the tutorials name; grey: not done here."""
    applications = (
        ("translation", "estoy muy emocionada", "i m very excited", "translation"),
        ("captioning", "image, or its features", "a red cross .", "captioning, shapeworld"),
        ("arithmetic", "1 7 + 2 5", "4 2", "digit_sums"),
        ("speech recognition", "frames of real numbers", "words", ""),
        ("summarisation", "an article", "a few sentences", ""),
        ("question answering", "a passage and a question", "an answer", ""),
        ("chat", "the conversation so far", "a reply", ""),
    )
    width, last = 3.9, len(applications) - 1
    for place, (name, read, written, script) in enumerate(applications):
        y = 0.72 * (last - place)
        ink = "black" if script else "0.55"
        ax.text(-2.3, y, name, ha="right", va="center", fontsize=9.5, fontweight="bold", color=ink)
        _box(ax, 0, y, read, ("white", ink), width=width, edge=ink)
        _box(ax, 10.4, y, written, OUTPUT if script else ("white", ink), width=width, edge=ink)
        ax.text(12.6, y, script, ha="left", va="center", fontsize=8.5, color=SOFT)
        _link(ax, (width / 2, y), (3.25, y), style="->", color=ink)
        _link(ax, (7.15, y), (10.4 - width / 2, y), style="->", color=ink)
    for x, name in ((3.95, "encoder"), (6.45, "decoder")):
        tall = FancyBboxPatch((x - 0.6, -0.19), 1.2, 0.72 * last + 0.38, boxstyle="round,pad=0.06", zorder=3,
                              facecolor=STATE[0], edgecolor="black", linewidth=0.9)  # fmt: skip
        ax.add_patch(tall)
        ax.text(x, 0.36 * last, name, ha="center", va="center", fontsize=10, rotation=90, zorder=4)
    _link(ax, (4.62, 0.36 * last), (5.78, 0.36 * last), style="->")
    ax.text(5.2, 0.36 * last + 0.16, "vector or\nattention", ha="center", va="bottom", fontsize=8, color=SOFT)
    for x, words in ((0, "read"), (10.4, "written"), (13.5, "experiment")):
        ax.text(x, 0.72 * last + 0.5, words, ha="center", fontsize=8.5, color=SOFT)
    ax.text(5.2, -0.75, "grey: not trained here", ha="center", fontsize=8.5, color=SOFT)
    _frame(ax, (-5.4, 15.6), (-1.0, 0.72 * last + 0.85))


def draw_encoder_decoder(ax: Axes) -> None:
    """Without attention: a sentence in, one vector handed over, a sentence out."""
    read, written = ("eres", "fuerte", ".", "<eos>"), ("you", "are", "strong", ".", "<eos>")
    for place, word in enumerate(read):
        x = STEP * place
        _embedded(ax, x, word, f"$x_{place + 1}$")
        _box(ax, x, 2, f"$h_{place + 1}$", STATE)
        if place:
            _arrow(ax, (x - STEP, 2), (x, 2), along="x")
    handed, first = STEP * (len(read) - 1), STEP * len(read) + 1.5
    _link(ax, (handed + 0.42, 2), (first - 0.42, 2), style="-|>", width=2.6)
    ax.text((handed + first) / 2, 2.42, f"$c = h_{len(read)}$", ha="center", fontsize=10)
    ax.text((handed + first) / 2, 1.42, "the vector that\nis handed over", ha="center", va="center", fontsize=8,
            color=SOFT)  # fmt: skip
    _decoder(ax, first, written)
    ax.text(STEP * (len(read) - 1) / 2, 3.62, "encoder", ha="center", fontsize=9.5, fontweight="bold")
    ax.text(first + STEP * (len(written) - 1) / 2, 3.62, "decoder", ha="center", fontsize=9.5, fontweight="bold")
    for height, name in enumerate(("token", "embedding", "state", "softmax:\nnext token")):
        ax.text(-0.75, height, name, ha="right", va="center", fontsize=8.5, color=SOFT)
    _frame(ax, (-2.2, first + STEP * len(written) - 0.4), (-0.45, 4.0))


def draw_captioner(ax: Axes) -> None:
    """A feature vector of another network as the decoder's first state."""
    _box(ax, 0, 0, "image", INPUT, width=1.5)
    _box(ax, 0, 1, "CNN, frozen", INPUT, width=1.9)
    _box(ax, 0, 2, "4096 features", STATE, width=1.9)
    _arrow(ax, (0, 0), (0, 1))
    _arrow(ax, (0, 1), (0, 2))
    first = 3.5
    _link(ax, (0.95, 2), (first - 0.42, 2), style="-|>", width=2.6)
    ax.text((0.95 + first - 0.42) / 2, 2.25, r"$s_0 = \tanh(W f + b)$", ha="center", fontsize=9)
    written = ("a", "red", "cross", ".", "<eos>")
    _decoder(ax, first, written)
    ax.text(first + STEP * (len(written) - 1) / 2, 3.62, "decoder", ha="center", fontsize=9.5, fontweight="bold")
    _frame(ax, (-1.3, first + STEP * len(written) - 0.4), (-0.45, 4.0))


def _embedded(ax: Axes, x: float, word: str, name: str) -> None:
    """A token below its embedding, which is read by what is above."""
    _box(ax, x, 0, word, INPUT)
    _box(ax, x, 1, name, INPUT)
    _arrow(ax, (x, 0), (x, 1))
    _arrow(ax, (x, 1), (x, 2))


def _decoder(ax: Axes, first: float, written: tuple[str, ...]) -> None:
    """A decoder step by step, which reads SOS and then each token that it has written."""
    for place, word in enumerate(written):
        x = first + STEP * place
        _embedded(ax, x, written[place - 1] if place else "<sos>", f"$y_{place}$")
        _box(ax, x, 2, f"$s_{place + 1}$", STATE)
        _box(ax, x, 3, word, OUTPUT)
        _arrow(ax, (x, 2), (x, 3))
        if place:
            _arrow(ax, (x - STEP, 2), (x, 2), along="x")
            ends = {"style": "->", "color": SOFT, "dashes": (0, (3, 2)), "curve": "arc3,rad=-0.06"}
            _link(ax, (x - STEP + 0.4, 2.8), (x - 0.36, 0.24), **ends)


def draw_attention(ax: Axes) -> None:
    """One step of a decoder that looks back: the third word of four is about to be written."""
    read, written = ("eres", "muy", "fuerte", "."), ("you", "are", "very", "strong")
    scores = np.array([0.4, 2.6, 0.9, -0.8])
    weights = np.exp(scores) / np.exp(scores).sum()
    for place, (word, weight) in enumerate(zip(read, weights, strict=True)):
        x = 1.4 * place
        _box(ax, x, 0, word, INPUT)
        _box(ax, x, 1, f"$h_{place + 1}$", STATE)
        _arrow(ax, (x, 0), (x, 1))
        if place:
            _arrow(ax, (x - 1.4, 1), (x, 1), style="<->", along="x")
        ax.plot([x, 2.1], [1.26, 2.18], color="black", linewidth=0.4 + 6 * weight, solid_capstyle="butt", zorder=1)
        ax.text(x + (2.1 - x) * 0.36 - 0.12, 1.62, f"{weight:.2f}", ha="right", va="center", fontsize=8, zorder=4,
                bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "linewidth": 0})  # fmt: skip
    _box(ax, 2.1, 2.42, r"$c_3 = \sum_s \alpha_{3s} h_s$", STATE, width=1.9)
    for place, word in enumerate(written):
        x, now = 1.4 * place, place == 2
        ink = "black" if place <= 2 else PALE
        _box(ax, x, 3.7, f"$s_{place + 1}$", STATE if place <= 2 else ("white", PALE), edge=ink)
        _box(ax, x, 4.7, word, OUTPUT if place <= 2 else ("white", PALE), edge=ink)
        _arrow(ax, (x, 3.7), (x, 4.7), color=ink)
        if place:
            _arrow(ax, (x - 1.4, 3.7), (x, 3.7), along="x", color=ink)
            ends = {"style": "->", "color": SOFT if place <= 2 else PALE, "dashes": (0, (3, 2))}
            _link(ax, (x - 1.4 + 0.42, 4.52), (x - 0.3, 3.97), curve="arc3,rad=-0.2", **ends)
        if now:
            _link(ax, (2.35, 2.68), (x - 0.08, 3.43), style="->")
    _link(ax, (1.4, 3.43), (1.75, 2.68), style="->", dashes=(0, (1, 1.5)))
    ax.text(1.42, 3.05, "query", ha="right", va="center", fontsize=8.5, color=SOFT)
    notes = (
        (0, "input"),
        (1, "encoder,\nboth ways"),
        (2.42, "context:\nlines are\nthe weights"),
        (3.7, "decoder"),
        (4.7, "output"),
    )
    for height, words in notes:
        ax.text(-0.75, height, words, ha="right", va="center", fontsize=8.5, color=SOFT)
    softmax = r"$\alpha_{ts} = \mathrm{softmax}_s\, v^\top \tanh(A s_{t-1} + B h_s)$"
    ax.text(2.1, 5.35, softmax, ha="center", fontsize=11)
    _frame(ax, (-2.1, 5.0), (-0.45, 5.75))


def draw_receptive_field(ax: Axes, networks: list[Reads]) -> None:
    """Each network as a lattice, time to the right: what the last output sees, and by which way."""
    base = 0.0
    span = max(network.stated for network in networks)
    ends: list[float] = []
    for network in networks:
        shown, rows = network.stated + 2, len(network.layers)
        seen: list[Any] = [_last(shown)]
        for layer in reversed(network.layers):
            seen.insert(0, (layer[-shown:, -shown:] & seen[0][:, None]).any(axis=0))
        for row, layer in enumerate(network.layers):
            for step, source in zip(*layer[-shown:, -shown:].nonzero(), strict=True):
                used = seen[row + 1][step]
                line = {"color": "black", "linewidth": 1.1} if used else {"color": PALE, "linewidth": 0.6}
                x = [span - shown + source, span - shown + step]
                ax.plot(x, [base + 1.1 * row, base + 1.1 * (row + 1)], zorder=2 if used else 1, **line)
        for row, marked in enumerate(seen):
            fill, _ = (INPUT, *[STATE] * (rows - 1), OUTPUT)[row]
            for step, used in enumerate(marked):
                edge, inside = ("black", fill) if used else (PALE, "white")
                ax.plot(span - shown + step, base + 1.1 * row, marker="o", markersize=8, markerfacecolor=inside,
                        markeredgecolor=edge, zorder=3)  # fmt: skip
            kind = "block" if network.name == "TCN" else "layer"
            name = "input" if row == 0 else f"{kind} {row}" + (" = output" if row == rows else "")
            ax.text(span - 0.4, base + 1.1 * row, name, va="center", fontsize=8.5, color=SOFT)
        first = span - network.found
        ax.annotate("", (first - 0.3, base - 0.42), (span - 0.7, base - 0.42), arrowprops={"arrowstyle": "<->"})
        words = f"{network.name}: sees {network.found} steps with {network.parameters} parameters"
        ax.text(span - network.found / 2 - 0.5, base - 0.85, words, ha="center", fontsize=9.5)
        ends.append(span - shown)
        base += 1.1 * rows + 1.9
    _frame(ax, (min(ends) - 0.6, span + 2.2), (-1.15, base - 1.4))


def _last(count: int) -> np.ndarray:
    return np.arange(count) == count - 1


def _box(
    ax: Axes, x: float, y: float, words: str, look: tuple[str, str], *, width: float = 0.84, edge: str = "black"
) -> None:
    fill, ink = look
    around = FancyBboxPatch((x - width / 2 + 0.06, y - 0.19), width - 0.12, 0.38, boxstyle="round,pad=0.06", zorder=3,
                            facecolor=fill, edgecolor=edge, linewidth=0.9)  # fmt: skip
    ax.add_patch(around)
    ax.text(x, y - 0.01, words, ha="center", va="center", fontsize=9, color=ink, zorder=4)


def _arrow(
    ax: Axes, start: tuple, end: tuple, *, style: str = "->", along: str = "y", color: str = "black", label: str = ""
) -> None:
    """Between the edges of two boxes, one above the other or beside each other."""
    (x0, y0), (x1, y1) = start, end
    if along == "x":
        _link(ax, (x0 + 0.42, y0), (x1 - 0.42, y1), style=style, color=color)
        ax.text((x0 + x1) / 2, y0 + 0.16, label, ha="center", fontsize=9, style="italic")
    else:
        _link(ax, (x0, y0 + 0.25), (x1, y1 - 0.25), style=style, color=color)
        ax.text(x0 + 0.1, (y0 + y1) / 2, label, va="center", fontsize=9, style="italic")


def _link(
    ax: Axes, start: tuple, end: tuple, *, style: str, color: str = "black", dashes: Any = "-", curve: str = "arc3",
    width: float = 0.9,
) -> None:  # fmt: skip
    look = {"arrowstyle": style, "color": color, "linestyle": dashes, "connectionstyle": curve, "linewidth": width}
    ax.annotate("", end, start, arrowprops=look | {"shrinkA": 0, "shrinkB": 0, "mutation_scale": 10}, zorder=2)


def _frame(ax: Axes, x: tuple[float, float], y: tuple[float, float]) -> None:
    """One unit is as long to the right as it is upwards, and nothing else is drawn."""
    ax.set(xlim=x, ylim=y, aspect="equal")
    ax.axis("off")


def draw(options: Options) -> None:
    """Every diagram on its own as SVG and PNG, all of them on one page, and the receptive fields as numbers."""
    process.require_writable(options.out)
    networks = [linear_reads(LINEAR_LAYERS), tcn_reads(options.kernel_size, options.dilations)]
    drawings: dict[str, Callable[[Axes], None]] = {
        "shapes": draw_shapes,
        "recurrence": draw_recurrence,
        "applications": draw_applications,
        "encoder_decoder": draw_encoder_decoder,
        "captioner": draw_captioner,
        "attention": draw_attention,
        "receptive_field": lambda ax: draw_receptive_field(ax, networks),
    }
    folder = options.out / "diagrams"
    folder.mkdir(exist_ok=True)
    # The same bytes each time: no date, and no random names inside.
    with mpl.rc_context({"svg.hashsalt": "seqjax"}):
        for name, drawing in drawings.items():
            figure, axes = plot.figure()
            drawing(axes[0, 0])
            _fit(figure, axes[0, 0])
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            figure.savefig(folder / f"{name}.png", dpi=150)
        page = Figure(figsize=(18.5, 15.4), layout="constrained")
        parts: Any = page.subfigures(3, 1, height_ratios=(9, 3, 3.4))
        upper, middle, lower = parts
        places: Any = [["shapes", "shapes"], ["recurrence", "receptive_field"], ["attention", "receptive_field"]]
        axes = upper.subplot_mosaic(places, width_ratios=(9, 20), height_ratios=(3.8, 3.9, 6.2))
        pair: Any = [["encoder_decoder", "captioner"]]
        axes |= middle.subplot_mosaic(pair, width_ratios=(14.5, 10.5)) | {"applications": lower.subplots()}
        for name, ax in axes.items():
            drawings[name](ax)
        page.savefig(options.out / "diagrams.png", dpi=100)
    rows = [
        {"model": n.name, "parameters": n.parameters, "stated": n.stated, "receptive_field": n.found} for n in networks
    ]
    write_json(options.out / "diagrams.json", {"experiment": "diagrams", "rows": rows})
    for row in rows:
        print("{model}: sees {receptive_field} steps, {stated} stated, {parameters} parameters".format(**row))
    print_checks(expect(rows))
    print(f"figures {folder}")


def _fit(figure: Any, ax: Axes) -> None:
    """A page that is as large as the drawing at .62 inches a unit."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    figure.set_size_inches(0.62 * (right - left), 0.62 * (top - bottom))


def main() -> None:
    header = "\n\n".join(f"{field}: {text}" for field, text in read_header(Path(__file__)).items())
    options = tyro.cli(Options, prog="python experiments/tutorials/diagrams.py", description=header)
    sys.exit(process.exit_code(lambda: draw(options)))


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    linear = runs.select(rows, model="dilated linear network", parameters=8)
    return [
        runs.check("dilated linear network of 8 weights, steps", runs.values(linear, "receptive_field"), "16"),
        runs.every("read off gradients as stated", [row["receptive_field"] == row["stated"] for row in rows]),
    ]


if __name__ == "__main__":
    main()
