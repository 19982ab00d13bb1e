"""What a linear encoder-decoder makes of its source, as a matrix with gradients: training without samples."""

from typing import Any

from jaxtyping import Array, Float

from seqjax.theory.population import powers
from seqjax.types import Params


def response(params: Params, target: int, source: int) -> Float[Array, "target source"]:
    """rho(t, s) = c' V^(t+1) P Q W^s U for t < target and s < source, of the weights of a Flax module.

    The parameters are those of `fits.LinearEncoderDecoder.params`; biases are left out, as zero is best for white
    noise. For unit white noise x the squared error of y_t = sum_s rho(t, s) x_{-s}, summed over t, is the squared
    Frobenius distance to the target, with the floor `bounds.truncation`.
    """
    parts: Any = params["params"]
    encoder, decoder = parts["encoder"]["layer_0"], parts["decoder"]["stack"]["layer_0"]
    bridge, readout = parts["decoder"]["bridge"], parts["Dense_0"]["kernel"][:, 0]
    read = powers(encoder["recurrent_kernel"].T, encoder["input_kernel"][0], source)
    said = powers(decoder["recurrent_kernel"], readout, target + 1)
    return said[1:] @ bridge["state_0"]["kernel"].T @ (read @ bridge["code"]["kernel"]).T
