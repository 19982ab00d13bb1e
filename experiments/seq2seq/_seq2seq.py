"""Encoder-decoders on a task of token sequences: training, exact matches, and attention maps."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from seqjax import evaluate, losses, metrics, models, plot, runs
from seqjax.data.tokenizers import MARK
from seqjax.data.vocabulary import Vocabulary
from seqjax.train import TrainState
from seqjax.types import LossFn, Params, Seq2SeqBatch

HEADS = 4
"""Of a layer, at most: `draw_attention_map` averages over the heads of the last layer, `draw_heads` shows each."""

HEADS_HEIGHT = 5.8
"""Of the panels of one Transformer's heads, in inches."""


def teacher_forcing(model: models.Module) -> LossFn:
    """Cross-entropy of every target token, given the source and the target tokens before it."""

    def loss(params, batch, key):
        masks = {"source_mask": batch.source_mask, "target_mask": batch.target_mask}
        logits = model.apply(params, batch.source, batch.target, **masks)
        return losses.cross_entropy(logits, batch.target, batch.target_mask)

    return loss


def train(
    records: Sequence[runs.Record],
    model: models.Module,
    sample: Callable[[Key[Array, ""], int], Seq2SeqBatch],
    loss: LossFn,
    *,
    key: Key[Array, ""],
    rates: Mapping[str, float],
) -> TrainState:
    """Train seeds and learning rates as one program, every batch a fresh `sample(key, batch_size)`."""
    config = records[0].config
    first = sample(key, 1)
    return runs.train_group(
        records,
        lambda key: model.init(key, first.source, first.target),
        loss,
        lambda key: sample(key, config.batch_size),
        keys=jax.random.split(key, config.seeds),
        rates=rates,
    )


def exact_matches(model: models.Module, params: Params, batch: Seq2SeqBatch) -> Bool[np.ndarray, "runs rows"]:
    """Whether each run, decoding greedily, writes the target of each row."""
    return (evaluate.greedy(model, params, batch) == np.asarray(batch.target)).all(axis=2)


def draw_percentages(
    ax: Axes, x: Iterable[float], fractions: Float[np.ndarray, "seeds x"], *, label: str, style: str, variant: int = 0
) -> None:
    """A curve in percent, with the range over seeds, in the look that `plot.look` gives."""
    bands = [metrics.band(100 * column) for column in fractions.T]
    plot.curve(ax, list(x), *zip(*bands, strict=True), label=label, style=style, variant=variant)


def attention_map(
    model: models.Module,
    params: Params,
    source: Int[Array | np.ndarray, "1 source"],
    target: Int[Array | np.ndarray, "1 target"],
    vocabularies: tuple[Vocabulary, Vocabulary],
    source_mask: Bool[Array | np.ndarray, "1 source"] | None = None,
) -> dict[str, np.ndarray]:
    """The weights of every head (heads x target x source) for one pair of sequences, and the tokens of both sides."""
    source, target = jnp.asarray(source), jnp.asarray(target)
    source_mask = None if source_mask is None else jnp.asarray(source_mask)
    output = model.apply(params, source, target, source_mask=source_mask, method="align")
    source_tokens, target_tokens = (
        np.array([vocabulary.symbols[token] for token in row[0]])
        for vocabulary, row in zip(vocabularies, (source, target), strict=True)
    )
    return {"attention": np.asarray(output.weights[0]), "source": source_tokens, "target": target_tokens}


def head_maps(record: runs.Record, vocabularies: tuple[Vocabulary, Vocabulary]) -> dict[str, np.ndarray]:
    """`all_weights` of a finished Transformer, of the first seed, for the pair of its `attention_map`."""
    run = runs.load(record.folder)
    source, target = (
        jnp.array([[vocabulary.symbols.index(token) for token in record.arrays[side].tolist()]])
        for vocabulary, side in zip(vocabularies, ("source", "target"), strict=True)
    )
    return all_weights(run.model, run.params(), source, target)


def all_weights(
    model: models.Module,
    params: Params,
    source: Int[Array, "1 source"],
    target: Int[Array, "1 target"],
) -> dict[str, np.ndarray]:
    """All attention weights of a Transformer for one pair of sequences.

    Returns:
        Of the encoder to itself, of the decoder to itself, and to the source: (layers x heads) x target x source.
    """
    output, kept = _align(model, params, source, target)

    def layers(blocks: Mapping[str, Any]) -> np.ndarray:
        names = sorted(blocks, key=lambda name: int(name.rpartition("_")[2]))
        return np.concatenate([blocks[name]["attention"][0][0] for name in names])

    sown = kept["intermediates"]
    return {
        "encoder to itself": layers(sown["encoder"]),
        "decoder to itself": layers(sown["decoder"]["stack"]),
        "decoder to source": np.asarray(output.weights[0]),
    }


@partial(jax.jit, static_argnums=0)
def _align(model: models.Module, params: Params, source: Int[Array, "1 source"], target: Int[Array, "1 target"]) -> Any:
    return model.apply(params, source, target, method="align", mutable="intermediates")


def figure_above_heads(
    width: float, height: float, transformers: Sequence[runs.Record]
) -> tuple[Figure, Figure | SubFigure, Sequence[SubFigure]]:
    """A figure, its part of this size for curves, and below it a part for the heads of each Transformer there is."""
    figure = Figure(figsize=(width, height + HEADS_HEIGHT * len(transformers)), layout="constrained")
    if not transformers:
        return figure, figure, ()
    ratios = [height, *[HEADS_HEIGHT] * len(transformers)]
    top, *below = figure.subfigures(len(ratios), 1, height_ratios=ratios, squeeze=False)[:, 0]
    return figure, top, below


def draw_heads(figure: Figure | SubFigure, maps: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray]) -> None:
    """What `all_weights` returns: a panel a head, a row of panels for each kind of attention, layer by layer."""
    target, source = ([token.replace(MARK, "") for token in arrays[side].tolist()] for side in ("target", "source"))
    read = ["<sos>", *target[:-1]]
    sides = {
        "encoder to itself": (source, source),
        "decoder to itself": (target, read),
        "decoder to source": (target, source),
    }
    columns = max(len(weights) for weights in maps.values())
    axes = figure.subplots(len(maps), columns, squeeze=False)
    for row, (kind, weights) in zip(axes, maps.items(), strict=True):
        rows, names = sides[kind]
        for number, (ax, head) in enumerate(zip(row, weights, strict=True)):
            plot.heat_map(ax, head, rows if number == 0 else [], names)
            ax.tick_params(labelsize=6, length=2)
        row[0].set_ylabel(kind.replace(" to ", "\nto "), fontsize=9)
    for number, ax in enumerate(axes[0]):
        layer, place = divmod(number, HEADS)
        ax.set_title(f"layer {layer + 1}, head {place + 1}", fontsize=9)
    figure.supxlabel("attended token (rows: the token that is read or written)", fontsize=9)


def draw_attention_map(ax: Axes, arrays: Mapping[str, np.ndarray]) -> None:
    """What `attention_map` returns, as a heat map."""
    # Fonts lack the mark for "no space here".
    target, source = ([token.replace(MARK, "") for token in arrays[side].tolist()] for side in ("target", "source"))
    plot.heat_map(ax, arrays["attention"][-HEADS:].mean(axis=0), target, source)
    ax.set(xlabel="source", ylabel="target")
