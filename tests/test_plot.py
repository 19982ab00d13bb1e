"""Figures: what is drawn is what was given, and curves stay apart without colour."""

import numpy as np
import pytest

from seqjax import plot


def test_curves_stay_apart_in_grey():
    looks = {(str(style["linestyle"]), style["marker"]) for style in plot.STYLES}
    assert len(looks) == len(plot.STYLES)


def test_a_curve_draws_its_median_inside_its_band():
    ax = plot.figure()[1][0, 0]
    plot.curve(ax, [1, 2, 4], [0.5, 0.4, 0.3], [0.4, 0.3, 0.2], [0.6, 0.5, 0.45], label="gru", style=1)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.5, 0.4, 0.3])
    band = np.asarray(ax.collections[0].get_paths()[0].vertices)
    assert (band[:, 1].min(), band[:, 1].max()) == (0.2, 0.6)
    assert [text.get_text() for text in ax.legend().get_texts()] == ["gru"]


def test_points_carry_the_range_over_seeds():
    ax = plot.figure()[1][0, 0]
    plot.points(ax, [0, 1], [2.0, 3.0], [1.5, 2.0], [4.0, 3.5], label="tcn", style=0)
    (container,) = ax.containers
    (bars,) = container.lines[2]
    np.testing.assert_allclose([bar[:, 1] for bar in bars.get_segments()], [[1.5, 4.0], [2.0, 3.5]])


def test_a_floor_fills_from_the_bottom_of_the_axes_and_a_zero_floor_fills_nothing():
    ax = plot.figure()[1][0, 0]
    ax.set(yscale="log", ylim=(1e-4, 1))
    plot.floor(ax, [1, 2, 3], [0.0, 0.1, 0.2], label="out of reach", style=0)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [1e-4, 0.1, 0.2])
    assert ax.collections[0].get_hatch()


def test_levels_are_named_once():
    ax = plot.figure()[1][0, 0]
    plot.levels(ax, [0, 1, 2], [0.3, 0.2, 0.1], label="linear filter", linestyle="--")
    assert [line.get_ydata()[0] for line in ax.lines] == [0.3, 0.2, 0.1]
    assert ax.get_legend_handles_labels()[1] == ["linear filter"]


def test_a_heat_map_shows_its_numbers_and_names_row_by_row():
    ax = plot.figure()[1][0, 0]
    values = np.array([[0.25, 0.5, 0.75], [0.5, 0.5, 0.125]])
    plot.heat_map(ax, values, ["i", "go"], np.array(["yo", "voy", "<eos>"]))
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array(), values)
    assert image.get_clim() == (0, 1)
    np.testing.assert_allclose(image.to_rgba(np.array([[1.0, 0.0]]))[0, :, 0], [0, 1], atol=0.01)
    assert tuple(image.get_extent()) == (-0.5, 2.5, 1.5, -0.5), "a cell around each tick, the first row on top"
    assert (ax.get_xticks().tolist(), ax.get_yticks().tolist()) == ([0, 1, 2], [0, 1])
    names = [text.get_text() for text in (*ax.get_xticklabels(), *ax.get_yticklabels())]
    assert names == ["yo", "voy", "<eos>", "i", "go"]


def test_a_picture_is_bright_where_it_is_attended_to():
    """White, 5 x 10 pixels under 2 x 3 places of 2 x 3 pixels: one row and one column are left over."""
    ax = plot.figure()[1][0, 0]
    weights = np.zeros((2, 2, 3))
    weights[0, 0, 1] = 0.3
    weights[1] = [[0.1, 0.1, 0.2], [0.1, 0.1, 0.4]]
    plot.attention_overlay(ax, np.ones((5, 10, 3)), weights, ["red", "cross"])
    whole, red, cross = (np.asarray(image.get_array()) for image in ax.images)
    np.testing.assert_array_equal(whole, 1)
    np.testing.assert_allclose(red[:2, 3:6], 1)
    dark = np.ones((5, 10), bool)
    dark[:2, 3:6] = False
    np.testing.assert_allclose(red[dark], 0.25)
    np.testing.assert_allclose(cross[2:, 6:], 1, err_msg="what is left over counts with the last places")
    np.testing.assert_allclose(cross[:2, 6:], 0.25 + 0.75 / 2, err_msg="half of what the brightest has")
    np.testing.assert_allclose(cross[2:, :6], 0.25 + 0.75 / 4)

    assert [text.get_text() for text in ax.texts] == ["picture", "red", "cross"]
    for image, text in zip(ax.images, ax.texts, strict=True):
        left, right, bottom, top = image.get_extent()
        assert right - left == pytest.approx(10)
        assert bottom - top == 5, "upright"
        assert left < text.get_position()[0] < right
    lefts = [image.get_extent()[0] for image in ax.images]
    assert (np.diff(lefts) > 10).all(), "side by side"
    assert ax.get_xlim() == (0, lefts[-1] + 10)


def test_what_is_attended_to_is_seen_on_black():
    ax = plot.figure()[1][0, 0]
    plot.attention_overlay(ax, np.zeros((2, 2, 3)), np.array([[[1.0, 0.0], [0.0, 0.0]]]), ["end"])
    looked = np.asarray(ax.images[1].get_array())
    np.testing.assert_array_equal(looked[..., 0] > 0.1, [[True, False], [False, False]])


def test_a_figure_is_written_without_a_window(tmp_path):
    figure, axes = plot.figure(2, 3)
    assert axes.shape == (2, 3)
    plot.baseline(axes[0, 0], [0, 1], [1, 1], label="zero predictor")
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_legend_is_there_if_anything_has_a_name():
    ax = plot.figure()[1][0, 0]
    plot.legend(ax)
    assert ax.get_legend() is None
    ax.plot([0, 1], label="a line")
    plot.legend(ax, fontsize=5)
    legend = ax.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["a line"]
    assert legend.get_texts()[0].get_fontsize() == 5
    assert not legend.get_frame_on()
