"""The translators of three tutorials, as printed, decode token for token like their PyTorch modules.

`golden/translators.py` recorded what 50 draws of weights say of 4 sources.
"""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from seqjax import convert, decode, models
from seqjax.types import SpecialTokens
from tests.contracts import compiled
from tests.golden.weights import weights

RECORDED = convert.load(Path(__file__).parent / "golden" / "translators.safetensors")


def layout(cell: str, readout: str, **decoder: Any) -> Any:
    return {
        "source_embedding": convert.embedding("encoder.embedding"),
        "encoder": convert.recurrent(f"encoder.{cell}"),
        "target_embedding": convert.embedding("decoder.embedding"),
        "decoder": {"stack": convert.recurrent(f"decoder.{cell}"), **decoder},
        "readout": convert.linear(f"decoder.{readout}"),
    }


class Printed(NamedTuple):
    model: models.EncoderDecoder
    layout: Any


COPY = models.CopyState()
TUTORIAL = SpecialTokens(pad=None, sos=0, eos=1, never=())
PRINTED = {
    "reversal": Printed(
        models.EncoderDecoder(
            models.GRU(256),
            models.RecurrentDecoder(256, bridge=COPY),
            26,
            26,
            special=TUTORIAL,
            target_activation=nn.relu,
        ),
        layout("gru", "out"),
    ),
    "translation": Printed(
        models.EncoderDecoder(
            models.LSTM(128),
            models.RecurrentDecoder(128, models.LSTMCell(), bridge=COPY),
            31,
            29,
            embedding=128,
            special=TUTORIAL,
            source_dropout=0.1,
        ),
        layout("lstm", "out"),
    ),
    "attention": Printed(
        models.EncoderDecoder(
            models.Bidirectional(64),
            models.BahdanauDecoder(40),
            37,
            33,
            embedding=24,
            dropout=0.5,
            readout_dropout=0.0,
            special=SpecialTokens(pad=1, sos=2, eos=3, never=()),
        ),
        layout(
            "rnn",
            "fc_out",
            bridge={"Dense_0": convert.linear("encoder.fc")},
            attention=convert.additive("decoder.attention"),
        ),
    ),
}


def shapes(printed: Printed) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """Of the parameters, and of PyTorch's weights."""
    one = jnp.ones((1, 1), jnp.int32)
    like = jax.eval_shape(printed.model.init, jax.random.key(0), one, one)
    state = jax.eval_shape(partial(convert.to_torch, layout=printed.layout), like)
    return like, {name: x.shape for name, x in state.items()}


def decoder(model: models.EncoderDecoder, length: int) -> Any:
    special = model.special

    @compiled
    def greedy(params, source):
        carry = model.apply(params, source, None, length, method="begin")
        first = jnp.full(len(source), special.sos)
        step = partial(model.apply, params, method="step")
        return decode.greedy(step, carry, first, length=length, special=special)

    return greedy


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "translation" else []) for name in PRINTED]
)
def test_says_what_the_tutorials_module_says(name: str):
    printed = PRINTED[name]
    like, sizes = shapes(printed)
    source, said = RECORDED[f"{name}/source"], RECORDED[f"{name}/said"]
    greedy, special, lengths = decoder(printed.model, said.shape[-1]), printed.model.special, set()
    for draw, expected in enumerate(said):
        found = greedy(convert.from_torch(weights(sizes, draw), printed.layout, like), source)
        for row, tokens in enumerate(expected.tolist()):
            end = tokens.index(special.eos) + 1 if special.eos in tokens else len(tokens)
            assert found.tokens[row].tolist() == tokens[:end] + [special.filler] * (len(tokens) - end)
            assert int(found.lengths[row]) == end
            lengths.add(end)
    assert len(lengths) > 3, "sentences of many lengths end in EOS"
    assert len(np.unique(said)) > 20


@pytest.mark.parametrize(
    "name", [name if name == "reversal" else pytest.param(name, marks=pytest.mark.slow) for name in PRINTED]
)
def test_vocabularies_in_another_order(name: str):
    """With the ids of `data.Vocabulary` the same sentences come out, but for what these never say: PAD and SOS."""
    printed = PRINTED[name]
    special, sizes = printed.model.special, shapes(printed)[1]

    def order(vocab: int) -> tuple[int | None, ...]:
        there = [f"word {number}" for number in range(vocab)]
        there[special.sos], there[special.eos] = "<sos>", "<eos>"
        if special.pad is not None:
            there[special.pad] = "<pad>"
        words = [word for word in there if word[0] != "<"]
        return convert.vocabulary_order(["<pad>", "<sos>", "<eos>", "<unk>", *reversed(words)], there)

    sides = [order(size) for size in (printed.model.source_vocab or 0, printed.model.target_vocab)]
    usual = Printed(
        printed.model.clone(special=SpecialTokens(never=()), source_vocab=len(sides[0]), target_vocab=len(sides[1])),
        printed.layout
        | {
            "source_embedding": convert.embedding("encoder.embedding", sides[0]),
            "target_embedding": convert.embedding("decoder.embedding", sides[1]),
            "readout": convert.linear("decoder.fc_out" if name == "attention" else "decoder.out", sides[1]),
        },
    )
    like, ours = shapes(usual)
    assert ours == sizes
    ids = {token: place for place, token in enumerate(sides[0]) if token is not None}
    source = np.vectorize(ids.get)(RECORDED[f"{name}/source"])
    greedy = decoder(usual.model, RECORDED[f"{name}/said"].shape[-1])
    for draw, expected in enumerate(RECORDED[f"{name}/said"][:5]):
        state = weights(sizes, draw)
        params = convert.from_torch(state, usual.layout, like)
        back = convert.to_torch(params, usual.layout)
        for part in ("decoder.embedding.weight", "encoder.embedding.weight"):
            np.testing.assert_array_equal(back[part], state[part])
        found = greedy(params, jnp.asarray(source))
        for row, tokens in enumerate(expected.tolist()):
            length = int(found.lengths[row])
            assert [sides[1][token] for token in found.tokens[row, :length].tolist()] == tokens[:length]


def test_a_vocabulary_order_loses_no_symbol():
    assert convert.vocabulary_order(["<pad>", "b", "a"], ["a", "b"]) == (None, 1, 0)
    with pytest.raises(ValueError, match=r"every symbol of the other model must be one here, got 'c'"):
        convert.vocabulary_order(["a", "b"], ["a", "c"])
    with pytest.raises(ValueError, match=r"symbols must be unique, got 'a' more than once in there"):
        convert.vocabulary_order(["a", "b"], ["a", "a"])
    tree = {"params": {"embedding": jnp.zeros((3, 2))}}
    for order, message in [((0, 0, 1), "each id of the other model once"), ((0, 1), "one entry a token, 3, got 2")]:
        with pytest.raises(ValueError, match=message):
            convert.to_torch(tree, convert.embedding("e", order))
