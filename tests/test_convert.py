import functools
import importlib.util
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from seqjax import convert, models
from tests.contracts import compiled

GOLDEN = Path(__file__).parent / "golden"
"""What `golden/make.py` recorded of PyTorch."""

MASK = jnp.arange(5)[None, :] < jnp.array([5, 1, 3])[:, None]

exact_gelu = partial(nn.gelu, approximate=False)


class Case(NamedTuple):
    """A model that is the same function as a PyTorch module, how it is called, and how its weights are laid out.

    Attributes:
        tolerance: 1e-4 where PyTorch's norms add another epsilon to the variance.
    """

    model: nn.Module
    layout: convert.Layout
    call: Callable[..., Any]
    tolerance: float = 1e-5


def masked(model, x):
    return model(x, mask=MASK)


def reader(backbone) -> Case:
    layout = {"backbone": convert.recurrent("rnn"), "readout": convert.linear("fc")}
    return Case(models.Regressor(backbone, 2), layout, masked)


def images(model, x):
    return model(jnp.transpose(x, (0, 2, 3, 1)))


class HiddenAsCell(nn.Module):
    """The mistake of the tutorial `sequence_shapes`: the decoder starts from (h, h), not from (h, c)."""

    def __call__(self, given, wanted):
        return tuple((h, h) for h, _ in given)


ONE_WORD = {
    "encoder": {"Conv_0": convert.conv("conv")},
    "backbone": convert.recurrent("gru"),
    "readout": convert.linear("fc"),
}


def one_word(channels: int, features: int, words: int) -> nn.Module:
    """The captioner of `sequence_shapes`."""
    encoder = models.CNN((channels,), pool=False)
    return models.OneWordCaptioner(encoder, models.GRU(features), words)


PAIR = {
    "source_embedding": convert.embedding("source_embedding"),
    "encoder": convert.recurrent("encoder"),
    "target_embedding": convert.embedding("target_embedding"),
    "decoder": {"stack": convert.recurrent("decoder")},
    "readout": convert.linear("fc"),
}


COPY = models.CopyState()


def pair(cell, vocab: int, embedding: int, features: int, bridge: nn.Module = COPY):
    """The tutorials `sequence_shapes` and `reversal`: the last state of one recurrence is the first of another."""
    decoder = models.RecurrentDecoder(features, cell, bridge=bridge)
    return models.EncoderDecoder(models.Recurrent(features, cell), decoder, vocab, vocab, embedding)


def written(model, x, source):
    memory = models.Memory(source, MASK, ())
    return model.extend(model.start(memory, x.shape[-1], x.shape[1]), x).features


def translated(model, source, fed, mask: Any = MASK):
    logits = model.extend(model.begin(source, mask, fed.shape[1]), fed).logits
    return jnp.where(jnp.isfinite(logits), logits, 0.0)  # two tokens are never written


def simple_cnn(channels: tuple[int, int], classes: int) -> tuple[nn.Module, Any]:
    backbone = {"Conv_0": convert.conv("conv1"), "Conv_1": convert.conv("conv2")}
    layout = {"backbone": backbone, "readout": convert.grid_linear("fc", channels[-1])}
    return models.ImageClassifier(models.CNN(channels), classes), layout


def translator(vocabs: tuple[int, int], embedding: int, encoder: int, decoder: int) -> tuple[nn.Module, Any]:
    """The tutorial `attention`."""
    writer = models.BahdanauDecoder(decoder, attention=models.AdditiveAttention(decoder))
    model = models.EncoderDecoder(models.Bidirectional(encoder), writer, *vocabs, embedding)
    return model, {
        "source_embedding": convert.embedding("encoder.embedding"),
        "encoder": convert.recurrent("encoder.rnn"),
        "decoder": {
            "bridge": {"Dense_0": convert.linear("encoder.fc")},
            "attention": convert.additive("decoder.attention"),
            "stack": convert.recurrent("decoder.rnn"),
        },
        "target_embedding": convert.embedding("decoder.embedding"),
        "readout": convert.linear("decoder.fc_out"),
    }


