"""The tutorials' own implementations: training token by token (`reversal`), an RNN and its inputs (`approximation`).

Each is written anew after its tutorial (`experiments/tutorials/audit.py` lists their defects), and is as slow; without
the defects that make it do less work or fail.
"""

# pyright: reportMissingImports=false

from typing import NamedTuple

import numpy as np
from workloads import work
from workloads.work import Work, filled


class Sizes(NamedTuple):
    """Examples (for the RNN: steps) of one run, their length, the model's width, and examples per step."""

    count: int
    time: int
    features: int = 0
    batch: int = 1


SIZES = {
    "reversal": Sizes(256, 5, 256), "rnn": Sizes(8, 128, 128, batch=64), "processes": Sizes(100, 128),
}  # fmt: skip

SYMBOLS = 26
"""Vocabulary of tutorial `reversal`: SOS and EOS, which are never generated here, and numbers."""

MANY = 1_000
"""Our processes for each of the tutorial's in a run, which would otherwise be too short to time."""

RATES = {"reversal": 1e-2, "rnn": 1e-3}

DELAY = 32
"""Delay that the RNN of tutorial `approximation` learns."""


def sizes(name: str, smoke: bool) -> Sizes:
    """The sizes of a row; at smoke scale it only shows that it runs."""
    size = SIZES[name]
    return size._replace(count=2, features=min(size.features, 8)) if smoke else size


def seqjax(name: str, smoke: bool) -> Work:
    """The reversal is trained in batches of 128: fewer updates, so that only the initial loss agrees."""
    match name:
        case "reversal":
            size = sizes(name, smoke)
            return _reversal(size._replace(batch=min(128, size.count)))
        case "rnn":
            return _rnn(sizes(name, smoke))
        case "processes":
            return _processes(sizes(name, smoke))
    raise ValueError(f"workload must be one of {sorted(SIZES)}, got {name}")


def seqjax_one_by_one(name: str, smoke: bool) -> Work:
    """The reversal with one example per update, as in the tutorial: all updates are one compiled call."""
    return _reversal(sizes(name, smoke))


def tutorial(name: str, smoke: bool) -> Work:
    """The tutorial's implementation."""
    made = {"reversal": _tutorial_reversal, "rnn": _tutorial_rnn, "processes": _tutorial_processes}
    return made[name](sizes(name, smoke))


def numbers(size: Sizes) -> np.ndarray:
    """Sequences to be reversed."""
    return np.random.default_rng(0).integers(4, SYMBOLS, (size.count, size.time))


def delayed(size: Sizes) -> tuple[np.ndarray, np.ndarray]:
    """White noise, and the same delayed."""
    x = np.random.default_rng(0).normal(size=(size.batch, size.time, 1)).astype(np.float32)
    y = np.zeros_like(x)
    y[:, DELAY:] = x[:, :-DELAY]
    return x, y


