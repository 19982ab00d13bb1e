"""The replica of the reversal tutorial."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from seqjax.runs.scripts import import_script
from seqjax.types import SpecialTokens

SCRIPT = import_script(Path(__file__).parents[2] / "experiments" / "seq2seq" / "reversal.py")


def test_the_replica_has_the_tutorials_size():
    """809,498 weights in PyTorch, whose two GRUs of width 256 have second biases for two of three gates each."""
    model, tokens = SCRIPT.replica(26, SpecialTokens(pad=None, sos=0, eos=1, never=())), jnp.zeros((1, 5), int)
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), tokens, tokens))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 809_498 - 2 * 2 * 256


@pytest.mark.slow
def test_predictions_are_printed_as_in_the_tutorial(capsys):
    SCRIPT.tutorial_replica([])
    lines = capsys.readouterr().out.splitlines()
    for number, first in enumerate(range(1, 22, 5)):
        source = [*range(first, first + 5)]
        place = lines.index(f"Input Sequence: {source}")
        target = str(source[::-1])
        assert lines[place + 1] == f"Target Sequence: {target}"
        printed, replica, fixed = lines[place + 2 : place + 5]
        assert printed.split(": ")[1].startswith(str(SCRIPT.TUTORIAL_PREDICTIONS[number]))
        assert target not in replica
        assert fixed.split(": ")[1].split("  ")[0] == target