INP = convert.linear("embed")
ALTERNATING = models.Sinusoidal(interleaved=True)
CASES = {
    "rnn": reader(models.RNN(4, 2)),
    "gru": reader(models.GRU(4, 2)),
    "lstm": reader(models.LSTM(4, 2)),
    "bidirectional_gru": reader(models.Bidirectional(8, models.GRUCell(), 2)),
    "bidirectional_lstm": reader(models.Bidirectional(8, models.LSTMCell())),
    "cnn": Case(*simple_cnn((4, 5), 4), images),
    "tcn": Case(models.TCN(4, 2, (1, 2), weight_norm=True), convert.tcn(), lambda model, x: model(x)),
    "transformer": Case(
        models.Transformer(8, 2, 2, 2, pre_norm=False, positions=ALTERNATING, activation=nn.relu),
        convert.transformer("encoder", embed=INP),
        masked,
        1e-4,
    ),
    "transformer_pre_norm": Case(
        models.Transformer(8, 2, 2, 2, causal=False, positions=models.Learned(7), activation=exact_gelu),
        convert.transformer("encoder", embed=INP, positions=convert.embedding("positions")),
        masked,
    ),
    "transformer_decoder": Case(
        models.TransformerDecoder(8, 2, 2, 2, pre_norm=False, positions=models.Positions(), activation=nn.relu),
        convert.transformer_decoder("decoder", embed=INP),
        written,
        1e-4,
    ),
    "transformer_decoder_pre_norm": Case(
        models.TransformerDecoder(8, 2, 2, 2, positions=models.Positions(), activation=nn.relu),
        convert.transformer_decoder("decoder", embed=INP),
        written,
    ),
    "translator": Case(*translator((6, 7), 3, 8, 5), translated),
    "hidden_as_cell": Case(pair(models.LSTMCell(), 7, 3, 4, HiddenAsCell()), PAIR, partial(translated, mask=None)),
    "one_word": Case(one_word(4, 5, 6), ONE_WORD, images),
}

TORCH = importlib.util.find_spec("torch") is not None

# 0 is the recorded one; others are drawn by PyTorch itself where it is installed.
SEEDS = (0, 1, 2) if TORCH else (0,)


