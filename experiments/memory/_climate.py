"""The climate of free runs: how values and frequencies are distributed long after a forecast has left the truth."""

import numpy as np
from jaxtyping import Float64

BINS = np.linspace(-4, 4, 65)
"""Of the histogram, in standard deviations."""


def climate(
    predictions: Float64[np.ndarray, "runs starts time variables"], truth: Float64[np.ndarray, "starts time variables"]
) -> tuple[dict[str, float | None], dict[str, np.ndarray]]:
    """How far histogram and spectrum of the second half of the forecasts are from the truth's.

    Forecasts that leave ten standard deviations are counted and left out.
    """
    half = truth.shape[1] // 2
    late = predictions[:, :, half:].reshape(-1, truth.shape[1] - half, truth.shape[2])
    kept = late[(np.abs(late) < 10).all(axis=(1, 2))]  # false where NaN
    row: dict[str, float | None] = {
        "escaped": 1 - len(kept) / len(late),
        "histogram_error": None,
        "spectrum_error": None,
    }
    arrays = {"true_histogram": histogram(truth[:, half:]), "true_spectrum": spectrum(truth[:, half:])}
    if len(kept):
        arrays |= {"histogram": histogram(kept), "spectrum": spectrum(kept)}
        row["histogram_error"] = float(
            np.abs(arrays["histogram"] - arrays["true_histogram"]).sum() / 2 * np.diff(BINS)[0]
        )
        apart, true = np.abs(arrays["spectrum"] - arrays["true_spectrum"]), arrays["true_spectrum"]
        row["spectrum_error"] = float(apart[true > true.max() - 30].mean())  # where there is power
    return row, arrays


def histogram(series: Float64[np.ndarray, "starts time variables"]) -> Float64[np.ndarray, " bins"]:
    """The density of all values; values beyond the bins count in none."""
    return np.histogram(series, BINS)[0] / (series.size * np.diff(BINS))


def spectrum(series: Float64[np.ndarray, "starts time variables"]) -> Float64[np.ndarray, " frequencies"]:
    """Power in decibels at each frequency above 0, by Hann's window, averaged over starts and variables."""
    window = np.hanning(series.shape[1])[:, None]
    power = np.abs(np.fft.rfft((series - series.mean(axis=1, keepdims=True)) * window, axis=1)) ** 2
    return 10 * np.log10(power.mean(axis=(0, 2))[1:] / (window**2).sum() + 1e-12)
