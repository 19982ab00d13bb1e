"""What is compared: workloads, their peers, the goals, and how well results must agree."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

Peer = Literal[
    "torch",
    "torch_avx512",
    "torch_compiled",
    "torch_compiled_avx512",
    "torch_loop",
    "torch_loop_avx512",
    "torch_vmap",
    "torch_vmap_avx512",
    "linen",
    "nnx",
    "equinox",
    "haiku",
    "scipy",
    "hand_scan",
    "tutorial",
    "default_allocator",
    "guard_off",
    "step_by_step",
    "uncached",
    "seqjax_one_by_one",
    "one_device",
]

Cores = Literal["one", "all"]

CLOCKS: dict[Cores, str] = {"one": "one core, processor time", "all": "all cores, elapsed time"}
"""What is measured on them."""

LIBRARIES: tuple[Peer, ...] = ("linen", "nnx", "equinox", "haiku")
"""Those of JAX."""

OURSELVES = ("default_allocator", "guard_off", "step_by_step", "uncached", "seqjax_one_by_one", "one_device")
"""Peers that are seqjax under other settings; they have no goal."""

SETTINGS = ("default_allocator", "one_device")
"""Those of them that run the same function in a process with another setting."""

AVX512 = "_avx512"
"""Ends the names of peers whose MKL is told to use these instructions."""

FAST = 0.9
"""The fraction of XLA's matrix product that PyTorch's reaches where MKL is on its fast path."""


class Row(NamedTuple):
    """A workload's peers, goals and tolerance.

    Attributes:
        goals: ratios to be reached, against libraries of `jax`; `torch`, on `one` core or `all` where they differ, and
            with MKL on its `slow` path; the `hand_scan`; the `tutorial`; and anything on a `gpu`.
        tolerance: relative difference allowed between the results.
        cores: on which it is measured for the figure; `--cores` measures any row on others.
    """

    peers: tuple[Peer, ...]
    goals: Mapping[str, float] = MappingProxyType({})
    tolerance: float = 1e-3
    cores: tuple[Cores, ...] = ("one",)


def _with_avx512(*peers: Any) -> tuple[Peer, ...]:
    return tuple(name for peer in peers for name in (peer, peer + AVX512))


STEP: tuple[Peer, ...] = (*_with_avx512("torch"), *LIBRARIES)
COMPILED: tuple[Peer, ...] = (*_with_avx512("torch", "torch_compiled"), *LIBRARIES)
SETTINGS_OF_STEP: tuple[Peer, ...] = ("default_allocator", "guard_off", "step_by_step")
SWEEP: tuple[Peer, ...] = (*_with_avx512("torch_loop", "torch_vmap"), "one_device")
LORENZ96: tuple[Peer, ...] = ("hand_scan", "scipy")


def _step(peers: tuple[Peer, ...], jax: float, torch: float, slow: float, tolerance: float = 1e-3) -> Row:
    return Row(peers, {"jax": jax, "torch": torch, "slow": slow, "gpu": 1.0}, tolerance)


def _sweep(one: float, all_cores: float) -> Row:
    return Row(SWEEP, {"one": one, "all": all_cores, "gpu": 30.0}, FINITE, ("one", "all"))


FINITE = 1.0
"""The tolerance of losses that each side has from random numbers of its own: they must be finite, and no more."""

ROWS: dict[str, Row] = {
    "matmul.2048": Row(_with_avx512("torch")),
    # PyTorch has two biases per layer, and Adam moves both.
    "train_step.rnn": _step((*STEP, *SETTINGS_OF_STEP), 1.1, 1.05, 2.0, 0.02),
    "train_step.gru": _step(STEP, 1.03, 1.02, 1.95, 0.02),
    "train_step.lstm": _step((*STEP, *SETTINGS_OF_STEP), 1.05, 0.9, 0.9, 0.02),
    "train_step.tcn": _step((*COMPILED, *SETTINGS_OF_STEP), 1.12, 1.2, 1.2),
    "train_step.transformer": _step((*COMPILED, *SETTINGS_OF_STEP), 1.25, 0.91, 1.48),
    "train_step.cnn": _step((*COMPILED, *SETTINGS_OF_STEP), 2.5, 0.87, 0.9),
    "train_step.translator": _step((*_with_avx512("torch"), "linen"), 1.0, 0.85, 1.75),
    "sweep.rnn_1": _sweep(3.5, 2.6),
    "sweep.rnn_8": _sweep(3.5, 4.2),
    "sweep.rnn_8_fixed_data": Row(SWEEP[:-1], tolerance=FINITE),
    "sweep.rnn_32": _sweep(3.5, 3.3),
    "sweep.rnn_128": _sweep(3.5, 2.8),
    "sweep.tcn_32": _sweep(0.0, 1.85),
    "lorenz96.k1_j10": Row(LORENZ96, {"hand_scan": 0.8}, 1e-5),
    "lorenz96.k8_j32": Row(LORENZ96, {"hand_scan": 0.8}, 1e-5),
    "decoding.transformer": Row(_with_avx512("torch")),
    "decoding.greedy": Row(_with_avx512("torch"), {"torch": 1.2, "gpu": 1.2}),
    "decoding.beam": Row(_with_avx512("torch"), {"torch": 3.0, "gpu": 3.0}),
    # Ours makes fewer updates of more examples, which is the point.
    "tutorials.reversal": Row(("tutorial", "seqjax_one_by_one"), {"tutorial": 20.0}, FINITE, ("all",)),
    "tutorials.rnn": Row(("tutorial",), {"tutorial": 20.0}, 0.02, ("all",)),
    "tutorials.processes": Row(("tutorial",), {"tutorial": 20.0}, 0.2, ("all",)),
    "startup.help": Row(("torch",), cores=("all",)),
    "startup.lstm": Row(("torch", "uncached"), cores=("all",)),
}
"""Goals of Lorenz96 are against the hand-written scan; that against SciPy is `SCIPY`."""

SCIPY = 1000.0

PARAMETERS_TOLERANCE = 0.03
"""Relative difference allowed between the numbers of parameters: PyTorch's RNN has a second bias."""

START_TOLERANCE = 1e-4
"""Relative difference allowed between the losses of the initial weights."""

OTHER_FUNCTIONS = (("train_step.rnn", "haiku"), ("train_step.gru", "haiku"))
"""Where a library's own module is another function, of the same size: only the number of parameters is compared."""