def recorded(name: str, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Weights, gradients and inputs by their names; the output and the probe have none."""
    if seed:
        from tests.golden import make

        flat = make.record(name, seed)
    else:
        flat = convert.load(GOLDEN / f"{name}.safetensors")
    record: dict[str, dict[str, Any]] = {}
    for key, value in flat.items():
        group, _, inside = key.partition("/")
        record.setdefault(group, {})[inside] = value
    return record


@functools.cache
def shapes_of(name: str) -> Any:
    """The model's parameters, nothing computed."""
    case = CASES[name]
    inputs = [jnp.asarray(x) for x in recorded(name)["inputs"].values()]
    return jax.eval_shape(partial(case.model.init, method=case.call), jax.random.key(0), *inputs)


def filled(shapes: Any) -> Any:
    """Random numbers in their place."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), shapes)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_are_those_of_pytorch(name: str, seed: int):
    case, record = CASES[name], recorded(name, seed)
    inputs = [jnp.asarray(x) for x in record["inputs"].values()]

    def weighed(state):
        params = convert.from_torch(state, case.layout, shapes_of(name))
        output = case.model.apply(params, *inputs, method=case.call)
        return jnp.sum(output * record["probe"][""]), output

    # Gradients are of parameters, of which a state may have several names.
    state = {name: record["weights"][name] for name in record["gradients"]}
    gradients, output = compiled(jax.grad(weighed, has_aux=True))(state)
    np.testing.assert_allclose(output, record["output"][""], rtol=0, atol=case.tolerance)
    for name, expected in record["gradients"].items():
        scale = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(gradients[name], expected, rtol=0, atol=case.tolerance * scale, err_msg=name)


@pytest.mark.parametrize("name", CASES)
def test_there_and_back_again(name: str, tmp_path: Path):
    layout, params = CASES[name].layout, filled(shapes_of(name))
    convert.save(tmp_path / "weights.safetensors", compiled(partial(convert.to_torch, layout=layout))(params))
    state = convert.load(tmp_path / "weights.safetensors")
    back = compiled(partial(convert.from_torch, layout=layout, like=shapes_of(name)))(state)
    jax.tree.map(np.testing.assert_array_equal, back, params)
    assert jax.tree.structure(back) == jax.tree.structure(params)


if TORCH:  # rather than a skip: no test that can run is ever skipped

    @pytest.mark.parametrize("name", CASES)
    def test_pytorch_loads_what_is_written(name: str):
        import torch  # pyright: ignore[reportMissingImports]

        from tests.golden import make

        layout, params = CASES[name].layout, filled(shapes_of(name))
        module = make.CASES[name][0]()
        state = {there: torch.tensor(np.asarray(x)) for there, x in convert.to_torch(params, layout).items()}
        left = module.load_state_dict(state, strict=False)
        assert not left.unexpected_keys
        assert all(".net." in missing for missing in left.missing_keys), "the second names of one array"
        back = convert.from_torch(module.state_dict(), layout, shapes_of(name))
        jax.tree.map(np.testing.assert_array_equal, back, params)


def tcn(features: int) -> nn.Module:
    return models.Regressor(models.TCN(features, 4, tuple(2**block for block in range(7)), weight_norm=True))


def readout(backbone: Any) -> Any:
    return {"backbone": backbone, "readout": convert.linear("fc")}


TOKENS = jnp.zeros((1, 3), jnp.int32)
NUMBERS = jnp.zeros((1, 3, 1))
READ_TOKENS = {"table": convert.embedding("embedding"), "backbone": convert.recurrent("lstm")}
SENTIMENT = models.TokenEmbedding(models.LSTM(128), 20, 64)
TAGGER = {"words": convert.embedding("embedding"), **readout(convert.recurrent("lstm"))}
CAUSAL = models.Regressor(models.Transformer(32, 8, 5, 64, pre_norm=False, activation=nn.relu))

# A model, its layout, what it reads, PyTorch's parameters, and how many of these are biases that ours has added up.
TUTORIALS = {
    "image classifier": (*simple_cnn((16, 32), 10), [jnp.zeros((1, 32, 32, 3))], 25_578, 0),
    "captioner": (one_word(64, 128, 20), ONE_WORD, [jnp.zeros((1, 4, 4, 3))], 78_868, 2 * 128),
    "sentiment": (models.Classifier(SENTIMENT, 2), readout(READ_TOKENS), [TOKENS], 100_866, 4 * 128),
    "tagger": (models.Tagger(models.LSTM(128), 5, 20, 64), TAGGER, [TOKENS], 101_253, 4 * 128),
    "translator of sequence_shapes": (pair(models.LSTMCell(), 10_000, 64, 128), PAIR, [TOKENS] * 2, 2_768_656, 8 * 128),
    "reversal": (pair(models.GRUCell(), 26, 256, 256), PAIR, [TOKENS, TOKENS], 809_498, 2 * 2 * 256),
    "attention": (*translator((7853, 5893), 256, 1024, 512), [TOKENS, TOKENS], 20_518_405, 3 * 2 * 512),
    "LSTM": (models.Regressor(models.LSTM(256, 2)), readout(convert.recurrent("rnn")), [NUMBERS], 791_809, 2 * 4 * 256),
    "TCN, Lorenz": (tcn(30), readout(convert.tcn("tcn")), [NUMBERS], 47_851, 0),
    "TCN, shift": (tcn(10), readout(convert.tcn("tcn")), [NUMBERS], 5_551, 0),
    "Transformer": (CAUSAL, readout(convert.transformer("encoder", embed=INP)), [NUMBERS], 687_617, 0),
}


@pytest.mark.parametrize("row", TUTORIALS)
def test_the_tutorials_models_have_as_many_parameters(row: str):
    model, layout, inputs, count, added_up = TUTORIALS[row]
    like = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    state = jax.eval_shape(partial(convert.to_torch, layout=layout), like)
    assert sum(x.size for x in state.values()) == count
    assert sum(x.size for x in jax.tree.leaves(like)) == count - added_up


def test_all_that_does_not_fit_is_said_at_once():
    state = recorded("gru")["weights"]
    del state["rnn.bias_hh_l1"]
    state["rnn.weight_ih_l2"] = np.zeros((12, 4), np.float32)
    state["rnn.weight_ih_l0"] = state["rnn.weight_ih_l0"].T
    state["fc.weight"] = state["fc.weight"].astype(np.float64)
    with pytest.raises(ValueError) as refused:
        convert.from_torch(state, CASES["gru"].layout, shapes_of("gru"))
    assert str(refused.value).splitlines() == [
        "the PyTorch weights do not fit the model:",
        "  fc.weight: expected float32[2, 4], found float64[2, 4]",
        "  rnn.bias_hh_l1: expected float32[12], found nothing",
        "  rnn.weight_ih_l0: expected float32[12, 3], found float32[3, 12]",
        "  rnn.weight_ih_l2: expected nothing, found float32[12, 4]",
    ]


def test_two_names_of_one_array_must_agree():
    state = recorded("tcn")["weights"]
    assert {"network.0.conv1.bias", "network.0.net.0.bias"} <= set(state)
    either = {name: x for name, x in state.items() if ".conv" not in name}
    params = [convert.from_torch(some, CASES["tcn"].layout, shapes_of("tcn")) for some in (state, either)]
    jax.tree.map(np.testing.assert_array_equal, *params)
    state["network.0.net.0.bias"] = state["network.0.net.0.bias"] + 1
    with pytest.raises(ValueError, match=r"(?s)fit the model:\n  network\.0\.net\.0\.bias: [^\n]*other numbers$"):
        convert.from_torch(state, CASES["tcn"].layout, shapes_of("tcn"))


def test_a_layout_has_the_models_keys():
    layout = {"backbone": convert.recurrent("rnn"), "head": convert.linear("fc")}
    message = r"keys of the parameters, \['backbone', 'readout'\], got \['backbone', 'head'\]"
    with pytest.raises(ValueError, match=message):
        convert.from_torch(recorded("gru")["weights"], layout, shapes_of("gru"))


WRONG_PARTS = {
    "a Dense for an LSTM": ({"backbone": convert.linear("rnn")}, r"part for the parameters of backbone, \['layer_0'"),
    "a TCN for an LSTM": ({"backbone": convert.tcn("rnn")}, "part for the parameters of backbone, .* does not fit"),
    "a table for an LSTM": ({"backbone": convert.embedding("rnn")}, "part for the parameters of backbone, .* not fit"),
    "an image's for a Dense": ({"readout": convert.conv("fc")}, "part for the parameters of readout, .* not fit them"),
    "no part": (
        {"readout": convert.linear},
        r"the layout of readout must be a part such as linear\('fc'\), .* got <func",
    ),
    "one level too deep": (
        {"readout": {"kernel": convert.linear(), "bias": "b"}},
        r"parameters of readout.kernel, float32",
    ),
}


@pytest.mark.parametrize("what", WRONG_PARTS)
def test_a_wrong_part_is_named(what):
    wrong, message = WRONG_PARTS[what]
    layout = {"backbone": convert.recurrent("rnn"), "readout": convert.linear("fc")} | wrong
    with pytest.raises(ValueError, match=message):
        convert.from_torch(recorded("gru")["weights"], layout, shapes_of("gru"))


def test_gradients_of_an_array_with_two_names_reach_the_first():
    state, layout = recorded("tcn")["weights"], CASES["tcn"].layout

    @jax.jit
    @jax.grad
    def gradient_of(state):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(convert.from_torch(state, layout, shapes_of("tcn"))))

    gradient = jax.device_get(gradient_of({name: jnp.asarray(x) for name, x in state.items()}))
    names = "network.0.conv1.bias", "network.0.net.0.bias"
    np.testing.assert_allclose(sum(gradient[name] for name in names), 2 * state[names[0]], rtol=1e-6)


def test_half_precision_is_listed_by_name():
    """PyTorch's tensors of bfloat16, too, of which it makes no NumPy array."""

    class Tensor:
        dtype = "torch.bfloat16"

        def float(self):
            return np.ones((2, 4), np.float32)

    for dtype, value in (("float16", np.ones((2, 4), np.float16)), ("bfloat16", Tensor())):
        state = recorded("gru")["weights"] | {"fc.weight": value}
        with pytest.raises(ValueError, match=rf"fc.weight: expected float32\[2, 4\], found {dtype}\[2, 4\]"):
            convert.from_torch(state, CASES["gru"].layout, shapes_of("gru"))


def test_the_channels_of_a_grid_divide_it():
    _, layout = simple_cnn((4, 7), 4)
    with pytest.raises(ValueError, match="channels must divide the numbers of an image, 30, got 7"):
        convert.from_torch(recorded("cnn")["weights"], layout, shapes_of("cnn"))


def test_the_recurrence_of_a_tutorial_under_the_names_of_pytorch():
    """h' = tanh(W h + U x), o = c h', three `nn.Linear` with a bias each ."""
    rng = np.random.default_rng(0)
    shapes = {"W": (4, 4), "U": (4, 3), "c": (2, 4)}
    state = {f"{name}.weight": rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    state |= {f"{name}.bias": rng.normal(size=shape[:1]).astype(np.float32) for name, shape in shapes.items()}
    x = rng.normal(size=(1, 5, 3)).astype(np.float32)
    h, expected = np.zeros(4), []
    for now in x[0]:
        h = np.tanh(state["W.weight"] @ h + state["W.bias"] + state["U.weight"] @ now + state["U.bias"])
        expected.append(state["c.weight"] @ h + state["c.bias"])
    usual = {"W.weight": "weight_hh_l0", "W.bias": "bias_hh_l0", "U.weight": "weight_ih_l0", "U.bias": "bias_ih_l0"}
    model = models.Regressor(models.RNN(4), 2)
    layout = {"backbone": convert.recurrent(), "readout": convert.linear("c")}
    like = jax.eval_shape(model.init, jax.random.key(0), jnp.asarray(x))
    params = convert.from_torch({usual.get(name, name): value for name, value in state.items()}, layout, like)
    np.testing.assert_allclose(compiled(model.apply)(params, jnp.asarray(x))[0], expected, atol=1e-5)


def test_without_weight_norm_a_tcn_is_the_same():
    record = recorded("tcn")
    plain, layout = {}, CASES["tcn"].layout
    params = convert.from_torch(record["weights"], layout, shapes_of("tcn"))
    for name, value in compiled(partial(convert.to_torch, layout=layout))(params).items():
        if name.endswith("weight_v"):
            gain = record["weights"][name.replace("weight_v", "parametrizations.weight.original0")]
            length = np.sqrt(np.sum(np.square(value), axis=(1, 2), keepdims=True))
            plain[name.replace("weight_v", "weight")] = np.asarray(value) * gain / length
        elif not name.endswith("weight_g"):
            plain[name] = value
    model, x = models.TCN(4, 2, (1, 2)), jnp.asarray(record["inputs"]["0"])
    like = jax.eval_shape(model.init, jax.random.key(0), x)
    output = compiled(model.apply)(convert.from_torch(plain, convert.tcn(), like), x)
    np.testing.assert_allclose(output, record["output"][""], atol=1e-5)


def test_a_layer_without_bias():
    model = nn.Dense(3, use_bias=False)
    weight = np.arange(6, dtype=np.float32).reshape(3, 2)
    like = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2)))
    params = convert.from_torch({"weight": weight}, convert.linear(), like)
    np.testing.assert_array_equal(model.apply(params, jnp.eye(2)), weight.T)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a pickle in a zip", None], ids=["empty", "other", "cut"])
