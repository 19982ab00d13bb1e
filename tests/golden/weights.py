"""Weights that are drawn again instead of being recorded."""

import numpy as np


def weights(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """Weights of a PyTorch module by name: of a size at which a decoder says many different tokens."""
    rng = np.random.default_rng(seed)
    scale = {name: 2 / shape[-1] ** 0.5 if len(shape) > 1 else 0.5 for name, shape in shapes.items()}
    return {name: (scale[name] * rng.normal(size=shapes[name])).astype(np.float32) for name in sorted(shapes)}
