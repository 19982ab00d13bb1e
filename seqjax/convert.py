"""Parameters from PyTorch, and back: how each module's weights are named and laid out on either side; and export.

A layout is a dict with the keys of the Flax model's parameters; it ends in the parts below, which know PyTorch's names:

    class Torch(torch.nn.Module):                       model = Regressor(LSTM(64, layers=2), targets=1)
        rnn = nn.LSTM(1, 64, 2, batch_first=True)       layout = {"backbone": recurrent("rnn"), "readout": linear("fc")}
        fc = nn.Linear(64, 1)

    safetensors.torch.save_model(torch, "weights.safetensors")     # there

    like = jax.eval_shape(model.init, key, x)           # names and shapes; nothing is computed
    params = convert.from_torch(convert.load("weights.safetensors"), layout, like)
    state = convert.to_torch(params, layout)            # by PyTorch's names, for `convert.save`

Both directions are pure functions of arrays, so `jax.grad` passes through them: gradients come by either side's names.
What is not the same function in PyTorch: the epsilon of `nn.LayerNorm` is 1e-5 there and 1e-6 here; its usual positions
alternate sine and cosine, `Sinusoidal(interleaved=True)`. Special tokens differ: `types.SpecialTokens`, or `order`
where the same words have other ids. Dropout has no weights; set its rate by hand.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from seqjax._checks import known
from seqjax.types import InputError, Params

State = dict[str, Any]
"""Arrays by PyTorch's names."""

Tree = Any
"""A part of the Flax model's parameters, or of their shapes."""


class Part(NamedTuple):
    """What PyTorch makes of one module's parameters, and Flax of PyTorch's: each the other's inverse.

    Attributes:
        write: parameters -> arrays by PyTorch's names.
        read: these, and parameters of which only the shapes matter -> parameters.
    """

    write: Callable[[Tree], State]
    read: Callable[[State, Tree], Tree]


Order = Sequence[int | None]
"""For each token of the model here, its id in the other model; None: it has none."""

ABSENT = -1e9
"""The bias of a token that the other model does not have: finite, and no softmax sees it."""

Views = dict[str, Callable[[Any], Any]]

Layout = Any
"""A `Part`, or a dict of layouts with the keys of the parameters."""

ALIASES = (
    # A new spelling of weight norm; `torch.nn.utils.parametrizations.weight_norm` loads the old one, too.
    (r"parametrizations\.weight\.original0$", "weight_g"),
    (r"parametrizations\.weight\.original1$", "weight_v"),
    # Each convolution of Bai's blocks has a second name in a Sequential.
    (r"\bnet\.0\.", "conv1."),
    (r"\bnet\.4\.", "conv2."),
)


def load(path: Path | str) -> State:
    """The arrays of a safetensors file, by name.

    Raises:
        InputError: the file is no (whole) safetensors file.
    """
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path} must be a safetensors file, and whole: {error}") from error


