"""Which of the published conclusions stand, once the floor is known?

Paper     seeds S0 to S4, the public code behind S4 (MLDS-NUS/Seq2Seq-Deep-Learning-Demo); Jiang & Li 2023,
          arXiv:2305.18475; Wang & Li 2023, arXiv:2311.14495; Li, Han, E & Li 2021, arXiv:2009.07799; Le, Jaitly &
          Hinton 2015, arXiv:1504.00941; Bai, Kolter & Koltun 2018, arXiv:1803.01271
Figure    experiments/figures/audit.png
Question  A claim comes with a number. What is the exact floor of what it is about, what do we find, and what follows?
Expect    S4's recurrent net recurs over the batch: its plateau is .018136, the error of what sees the present input
          only (AU1), which tells about AU2 and AU4 too; of AU5 it tells less, as a scale there is random. What
          re-ordering costs a linear RNN, .0357, is within 19 % of .0301, which no causal model passes (AU6); 5.58 on
          random kernels, where one can be exact, is nearly the error of a constant (AU7). The adding problem's baseline
          is 1/6, not .1767 (AU9). Power laws need few states on a window (AU10). Plateaus depend on the optimiser
          (AU11), and the scheduler of S4's code freezes what is on one (AU14). Smooth input hides memory (AU12). Linear
          RNNs are poor at delays for which they have too few states (AU13).
          S4's own network, LSTM 2 x 256, sits within 2 % of the floor without memory as long as it recurs over the
          batch, and more than 10 x below it over time, on each of S4's tasks (D1 to D1c). A tanh costs .15 a step (D4).
          Loops that end after one symbol, decoders that forget or that read what they are to write leave no sequence
          right (D5, D6, D13), an EOS that is a symbol loses 18.5 % (D7), padding that is read most (D15). A start that
          is not told costs 6 % of Lorenz96's variance (D11). The TCN's lead on shifts is real at equal size, and S4's
          comparison overstates it (D8).
          Of the seeds' claims: shifts of 8 are learned by recurrent nets too, 32 of white noise is not (C1); on
          Lorenz96 no CNN leads at equal size, and 64 linear taps lead all at K = 1 (C6, C7); K makes it harder, J
          hardly (C15).
Answer    {count claim} claims are set beside computed floors. The recurrent network of one tutorial recurs over the
          batch: its error on a shift of 8 is {ours only=D1:.4f}, the least possible without memory is
          {floor only=D1:.4f}, and over time the same network has {corrected only=D1:.0e}.
Fair      Verdicts follow from the numbers by rules that stand in experiments/tutorials/_claims, one function a row. Quoted numbers
          are in CLAIMS and nowhere else; all others are computed. Linear models learn from the exact loss in float64.
          Changed after numbers were seen: AU14's memory (at 14 the scheduler does no harm, at 15 and 16 it does; it
          needs a plateau longer than its patience), AU5's rule, the learning rate of AU4 and those tried in AU8.
          C rows take what other experiments measured from the JSON beside their figures, and name the command where it
          is missing. Reversal stands for S1's and S2's corpora in C11 to C13. A range that overlaps is no win.
Differs   from the seeds: small networks of equal parameters and few steps; the defect is made by turning the batch, as
          the recorded runs are of a version of S4's code before batch_first. AU14 and D12 are on the plateau of
          experiments/theory/plateau.py, in closed form, not on S4's network. D1 is of S4's network and learning rate, less the
          tanh of D4 and the biases of D9, for 400 steps of 32 sequences (32/128: 200, Lorenz96: 600), not 300 epochs
          of 312 steps; its scheduler counts 10 steps as an epoch. D5 to D7 and D13 have GRUs of 128, half of S1's,
          which see fresh sequences and the true tokens before each one.
Cost      50 min on two CPU cores, of which AU 15, D 25 (D1 to D1c: 20), C 10
Run       python experiments/tutorials/audit.py
Next      python experiments/tutorials/audit.py --only D5 D6 D7 --seeds 10 --out results/mine
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from seqjax import runs

if TYPE_CHECKING:
    from collections.abc import Callable

    from _claims.finding import Finding
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Literal[
    "AU1", "AU2", "AU3", "AU4", "AU5", "AU6", "AU7", "AU8", "AU9", "AU10", "AU11", "AU12", "AU13", "AU14",
    "D1", "D1b", "D1c", "D2", "D3", "D4", "D5", "D6", "D7", "D8", "D9", "D10", "D11", "D12", "D13", "D14", "D15",
    "C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9", "C10", "C11", "C12", "C13", "C14", "C15",
]  # fmt: skip


SHOWN = (1e-6, 1e5)
"""The figure's axis; what lies beyond is drawn at its end."""

