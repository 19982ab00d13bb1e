"""Recall from a state of b bits: ceilings of every model, and the codes, plateaus and weights that come near them.

`items` values, independent and uniform on `symbols` symbols, are read; then each is asked for. Whatever is carried from
the values to the questions takes at most 2^bits states. Keys, positions and questions are given for free, and earlier
answers may be too (teacher forcing). Copying a string, selective copying and associative recall are of this kind; so is
a fixed map that was memorised, with the bits of the weights.

All numbers are float64; accuracies are fractions of right answers.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from seqjax._checks import at_least, fractions, integers
from seqjax.types import InputError, Params

SATURATED = 1000.0
"""A weight at which sigmoid and tanh are exactly 0, 1 and -1, in single and in double precision."""


def accuracy(bits: float | int, items: int, symbols: int) -> float:
    """Ceiling of the accuracy of every model that carries `bits` bits over the cut, D = `items`, V = `symbols`.

    Inequality: accuracy <= 1/D sum_{t=1..D} min(1, 2^b P[Bin(D, 1/V) >= t]).
    Idea: fix the carried state s. Each answer is then a function of what is independent of its value (s is a constant,
    and earlier values are independent), so it is right with probability 1/V whatever came before, and the number of
    right answers is exactly Bin(D, 1/V). That at least t are right under the state that the model carries has the
    probability of at most the sum over all 2^b states.
    Reached by perfect codes, such as Hamming's (7, 4), and wherever b = (D - 1) log2 V (`store`).

    Raises:
        InputError: bits < 0, no item, or fewer than two symbols.
    """
    _check(bits, items, symbols)
    # P[Bin >= t], t = D … 1, in logarithms: 2^b alone would overflow from 1,024 bits on.
    tail = np.logaddexp.accumulate(_log_binomial(items, symbols)[:0:-1])
    return float(np.exp(np.minimum(0, bits * math.log(2) + tail)).mean())


def rate_distortion(bits: float | int, items: int, symbols: int) -> float:
    """Ceiling as `accuracy`, from the rate-distortion function of the uniform source; never below that one.

    Inequality: accuracy <= a, where log2 V - h(a) - (1 - a) log2(V - 1) = b/D and h is the binary entropy; reached
    as D grows with b/D fixed.
    Source: Shannon 1959; Cover & Thomas 2006, problem 10.5.

    Raises:
        InputError: as `accuracy`.
    """
    _check(bits, items, symbols)

    def rate(right: float) -> float:
        """Nats a value that this accuracy takes."""
        return math.log(symbols) + right * math.log(right) + (1 - right) * math.log((1 - right) / (symbols - 1))

    low, high = 1 / symbols, 1.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if rate(middle) <= bits / items * math.log(2) else (low, middle)
    return high


def nats(bits: float | int, items: int, symbols: int) -> float:
    """Floor of the cross-entropy per answer in nats: ln V - (b/D) ln 2, never below 0.

    Idea: sum_j H(v_j | s, v_<j) = H(v | s) >= D ln V - b ln 2.

    Raises:
        InputError: as `accuracy`.
    """
    _check(bits, items, symbols)
    return max(0.0, math.log(symbols) - bits / items * math.log(2))


def store(bits: float | int, items: int, symbols: int) -> float:
    """Accuracy of storing m = floor(b / log2 V) values, D at most, and guessing the others: (m + (D - m)/V) / D.

    A code that exists, so that no ceiling is lower; at b = (D - 1) log2 V it is on `accuracy`, for every D and V.

    Raises:
        InputError: as `accuracy`.
    """
    _check(bits, items, symbols)
    # A multiple of log2 V must not be rounded down to one value fewer.
    stored = min(items, math.floor(bits / math.log2(symbols) * (1 + 4 * np.finfo(float).eps)))
    return (stored + (items - stored) / symbols) / items


class Plateau(NamedTuple):
    """Scores of a strategy: accuracy, and cross-entropy per answer in nats."""

    accuracy: float
    nats: float


def bag(items: int, symbols: int) -> Plateau:
    """Scores of a model that knows which values were read, and how often, but not whose they are.

    With counts n of the D values it answers with the most frequent one, right with probability max n / D, and predicts
    n / D, whose entropy it pays: E max n / D, and E H(n / D) = ln D - V/D E[n ln n]. Training often rests there.

    Raises:
        InputError: as `accuracy`.
    """
    _check(0, items, symbols)
    # Counts are independent Poisson numbers given their sum: P(max <= m) is a power of one truncated distribution.
    number = np.arange(items + 1)
    log_factorial = _log_factorial(items)
    poisson = np.exp(number * math.log(items / symbols) - items / symbols - log_factorial)
    total = math.exp(items * math.log(items) - items - log_factorial[-1])
    log_tail = np.logaddexp.accumulate(_log_binomial(items, symbols)[::-1])[::-1]
    expected = 0.0
    for least in range(1, items + 1):  # E max = sum of P(max >= least)
        if math.log(symbols) + log_tail[least] < -40:
            break
        expected += 1 - _power(np.where(number < least, poisson, 0), symbols)[-1] / total
    log_number = np.log(np.maximum(number, 1))
    lost = float(np.exp(_log_binomial(items, symbols)) @ (number * log_number))
    return Plateau(float(expected) / items, math.log(items) - symbols / items * lost)


def window(inside: float, symbols: int) -> float:
    """Ceiling of a model that sees the value in a fraction `inside` of the questions: inside + (1 - inside)/V.

    Raises:
        InputError: a fraction outside [0, 1], or fewer than two symbols.
    """
    fractions(inside=inside)
    integers(2, symbols=symbols)
    return inside + (1 - inside) / symbols


def random_code(bits: int, items: int, symbols: int, *, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Accuracy of 2^bits random words of which the nearest answers, and its standard error: a code that exists.

    With many items it comes near `accuracy` (Shannon's random coding).

    Raises:
        InputError: as `accuracy`, or bits > 24, whose words are not enumerated.
    """
    _check(bits, items, symbols)
    integers(0, bits=bits, seed=seed)
    integers(2, draws=draws)
    if bits > 24:
        raise InputError(f"bits must be <= 24, got {bits}")
    rng = np.random.default_rng(seed)
    words = rng.integers(symbols, size=(items, 2**bits), dtype=np.int32)
    right = []
    for values in rng.integers(symbols, size=(draws, items), dtype=np.int32):
        agree = np.zeros(2**bits, np.int16)
        for word, value in zip(words, values, strict=True):
            agree += word == value
        right.append(agree.max() / items)
    return float(np.mean(right)), float(np.std(right) / draws**0.5)


