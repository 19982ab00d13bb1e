"""The figure of translation.py: scores, also by length, over-fitting, attention maps and the tutorial's sentences."""

import json
from pathlib import Path

import numpy as np
from _seq2seq import draw_attention_map, draw_heads, figure_above_heads, head_maps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import plot, runs
from seqjax.data.language import Language

LABEL = {"lstm": "LSTM, context vector", "attention": "GRU, attention", "transformer": "Transformer"}

FEW = 2_000
"""Training pairs, so few that models over-fit."""


def with_attention(records: list[runs.Record]) -> list[runs.Record]:
    """Those whose model has an attention map."""
    return [record for record in records if record.config.model != "lstm"]


def draw(records: list[runs.Record]) -> Figure:
    """BLEU of every model, scores by length, over-fitting, attention maps, and those of each head of Transformers."""
    transformers = [record for record in records if record.config.model == "transformer"][:1]
    figure, top, below = figure_above_heads(17.5, 8.5, transformers)
    axes = plot.subplots(top, 2, 4)
    full = [record for record in records if record.config.pairs != FEW]
    corpora = list(dict.fromkeys(record.config.corpus for record in full))
    first = min(corpora, key=lambda corpus: corpus != "spa-eng") if corpora else ""
    of_first = [record for record in full if record.config.corpus == first]

    _scores(axes[0, 0], full, corpora)
    by_length = f"{_name(of_first[0]) if of_first else ''} by length"
    _by_length(axes[0, 1], of_first, "bleu", 1)
    axes[0, 1].set(ylabel="BLEU, 95 % interval", title=by_length)
    _by_length(axes[0, 2], of_first, "exact", 100)
    axes[0, 2].set(ylabel="exact matches (%), 95 % interval", title=by_length)
    for ax in axes[0, 1:3]:
        if not ax.lines:
            ax.clear()
            ax.axis("off")
            ax.set_title("by length: too few sentences", fontsize=10)
    _over_fitting(axes[0, 3], [record for record in records if record.config.pairs == FEW], full)

    for ax in axes[1]:
        ax.axis("off")
    axes[1, 3].remove()
    axes[1, 2].set_subplotspec(axes[1, 2].get_gridspec()[1, 2:])
    spanish_first = sorted(with_attention(full), key=lambda r: (r.config.corpus != "spa-eng", r.config.model))
    for ax, record in zip(axes[1], spanish_first[:2], strict=False):
        ax.axis("on")
        draw_attention_map(ax, record.arrays)
        ax.set_title(f"attention weights: {LABEL[record.config.model]}, {_name(record)}", fontsize=10)
    _examples(axes[1, 2], of_first)
    axes[1, 2].set_title("the tutorial's three sentences" if first == "spa-eng" else "test sentences")
    for part, record in zip(below, transformers, strict=True):
        source, target = (Language.from_json(record.read(f"{side}.json")).vocabulary for side in ("source", "target"))
        draw_heads(part, head_maps(record, (source, target)), record.arrays)
        part.suptitle(f"attention weights: {record.config.model}, {_name(record)}")
    return figure


def _name(record: runs.Record) -> str:
    """Of a record's corpus."""
    return Path(record.config.pairs_file).name or record.config.corpus


def _scores(ax: Axes, records: list[runs.Record], corpora: list[str]) -> None:
    for number, model in enumerate(LABEL):
        rows = [record for record in records if record.config.model == model]
        places = [corpora.index(record.config.corpus) + 0.2 * (number - 1) for record in rows]
        columns = [[record.result[name] for record in rows] for name in ("bleu", "low", "high")]
        if rows:
            label = f"{LABEL[model]} ({rows[0].result['parameters'] / 1e6:.1f} M)"
            plot.points(ax, places, *columns, label=label, style=model)
    names = {record.config.corpus: _name(record) for record in records}
    ax.set_xticks(range(len(corpora)), [names[corpus] for corpus in corpora])
    ax.set(ylabel="BLEU, 95 % interval", xlim=(-0.5, max(len(corpora), 1) - 0.5), ylim=(0, None))
    ax.set_title("translations, one seed")
    plot.legend(ax)


def _by_length(ax: Axes, records: list[runs.Record], score: str, unit: int) -> None:
    for record in records:
        groups = record.result["by_length"]
        middles = [sum(map(int, group.split("-"))) / 2 for group in groups]
        bands = [[unit * x for x in group[score]] for group in groups.values()]
        if bands:
            model = record.config.model
            plot.curve(ax, middles, *zip(*bands, strict=True), label=LABEL[model], style=model)
    ax.set(xlabel="words of the source sentence", ylim=(0, None))
    plot.legend(ax)


def _over_fitting(ax: Axes, few: list[runs.Record], full: list[runs.Record]) -> None:
    """The validation losses of the ablation, or of all models where there is none."""
    for number, record in enumerate(few or full):
        steps, losses = record.curve("validation_loss")
        epochs = np.array(steps) / steps[-1] * record.config.epochs
        name = f"dropout {record.config.dropout:g}, smoothing {record.config.smoothing:g}"
        name += f", weight decay {record.config.weight_decay:g}"
        bleu = f"BLEU {record.result['last_bleu']:.1f}, with early stopping {record.result['bleu']:.1f}"
        name = name if few else LABEL[record.config.model]
        style = number if few else record.config.model
        plot.curve(ax, epochs, *losses, label=f"{name}\n{bleu}", style=style, markers=False)
    ax.locator_params(axis="x", integer=True)
    ax.set(xlabel="epochs", ylabel="validation loss (nats a token)")
    ax.set_title(f"{FEW:,} pairs, attention: over-fitting" if few else "over-fitting")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.9 * (high - low))  # room for the legend
    plot.legend(ax, loc="upper right")


def _examples(ax: Axes, records: list[runs.Record]) -> None:
    """Source, reference, and the translation of each model."""
    shown: dict[tuple[str, str], list[str]] = {}
    for record in records:
        for one in json.loads(record.read("examples.json")):
            line = f"< {one['translation']}   ({record.config.model})"
            shown.setdefault((one["source"], one["reference"]), []).append(line)
    lines = [line for (source, right), found in shown.items() for line in (f"> {source}", f"= {right}", *found, "")]
    ax.text(0, 1, "\n".join(lines), va="top", fontsize=9, family="monospace", transform=ax.transAxes)
