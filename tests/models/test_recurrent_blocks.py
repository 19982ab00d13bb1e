"""The recurrences of 2023 to 2025, against their equations step by step in float64, and what they have in common."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models
from seqjax.models.linear_recurrence import by_steps, in_parallel, linear_recurrence
from seqjax.models.rg_lru import root
from seqjax.models.xlstm import MatrixState, exponential_memory
from seqjax.types import InputError
from tests import contracts

BARE: dict[str, Any] = {
    "MinLSTM": models.MinLSTM(4, layers=1, bare=True),
    "SelectiveSSM": models.SelectiveSSM(4, layers=1, order=2, bare=True),
    "GatedDeltaNet": models.GatedDeltaNet(4, layers=1, heads=2, chunk=2, bare=True),
    "RGLRU": models.RGLRU(4, layers=1, bare=True),
    "MLSTM": models.MLSTM(4, layers=1, heads=2, chunk=2, bare=True),
    "SLSTM": models.SLSTM(4, layers=1, heads=2, bare=True),
}
LIKE_OTHERS = ("MinLSTM", "RGLRU")
"""They share the recurrence of MinGRU."""
SLOWER: dict[str, Any] = {
    **{name: model.clone(bare=False) for name, model in BARE.items()},
    "DeltaProduct": models.GatedDeltaNet(4, layers=1, heads=2, householders=2, negative_eigenvalues=True, chunk=2),
    "linear attention": models.GatedDeltaNet(4, layers=1, heads=2, gate=False, delta=False, bare=True),
    "signed": models.SelectiveSSM(4, layers=2, bare=True, signed=True),
    "bare MinGRU": models.MinGRU(4, layers=2, bare=True),
}


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(models.MinGRU(4, layers=1), id="MinGRU"),
        *(
            pytest.param(model, id=f"bare {name}", marks=pytest.mark.slow if name in LIKE_OTHERS else [])
            for name, model in BARE.items()
        ),
        *(pytest.param(model, id=name, marks=pytest.mark.slow) for name, model in SLOWER.items()),
    ],
)
def test_contract(model, key):
    contracts.backbone(model, key)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def softplus(x):
    return np.log1p(np.exp(x))


def rms(x, scale):
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6) * scale


def layer_norm(x, scale):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6) * scale


def dense(x, p):
    return x @ p["kernel"] + p.get("bias", 0)


def convolution(x, p):
    """Of each channel: tap j multiplies the input j steps ago."""
    y = np.zeros_like(x) + p["bias"]
    for t in range(len(x)):
        for j in range(min(len(p["kernel"]), t + 1)):
            y[t] += p["kernel"][j] * x[t - j]
    return y


def min_gru(model, p, x):
    z, candidate = np.split(dense(convolution(x, p["convolution"]), p["gate_candidate"]), 2, axis=-1)
    h, y = np.zeros(model.features), []
    for now, c in zip(sigmoid(z), candidate, strict=True):
        h = (1 - now) * h + now * np.tanh(c)
        y.append(h)
    return np.array(y)


def min_lstm(model, p, x):
    f, i, candidate = np.split(dense(convolution(x, p["convolution"]), p["gates_candidate"]), 3, axis=-1)
    f, i = sigmoid(f), sigmoid(i)
    h, y = np.zeros(model.features), []
    for t in range(len(x)):
        h = f[t] / (f[t] + i[t]) * h + i[t] / (f[t] + i[t]) * candidate[t]
        y.append(h)
    return np.array(y)


def rg_lru(model, p, x):
    u = convolution(dense(x, p["in"]), p["convolution"])
    r, i = np.split(sigmoid(dense(u, p["gates"])), 2, axis=-1)
    h, y = np.zeros(model.features), []
    for t in range(len(x)):
        a = np.exp(-8 * r[t] * softplus(p["rate"]))
        h = a * h + np.sqrt(1 - a**2) * i[t] * u[t]
        y.append(gelu(dense(x[t], p["gate"])) * h)
    return dense(np.array(y), p["out"])


def selective_ssm(model, p, x):
    """As `selective_scan_ref` of github.com/state-spaces/mamba, one channel and one number of its state at a time."""
    u = silu(convolution(dense(x, p["in"]), p["convolution"]))
    low, b, c = np.split(dense(u, p["step_b_c"]), [1, 1 + model.order], axis=-1)
    step = softplus(dense(low, p["step"]) + p["step_bias"])
    h, y = np.zeros((model.order, u.shape[1])), np.zeros_like(u)
    for t in range(len(x)):
        for n in range(model.order):
            for channel in range(u.shape[1]):
                a = np.exp(-step[t, channel] * np.exp(p["log_a"][n, channel]))
                a = 2 * a - 1 if model.signed else a
                h[n, channel] = a * h[n, channel] + step[t, channel] * b[t, n] * u[t, channel]
                y[t, channel] += c[t, n] * h[n, channel]
    return dense((y + p["skip"] * u) * silu(dense(x, p["gate"])), p["out"])


def delta_steps(q, k, v, alpha, beta, state):
    """One head: S alpha (I - beta k k') + beta v k' for each of the writes of a step."""
    y, n = [], len(k) // len(q)
    for t in range(len(q)):
        state = alpha[t] * state
        for j in range(t * n, t * n + n):
            eye = np.eye(len(k[j]))
            state = state @ (eye - beta[j] * np.outer(k[j], k[j])) + beta[j] * np.outer(v[j], k[j])
        y.append(state @ q[t])
    return state, np.array(y)


def gated_delta_net(model, p, x):
    n, heads, width = model.householders, model.heads, model.features // model.heads
    z = silu(convolution(dense(x, p["q_k_v"]), p["convolution"]))
    q, k, v = np.split(z, [model.features, (1 + n) * model.features], axis=-1)
    alpha = np.exp(-np.exp(p["log_rate"]) * softplus(dense(x, p["alpha"]) + p["step_bias"]))
    beta = (2 if model.negative_eigenvalues else 1) * sigmoid(dense(x, p["beta"])).reshape(-1, heads)
    q, k, v = (part.reshape(-1, heads, width) for part in (q, k, v))
    q, k = (part / np.sqrt((part**2).sum(axis=-1, keepdims=True) + 1e-6) for part in (q, k))
    y = [
        delta_steps(q[:, h], k[:, h], v[:, h], alpha[:, h], beta[:, h], np.zeros((width, width)))[1]
        for h in range(heads)
    ]
    y = rms(np.stack(y, axis=1), p["head_norm"]["scale"]).reshape(len(x), -1)
    return dense(y * silu(dense(x, p["gate"])), p["out"])


def mlstm(model, p, x):
    """As the paper has it before the stabiliser, eq. 19 to 27."""
    heads, width = model.heads, 2 * model.features // model.heads
    up = dense(x, p["in"])
    convolved = silu(convolution(up, p["convolution"]))
    q, k, v = (
        np.einsum("thi,hio->tho", part.reshape(-1, heads, width), p[name])
        for name, part in (("q", convolved), ("k", convolved), ("v", up))
    )
    i, f = np.split(dense(up, p["gates"]) + p["gate_bias"].reshape(-1), 2, axis=-1)
    y = np.zeros((len(x), heads, width))
    for head in range(heads):
        memory, normaliser = np.zeros((width, width)), np.zeros(width)
        for t in range(len(x)):
            key = k[t, head] / np.sqrt(width)
            memory = sigmoid(f[t, head]) * memory + np.exp(i[t, head]) * np.outer(v[t, head], key)
            normaliser = sigmoid(f[t, head]) * normaliser + np.exp(i[t, head]) * key
            y[t, head] = memory @ q[t, head] / max(abs(normaliser @ q[t, head]), 1)
    y = layer_norm(y, p["head_norm"]["scale"]).reshape(len(x), -1)
    return dense((y + p["skip"] * convolved) * silu(dense(x, p["gate"])), p["out"])


def slstm(model, p, x):
    """As the paper has it before the stabiliser, eq. 8 to 14."""
    heads, width = model.heads, model.features // model.heads
    convolved = silu(convolution(x, p["convolution"]))
    z, o = np.split(dense(x, p["z_o"]), 2, axis=-1)
    i, f = np.split(dense(convolved, p["i_f"]) + p["i_f_bias"].reshape(-1), 2, axis=-1)
    c, n, h, y = np.zeros(model.features), np.zeros(model.features), np.zeros(model.features), []
    for t in range(len(x)):
        mixed = np.einsum("hi,hio->ho", h.reshape(heads, width), p["recurrent_kernel"]).reshape(heads, 4, width)
        of_z, of_o, of_i, of_f = (mixed[:, gate].reshape(-1) for gate in range(4))
        enter, keep = np.exp(i[t] + of_i), sigmoid(f[t] + of_f)
        c, n = keep * c + enter * np.tanh(z[t] + of_z), keep * n + enter
        h = sigmoid(o[t] + of_o) * c / n
        y.append(h)
    return layer_norm(np.array(y).reshape(len(x), heads, width), p["head_norm"]["scale"]).reshape(len(x), -1)


REFERENCES: dict[str, Any] = {
    "MinGRU": (models.MinGRU(4, layers=2, activation=jnp.tanh), min_gru),
    "MinLSTM": (models.MinLSTM(4, layers=1), min_lstm),
    "RGLRU": (models.RGLRU(4, layers=1), rg_lru),
    "SelectiveSSM": (models.SelectiveSSM(4, layers=1, order=3, signed=True), selective_ssm),
    "GatedDeltaNet": (models.GatedDeltaNet(4, layers=1, heads=2, chunk=4), gated_delta_net),
    "DeltaProduct": (
        models.GatedDeltaNet(6, 1, heads=2, expansion=0, householders=2, negative_eigenvalues=True, chunk=4),
        gated_delta_net,
    ),
    "MLSTM": (models.MLSTM(4, layers=1, heads=2, chunk=4), mlstm),
    "SLSTM": (models.SLSTM(4, layers=1, heads=2, expansion=0), slstm),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_equations_in_float64(name, key):
    """The whole model, in the form for whole sequences, against a loop over single steps; and in pieces."""
    model, mixer = REFERENCES[name]
    with jax.enable_x64(True):
        shapes = jax.eval_shape(model.init, key, jnp.zeros((1, 1, 2)))
        params = jax.tree.map(lambda x: np.asarray(x, np.float64), contracts.filled(shapes, key))
        rows = np.random.default_rng(0).normal(size=(2, 10, 2))
        found = jax.jit(model.apply)(params, jnp.asarray(rows))
        assert found.dtype == jnp.float64
        p, expected = params["params"], []
        for x in rows:
            y = dense(x, p["embed"])
            for depth in range(model.layers):
                block = p[f"block_{depth}"]
                y = y + mixer(model, block["mixer"], rms(y, block["norm"]["scale"]))
                if model.expansion:
                    gate, value = np.split(dense(rms(y, block["mlp_norm"]["scale"]), block["mlp_in"]), 2, axis=-1)
                    y = y + dense(silu(gate) * value, block["mlp_out"])
            expected.append(rms(y, p["final_norm"]["scale"]))
        carry, pieces, extend = model.start(2, 2, 10), [], jax.jit(partial(model.apply, method="extend"))
        for half in (rows[:, :5], rows[:, 5:]):
            carry, y = extend(params, carry, jnp.asarray(half))
            pieces.append(y)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("constant", "order"), [(True, ()), (False, (3,))])
def test_both_forms_of_the_linear_recurrence(constant, order):
    """With their derivatives, forward and backward, and second ones; autodiff of the loop is the reference."""
    rng = np.random.default_rng(0)
    driven = rng.normal(size=(2, 5, 2, *order))
    factor = rng.uniform(-1, 1, size=driven.shape[2:] if constant else driven.shape)
    state, mask = rng.normal(size=(2, 2, *order)), contracts.upto([5, 3], 5)
    h, expected = state, []
    for t in range(5):
        h = (factor if constant else factor[:, t]) * h + driven[:, t]
        expected.append(h)
    expected = np.stack(expected, axis=1)

    def by_form(form):
        def states(factor, state, driven):
            factor = factor if constant else jnp.swapaxes(factor, 0, 1)
            return jnp.swapaxes(form(factor, state, jnp.swapaxes(driven, 0, 1)), 0, 1)

        return states

    def ours(*arrays: Any):
        return linear_recurrence(*arrays, mask=None)[1]

    @jax.jit
    def everything(*arrays: Any):
        def derivatives(states: Any):
            def total(*arrays: Any):
                return jnp.sum(jnp.sin(states(*arrays)))

            slope = jax.grad(total, argnums=(0, 1, 2))
            return slope(*arrays), jax.grad(lambda *a: sum(jnp.sum(s**2) for s in slope(*a)))(*arrays)

        forward = [jax.jvp(f, arrays, arrays)[1] for f in (ours, by_form(by_steps))]
        forms = by_form(by_steps), by_form(in_parallel)
        values = linear_recurrence(*arrays, mask=mask), [form(*arrays) for form in forms]
        return values, forward, [derivatives(f) for f in (ours, *forms)]

    with jax.enable_x64(True):
        values, (tangent, plain), derivatives = everything(*(jnp.asarray(x) for x in (factor, state, driven)))
    (final, every), forms = values
    np.testing.assert_allclose(final, expected[[0, 1], [4, 2]], rtol=1e-12)
    for found in (every, *forms):
        np.testing.assert_allclose(found, expected, rtol=1e-10)
    np.testing.assert_allclose(tangent, plain, rtol=1e-10)
    for others in (derivatives[0], derivatives[2]):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), others, derivatives[1])


@pytest.mark.parametrize(("time", "writes", "chunk"), [(10, 1, 4), (10, 2, 3), (7, 3, 16), (5, 1, 1)])
def test_delta_rule_by_chunks(time, writes, chunk):
    """From a state, with a reset and padding, in any chunks."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, time * n, 3, w)) for n, w in ((1, 4), (writes, 4), (writes, 2)))
    k /= np.linalg.norm(k, axis=-1, keepdims=True)
    alpha, beta = rng.uniform(size=(2, time, 3)), rng.uniform(0, 2, size=(2, time * writes, 3))
    alpha[:, 2] = 0
    start, lengths = rng.normal(size=(2, 3, 2, 4)), [time, 3]
    with jax.enable_x64(True):
        arrays = [jnp.asarray(x) for x in (q, k, v, alpha, beta)]
        options = {"state": jnp.asarray(start), "mask": contracts.upto(lengths, time)}
        state, y = jax.jit(partial(models.delta_rule, chunk=chunk))(*arrays, **options)
    for row, length in enumerate(lengths):
        for h in range(3):
            real = [x[row, : length * (len(x[row]) // time), h] for x in (q, k, v, alpha, beta)]
            last, expected = delta_steps(*real, state=start[row, h])
            np.testing.assert_allclose(y[row, :length, h], expected, rtol=1e-9, atol=1e-11)
            np.testing.assert_allclose(state[row, h], last, rtol=1e-9, atol=1e-11)


def test_no_chunk_is_solved_by_lapack():
    """Whose calls wait for each other for good where there are as many at once as threads."""

    def total(k):
        return models.delta_rule(k, k, k, jnp.ones((1, 5, 1)), jnp.ones((1, 5, 1)))[1].sum()

    program = str(jax.make_jaxpr(jax.value_and_grad(total))(jnp.ones((1, 5, 1, 2))))
    assert "dot_general" in program
    assert "triangular_solve" not in program


def test_linear_attention_is_a_sum_over_the_past():
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(3, 2, 9, 2, 3))
    weights = np.einsum("bthd,bshd->bhts", q, k)
    alpha = rng.uniform(0.5, 1, size=(2, 9, 2))
    total = np.cumsum(np.log(alpha), axis=1).swapaxes(1, 2)
    decay = np.exp(total[..., :, None] - total[..., None, :])
    for options, factor in (([], 1.0), ([alpha], decay)):
        expected = np.einsum("bhts,bshd->bthd", np.tril(weights * factor), v)
        with jax.enable_x64(True):
            _, found = models.linear_attention(*(jnp.asarray(x) for x in (q, k, v, *options)), chunk=4)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("chunk", [1, 16])
def test_two_householder_factors_track_the_permutations_of_three(chunk):
    """5,000 random elements of S3 in float32: each a product of up to two reflections of the plane, from S = 1."""
    corners = np.stack([np.cos(np.pi * np.arange(3) * 2 / 3), np.sin(np.pi * np.arange(3) * 2 / 3)])
    swaps = [(corners[:, i] - corners[:, j]) / np.sqrt(3) for i, j in ((0, 1), (1, 2), (0, 2))]
    pairs = [(swaps[0], 0, swaps[0], 0), *((s, 2, s, 0) for s in swaps), (*(swaps[0], 2), *(swaps[1], 2))]
    pairs.append((swaps[1], 2, swaps[0], 2))
    order = np.random.default_rng(0).integers(6, size=5000)
    k = np.stack([[pairs[token][0], pairs[token][2]] for token in order]).reshape(1, -1, 1, 2)
    beta = np.array([[pairs[token][1], pairs[token][3]] for token in order], np.float32).reshape(1, -1, 1)
    # Read with both axes of the plane, as two heads would: the columns of S, so that S is known.
    q = np.broadcast_to(np.eye(2, dtype=np.float32)[None, None], (1, 5000, 2, 2))
    k, beta = np.repeat(k, 2, axis=2).astype(np.float32), np.repeat(beta, 2, axis=2)
    start = jnp.broadcast_to(jnp.eye(2), (1, 2, 2, 2))
    arrays = [jnp.asarray(x) for x in (q, k, np.zeros_like(k), np.ones((1, 5000, 2), np.float32), beta)]
    _, columns = jax.jit(partial(models.delta_rule, chunk=chunk))(*arrays, state=start)
    found = np.argmax(corners.T @ np.swapaxes(columns[0], 1, 2) @ corners, axis=1)  # where each corner goes

    def moved(k, beta):
        return np.argmax(corners.T @ (np.eye(2) - beta * np.outer(k, k)) @ corners, axis=0)

    place, expected = np.arange(3), []
    for token in order:
        k1, beta1, k2, beta2 = pairs[token]
        place = place[moved(k1, beta1)][moved(k2, beta2)]
        expected.append(place)
    np.testing.assert_array_equal(found, expected)
    assert len({tuple(place) for place in expected}) == 6


@pytest.mark.parametrize("size", [0.0, -300.0, 300.0])
def test_mlstm_is_its_stabilised_quadratic_form(size):
    """As `parallel_stabilized_simple` of github.com/NX-AI/xlstm, for gates whose exponentials overflow."""
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(3, 1, 9, 1, 3))
    log_i, log_f = size + 3 * rng.normal(size=(1, 9, 1)), -np.abs(size) * rng.uniform(size=(1, 9, 1)) - 0.1
    total = np.cumsum(log_f[0, :, 0])
    log_d = np.where(np.tri(9, dtype=bool), total[:, None] - total[None] + log_i[0, None, :, 0], -np.inf)
    most = log_d.max(axis=1, keepdims=True)
    weights = q[0, :, 0] @ k[0, :, 0].T / np.sqrt(3) * np.exp(log_d - most)
    expected = weights @ v[0, :, 0] / np.maximum(np.abs(weights.sum(axis=1, keepdims=True)), np.exp(-most))
    state = MatrixState(None, jnp.zeros((1, 1, 4, 3)), jnp.zeros((1, 1)))

    @contracts.compiled
    @partial(jax.value_and_grad, argnums=range(5), has_aux=True)
    def read(*arrays):
        y = exponential_memory(state, *arrays, mask=None, chunk=4)[1]
        return jnp.sum(y), y

    (_, y), slopes = read(*(jnp.asarray(x, jnp.float32) for x in (q, k, v, log_i, log_f)))
    np.testing.assert_allclose(y[0, :, 0], expected, rtol=1e-3, atol=1e-4)
    assert all(np.isfinite(slope).all() for slope in slopes)


def test_the_slope_of_the_root_is_bounded():
    """As a -> 1, where that of sqrt(1 - a^2) is infinite; elsewhere it is the square root's."""
    values, slopes = jax.vmap(jax.value_and_grad(root))(jnp.array([0.0, 1e-12, 0.25, 1.0]))
    np.testing.assert_allclose(values, [0, 1e-6, 0.5, 1], rtol=1e-6)
    np.testing.assert_allclose(slopes, [1000, 1000, 1, 0.5], rtol=1e-6)


NUMBERS = {
    "MinGRU": (models.MinGRU(8), 8 + 3 * 8),
    "MinLSTM": (models.MinLSTM(8, kernel_size=1), 8),
    "SelectiveSSM": (models.SelectiveSSM(8, order=5), 3 * 16 + 16 * 5),
    "GatedDeltaNet": (models.GatedDeltaNet(8, heads=2), 9 * 8 + 2 * 4**2),
    "DeltaProduct": (models.GatedDeltaNet(8, heads=2, householders=2), 15 * 8 + 2 * 4**2),
    "RGLRU": (models.RGLRU(8, bare=True), 8),
    "MLSTM": (models.MLSTM(8, heads=2, bare=True), 2 * (4**2 + 4 + 1)),
    "SLSTM": (models.SLSTM(8, heads=2, bare=True), 4 * 8),
    "window": (models.Transformer(8, window=5), 2 * 4 * 8),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_carried(name):
    """A row and a layer, as counted by hand; integers are positions."""
    model, expected = NUMBERS[name]
    leaves = jax.tree.leaves(jax.eval_shape(lambda: model.start(1, 3, 99)))
    assert sum(leaf.size for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)) == model.layers * expected


THREE = jnp.ones((1, 3, 1, 2))
REFUSED = {
    "order must be >= 1, got 0": lambda: models.SelectiveSSM(4, order=0),
    "heads must divide features, got 3 heads and 4 features": lambda: models.GatedDeltaNet(4, heads=3),
    "heads must divide features, got 3 heads and 8 features": lambda: models.MLSTM(8, heads=3),
    "heads must be >= 1, got 0": lambda: models.SLSTM(8, heads=0),
    "chunk must be >= 1, got 0": lambda: models.GatedDeltaNet(4, chunk=0),
    "kernel_size must be >= 1, got 0": lambda: models.MinGRU(4, kernel_size=0),
    "expansion must be >= 0, got -1": lambda: models.RGLRU(4, expansion=-1),
    "without delta there is no beta: .* got True and 1": lambda: models.GatedDeltaNet(
        4, delta=False, negative_eigenvalues=True
    ),
    "without delta there is no beta: .* got False and 2": lambda: models.GatedDeltaNet(4, delta=False, householders=2),
    "window must be >= 1, got 0": lambda: models.Transformer(4, window=0),
    "only a causal Transformer has a window, got window=2": lambda: models.Transformer(4, causal=False, window=2),
    "there must be a multiple of 2 writes, one or more a step, got 3": lambda: models.delta_rule(
        jnp.ones((1, 2, 1, 2)), THREE, THREE, jnp.ones((1, 2, 1)), THREE[..., 0]
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused(message):
    with pytest.raises(InputError, match=message):
        REFUSED[message]()
