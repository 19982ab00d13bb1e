"""The table of all causal backbones: parameters, and numbers carried from one step to the next."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqjax import models

INPUTS, LENGTHS = 64, (128, 1024)

ARCHITECTURES: tuple[tuple[Callable[..., Any], dict[str, Any], str], ...] = (
    (models.RNN, {"features": 64}, "Elman 1990"),
    (models.GRU, {"features": 64}, "arXiv:1406.1078"),
    (models.LSTM, {"features": 64}, "Hochreiter & Schmidhuber 1997"),
    (models.DiagonalRNN, {"features": 64, "order": 64}, "arXiv:2311.14495"),
    (models.LRU, {"features": 64}, "arXiv:2303.06349"),
    (models.MinGRU, {"features": 64}, "arXiv:2410.01201"),
    (models.MinGRU, {"features": 64, "bare": True}, "arXiv:2410.01201"),
    (models.MinLSTM, {"features": 64}, "arXiv:2410.01201"),
    (models.RGLRU, {"features": 64}, "Griffin, arXiv:2402.19427"),
    (models.SelectiveSSM, {"features": 64}, "Mamba, arXiv:2312.00752"),
    (models.GatedDeltaNet, {"features": 64}, "arXiv:2412.06464"),
    (models.GatedDeltaNet, {"features": 64, "gate": False, "delta": False, "bare": True}, "arXiv:2006.16236"),
    (models.MLSTM, {"features": 64}, "xLSTM, arXiv:2405.04517"),
    (models.SLSTM, {"features": 64}, "xLSTM, arXiv:2405.04517"),
    (models.TCN, {"features": 64}, "arXiv:1803.01271"),
    (models.LinearDilatedCNN, {"channels": 8, "layers": 6}, "arXiv:2107.09355"),
    (models.Transformer, {"features": 64}, "arXiv:1706.03762"),
    (models.Transformer, {"features": 64, "window": 32}, "arXiv:2004.05150"),
)


def parameters(model: Any, inputs: int = INPUTS) -> int:
    """Number of parameters."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 1, inputs), jnp.float32))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def carried(model: Any, length: int, inputs: int = INPUTS) -> int:
    """Real numbers of one row's carry, for sequences of this length; integers, which are positions, do not count."""
    leaves = jax.tree.leaves(jax.eval_shape(lambda: model.start(1, inputs, length)))
    parts = {jnp.floating: 1, jnp.complexfloating: 2}
    return sum(n * leaf.size for leaf in leaves for kind, n in parts.items() if jnp.issubdtype(leaf.dtype, kind))


def table() -> str:
    """In Markdown."""
    lines = [
        f"| `seqjax.models` | source | parameters | carried, T = {LENGTHS[0]:,} | T = {LENGTHS[1]:,} |",
        "|---|---|---|---|---|",
    ]
    for architecture, options, source in ARCHITECTURES:
        model = architecture(**options)
        # What has no default is given by position.
        called = ", ".join(
            str(value) if name in ("features", "channels", "layers", "order") else f"{name}={value}"
            for name, value in options.items()
        )
        numbers = parameters(model), *(carried(model, length) for length in LENGTHS)
        cells = f"`{architecture.__name__}({called})`", source, *(f"{number:,}" for number in numbers)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
