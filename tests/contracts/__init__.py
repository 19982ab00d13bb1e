"""Contracts of architectures: what every backbone, and every encoder-decoder, must pass."""
# ruff: noqa: F401

from tests.contracts.backbones import (
    backbone,
    extend,
    forward,
    ignores_padding,
    influence,
    learns,
    preserves_time,
    rows_are_independent,
)
from tests.contracts.common import BATCH, compiled, drops_in_training_only, filled, inputs, overfits, parameters, upto
from tests.contracts.encoder_decoders import (
    attends_to_what_is_there,
    ignores_padded_tokens,
    learns_pairs,
    pairs,
    pairs_are_independent,
    writes_as_it_steps,
    writes_causally,
)