def gru(stored: int, keys: int, symbols: int) -> Params:
    """Weights of a GRU that answers the first `stored` of `keys` keys, and guesses the others: on `store`.

    For `models.Regressor(models.GRU(width), symbols)` on one-hot tokens of `tasks.Recall(keys, keys, symbols)`, whose
    sequences have every key. With B = ceil(log2 symbols) bits a value, each stored key k has 2B + 1 units:

    * B bits, +1 or -1, written at a value if the key before was k; otherwise the update gate keeps them;
    * a register, 1 after the token k and 0 after any other, which opens that gate;
    * B units of the answer: the bits at the token k, 0 at any other, by the reset gate.

    After a value only the bits differ between sequences: the carry has B bits a stored key at 1 bit a number. With
    stored = keys - 1 and symbols a power of 2 this is the best that any model can do with so many bits.

    Raises:
        InputError: no key stored or more than there are, or fewer than two symbols.
    """
    integers(1, stored=stored)
    integers(stored, keys=keys)
    integers(2, symbols=symbols)
    value_bits = (symbols - 1).bit_length()
    pattern = 2.0 * ((np.arange(symbols)[:, None] >> np.arange(value_bits)) & 1) - 1
    held, answered = stored * value_bits, 2 * stored * value_bits
    units = answered + stored
    bits, answer, register = np.arange(held), np.arange(held, answered), np.arange(answered, units)
    key_of = np.repeat(np.arange(stored), value_bits)
    inputs = np.zeros((keys + symbols + 1, 3, units))
    recurrent, bias = np.zeros((units, 3, units)), np.zeros((4, units))
    reset, update, candidate = range(3)
    values = slice(keys, keys + symbols)
    inputs[values, candidate, :held] = SATURATED * np.tile(pattern, stored)
    # Three parts for keeping, two against it by a value, two by the register: it takes both.
    bias[update, bits] = 3 * SATURATED
    inputs[values, update, :held] = -2 * SATURATED
    recurrent[register[key_of], update, bits] = -2 * SATURATED
    bias[update, held:] = -SATURATED
    inputs[key_of, reset, answer] = 2 * SATURATED
    bias[reset, answer] = -SATURATED
    recurrent[bits, candidate, answer] = SATURATED
    inputs[np.arange(stored), candidate, register] = SATURATED
    readout = np.zeros((units, symbols))
    readout[answer] = SATURATED * np.tile(pattern.T, (stored, 1))
    layer = {
        "input_kernel": inputs.reshape(len(inputs), -1),
        "recurrent_kernel": recurrent.reshape(units, -1),
        "bias": bias.reshape(-1),
    }
    return {"params": {"backbone": {"layer_0": layer}, "readout": {"kernel": readout, "bias": np.zeros(symbols)}}}


def _check(bits: float | int, items: int, symbols: int) -> None:
    at_least(0, bits=bits)
    integers(1, items=items)
    integers(2, symbols=symbols)


def _log_factorial(last: int) -> Float64[np.ndarray, " numbers"]:
    """ln 0!, …, ln last!."""
    return np.array([math.lgamma(number + 1) for number in range(last + 1)])


def _log_binomial(items: int, symbols: int) -> Float64[np.ndarray, " numbers"]:
    """ln P[Bin(D, 1/V) = t], t = 0 … D."""
    ways, right = _log_factorial(items), np.arange(items + 1)
    wrong = items - right
    return ways[-1] - ways - ways[::-1] + wrong * math.log(symbols - 1) - items * math.log(symbols)


def _power(series: Float64[np.ndarray, " terms"], exponent: int) -> Float64[np.ndarray, " terms"]:
    """The power of a power series, as many terms of it."""
    terms = len(series)
    result = np.eye(1, terms)[0]
    while exponent:
        if exponent & 1:
            result = np.convolve(result, series)[:terms]
        series, exponent = np.convolve(series, series)[:terms], exponent >> 1
    return result