def save(path: Path | str, state: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays by name as a safetensors file, perhaps with texts about them."""
    about = None if metadata is None else dict(metadata)
    save_file({name: np.array(value, order="C") for name, value in state.items()}, path, about)


def metadata(path: Path | str) -> dict[str, str]:
    """The texts about the arrays that `save` wrote; none if there are none.

    Raises:
        InputError: as `load`.
    """
    try:
        with safe_open(path, "numpy") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise InputError(f"{path} must be a safetensors file, and whole: {error}") from error


def from_torch(state: Mapping[str, Any], layout: Layout, like: Params) -> Params:
    """The parameters of a model, from the arrays of a PyTorch module that is the same function.

    Args:
        state: by PyTorch's names; `module.state_dict()` as it is, if it lies on the CPU.
        layout: how these are named and laid out.
        like: the model's parameters, or their shapes, `jax.eval_shape(model.init, key, x)`.

    Where an array has two names, they must agree, and the first one gets the gradient.

    Raises:
        InputError: names, shapes or dtypes do not fit the model, with all that are missing, unexpected or different; or
            a part of the layout does not fit the parameters that it is for.
    """
    expected = jax.eval_shape(partial(to_torch, layout=layout), like)
    found, faults = {}, []
    for given, value in state.items():
        value = value if isinstance(value, jax.Array) else _array(value)
        name = _resolved(given, expected)
        if name not in found:
            found[name] = value
        elif known(found[name], value) and not np.array_equal(found[name], value):
            faults.append(f"{given}: expected the same as {name}, found other numbers")
    kinds = {name: (_kind(expected.get(name)), _kind(found.get(name))) for name in expected | found}
    faults += [f"{name}: expected {wanted}, found {got}" for name, (wanted, got) in kinds.items() if wanted != got]
    if faults:
        raise InputError("\n  ".join(["the PyTorch weights do not fit the model:", *sorted(faults)]))
    return {"params": _read(layout, found, like["params"])}


def to_torch(params: Params, layout: Layout) -> State:
    """The arrays of the PyTorch module that is the same function, by its names.

    Where PyTorch has two biases, the second is zero. A convolution of Bai's TCN has two names there and gets one:
    `module.load_state_dict(…, strict=False)`.
    """
    return _write(layout, params["params"])


def vocabulary_order(here: Sequence[str], there: Sequence[str]) -> tuple[int | None, ...]:
    """The `order` of embeddings and readouts between two vocabularies with the same words in another order.

    Args:
        here: the symbols of the model here, such as `data.Vocabulary(…).symbols`.
        there: the symbols of the other model, in the order of its ids; special ones spelled as they are here.

    Raises:
        InputError: a symbol is twice in one of them, or is not in `here`: the weights of it would be lost.
    """
    for name, symbols in (("here", here), ("there", there)):
        if len(set(symbols)) < len(symbols):
            twice = next(symbol for symbol in symbols if list(symbols).count(symbol) > 1)
            raise InputError(f"symbols must be unique, got {twice!r} more than once in {name}")
    if lost := [symbol for symbol in there if symbol not in set(here)]:
        raise InputError(f"every symbol of the other model must be one here, got {lost[0]!r}")
    ids = {symbol: number for number, symbol in enumerate(there)}
    return tuple(ids.get(symbol) for symbol in here)


def export(model: Any, params: Params, *inputs: Any, method: str = "__call__") -> bytearray:
    """A model as a program for machines without seqjax or Flax: StableHLO, for CPU, CUDA and TPU.

        program = convert.export(model, params, x)
        jax.export.deserialize(program).call(params, other)    # batches of any size

    Args:
        params: of which only names, shapes and dtypes are part of the program; `convert.save` keeps their values.
        inputs: arrays, or pytrees of them, with the leading axis `batch`; all other sizes are fixed.
        method: that is called.

    Raises:
        ImportError: `flatbuffers` is not installed (`pip install 'seqjax[export]'`).
    """
    (batch,) = jax.export.symbolic_shape("batch")
    specs = jax.tree.map(lambda x: jax.ShapeDtypeStruct((batch, *jnp.shape(x)[1:]), jnp.result_type(x)), inputs)
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), params)
    program = jax.jit(partial(model.apply, method=method))
    return jax.export.export(program, platforms=("cpu", "cuda", "tpu"))(like, *specs).serialize()


def linear(prefix: str = "", order: Order | None = None) -> Part:
    """`nn.Linear`: a Dense or DenseGeneral layer.

    Args:
        order: of a readout whose vocabulary is in another order there, see `vocabulary_order`. A token that only the
            model here has gets the logit -1e9, so that it is never predicted.
    """
    plain = _affine(_join(prefix, "weight"), _join(prefix, "bias"))
    return plain if order is None else _reordered(plain, order, {"kernel": (-1, 0.0), "bias": (0, ABSENT)})


def grid_linear(prefix: str, channels: int) -> Part:
    """`nn.Linear` after flattening an image's (channels, height, width), which lie (height, width, channels) here."""
    plain = linear(prefix)
    weight = _join(prefix, "weight")

    def write(tree: Tree) -> State:
        state = plain.write(tree)
        rows, numbers = state[weight].shape
        if numbers % channels:
            raise InputError(f"channels must divide the numbers of an image, {numbers}, got {channels}")
        return state | {weight: state[weight].reshape(rows, -1, channels).swapaxes(1, 2).reshape(rows, -1)}

    def read(state: State, like: Tree) -> Tree:
        images = jnp.asarray(state[weight])
        rows = len(images)
        last = images.reshape(rows, channels, -1).swapaxes(1, 2).reshape(rows, -1)
        return plain.read(state | {weight: last}, like)

    return Part(write, read)


def embedding(prefix: str = "", order: Order | None = None) -> Part:
    """`nn.Embedding`: an Embed layer, or the table of `Learned` positions.

    Args:
        order: where the vocabulary is in another order there, see `vocabulary_order`. A token that only the model here
            has gets zeros.
    """
    weight = _join(prefix, "weight")

    def write(tree: Tree) -> State:
        (table,) = tree.values()
        return {weight: table[...]}

    plain = Part(write, lambda state, like: dict.fromkeys(like, jnp.asarray(state[weight])))
    return plain if order is None else _reordered(plain, order, {"embedding": (0, 0.0)})


def conv(prefix: str = "") -> Part:
    """`nn.Conv2d` with an odd kernel and `padding=kernel_size // 2`: a convolution of `CNN`."""
    names = {"kernel": _join(prefix, "weight"), "bias": _join(prefix, "bias")}
    return _renamed(names, {"kernel": lambda x: x.transpose(3, 2, 0, 1)}, {"kernel": lambda x: x.transpose(2, 3, 1, 0)})


def norm(prefix: str = "") -> Part:
    """`nn.LayerNorm`."""
    return _renamed({"scale": _join(prefix, "weight"), "bias": _join(prefix, "bias")})


def recurrent(prefix: str = "") -> Part:
    """`nn.RNN`, `nn.GRU` or `nn.LSTM`: a `Recurrent`, or with `bidirectional=True` a `Bidirectional`.

    Its two biases are added, except those of the GRU's candidate n, which has its reset gate between them.
    """

    def layout(tree: Tree) -> Layout:
        parts = {}
        for place in tree:
            direction, depth = place.split("_")
            parts[place] = _layer(prefix, f"l{depth}_reverse" if direction == "backward" else f"l{depth}")
        return parts

    return _by_structure(layout)


def tcn(prefix: str = "") -> Part:
    """Bai's `TemporalConvNet` (github.com/locuslab/TCN): a `TCN`, whose `weight_norm` says whether it has one."""

    def layout(tree: Tree) -> Layout:
        parts = {}
        for block, inside in tree.items():
            at = _join(prefix, f"network.{_number(block)}")
            convs = {"CausalConv_0": _causal_conv(f"{at}.conv1"), "CausalConv_1": _causal_conv(f"{at}.conv2")}
            parts[block] = convs | ({"shortcut": _pointwise(f"{at}.downsample")} if "shortcut" in inside else {})
        return parts

    return _by_structure(layout)


def additive(prefix: str = "") -> Part:
    """v' tanh(attn [query; source]) with `attn = nn.Linear`, `v = nn.Linear(…, 1, bias=False)`: `AdditiveAttention`."""
    weight, bias, energy = (_join(prefix, name) for name in ("attn.weight", "attn.bias", "v.weight"))

    def write(tree: Tree) -> State:
        both = jnp.concatenate([tree["query"]["kernel"], tree["key"]["kernel"]])
        return {weight: both.T, bias: tree["key"]["bias"], energy: tree["energy"].T}

    def read(state: State, like: Tree) -> Tree:
        width = like["query"]["kernel"].shape[0]
        query, key = jnp.split(jnp.asarray(state[weight]).T, [width])
        key = {"kernel": key, "bias": jnp.asarray(state[bias])}
        return {"query": {"kernel": query}, "key": key, "energy": jnp.asarray(state[energy]).T}

    return Part(write, read)


def multi_head(prefix: str = "") -> Part:
    """`nn.MultiheadAttention` where queries and source have one width: a `MultiHeadAttention`."""
    weight, bias = _join(prefix, "in_proj_weight"), _join(prefix, "in_proj_bias")
    out = linear(_join(prefix, "out_proj"))

    def write(tree: Tree) -> State:
        parts = [tree["query"], tree["key_value"]]
        width = tree["query"]["bias"].size
        kernels = jnp.concatenate([part["kernel"].reshape(width, -1) for part in parts], axis=1)
        return {weight: kernels.T, bias: jnp.concatenate([p["bias"].reshape(-1) for p in parts])} | out.write(
            tree["out"]
        )

    def read(state: State, like: Tree) -> Tree:
        width = like["query"]["bias"].size
        kernels = jnp.split(jnp.asarray(state[weight]).T, [width], axis=1)
        biases = jnp.split(jnp.asarray(state[bias]), [width])
        tree = {"out": out.read(state, like["out"])}
        for name, kernel, offset in zip(("query", "key_value"), kernels, biases, strict=True):
            shapes = like[name]
            tree[name] = {
                "kernel": kernel.reshape(shapes["kernel"].shape),
                "bias": offset.reshape(shapes["bias"].shape),
            }
        return tree

    return Part(write, read)


def transformer(prefix: str = "", **before: Layout) -> Part:
    """`nn.TransformerEncoder` (the decoder's layers, too): a `Transformer` with the same `pre_norm` and `activation`.

        transformer("encoder", embed=linear("inp"), positions=embedding("positions"))

    Args:
        before: layouts of what comes before the first block: `embed`, and `positions` with parameters.
    """

    def layout(tree: Tree) -> Layout:
        parts = dict(before)
        for name in tree:
            if name.startswith("Block_"):
                parts[name] = _block(_join(prefix, f"layers.{_number(name)}"), cross="source_norm" in tree[name])
        return parts | ({"final_norm": norm(_join(prefix, "norm"))} if "final_norm" in tree else {})

    return _by_structure(layout)


def transformer_decoder(prefix: str = "", **before: Layout) -> Part:
    """`nn.TransformerDecoder`: a `TransformerDecoder`; `before` as in `transformer`."""

    def layout(tree: Tree) -> Layout:
        attend = {
            name: multi_head(_join(prefix, f"layers.{_number(name)}.multihead_attn"))
            for name in tree
            if name.startswith("attend_")
        }
        return attend | {"stack": transformer(prefix, **before)}

    return _by_structure(layout)


def _block(at: str, *, cross: bool) -> Layout:
    norms = ("attention_norm", "source_norm", "feed_forward_norm") if cross else ("attention_norm", "feed_forward_norm")
    return {
        "query_key_value": _affine(f"{at}.self_attn.in_proj_weight", f"{at}.self_attn.in_proj_bias"),
        "attention_out": linear(f"{at}.self_attn.out_proj"),
        "feed_forward_in": linear(f"{at}.linear1"),
        "feed_forward_out": linear(f"{at}.linear2"),
        **{name: norm(f"{at}.norm{number}") for number, name in enumerate(norms, start=1)},
    }


def _layer(prefix: str, end: str) -> Part:
    """One direction of one recurrent layer.

    Its bias is b_ih + b_hh, followed by the last of b_hh that are in no sum: those of a GRU's n.
    """
    names = [_join(prefix, f"{kind}_{end}") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]

    def write(tree: Tree) -> State:
        kernel, bias = tree["recurrent_kernel"], tree["bias"]
        width = kernel.shape[1]
        separate = bias[width:]
        hidden = jnp.concatenate([jnp.zeros_like(bias[: width - separate.size]), separate])
        return dict(zip(names, (tree["input_kernel"].T, kernel.T, bias[:width], hidden), strict=True))

    def read(state: State, like: Tree) -> Tree:
        inputs, kernel, bias, hidden = (jnp.asarray(state[name]) for name in names)
        added = 2 * bias.size - like["bias"].size
        bias = jnp.concatenate([bias[:added] + hidden[:added], bias[added:], hidden[added:]])
        return {"input_kernel": inputs.T, "recurrent_kernel": kernel.T, "bias": bias}

    return Part(write, read)


def _causal_conv(prefix: str) -> Part:
    """`nn.Conv1d` with padding on the left; its last tap is the present, which here is the first."""

    def names(tree: Tree) -> dict[str, str]:
        weight = {"kernel": "weight_v", "gain": "weight_g"} if "gain" in tree else {"kernel": "weight"}
        return {name: _join(prefix, there) for name, there in (weight | {"bias": "bias"}).items()}

    write = {"kernel": lambda x: x[::-1].transpose(2, 1, 0), "gain": lambda x: x.reshape(-1, 1, 1)}
    read = {"kernel": lambda x: x.transpose(2, 1, 0)[::-1], "gain": lambda x: x.reshape(-1)}
    return _by_structure(lambda tree: _renamed(names(tree), write, read))


def _pointwise(prefix: str) -> Part:
    """`nn.Conv1d` with one tap: a Dense layer."""
    names = {"kernel": _join(prefix, "weight"), "bias": _join(prefix, "bias")}
    return _renamed(names, {"kernel": lambda x: x.T[:, :, None]}, {"kernel": lambda x: x[:, :, 0].T})


def _affine(weight: str, bias: str) -> Part:
    """One matrix and perhaps one bias, whatever axes Flax splits them into."""

    def write(tree: Tree) -> State:
        kernel = tree["kernel"]
        if "bias" not in tree:
            return {weight: kernel.T}
        return {weight: kernel.reshape(-1, tree["bias"].size).T, bias: tree["bias"].reshape(-1)}

    def read(state: State, like: Tree) -> Tree:
        tree = {"kernel": jnp.asarray(state[weight]).T.reshape(like["kernel"].shape)}
        if "bias" in like:
            tree["bias"] = jnp.asarray(state[bias]).reshape(like["bias"].shape)
        return tree

    return Part(write, read)


def _renamed(names: dict[str, str], write: Views | None = None, read: Views | None = None) -> Part:
    """Arrays that have one counterpart each, those named in `write` and `read` with other axes."""

    def seen(views: Views | None, name: str, x: Any) -> Any:
        return views[name](x) if views and name in views else x

    return Part(
        lambda tree: {there: seen(write, name, tree[name]) for name, there in names.items()},
        lambda state, like: {name: seen(read, name, jnp.asarray(state[there])) for name, there in names.items()},
    )


def _reordered(part: Part, order: Order, axes: dict[str, tuple[int, float]]) -> Part:
    """A part whose tokens have other ids there.

    Args:
        axes: of each of its parameters, the axis of the vocabulary, and what a token gets that is not there.
    """
    places = [place for place, token in enumerate(order) if token is not None]
    ids = [token for token in order if token is not None]
    if sorted(ids) != list(range(len(ids))):
        raise InputError(f"order must name each id of the other model once, 0 to {len(ids) - 1}, got {ids}")
    back = np.argsort(ids)

    def there(tree: Tree) -> Tree:
        _fits(tree)
        return {name: jnp.take(x, np.array(places)[back], axis=axes[name][0]) for name, x in tree.items()}

    def _fits(tree: Tree) -> None:
        for name, x in tree.items():
            if x.shape[axes[name][0]] != len(order):
                raise InputError(f"order must have one entry a token, {x.shape[axes[name][0]]}, got {len(order)}")

    def read(state: State, like: Tree) -> Tree:
        found = part.read(state, jax.eval_shape(there, like))
        tree = {}
        for name, x in found.items():
            axis, missing = axes[name]
            whole = jnp.full(like[name].shape, missing, x.dtype)
            at = [slice(None)] * x.ndim
            at[axis] = np.array(places)
            tree[name] = whole.at[tuple(at)].set(jnp.take(x, np.array(ids), axis=axis))
        return tree

    return Part(lambda tree: part.write(there(tree)), read)


def _by_structure(layout: Callable[[Tree], Layout]) -> Part:
    """A part whose layout depends on what the model has: how many layers, in which directions."""
    return Part(lambda tree: _write(layout(tree), tree), lambda state, like: _read(layout(like), state, like))


def _write(layout: Layout, tree: Tree, at: str = "") -> State:
    """What the layout makes of the parameters; `at` is the place of both in the model, for errors."""
    of = f" of {at}" if at else ""
    keys = sorted(tree) if isinstance(tree, Mapping) else _kind(tree)
    if isinstance(layout, Part):
        try:
            return layout.write(tree)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"the part for the parameters{of}, {keys}, does not fit them: {error}") from error
    if not isinstance(layout, Mapping):
        raise InputError(f"the layout{of} must be a part such as linear('fc'), or a dict of parts, got {layout!r:.60}")
    if keys != sorted(layout):
        raise InputError(f"the layout{of} must have the keys of the parameters, {keys}, got {sorted(layout)}")
    state: State = {}
    for name, part in layout.items():
        state |= _write(part, tree[name], f"{at}.{name}" if at else name)
    return state


def _array(value: Any) -> np.ndarray:
    """NumPy's array of a tensor; NumPy itself has no bfloat16, so PyTorch cannot make one of it."""
    if str(getattr(value, "dtype", "")) == "torch.bfloat16":
        return np.asarray(value.float()).astype(jnp.bfloat16)
    return np.asarray(value)


def _read(layout: Layout, state: State, like: Tree) -> Tree:
    if isinstance(layout, Part):
        return layout.read(state, like)
    return {name: _read(part, state, like[name]) for name, part in layout.items()}


def _resolved(name: str, expected: Mapping[str, Any]) -> str:
    """The name that the model knows it by."""
    if name in expected:
        return name
    other = name
    for pattern, usual in ALIASES:
        other = re.sub(pattern, usual, other)
    return other if other in expected else name


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"{value.dtype}{list(value.shape)}"


def _number(name: str) -> str:
    return name.rpartition("_")[2]


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
