"""The parameterisations of a decay rate that scripts of this chapter compare."""

from typing import Literal

import numpy as np
from matplotlib.axes import Axes

from seqjax import plot
from seqjax.theory import perturbation
from seqjax.theory.perturbation import Parameterisation

Weights = Literal["direct", "exp", "softplus", "best"]

PARAMETERISATION: dict[Weights, Parameterisation] = {
    "direct": perturbation.DIRECT, "exp": perturbation.EXP, "softplus": perturbation.SOFTPLUS,
    "best": perturbation.BEST,
}  # fmt: skip

LABEL: dict[Weights, str] = {
    "direct": "rate = w", "exp": "rate = exp w", "softplus": "rate = log(1 + exp w)", "best": "rate = 1/(w² + .1)",
}  # fmt: skip

LOOK: dict[Weights, int] = {"direct": 0, "exp": 2, "softplus": 3, "best": 4}
"""Their numbers as series of `plot.SERIES`, in every panel."""


def draw_gradient_scale(ax: Axes, rates: np.ndarray) -> None:
    """The bound on a weight's gradient at each rate."""
    for name, parameterisation in PARAMETERISATION.items():
        scale = parameterisation.gradient_scale(rates)
        plot.curve(ax, rates, scale, label=LABEL[name], style=LOOK[name], markers=False)
    ax.set(xscale="log", yscale="log", title="gradient scale", xlabel="rate f(w)", ylabel="|f'|/f²")
    plot.legend(ax)
