import jax
import jax.numpy as jnp
import numpy as np

from seqjax.models import LowRankAttention, SingleHeadTransformer
from tests import contracts

MODEL = SingleHeadTransformer(4, head_dim=2, width=6, hidden=5, depth=2)


def test_contract(key):
    contracts.backbone(MODEL, key)


def test_no_step_knows_its_place(key):
    x, params = contracts.inputs(key, 7), contracts.parameters(MODEL, key)
    order = jax.random.permutation(key, 7)
    moved = contracts.forward(MODEL)(params, x[:, order])
    np.testing.assert_allclose(moved, contracts.forward(MODEL)(params, x)[:, order], rtol=1e-4, atol=1e-5)


def test_logits_have_the_rank_asked_for(key):
    """And no less: the log of the weights, without its row means, has that many singular values."""
    head = LowRankAttention(2, features=3)
    source = contracts.inputs(key, 8, width=5)
    mask = jnp.ones(source.shape[:2], bool)

    def attend(head, x):
        return head.attend(head.prepare(x, mask), x)[1]

    weights = head.apply(head.init(key, source, method=attend), source, method=attend)
    logits = np.log(np.asarray(weights[0, 0], np.float64))
    spectrum = np.linalg.svd(logits - logits.mean(axis=1, keepdims=True), compute_uv=False)
    assert spectrum[1] > 1e-3 * spectrum[0]
    assert spectrum[2] < 1e-5 * spectrum[0]


def test_equation(key):
    """The paper's sum, written out: F(sum_s softmax_s(<Q f(x_t), K f(x_s)>) V f(x_s))."""
    x, params = contracts.inputs(key, 5), contracts.parameters(MODEL, key)
    weights = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])

    def network(name, x):
        hidden = x @ weights[name]["layer_0"]["kernel"] + weights[name]["layer_0"]["bias"]
        gelu = 0.5 * hidden * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
        return gelu @ weights[name]["layer_1"]["kernel"] + weights[name]["layer_1"]["bias"]

    read = network("read", np.asarray(x, np.float64))
    query, keys, values = (read @ weights["attention"][name]["kernel"] for name in ("query", "key", "value"))
    mass = np.exp(query @ keys.swapaxes(1, 2))
    expected = network("write", mass / mass.sum(axis=2, keepdims=True) @ values)
    np.testing.assert_allclose(contracts.forward(MODEL)(params, x), expected, rtol=1e-4, atol=1e-5)