PARTS = {
    "AU": "Conclusions, audited",
    "D": "Defects of the seeds (hatched: out of reach with the defect)",
    "C": "Claims of the seeds, tested",
}
"""The figure's, by how a row's name begins."""


class Claim(NamedTuple):
    """What is claimed, whose it is, and the number quoted from there, where there is one."""

    words: str
    source: str
    number: float = 0.0


CLAIMS: dict[Row, Claim] = {
    "AU1": Claim("shift 8/32 is hard for an RNN: a plateau of long memory", "S4; recorded run, train loss", 0.01812),
    "AU2": Claim("outputs are near zero, because the sequences' mean is", "S4"),
    "AU3": Claim("Lorenz96, K = 1: a nonlinear relation", "S4"),
    "AU4": Claim("on Lorenz96 a CNN of 40K beats an RNN of 791K", "S4; recorded .0061 and 2.7e-5", 0.0061 / 2.7e-5),
    "AU5": Claim("an RNN nearly learns Lorenz96's basic pattern", "S4; recorded run", 0.0061),
    "AU6": Claim("re-ordering the input ruins a linear RNN", "arXiv:2305.18475, table 2", 3.57e-2),
    "AU7": Claim("a linear RNN cannot fit random kernels", "arXiv:2305.18475, table 3", 5.58),
    "AU8": Claim("rates as they are, not as exp of a weight, are unstable", "arXiv:2311.14495"),
    "AU9": Claim("adding: a constant has an error of .1767", "arXiv:1504.00941, arXiv:1803.01271", 0.1767),
    "AU10": Claim("a power law needs error^(-1/exponent) states", "a rate of approximation theory; exponent 1.1", 1.1),
    "AU11": Claim("plateaus last exponentially long in the memory", "arXiv:2009.07799; S4"),
    "AU12": Claim("shift on a smooth process tests memory", "S4"),
    "AU13": Claim("in theory RNNs do not do well on shifts", "S4"),
    "AU14": Claim("the RNN's loss stops falling, as learning is hard", "S4 and the public code behind it"),
    "D1": Claim("the recurrence runs over the batch, shift 8/32", "S4; recorded run, train loss", 0.01812),
    "D1b": Claim("the recurrence runs over the batch, shift 32/128", "public code behind S4"),
    "D1c": Claim("the recurrence runs over the batch, Lorenz96", "public code behind S4"),
    "D2": Claim("smooth inputs tell their past", "S4"),
    "D3": Claim("Lorenz96 at K = 1 is linear", "S4"),
    "D4": Claim("tanh on the output, targets beyond 1", "public code behind S4"),
    "D5": Claim("training stops after one symbol", "S1; the five printed losses", 16.3027),
    "D6": Claim("the decoder's state is not carried on in training", "S1"),
    "D7": Claim("EOS is the symbol 1, and ends no target", "S1"),
    "D8": Claim("an RNN on 8/32 against a TCN on 32/128", "S4; recorded .01812 x 25 and 1.1e-5", 0.01812 * 25 / 1.1e-5),
    "D9": Claim("two bias vectors for each gate", "S4, around 791K parameters; PyTorch"),
    "D10": Claim("weights drawn after weight norm are not used", "public code behind S4; N(0, .01)", 0.01),
    "D11": Claim("Euler's steps, random scales, a start not told", "public code behind S4"),
    "D12": Claim("a scheduler that waits for 10 epochs", "public code behind S4"),
    "D13": Claim("the decoder reads what it is to write", "S0"),
    "D14": Claim("the printed RNN has no activation", "S4"),
    "D15": Claim("no attention class, and no mask for one", "S3"),
    "C1": Claim("an RNN does not do well on shifts, a CNN very well", "S4"),
    "C2": Claim("a shift is a convolution", "S4"),
    "C3": Claim("memory hurts RNNs", "S4"),
    "C4": Claim("plateaus last exponentially long in the memory", "arXiv:2009.07799, also of LSTM and GRU"),
    "C5": Claim("predictions are near zero: zero mean, squared error", "S4"),
    "C6": Claim("on Lorenz96 a CNN of 40K beats an RNN of 791K", "S4; recorded .0061 and 2.7e-5", 0.0061 / 2.7e-5),
    "C7": Claim("a simple RNN nearly learns the basic pattern", "S4; recorded run", 0.0061),
    "C8": Claim("a receptive field of 16 with 8 parameters", "S4", 16.0),
    "C9": Claim("CNNs learn what has low rank", "arXiv:2107.09355"),
    "C10": Claim("CNNs are better where memory is long or not smooth", "S4; arXiv:2107.09355"),
    "C11": Claim("a relu after the embedding makes no difference", "S2"),
    "C12": Claim("works well when the input is not too long", "S2"),
    "C13": Claim("encoder-decoders often surpass other models", "S1"),
    "C14": Claim("(Transformers are shipped, nothing is said of them)", "S4"),
    "C15": Claim("K and J can be viewed as a measure of complexity", "S4"),
}
"""Claims in our words, numbers quoted; no other number here is written down. That of AU10 is the power law's exponent,
that of AU4 the ratio of two recorded errors."""


