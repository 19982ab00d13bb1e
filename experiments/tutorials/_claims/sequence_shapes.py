"""Claims of the tutorial `sequence_shapes`."""

import numpy as np
from _claims import reversal
from _claims.finding import Finding, Settings


def unshifted_target(settings: Settings) -> Finding:
    """D13: the decoder's input is the token that it must predict (on reversal, as the tutorial trains nothing)."""
    defect, fixed = reversal.both(settings, unshifted=True)
    copying, shifted = (float(np.median(case.loss)) for case in (defect, fixed))
    missed, left = (float(np.median(case.wrong)) for case in (defect, fixed))
    copied = copying < shifted and missed > 0.99
    return reversal.finding(
        defect,
        fixed,
        f"learns to copy: a loss of {copying:.0e}, and {missed:.0%} wrong in decoding; shifted {left:.1%}"
        if copied
        else "learns more than to copy",
        None,
        {"loss per token, as trained": copying, "same, shifted": shifted, "guessing": float(np.log(reversal.SYMBOLS))},
    )