def _weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights by PyTorch's names, for which the tutorial's relu after the embedding and two extra logits do nothing."""
    made = filled(shapes)
    if "target_embedding.weight" in made:
        made["target_embedding.weight"] = np.abs(made["target_embedding.weight"])
        made["readout.bias"][:2] = -1e4
    return made


def _reversal(size: Sizes) -> Work:
    import jax
    import jax.numpy as jnp
    import optax

    from seqjax import convert, losses, models
    from seqjax.data import Epochs

    decoder = models.RecurrentDecoder(size.features, bridge=models.CopyState())
    model = models.EncoderDecoder(models.Recurrent(size.features), decoder, SYMBOLS, SYMBOLS, size.features)
    layout = {
        "source_embedding": convert.embedding("source_embedding"),
        "target_embedding": convert.embedding("target_embedding"),
        "encoder": convert.recurrent("encoder"),
        "decoder": {"stack": convert.recurrent("decoder")},
        "readout": convert.linear("readout"),
    }
    data = jnp.asarray(numbers(size))
    params = work.parameters(model, layout, data[:1], data[:1], fill=_weights)

    def loss(params, x, key):
        target = x[:, ::-1]
        rngs = {"sampling": key}
        logits = model.apply(params, x, target, 0.0, method="scheduled", rngs=rngs)
        return size.time * losses.cross_entropy(logits, target)

    start = float(jax.jit(loss)(params, data, jax.random.key(0)))
    epochs, steps = Epochs(data, size.batch), size.count // size.batch
    run = work.training(params, loss, optax.sgd(RATES["reversal"]), epochs, steps)
    return Work(run, size.count, work.parameter_count(params), start=start)


def _tutorial_reversal(size: Sizes) -> Work:
    """One token per call, the likeliest fed back, one example per update, two optimisers.

    The loops run over all tokens and the decoder keeps its state, which the tutorial's code does not.
    """
    import torch
    from torch import nn
    from torch.nn import functional as F
    from workloads import torch_models

    from seqjax.types import SOS

    encoder = nn.ModuleDict(
        {
            "source_embedding": nn.Embedding(SYMBOLS, size.features),
            "encoder": nn.GRU(size.features, size.features, batch_first=True),
        }
    )
    decoder = nn.ModuleDict(
        {
            "target_embedding": nn.Embedding(SYMBOLS, size.features),
            "decoder": nn.GRU(size.features, size.features, batch_first=True),
            "readout": nn.Linear(size.features, SYMBOLS),
        }
    )
    for half in (encoder, decoder):
        torch_models.with_weights(half, _weights)
    optimizers = [torch.optim.SGD(half.parameters(), RATES["reversal"]) for half in (encoder, decoder)]
    data = torch.from_numpy(numbers(size))
    criterion = nn.NLLLoss()

    def loss(x: torch.Tensor) -> torch.Tensor:
        state = torch.zeros(1, 1, size.features)
        for token in x:
            _, state = encoder["encoder"](encoder["source_embedding"](token).view(1, 1, -1), state)
        total, token = torch.zeros(()), torch.tensor([SOS])
        for target in x.flip(0):
            embedded = F.relu(decoder["target_embedding"](token).view(1, 1, -1))
            output, state = decoder["decoder"](embedded, state)
            log_probability = F.log_softmax(decoder["readout"](output[0]), dim=1)
            total = total + criterion(log_probability, target[None])
            token = log_probability.topk(1)[1].view(1).detach()
        return total

    def run() -> float:
        total = 0.0
        for x in data:
            for optimizer in optimizers:
                optimizer.zero_grad()
            value = loss(x)
            value.backward()
            for optimizer in optimizers:
                optimizer.step()
            total += value.item()
        return total / size.count

    with torch.no_grad():
        start = float(np.mean([loss(x).item() for x in data]))
    parameters = sum(p.numel() for half in (encoder, decoder) for p in half.parameters())
    return Work(run, size.count, parameters, start=start)


def _rnn(size: Sizes) -> Work:
    import jax
    import jax.numpy as jnp
    import optax

    from seqjax import convert, losses, models

    model = models.Regressor(models.RNN(size.features))
    layout = {"backbone": convert.recurrent("backbone"), "readout": convert.linear("readout")}
    x, y = (jnp.asarray(array) for array in delayed(size))
    params = work.parameters(model, layout, x, fill=_weights)

    def loss(params, batch, key):
        return losses.squared_error(model.apply(params, x), y)

    start = float(jax.jit(loss)(params, (), None))
    run = work.training(params, loss, optax.adam(RATES["rnn"]), lambda key: (), size.count)
    return Work(run, size.count, work.parameter_count(params), start=start)


def _tutorial_rnn(size: Sizes) -> Work:
    """With its activation set; U x of the whole sequence is computed anew at every step.

    It has two biases where ours has one, and Adam moves both, so that only the initial losses agree.
    """
    import torch
    from torch import nn
    from torch.nn import functional as F

    class RNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.U, self.W = nn.Linear(1, size.features), nn.Linear(size.features, size.features)
            self.c = nn.Linear(size.features, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h, outputs = torch.zeros(len(x), 1, size.features), []
            for t in range(x.shape[1]):
                h = torch.tanh(self.W(h) + self.U(x)[:, t : t + 1])
                outputs.append(self.c(h))
            return torch.cat(outputs, dim=1)

    module = RNN()
    theirs = {
        "U.weight": "backbone.weight_ih_l0",
        "U.bias": "backbone.bias_ih_l0",
        "W.weight": "backbone.weight_hh_l0",
        "W.bias": "backbone.bias_hh_l0",
        "c.weight": "readout.weight",
        "c.bias": "readout.bias",
    }
    shapes = {theirs[name]: tuple(value.shape) for name, value in module.state_dict().items()}
    made = _weights(shapes)
    module.load_state_dict({name: torch.from_numpy(made[usual]) for name, usual in theirs.items()})
    optimizer = torch.optim.Adam(module.parameters(), RATES["rnn"])
    x, y = (torch.from_numpy(array) for array in delayed(size))

    def run() -> float:
        total = 0.0
        for _ in range(size.count):
            optimizer.zero_grad()
            value = F.mse_loss(module(x), y)
            value.backward()
            optimizer.step()
            total += value.item()
        return total / size.count

    with torch.no_grad():
        start = F.mse_loss(module(x), y).item()
    return Work(run, size.count, sum(p.numel() for p in module.parameters()), start=start)


def _processes(size: Sizes) -> Work:
    import jax
    import jax.numpy as jnp

    from seqjax import data

    count = MANY * size.count
    process = data.GaussianProcess()

    @jax.jit
    def mean_square(key):
        return jnp.square(process.sample(key, count, size.time)).mean()

    return Work(lambda: float(mean_square(jax.random.key(0))), count)


def _tutorial_processes(size: Sizes) -> Work:
    """One call of `multivariate_normal` for each sample; the covariance is computed once here."""
    lag = np.subtract.outer(np.arange(size.time), np.arange(size.time)) / 10
    covariance = np.exp(-(lag**2) / 2)
    random = np.random.default_rng(0)
    mean = np.zeros(size.time)

    def run() -> float:
        drawn = [random.multivariate_normal(mean, covariance) for _ in range(size.count)]
        return float(np.square(drawn).mean())

    return Work(run, size.count)
