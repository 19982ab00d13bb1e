"""Where the experiment says that an architecture stops learning."""

from pathlib import Path

import pytest

from seqjax.runs.scripts import import_script

SCRIPT = import_script(Path(__file__).parents[2] / "experiments" / "memory" / "delay_limit.py")


def line(*errors: tuple[float, float, float], delays: tuple[int, ...] = (2, 4, 8, 16)) -> list[dict]:
    """Rows with these errors (best, median and worst seed) as fractions of the least error without memory."""
    return [
        {
            "delay": delay,
            "memoryless": 0.5,
            "low": low / 2,
            "mse": median / 2,
            "high": high / 2,
            "learned": median <= 0.1,
        }
        for delay, (low, median, high) in zip(delays, errors, strict=True)
    ]


GOOD, MIXED, BAD = (0.01, 0.02, 0.03), (0.01, 0.02, 0.9), (0.8, 0.9, 1.0)


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ((GOOD, GOOD, BAD, BAD), "fails between 4 and 8"),
        ((GOOD, MIXED, BAD, BAD), "fails between 4 and 8 (seeds: 2 to 4)"),
        ((GOOD, BAD, GOOD, BAD), "fails between 2 and 4, but learns 8"),
        ((BAD, BAD, BAD, BAD), "fails from 2 on"),
        ((GOOD, GOOD, GOOD, GOOD), "learned to 16, the longest"),
    ],
)
def test_sentence(errors, words):
    assert SCRIPT.sentence(line(*errors)) == words


def test_every_delay_leaves_half_of_the_targets():
    for scale in ("smoke", "laptop", "gpu"):
        configs = SCRIPT.configs(scale)
        assert all(config.length >= 2 * config.delay for config in configs)
        assert len({config.length for config in configs}) <= 4
    with pytest.raises(ValueError, match="--length must be at least twice the delay, 80, got 64"):
        SCRIPT.Config(delay=40)


def test_its_rates_are_those_of_shift_memory():
    other = import_script(Path(__file__).parents[2] / "experiments" / "memory" / "shift_memory.py")
    assert SCRIPT.LEARNING_RATE.items() <= other.LEARNING_RATE.items()
