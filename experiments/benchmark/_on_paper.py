"""How training on many devices would scale, computed from what their vendors state and what is assumed here."""

from typing import NamedTuple

TOKENS = 16_384
"""Of a batch, on each device: the batch grows with the devices (weak scaling)."""

REACHED = 0.4
"""Fraction of the peak that large matrix products of a training step reach. Assumed."""

FIXED = 5e-4
"""Seconds of a step that are no arithmetic: starting some hundred kernels of about 5 us. Assumed."""

HOP = 2e-6
"""Seconds from one device to the next, however little is sent. Assumed."""


class Machine(NamedTuple):
    """Devices with links in two levels.

    Attributes:
        devices: in all.
        peak: FLOP/s of a device in bfloat16, dense.
        inner, outer: devices on a level.
        inner_link, outer_link: bytes/s that a device sends on a level.
    """

    devices: int
    peak: float
    inner: int
    inner_link: float
    outer: int = 1
    outer_link: float = 1.0


H200, NVLINK, NDR = 989e12, 450e9, 50e9
"""NVIDIA: https://www.nvidia.com/en-us/data-center/h200 (1,979 TFLOP/s with sparsity, NVLink of 900 GB/s in both
directions); InfiniBand NDR, 400 Gbit/s a GPU: https://docs.nvidia.com/dgx/dgxh100-user-guide."""

V5E, ICI = 197e12, 100e9
"""Google: https://docs.cloud.google.com/tpu/docs/v5e (400 GB/s a chip, for both directions of both axes of a torus)."""

MACHINES = {
    "host": Machine(8, H200, 8, NVLINK),
    "hosts": Machine(16, H200, 8, NVLINK, 2, NDR),
    "pod": Machine(256, V5E, 16, ICI, 16, ICI),
}
"""One host of 8 H200, two of them, and a pod of TPU v5e."""


def scaling(parameters: int, machine: Machine) -> dict[str, float]:
    """One data-parallel step: gradients of all parameters are summed over the devices, in float32, after the step.

    Reduced and gathered within the inner level, where each device keeps 1/inner of them for the outer one. Nothing
    overlaps, which is the worst case.
    """
    compute = 6 * parameters * TOKENS / (REACHED * machine.peak)
    sent, exchange = 4.0 * parameters, 0.0
    for count, link in ((machine.inner, machine.inner_link), (machine.outer, machine.outer_link)):
        exchange += 2 * (count - 1) * (sent / count / link + HOP)
        sent /= count
    alone = compute + FIXED
    return {
        "devices": machine.devices,
        "compute_ms": 1e3 * compute,
        "exchange_ms": 1e3 * exchange,
        "arithmetic": compute / alone,
        "efficiency": alone / (alone + exchange),
    }
