"""What goes in: signals whose statistics are known exactly."""

from seqjax.data.signals import GaussianProcess, Signal, WhiteNoise

__all__ = ["GaussianProcess", "Signal", "WhiteNoise"]
