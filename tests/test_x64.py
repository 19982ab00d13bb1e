"""With `jax_enable_x64`, and with parameters of any width, everything can be traced, and no carry changes its type.

Traced only: what fails are loops whose carry has other types after a step, and nothing needs to be compiled for that.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seqjax import decode, early_stopping, evaluate, losses, models, sweep, tasks, train
from seqjax.models import crf
from seqjax.theory import coding, dilated, fits, plateau, population
from seqjax.types import SOS, Seq2SeqBatch

pytestmark = pytest.mark.usefixtures("x64")

WIDTHS = [jnp.bfloat16, jnp.float32, jnp.float64]
CAUSAL: dict[str, Any] = {
    "LSTM": models.LSTM(4),
    "TCN": models.TCN(4, dilations=(1, 2)),
    "LRU": models.LRU(4, layers=1),
    "DiagonalRNN": models.DiagonalRNN(4, 3),
    "LinearDilatedCNN": models.LinearDilatedCNN(3, 2, features=4),
    "Transformer": models.Transformer(4, 2, layers=1, positions=models.Rotary()),
    "window": models.Transformer(4, 2, layers=1, positions=models.ALiBi(), window=2),
    "GRU in half precision": models.GRU(4, dtype=jnp.bfloat16),
    "TCN in half precision": models.TCN(4, dilations=(1, 2), dtype=jnp.float16),
    "Transformer in half precision": models.Transformer(4, layers=1, dtype=jnp.bfloat16),
}
SLOWER: dict[str, Any] = {
    "MinGRU": models.MinGRU(4, layers=1),
    "MinLSTM in half precision": models.MinLSTM(4, layers=1, dtype=jnp.bfloat16),
    "SelectiveSSM": models.SelectiveSSM(4, layers=1),
    "GatedDeltaNet": models.GatedDeltaNet(4, layers=1),
    "RGLRU": models.RGLRU(4, layers=1),
    "MLSTM": models.MLSTM(4, layers=1),
    "SLSTM": models.SLSTM(4, layers=1),
}
NAMES = [*CAUSAL, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOWER)]
DECODERS: list[Any] = [
    models.RecurrentDecoder(4, models.LSTMCell()),
    models.LuongDecoder(4, input_feeding=True),
    models.BahdanauDecoder(4),
    models.TransformerDecoder(4, layers=1),
]
IDS = np.full((2, 3), 4)  # int64
KEY = jax.eval_shape(lambda: jax.random.key(0))


def shapes(model, dtype, *inputs, **options) -> Any:
    """Parameters of this type."""
    found = jax.eval_shape(partial(model.init, **options), jax.random.key(0), *inputs)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), found)


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_carries_keep_their_types(name, wide, dtype):
    model = (CAUSAL | SLOWER)[name]

    def streamed(params, x):
        def step(carry, now):
            return model.apply(params, carry, now, method="extend")

        return jax.lax.scan(step, model.start(2, 3, 8), x)

    with jax.enable_x64(wide):
        params = shapes(model, dtype, jnp.zeros((2, 2, 3)))
        for size in (1, 2):
            jax.eval_shape(streamed, params, jax.ShapeDtypeStruct((3, 2, size, 3), dtype))


@pytest.mark.parametrize("name", NAMES)
def test_language_models_are_decoded(name):
    model = models.LanguageModel((CAUSAL | SLOWER)[name], 9, 4)

    def searches(params, key, ids):
        step, reread = (partial(model.apply, params, method=method) for method in ("step", "reread"))
        first, carry = ids[:, 0], model.begin(2, 4)
        return (
            decode.greedy(step, carry, first, length=4),
            decode.greedy(reread, model.window(2, 3), first, length=4),
            decode.sample(key, step, carry, first, length=4, top_k=3, top_p=0.9, min_p=0.1, temperature=0.5),
            decode.beam(decode.forbid(step, 3), carry, first, length=4, width=2, length_penalty=0.6),
            decode.score(step, carry, first, ids, ids > SOS),
        )

    params = shapes(model, jnp.float32, jnp.asarray(IDS))
    found = jax.eval_shape(searches, params, KEY, jnp.asarray(IDS))
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(jnp.int32), jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: type(decoder).__name__)
def test_encoder_decoders_are_decoded(decoder):
    model, ids = models.EncoderDecoder(models.GRU(4), decoder, 9, 9, embedding=4), jnp.asarray(IDS)
    batch = Seq2SeqBatch(ids, ids, ids > 0, ids > 0)

    def everything(params, key):
        step = partial(model.apply, params, method="step")
        carry = model.apply(params, ids, None, 3, method="begin")
        forced = model.apply(params, ids, ids, jnp.float32(0.5), method="scheduled", rngs={"sampling": key})
        return forced, decode.beam(step, carry, ids[:, 0], length=3, width=2)

    params = shapes(model, jnp.float32, ids, ids)
    jax.eval_shape(everything, params, KEY)
    if decoder is DECODERS[-1]:
        runs = jax.tree.map(lambda leaf: jnp.ones((2, *leaf.shape), leaf.dtype), params)
        assert evaluate.greedy(model, runs, batch).shape == (2, 2, 3)


@pytest.mark.parametrize("dtype", WIDTHS)
def test_losses_heads_and_theory(dtype):
    x, ids, mask = jnp.ones((2, 3, 4), dtype), jnp.asarray(IDS), jnp.asarray(IDS > 0)

    def everything(x):
        transitions = models.Transitions(x[0, 0], jnp.ones((4, 4), dtype), x[0, 0])
        costs = (
            losses.squared_error(x, x, x[..., 0]),
            losses.cross_entropy(x, ids % 4, mask, smoothing=0.1),
            losses.binary_cross_entropy(x, x, mask),
            crf.log_likelihood(x, transitions, ids % 4, mask),
        )
        pooled = models.mean(x, mask), models.AttentionPooling().init(jax.random.key(0), x, mask)
        return costs, crf.viterbi(x, transitions, mask), pooled

    costs = jax.tree.leaves(jax.eval_shape(everything, x)[0])
    assert {cost.dtype for cost in costs} == {jnp.promote_types(dtype, jnp.float32)}

    def rolled(x):
        return decode.rollout(lambda carry, x: (carry, x * jnp.float32(2)), (), x, length=3)

    jax.eval_shape(rolled, x[:, 0])
    vector, matrix = x[0, 0], jnp.ones((4, 4), dtype)
    if dtype != jnp.bfloat16:  # the solver has no half precision
        jax.eval_shape(population.infinite, matrix, vector, vector, vector, vector)
    jax.eval_shape(lambda v: plateau.loss(plateau.Exponentials(v, v), 9.0), vector)
    jax.eval_shape(lambda key: dilated.response(dilated.random(key, 2, 3, 3)), KEY)
    params = fits.encoder_decoder(np.eye(4), 2).params()
    jax.eval_shape(lambda: coding.response(jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params), 4, 4))


TASKS: list[Any] = [
    tasks.Shift(2, 8), tasks.Convolution((1.0, 0.5), 8), tasks.AddingProblem(8), tasks.CopyMemory(8), tasks.Parity(8),
    tasks.DelayedXor(), tasks.MultiDelay(3, 8), tasks.Reversal(), tasks.DigitSums(), tasks.Agreement(), tasks.Scenes(),
    tasks.Shapes(8), tasks.Creature(), tasks.Lorenz96(length=8, washout=2, burn_in=1.0),
    tasks.Recall(), tasks.Recall(forced=True), tasks.Recall(length=40), tasks.CopyString(8, shortest=2),
    tasks.SelectiveCopy(8, cut=20), tasks.Memorise(), tasks.HiddenMarkov(), tasks.ContextChain(),
    tasks.ContextRegression(), tasks.ContextRegression(every=False), tasks.WordProblem(), tasks.EvenPairs(),
    tasks.CycleNavigation(), tasks.ModularArithmetic(), tasks.ReverseString(), tasks.StackManipulation(9),
    tasks.MissingDuplicate(), tasks.OddsFirst(),
]  # fmt: skip


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_tasks(task):
    jax.eval_shape(lambda key: task.sample(key, 3), KEY)


@pytest.mark.parametrize("dtype", [pytest.param(jnp.float32, marks=pytest.mark.slow), jnp.float64])
def test_training(dtype):
    """Of one run, of a sweep that keeps its best parameters, and on a formula."""
    task, model = tasks.Shift(2, 8), models.Regressor(models.GRU(4))

    def loss(params, batch, key):
        return losses.squared_error(model.apply(params, batch.inputs), batch.targets)

    def initialise(key):
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, dtype), shapes(model, dtype, jnp.zeros((1, 1, 1))))

    def sample(key, setting=None):
        return task.sample(key, 4)

    def trained(key):
        state = train.init(initialise(key), train.adam(0.1, 10), key)
        return state, train.scan(loss, train.adam(0.1, 10), sample, steps=2)(state)[0]

    before, after = jax.eval_shape(trained, KEY)
    assert jax.tree.map(lambda leaf: leaf.dtype, before) == jax.tree.map(lambda leaf: leaf.dtype, after)
    keys = jax.random.split(jax.random.key(0), 3)
    options: Any = {"keys": keys, "settings": jnp.ones(3), "steps": 2}
    state, advance = sweep.sweep(initialise, loss, lambda rate: train.adam(rate, 10), sample, **options)
    validate = lambda params: (loss(params, task.sample(keys[0], 4), keys[0]), {})  # noqa: E731
    jax.eval_shape(lambda state: advance(advance(state)[0])[0], state)
    state, advance = early_stopping.keep_best(state, advance, validate)
    jax.eval_shape(lambda state: early_stopping.chosen(advance(advance(state)[0])[0]), state)
    times = np.array([0, 2, 5])
    jax.eval_shape(
        lambda params, key: train.descend(lambda p, key: (p**2).sum(), optax.adam(0.1), params, key, times),
        jnp.ones(3, dtype),
        KEY,
    )
