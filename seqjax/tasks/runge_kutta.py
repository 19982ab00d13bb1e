"""A Runge-Kutta solver for diffrax that is fast where steps are fixed and many systems are integrated at once."""

from typing import ClassVar, cast

import diffrax
import jax
from jaxtyping import Array, PyTree


class Unrolled(diffrax.AbstractSolver):
    """An explicit Runge-Kutta method of diffrax with its stages written out, for fixed steps.

    diffrax loops over the stages, keeps all of them in one buffer, and before each multiplies the whole buffer by a row
    of the tableau, zeros included: here that is 4 times as slow. No error estimate, and between steps a straight line.

    Attributes:
        method: whose tableau is used.
    """

    method: diffrax.AbstractERK
    term_structure: ClassVar = diffrax.ODETerm
    interpolation_cls: ClassVar = diffrax.LocalLinearInterpolation

    def order(self, terms):
        """The method's."""
        return self.method.order(terms)

    def init(self, terms, t0, t1, y0, args) -> None:
        """Nothing is carried from step to step."""

    def func(self, terms, t0, y0, args):
        """The vector field."""
        return terms.vf(t0, y0, args)

    def step(self, terms, t0, t1, y0: PyTree[Array], args, solver_state, made_jump):
        """Evaluate stage after stage, each at y0 plus a weighted sum of the rates so far; the last such sum is y1."""
        dt, rates, y = terms.contr(t0, t1), [], y0
        tableau = cast("diffrax.ButcherTableau", self.method.tableau)

        def advanced(weights):
            def along(y, *rates):
                return y + sum(dt * weight * rate for weight, rate in zip(weights, rates, strict=True) if weight)

            return jax.tree.map(along, y0, *rates)

        for c, weights in zip((0.0, *tableau.c.tolist()), (*tableau.a_lower, tableau.b_sol), strict=True):
            rates.append(terms.vf(t0 + c * dt, y, args))
            y = advanced(weights.tolist())
        return y, None, {"y0": y0, "y1": y}, None, diffrax.RESULTS.successful
