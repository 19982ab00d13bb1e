from functools import partial
from typing import Any

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
STACKS = [pytest.param(Recurrent(4, cell, layers=2), id=name) for name, cell in CELLS.items()]
BOTH_WAYS = [
    pytest.param(Bidirectional(4, GRUCell(), layers=2), id="gru"),
    pytest.param(Bidirectional(4, LSTMCell()), id="lstm"),
]


@pytest.mark.parametrize("model", STACKS)
def test_contract(model, key):
    contracts.causal(model, key)


@pytest.mark.parametrize("model", BOTH_WAYS)
def test_contract_both_ways(model, key):
    contracts.both_ways(model, key)


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


def flax_cell(name, layer):
    """Flax's cell and its parameters: gates separate, and per gate one bias where ours has one."""
    W, U, b = (blocks(layer[weight]) for weight in ("recurrent_kernel", "input_kernel", "bias"))
    if name == "rnn":
        return nn.SimpleCell(4), {"i": {"kernel": U[0], "bias": b[0]}, "h": {"kernel": W[0]}}
    if name == "gru":
        cell = {f"i{gate}": {"kernel": U[n], "bias": b[n]} for n, gate in enumerate("rzn")}
        cell |= {f"h{gate}": {"kernel": W[n]} for n, gate in enumerate("rz")}
        return nn.GRUCell(4), cell | {"hn": {"kernel": W[2], "bias": b[3]}}
    cell = {f"i{gate}": {"kernel": U[n]} for n, gate in enumerate("ifgo")}
    return nn.OptimizedLSTMCell(4), cell | {f"h{g}": {"kernel": W[n], "bias": b[n]} for n, g in enumerate("ifgo")}


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_equals_flax(name, key):
    model = Recurrent(4, CELLS[name])
    params, x = contracts.parameters(model, key), contracts.inputs(key, 6)
    cell, theirs = flax_cell(name, params["params"]["layer_0"])
    theirs = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), theirs)
    expected: Any = nn.RNN(cell).apply({"params": {"cell": theirs}}, x)
    np.testing.assert_allclose(contracts.forward(model)(params, x), expected, rtol=1e-4, atol=1e-5)


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


def linear_rnn(order, W, U, c) -> tuple[Any, Any]:
    """The model whose weights are those of h' = W h + U x, y = c' h."""
    layer = {"recurrent_kernel": W.T, "input_kernel": U[None], "bias": np.zeros(order)}
    params = {"params": {"backbone": {"layer_0": layer}, "readout": {"kernel": c[:, None], "bias": np.zeros(1)}}}
    model = Regressor(Recurrent(order, CELLS["linear"]))
    return model, jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)


@pytest.mark.parametrize("delay", [0, 3])
def test_a_delay_line_is_the_shift(delay, key):
    """The floor 0 at order delay + 1 is reached by weights that are known."""
    model, params = linear_rnn(delay + 1, *fits.delay_line(delay + 1))
    x = contracts.inputs(key, 8, 1)
    expected = np.pad(x, ((0, 0), (delay, 0), (0, 0)))[:, :8]
    np.testing.assert_array_equal(contracts.forward(model)(params, x), expected)


def test_jacobian_of_a_linear_network_is_its_memory_kernel(key):
    """d y[t] / d x[s] = c' W^(t-s) U."""
    rng = np.random.default_rng(0)
    W, U, c = rng.normal(size=(5, 5)) / 3, rng.normal(size=5), rng.normal(size=5)
    model, params = linear_rnn(5, W, U, c)
    jacobian = jax.jacobian(lambda x: model.apply(params, x[None, :, None])[0, :, 0])(jax.random.normal(key, (7,)))
    kernel = [c @ np.linalg.matrix_power(W, lag) @ U for lag in range(7)]
    expected = np.array([[kernel[t - s] if s <= t else 0 for s in range(7)] for t in range(7)])
    np.testing.assert_allclose(jacobian, expected, rtol=1e-4, atol=1e-6)


def test_recurrent_kernels_start_orthogonal_gate_by_gate(key):
    kernel = LSTM(4).init(key, jnp.zeros((1, 1, 2)))["params"]["layer_0"]["recurrent_kernel"]
    for block in blocks(kernel):
        np.testing.assert_allclose(block @ block.T, np.eye(4), atol=1e-5)
    assert not np.allclose(blocks(kernel)[0], blocks(kernel)[1])


def test_odd_width_cannot_be_halved():
    with pytest.raises(ValueError, match="features must be even, half of them for each direction, got 5"):
        Bidirectional(5)