def test_only_whole_safetensors_files_are_read(content: bytes | None, tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes((GOLDEN / "rnn.safetensors").read_bytes()[:-1] if content is None else content)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} must be a safetensors file"):
        convert.load(path)


def test_the_example_in_the_docstring(tmp_path: Path):
    rng, state = np.random.default_rng(0), {"fc.weight": (1, 64), "fc.bias": (1,)}
    for layer, inputs in enumerate((1, 64)):
        kinds = {"weight_ih": (256, inputs), "weight_hh": (256, 64), "bias_ih": (256,), "bias_hh": (256,)}
        state |= {f"rnn.{kind}_l{layer}": shape for kind, shape in kinds.items()}
    numbers = {name: rng.normal(size=shape).astype(np.float32) for name, shape in state.items()}
    convert.save(tmp_path / "weights.safetensors", numbers)
    model = models.Regressor(models.LSTM(64, layers=2), targets=1)
    layout = {"backbone": convert.recurrent("rnn"), "readout": convert.linear("fc")}
    like = jax.eval_shape(model.init, jax.random.key(0), NUMBERS)
    params = convert.from_torch(convert.load(tmp_path / "weights.safetensors"), layout, like)
    kernel = params["params"]["backbone"]["layer_1"]["recurrent_kernel"]
    np.testing.assert_array_equal(kernel, numbers["rnn.weight_hh_l1"].T)
    for line in ("model = Regressor(LSTM(64, layers=2), targets=1)", 'recurrent("rnn"), "readout": linear("fc")'):
        assert line in (convert.__doc__ or "")