@dataclass(frozen=True)
class Config:
    """One row. Steps of 0 stand for the row's own."""

    only: Row = "AU1"
    steps: int = 0
    seeds: int = 3


def configs(scale: runs.Scale) -> list[Config]:
    """Every row; at the smallest scale two that train nothing, and a few steps of one."""
    if scale == "smoke":
        return [Config("AU6", 3, 2), Config("AU9", 3, 2)]
    return [Config(row, seeds={"laptop": 3, "gpu": 10}[scale]) for row in get_args(Row)]


def measure(records: list[runs.Record]) -> None:
    """One row: its numbers, and the verdict that follows from them."""
    group = [record.config for record in records]
    (config,), (record,) = group, records
    claim, finding = CLAIMS[config.only], _audit(config)
    row = {
        "claim": claim.words,
        "source": claim.source,
        "quantity": finding.quantity,
        "parameters": finding.parameters,
        "claimed": finding.claimed,
        "corrected": finding.corrected,
        "floor": finding.floor,
        "ours": finding.ours.median,
        "low": finding.ours.low,
        "high": finding.ours.high,
        "verdict": finding.verdict,
        "also": {name: float(f"{number:.4g}") for name, number in finding.also.items()},
    }
    record.finish({name: value for name, value in row.items() if value is not None})


def _audit(config: Config) -> "Finding":
    return findings(CLAIMS[config.only].number, config.seeds, config.steps)[config.only]()


def findings(quoted: float, seeds: int, asked: int) -> "dict[Row, Callable[[], Finding]]":
    """How each row is found, in the order of the table; a row has steps of its own where no other number is asked."""
    from _claims import (
        axis,
        claims_convolution,
        claims_language,
        claims_lorenz,
        claims_shift,
        lorenz,
        memory,
        modules,
        reversing,
        shift,
        transformer,
    )

    def steps(own: int) -> int:
        return asked or own

    return {
        "AU1": lambda: shift.cannot_see_time(quoted, seeds, steps(1_200)),
        "AU2": lambda: shift.is_not_zero(seeds, steps(1_200)),
        "AU3": lambda: lorenz.is_linear(),
        "AU4": lambda: lorenz.unequal(quoted, seeds, steps(800)),
        "AU5": lambda: lorenz.cannot_see_time(quoted),
        "AU6": lambda: transformer.re_ordering(quoted, seeds, steps(2_000)),
        "AU7": lambda: transformer.random_kernels(quoted, seeds, steps(2_000)),
        "AU8": lambda: memory.both_signs(seeds, steps(1_000)),
        "AU9": lambda: memory.is_a_slip(quoted),
        "AU10": lambda: memory.needs_few_states(quoted),
        "AU11": lambda: memory.depends_on_the_optimiser(seeds, steps(12_000)),
        "AU12": lambda: shift.hides_memory(),
        "AU13": lambda: shift.is_linear_theory(seeds, steps(3_000)),
        "AU14": lambda: memory.freezes(seeds, steps(30_000)),
        "D1": lambda: axis.on_shift(8, 32, quoted, seeds, steps(400)),
        "D1b": lambda: axis.on_shift(32, 128, quoted, seeds, steps(200)),
        "D1c": lambda: axis.on_lorenz(seeds, steps(600)),
        "D2": lambda: shift.needs_white_noise(),
        "D3": lambda: lorenz.needs_a_harder_case(),
        "D4": lambda: modules.saturates(seeds, steps(600)),
        "D5": lambda: reversing.first_symbol_only(quoted, seeds, steps(2_000)),
        "D6": lambda: reversing.forgets_its_state(seeds, steps(2_000)),
        "D7": lambda: reversing.no_end(seeds, steps(2_000)),
        "D8": lambda: shift.unequal_tasks(quoted, seeds, steps(1_200)),
        "D9": lambda: modules.moves_twice(seeds, steps(10)),
        "D10": lambda: modules.starts_elsewhere(quoted, seeds),
        "D11": lambda: lorenz.is_repaired(),
        "D12": lambda: memory.costs_learning(seeds, steps(30_000)),
        "D13": lambda: reversing.copies(seeds, steps(2_000)),
        "D14": lambda: modules.cannot_run(seeds),
        "D15": lambda: reversing.looks_at_padding(seeds, steps(2_000)),
        "C1": lambda: claims_shift.by_architecture(seeds, steps(1_000)),
        "C2": lambda: claims_shift.is_a_convolution(),
        "C3": lambda: claims_shift.hurts_linear_rnns(),
        "C4": lambda: claims_shift.plateaus(seeds, steps(2_000)),
        "C5": lambda: claims_shift.is_the_conditional_mean(seeds, steps(1_200)),
        "C6": lambda: claims_lorenz.equal_parameters(quoted, seeds, steps(800)),
        "C7": lambda: claims_lorenz.plain_rnn(quoted),
        "C8": lambda: claims_convolution.receptive_field(quoted),
        "C9": lambda: claims_convolution.low_rank(),
        "C10": lambda: claims_convolution.smooth_or_long(seeds, steps(500)),
        "C11": lambda: claims_language.relu_after_embedding(seeds, steps(1_000)),
        "C12": lambda: claims_language.falls_with_length(seeds, steps(1_500)),
        "C13": lambda: claims_language.against_a_language_model(seeds, steps(1_500)),
        "C14": lambda: claims_lorenz.the_missing_row(),
        "C15": lambda: claims_lorenz.complexity(seeds, steps(400)),
    }


