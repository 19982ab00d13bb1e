"""Sweeps: many small models trained side by side on repeating white noise, each with fresh data at every step."""

# pyright: reportMissingImports=false

from typing import Any, NamedTuple

from workloads.work import Work, matmul_flops, parameter_count

DELAY, TIME, BATCH, RATE = 8, 32, 128, 1e-3


class Sizes(NamedTuple):
    """A backbone."""

    kind: str
    features: int
    layers: int = 1
    kernel_size: int = 3


SIZES = {"rnn": Sizes("rnn", 32), "tcn": Sizes("tcn", 16, layers=4)}


class Sweep(NamedTuple):
    """A row.

    Attributes:
        size: of each model.
        runs: number of models.
        steps: of a run, for about a second.
        fixed_data: whether all steps have the same batch: the random numbers of new ones cost each side differently.
    """

    size: Sizes
    runs: int
    steps: int
    fixed_data: bool


def parse(name: str, smoke: bool) -> Sweep:
    """`rnn_32` is 32 RNNs, `rnn_32_fixed_data` the same on one batch."""
    kind, models, *fixed = name.split("_", 2)
    return Sweep(SIZES[kind], int(models), 2 if smoke else max(4, 400 // int(models)), bool(fixed))


def seqjax(name: str, smoke: bool) -> Work:
    """All models and all steps are one compiled call."""
    import jax
    import jax.numpy as jnp
    import optax

    from seqjax import losses, models, sweep, tasks

    size, runs, steps, fixed_data = parse(name, smoke)
    task = tasks.Shift(DELAY, TIME)
    batch = task.sample(jax.random.key(1), BATCH)
    if size.kind == "rnn":
        backbone = models.RNN(size.features)
    else:
        backbone = models.TCN(size.features, size.kernel_size, tuple(2**depth for depth in range(size.layers)))
    model = models.Regressor(backbone)

    def loss(params, batch, key):
        return losses.squared_error(model.apply(params, batch.inputs), batch.targets)

    state, advance = sweep.sweep(
        lambda key: model.init(key, jnp.zeros((1, TIME, 1))),
        loss,
        lambda rate: optax.adam(rate),
        lambda key, rate: batch if fixed_data else task.sample(key, BATCH),
        keys=jax.random.split(jax.random.key(0), runs),
        settings=jnp.full(runs, RATE),
        steps=steps,
    )
    compiled = jax.jit(advance, donate_argnums=0)
    parameters = parameter_count(state.params)

    def run() -> float:
        nonlocal state
        state, metrics = compiled(state)
        return float(metrics["loss"].mean())

    one = jax.tree.map(lambda leaf: leaf[0], state.params)
    flops = steps * runs * matmul_flops(jax.grad(lambda params: loss(params, batch, None)), one)
    return Work(run, steps * runs, parameters, flops)


def torch_loop(name: str, smoke: bool) -> Work:
    """A loop over models, each with its own fused Adam."""
    import torch
    from torch.nn import functional as F

    size, runs, steps, fixed_data = parse(name, smoke)
    modules, fixed = [_module(size) for _ in range(runs)], _batch(())
    optimizers = [torch.optim.Adam(module.parameters(), RATE, fused=True) for module in modules]

    def run() -> float:
        total = torch.zeros(())
        for _ in range(steps):
            for module, optimizer in zip(modules, optimizers, strict=True):
                x, y = fixed if fixed_data else _batch(())
                optimizer.zero_grad(set_to_none=True)
                loss = F.mse_loss(module(x), y)
                loss.backward()
                optimizer.step()
                total += loss.detach()
        return total.item() / (steps * runs)

    return Work(run, steps * runs, sum(p.numel() for module in modules for p in module.parameters()))


def torch_vmap(name: str, smoke: bool) -> Work:
    """All models at once by `torch.func.vmap`, which does not support `nn.RNN`: the cell is written out."""
    import torch
    from torch.func import functional_call, grad_and_value, stack_module_state, vmap
    from torch.nn import functional as F

    size, runs, steps, fixed_data = parse(name, smoke)
    fixed = _batch((runs,))
    modules = [_module(size, written_out=True) for _ in range(runs)]
    params, _ = stack_module_state(modules)

    def loss(params: Any, x: Any, y: Any) -> Any:
        return F.mse_loss(functional_call(modules[0], (params, {}), (x,)), y)

    gradients = vmap(grad_and_value(loss))
    optimizer = torch.optim.Adam(params.values(), RATE, fused=True)

    def run() -> float:
        total = torch.zeros(())
        for _ in range(steps):
            gradient, value = gradients(params, *(fixed if fixed_data else _batch((runs,))))
            for name, value_of in params.items():
                value_of.grad = gradient[name]
            optimizer.step()
            total += value.mean()
        return total.item() / steps

    return Work(run, steps * runs, sum(p.numel() for p in params.values()))


def _module(size: Sizes, *, written_out: bool = False) -> Any:
    from torch import nn
    from workloads import torch_models

    if size.kind == "tcn":
        return torch_models.TCN(size)
    return torch_models.WrittenOut(size) if written_out else torch_models.Recurrent(nn.RNN, size)


def _batch(runs: tuple[int, ...]) -> tuple[Any, Any]:
    import torch

    x = torch.randn(*runs, BATCH, TIME, 1)
    y = torch.zeros_like(x)
    y[..., DELAY:, :] = x[..., :-DELAY, :]
    return x, y