def test_the_golden_files_are_small():
    assert sum(path.stat().st_size for path in GOLDEN.glob("*.safetensors")) < 200_000


EXPORTED = {
    "Transformer": (models.Regressor(models.Transformer(4)), [NUMBERS]),
    "LSTM": (models.Regressor(models.LSTM(4)), [NUMBERS]),
    "tagger": (models.Tagger(models.Bidirectional(4), 5, 9, 4), [TOKENS]),
    "image classifier": (models.ImageClassifier(models.CNN((4,)), 3), [jnp.zeros((1, 4, 4, 3))]),
    "encoder-decoder": (models.EncoderDecoder(models.GRU(4), models.BahdanauDecoder(4), 9, 8, 4), [TOKENS, TOKENS]),
}
SLOWER = {
    "TCN": (models.Regressor(models.TCN(4)), [NUMBERS]),
    "LRU": (models.Regressor(models.LRU(4)), [NUMBERS]),
    "SelectiveSSM": (models.Regressor(models.SelectiveSSM(4)), [NUMBERS]),
    "GatedDeltaNet": (models.Regressor(models.GatedDeltaNet(4)), [NUMBERS]),
    "MLSTM": (models.Regressor(models.MLSTM(4)), [NUMBERS]),
    "SLSTM": (models.Regressor(models.SLSTM(4)), [NUMBERS]),
    "window": (models.Regressor(models.Transformer(4, window=2)), [NUMBERS]),
}


@pytest.mark.usefixtures("unchecked")  # the size of a batch is a symbol, not an integer
@pytest.mark.parametrize("name", [*EXPORTED, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOWER)])
def test_an_exported_program_is_the_model_for_any_batch(name: str):
    model, inputs = (EXPORTED | SLOWER)[name]
    params = filled(jax.eval_shape(model.init, jax.random.key(0), *inputs))
    program = jax.export.deserialize(convert.export(model, params, *inputs))
    assert set(program.platforms) == {"cpu", "cuda", "tpu"}
    rng = np.random.default_rng(0)
    for rows in (1, 3):
        shapes = [(rows, *x.shape[1:]) for x in inputs]
        whole = inputs[0].dtype == jnp.int32
        given = [jnp.asarray(rng.integers(3, 8, s) if whole else rng.normal(size=s), inputs[0].dtype) for s in shapes]
        np.testing.assert_allclose(
            program.call(params, *given), jax.jit(model.apply)(params, *given), rtol=1e-5, atol=1e-6
        )