def draw(records: list[runs.Record]) -> "Figure":
    """One line a row, in three parts: the claim on the left, its numbers on a log axis, the verdict on the right."""
    from seqjax import plot

    parts = {title: [r for r in records if re.match(f"{start}[0-9]", r.config.only)] for start, title in PARTS.items()}
    parts = {title: rows for title, rows in parts.items() if rows}
    figure, axes = plot.figure(len(parts), width=12.0, height=1.0 + 0.8 * len(parts) + 0.5 * len(records))
    # The texts stand outside of the axes, in room that the layout is told of.
    figure.set_layout_engine("constrained", rect=(0.39, 0, 0.26, 1), h_pad=0.15)
    axes[0, 0].get_gridspec().set_height_ratios([len(rows) + 1 for rows in parts.values()])
    for ax, (title, rows) in zip(axes[:, 0], parts.items(), strict=True):
        ax.set(xscale="log", xlim=SHOWN, ylim=(len(rows) - 0.5, -0.5), yticks=[])
        ax.spines["left"].set_visible(False)
        ax.text(
            -1.57, 1.0, title, transform=ax.transAxes, va="bottom", fontsize=12, weight="bold", in_layout=False
        )  # fmt: skip
        for place, record in enumerate(rows):
            _write(ax, place, record.config.only, record.result)
            _mark(ax, place, record.result)
    axes[-1, 0].set_xlabel("number of the quantity in grey", fontsize=8)
    named = {name: mark for ax in axes[:, 0] for mark, name in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return figure


def _mark(ax: "Axes", place: int, row: dict) -> None:
    """The numbers of a row, those beyond the axis at its end."""
    from seqjax import plot

    def shown(name: str) -> float:
        return min(max(row[name], SHOWN[0]), SHOWN[1])

    hatched = {"facecolor": "none", "edgecolor": "0.55", "hatch": "///", "hatch_linewidth": 0.5, "linewidth": 0}
    if row.get("floor"):
        ax.barh(place, row["floor"], 0.6, label="out of reach", **hatched)
        ax.vlines(row["floor"], place - 0.3, place + 0.3, color="black", linewidth=1.2)
    if "claimed" in row:
        ax.plot(
            shown("claimed"),
            place,
            "D",
            color="black",
            markerfacecolor="none",
            markersize=8,
            label="claimed",
            clip_on=False,
        )
    if "corrected" in row:
        look = {"color": plot.STYLES[2]["color"], "markersize": 6, "label": "without the defect", "clip_on": False}
        ax.plot(shown("corrected"), place, plot.STYLES[2]["marker"], markerfacecolor="white", **look)
    median, low, high = map(shown, ("ours", "low", "high"))
    look = {"color": plot.STYLES[0]["color"], "marker": plot.STYLES[0]["marker"], "markersize": 5.5, "capsize": 2.5}
    ax.errorbar(
        median, place, xerr=[[median - low], [high - median]], linestyle="", label="ours", clip_on=False, **look
    )


def _write(ax: "Axes", place: int, name: str, row: dict) -> None:
    """What stands beside the axis, in columns."""
    import textwrap

    columns = (
        (-1.57, 0.0, name, {"fontsize": 10, "weight": "bold"}),
        (-1.32, -0.24, row["claim"], {"fontsize": 8.5}),
        (-1.32, 0.02, row["quantity"], {"fontsize": 7.5, "color": "0.35"}),
        (-1.32, 0.26, row["source"], {"fontsize": 7.5, "color": "0.35", "style": "italic"}),
        (1.03, 0.0, textwrap.fill(row["verdict"], 62), {"fontsize": 8.5}),
    )
    for x, below, text, look in columns:
        beside: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center", "in_layout": False}
        ax.text(x, place + below, text, fontdict=look, linespacing=1.15, **beside)


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw)
