"""Which of the published conclusions stand, once the floor is known?

Paper     seed S4 and the public code behind it (MLDS-NUS/Seq2Seq-Deep-Learning-Demo); Jiang & Li 2023,
          arXiv:2305.18475; Wang & Li 2023, arXiv:2311.14495; Li, Han, E & Li 2021, arXiv:2009.07799; Le, Jaitly &
          Hinton 2015, arXiv:1504.00941; Bai, Kolter & Koltun 2018, arXiv:1803.01271
Figure    experiments/figures/seed_audit.png
Question  A claim comes with a number. What is the exact floor of what it is about, what do we find, and what follows?
Expect    S4's recurrent net recurs over the batch: its plateau is .018136, the error of what sees the present input
          only (AU1), which tells about AU2 and AU4 too; of AU5 it tells less, as a scale there is random. What
          re-ordering costs a linear RNN, .0357, is within 19 % of .0301, which no causal model passes (AU6); 5.58 on
          random kernels, where one can be exact, is nearly the error of a constant (AU7). The adding problem's baseline
          is 1/6, not .1767 (AU9). Power laws need few states on a window (AU10). Plateaus depend on the optimiser
          (AU11), and the scheduler of S4's code freezes what is on one (AU14). Smooth input hides memory (AU12). Linear
          RNNs are poor at delays for which they have too few states (AU13).
Fair      Verdicts follow from the numbers by rules that stand in experiments/audit, one function a row. Quoted numbers
          are in CLAIMS and nowhere else; all others are computed. Linear models learn from the exact loss in float64.
          Changed after numbers were seen: AU14's memory (at 14 the scheduler does no harm, at 15 and 16 it does; it
          needs a plateau longer than its patience), AU5's rule, the learning rate of AU4 and those tried in AU8.
Differs   from the seeds: small networks of equal parameters and few steps; the defect is made by turning the batch, as
          the recorded runs are of a version of S4's code before batch_first. AU14 is on the plateau of
          experiments/plateau.py, in closed form, not on S4's network.
Cost      6 min on one CPU core
Run       python experiments/seed_audit.py
Next      python experiments/seed_audit.py --only AU6 AU7 --seeds 10 --out results/mine
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, assert_never, get_args

from seqjax import runs

if TYPE_CHECKING:
    from audit.finding import Finding
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Literal[
    "AU1", "AU2", "AU3", "AU4", "AU5", "AU6", "AU7", "AU8", "AU9", "AU10", "AU11", "AU12", "AU13", "AU14"
]  # fmt: skip


SHOWN = (1e-6, 1e4)
"""The figure's axis; what lies beyond is drawn at its end."""


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


def measure(group: list[Config], records: list[runs.Record]) -> None:
    """One row: its numbers, and the verdict that follows from them."""
    (config,), (record,) = group, records
    claim, finding = CLAIMS[config.only], _audit(config)
    row = {
        "claim": claim.words,
        "source": claim.source,
        "quantity": finding.quantity,
        "parameters": finding.parameters,
        "claimed": finding.claimed,
        "floor": finding.floor,
        "ours": finding.ours.median,
        "low": finding.ours.low,
        "high": finding.ours.high,
        "verdict": finding.verdict,
        "also": {name: float(f"{number:.4g}") for name, number in finding.also.items()},
    }
    record.finish({name: value for name, value in row.items() if value is not None})


def _audit(config: Config) -> "Finding":
    from audit import lorenz, memory, shift, transformer

    quoted, seeds = CLAIMS[config.only].number, config.seeds

    def steps(own: int) -> int:
        return config.steps or own

    match config.only:
        case "AU1":
            return shift.cannot_see_time(quoted, seeds, steps(1_200))
        case "AU2":
            return shift.is_not_zero(seeds, steps(1_200))
        case "AU3":
            return lorenz.is_linear()
        case "AU4":
            return lorenz.unequal(quoted, seeds, steps(800))
        case "AU5":
            return lorenz.cannot_see_time(quoted)
        case "AU6":
            return transformer.re_ordering(quoted, seeds, steps(2_000))
        case "AU7":
            return transformer.random_kernels(quoted, seeds, steps(2_000))
        case "AU8":
            return memory.both_signs(seeds, steps(1_000))
        case "AU9":
            return memory.is_a_slip(quoted)
        case "AU10":
            return memory.needs_few_states(quoted)
        case "AU11":
            return memory.depends_on_the_optimiser(seeds, steps(12_000))
        case "AU12":
            return shift.hides_memory()
        case "AU13":
            return shift.is_linear_theory(seeds, steps(3_000))
        case "AU14":
            return memory.freezes(seeds, steps(30_000))
        case _:
            assert_never(config.only)


def draw(records: list[runs.Record]) -> "Figure":
    """A line for each row: the claim on the left, its numbers on a log axis, the verdict on the right."""
    from seqjax import plot

    figure, axes = plot.figure(width=17.0, height=1.5 + 0.6 * len(records))
    # The texts stand outside of the axes, in room that the layout is told of.
    figure.set_layout_engine("constrained", rect=(0.47, 0, 0.26, 1))
    ax = axes[0, 0]
    ax.set(xscale="log", xlim=SHOWN, ylim=(len(records) - 0.5, -0.5), yticks=[], xlabel="number of the quantity named")
    ax.spines["left"].set_visible(False)
    look = plot.STYLES[0]
    with_claim = [place for place, record in enumerate(records) if "claimed" in record.result]
    for place, record in enumerate(records):
        row = record.result
        _write(ax, place, record.config.only, row)
        median, low, high = (min(max(row[name], SHOWN[0]), SHOWN[1]) for name in ("ours", "low", "high"))
        first = place == 0
        hatched = {"facecolor": "none", "edgecolor": "0.55", "hatch": "///", "hatch_linewidth": 0.5, "linewidth": 0}
        ax.barh(place, row.get("floor") or SHOWN[0], 0.6, label="out of reach" if first else None, **hatched)
        if row.get("floor"):
            ax.vlines(row["floor"], place - 0.3, place + 0.3, color="black", linewidth=1.2)
        if "claimed" in row:
            open_mark = {"marker": "D", "markerfacecolor": "none", "markersize": 8, "linestyle": ""}
            ax.plot(
                [row["claimed"]],
                [place],
                color="black",
                label="claimed" if place == with_claim[0] else None,
                **open_mark,
            )
        marks = {"color": look["color"], "marker": look["marker"], "markersize": 5.5, "capsize": 2.5, "linestyle": ""}
        ax.errorbar([median], [place], xerr=[[median - low], [high - median]], label="ours" if first else None, **marks)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def _write(ax: "Axes", place: int, name: str, row: dict) -> None:
    """What stands beside the axis, in columns."""
    import textwrap

    beside: dict[str, Any] = {
        "transform": ax.get_yaxis_transform(),
        "va": "center",
        "linespacing": 1.15,
        "in_layout": False,
    }
    numbers = "   ".join(f"{key} {row[key]:.3g}" for key in ("claimed", "floor", "ours") if key in row)
    claim = textwrap.fill(row["claim"], 52)
    columns = (
        (-1.80, name, {"fontsize": 10, "weight": "bold"}),
        (-1.68, f"{claim}\n({row['source']})", {"fontsize": 8}),
        (-0.66, textwrap.fill(row["quantity"], 44) + f"\n{numbers}", {"fontsize": 8}),
        (1.03, textwrap.fill(row["verdict"], 54), {"fontsize": 8.5}),
    )
    for x, text, look in columns:
        ax.text(x, place, text, fontdict=look, **beside)


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw)
