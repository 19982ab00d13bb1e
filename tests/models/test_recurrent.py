from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from seqjax.models import GRU, LSTM, RNN, Bidirectional, GRUCell, LSTMCell, Recurrent, Regressor, RNNCell
from seqjax.models.recurrent import reverse
from seqjax.theory import fits
from tests import contracts


def identity(x):
    return x


CELLS = {"rnn": RNNCell(), "relu": RNNCell(nn.relu), "linear": RNNCell(identity), "gru": GRUCell(), "lstm": LSTMCell()}
SLOW = ("relu", "linear")
STACKS = [
    pytest.param(Recurrent(4, cell, layers=2), id=name, marks=[pytest.mark.slow] if name in SLOW else [])
    for name, cell in CELLS.items()
]
BOTH_WAYS = [
    pytest.param(Bidirectional(4, GRUCell(), layers=2), id="gru both ways"),
    pytest.param(Bidirectional(4, LSTMCell()), id="lstm both ways", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("model", [*STACKS, *BOTH_WAYS])
def test_contract(model, key):
    contracts.backbone(model, key)


@pytest.mark.parametrize("model", [RNN(8), LSTM(8), Bidirectional(8, GRUCell())])
def test_learns(model, key):
    contracts.learns(model, key)


# One step of each cell in NumPy, as the equations of the docstrings read; W, U, b are lists of one block per gate.


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rnn_step(W, U, b, h, c, x, activation=np.tanh):
    return activation(h @ W[0] + x @ U[0] + b[0]), c


def gru_step(W, U, b, h, c, x):
    r = sigmoid(x @ U[0] + h @ W[0] + b[0])
    z = sigmoid(x @ U[1] + h @ W[1] + b[1])
    n = np.tanh(x @ U[2] + b[2] + r * (h @ W[2] + b[3]))
    return (1 - z) * n + z * h, c


def lstm_step(W, U, b, h, c, x):
    i, f, g, o = (x @ U[gate] + h @ W[gate] + b[gate] for gate in range(4))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


STEPS = {
    "rnn": rnn_step,
    "relu": partial(rnn_step, activation=lambda x: np.maximum(x, 0)),
    "linear": partial(rnn_step, activation=identity),
    "gru": gru_step,
    "lstm": lstm_step,
}


def blocks(array, features=4):
    return np.split(np.asarray(array, np.float64), array.shape[-1] // features, axis=-1)


@pytest.mark.parametrize("name", CELLS)
def test_equations_step_by_step(name, key):
    """Every output and the final carry, from a carry that is not zero, for rows of 6, 3 and 0 real steps."""
    model, lengths = Recurrent(4, CELLS[name]), (6, 3, 0)
    params, x = contracts.parameters(model, key), contracts.inputs(key, 6)
    layer = params["params"]["layer_0"]
    W, U, b = (blocks(layer[weight]) for weight in ("recurrent_kernel", "input_kernel", "bias"))
    first = jax.tree.map(lambda state: jax.random.normal(key, state.shape), model.start(3, 2, 6))
    carry, y = contracts.extend(model)(params, first, x, mask=contracts.upto(lengths, 6))

    for row, length in enumerate(lengths):
        h, c = (np.asarray(s[row], np.float64) for s in (first[0] if name == "lstm" else (first[0], first[0])))
        for time in range(length):
            h, c = STEPS[name](W, U, b, h, c, np.asarray(x[row, time], np.float64))
            np.testing.assert_allclose(y[row, time], h, rtol=1e-4, atol=1e-5)
        left = carry[0] if name == "lstm" else (carry[0],)
        for state, expected in zip(left, (h, c), strict=False):
            np.testing.assert_allclose(state[row], expected, rtol=1e-4, atol=1e-5)
    jax.tree.map(lambda after, before: np.testing.assert_array_equal(after[2], before[2]), carry, first)


def test_both_ways_equals_each_row_read_alone_and_flipped(key):
    """Two layers, rows of 5, 2 and 0 steps: each direction is a plain `Recurrent` over one unpadded row."""
    model, one_way, lengths = Bidirectional(6, GRUCell(), layers=2), GRU(3), (5, 2, 0)
    params, x = contracts.parameters(model, key), contracts.inputs(key, 5)
    y = contracts.forward(model)(params, x, mask=contracts.upto(lengths, 5))

    def read(name, row):
        return contracts.forward(one_way)({"params": {"layer_0": params["params"][name]}}, row)

    for row, length in enumerate(lengths):
        if length == 0:
            continue
        z = x[row : row + 1, :length]
        for depth in range(2):
            back = read(f"backward_{depth}", z[:, ::-1])[:, ::-1]
            z = jnp.concatenate([read(f"forward_{depth}", z), back], axis=-1)
        np.testing.assert_allclose(y[row, :length], z[0], rtol=1e-4, atol=1e-5)


def test_reverse_leaves_the_padding_last():
    x = jnp.arange(8.0).reshape(2, 4, 1)
    np.testing.assert_array_equal(reverse(x, None)[..., 0], [[3, 2, 1, 0], [7, 6, 5, 4]])
    np.testing.assert_array_equal(reverse(x, contracts.upto([3, 0], 4))[..., 0], [[2, 1, 0, 3], [4, 5, 6, 7]])


@pytest.mark.parametrize("delay", [0, 3])
def test_a_delay_line_is_the_shift(delay, key):
    """The floor 0 at order delay + 1 is reached by weights that are known: h' = W h + U x, y = c' h."""
    W, U, c = fits.delay_line(delay + 1)
    layer = {"recurrent_kernel": W.T, "input_kernel": U[None], "bias": np.zeros(delay + 1)}
    params = {"backbone": {"layer_0": layer}, "readout": {"kernel": c[:, None], "bias": np.zeros(1)}}
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), {"params": params})
    x = contracts.inputs(key, 8, 1)
    expected = np.pad(x, ((0, 0), (delay, 0), (0, 0)))[:, :8]
    found = contracts.forward(Regressor(Recurrent(delay + 1, CELLS["linear"])))(params, x)
    np.testing.assert_array_equal(found, expected)


def test_recurrent_kernels_start_orthogonal_gate_by_gate(key):
    kernel = LSTM(4).init(key, jnp.zeros((1, 1, 2)))["params"]["layer_0"]["recurrent_kernel"]
    for block in blocks(kernel):
        np.testing.assert_allclose(block @ block.T, np.eye(4), atol=1e-5)
    assert not np.allclose(blocks(kernel)[0], blocks(kernel)[1])
