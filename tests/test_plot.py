"""Figures: what is drawn is what was given, and curves stay apart without colour."""

from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from seqjax import plot
from seqjax.types import InputError


def luminance(color: str) -> float:
    """Relative, of an sRGB colour (WCAG 2): 0 black, 1 white."""
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in to_rgb(color)]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("looks", [[*plot.STYLE.values()], plot.SERIES], ids=["architectures", "series"])
def test_curves_stay_apart_in_grey(looks):
    """Where markers are left out by the dash, where lines are by the marker."""
    for part in ("color", "marker", "linestyle"):
        assert len({str(look[part]) for look in looks}) == len(looks), part
    assert all(luminance(look["color"]) < 0.45 for look in looks), "seen on white"


@pytest.mark.parametrize("name", plot.STYLE)
def test_variants_of_an_architecture_stay_apart_in_grey(name):
    looks = [plot.look(name, variant) for variant in range(3)]
    assert len({(str(look["marker"]), str(look["linestyle"])) for look in looks}) == 1
    for part in ("color", "markerfacecolor"):
        shades = [luminance(look[part]) for look in looks]
        assert shades == sorted(shades)
        assert np.diff(shades).min() > 0.04, (part, shades)


@pytest.mark.parametrize(
    ("style", "variant", "told"),
    [
        ("perceptron", 0, "style must be one of linear, lru, .*, any, or a number, got 'perceptron'"),
        ("gru", 3, "variant must be one of 0 to 2, got 3"),
        ("gru", -1, "variant must be one of 0 to 2, got -1"),
    ],
)
def test_an_unknown_look_is_refused(style, variant, told):
    ax = plot.figure()[1][0, 0]
    for draw in (plot.curve, plot.points, plot.floor):
        bounds: dict[str, Any] = {} if draw is plot.floor else {"low": [1, 1], "high": [1, 1]}
        with pytest.raises(InputError, match=told):
            draw(ax, [0, 1], [1, 1], label="", style=style, variant=variant, **bounds)
    assert not ax.lines


def test_an_architecture_looks_the_same_as_curve_points_and_floor():
    ax = plot.figure()[1][0, 0]
    plot.curve(ax, [1, 2], [2, 1], label="", style="tcn")
    plot.points(ax, [1, 2], [2, 1], [1, 1], [3, 2], label="", style="tcn")
    plot.floor(ax, [1, 2], [1, 0], label="", style="tcn")
    assert {line.get_color() for line in ax.lines[:2]} == {plot.STYLE["tcn"]["color"]}
    assert ax.lines[0].get_marker() == ax.containers[0].lines[0].get_marker() == plot.STYLE["tcn"]["marker"]


@pytest.mark.parametrize(
    ("seeds", "lines", "told"),
    [
        ([], 1, "no run"),
        ([1, 1], 9, "one seed"),
        ([3, 3], 4, "median and range of 3 seeds"),
        ([3, 3], 5, "median of 3 seeds"),
        ([8, 1, 5], 1, "median and range of 1 to 8 seeds"),
    ],
)
def test_what_lines_and_bands_are_is_told_by_the_number_of_seeds(seeds, lines, told):
    assert plot.over_seeds(seeds, lines) == told


def test_no_panel_has_more_than_four_bands():
    ax = plot.figure()[1][0, 0]
    columns = np.array([[2.0, 2.0], [1.0, 1.0], [3.0, 3.0]])
    for lines, drawn in ((4, 1), (5, 1)):  # the fifth line adds none
        plot.curve(ax, [0, 1], *plot.bands(columns, lines), label="", style=0)
        assert len(ax.collections) == drawn
    plot.curve(ax, [0, 1], [2, 2], [2, 2], [2, 2], label="of one seed", style=1)
    assert len(ax.collections) == 1


def test_variants_are_named_without_an_architecture():
    ax = plot.figure()[1][0, 0]
    plot.variants(ax, ["sequential", "permuted"])
    assert ax.get_legend_handles_labels()[1] == ["sequential", "permuted"]
    assert {line.get_marker() for line in ax.lines} == {"o"}


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
    plot.floor(ax, [1, 2, 3], [0.0, 0.1, 0.2], label="out of reach", style="linear")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [1e-4, 1e-4, 1e-4, 0.1, 0.1, 0.1, 0.2])
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [1, 1, 2, 2, 2, 3, 3])
    assert ax.collections[0].get_hatch()


@pytest.mark.parametrize("bound", [[0.5, 0.2, 0.0], [0.0, 0.3, 0.6], [0.1, 0.5, 0.2]])
def test_no_line_between_points_above_a_floor_runs_through_it(bound):
    """Between whole numbers the floor is the lower of the two, and at each of them it is the bound."""
    ax = plot.figure()[1][0, 0]
    ax.set(yscale="log", ylim=(1e-6, 1))
    plot.floor(ax, [1, 2, 4], bound, label=None, style="linear")
    ax.plot([1, 2, 4], np.maximum(bound, 1e-9))
    region = ax.collections[0].get_paths()[0]
    to_axes = ax.transData.transform
    for x, y in zip((1, 2, 4), bound, strict=True):
        line = ax.lines[0]
        assert np.asarray(line.get_ydata())[np.asarray(line.get_xdata()) == x].max() == max(y, 1e-6)
    (start, middle, end), heights = to_axes([(x, max(y, 1e-9)) for x, y in zip((1, 2, 4), bound, strict=True)]), []
    drawn = type(region)(to_axes(region.vertices), region.codes)
    for (x0, y0), (x1, y1) in ((start, middle), (middle, end)):
        for part in np.linspace(0.05, 0.95, 19):
            heights.append((x0 + part * (x1 - x0), y0 + part * (y1 - y0) + 1e-6))
    assert not drawn.contains_points(heights).any()


def test_a_floor_without_a_hatch_is_a_line_in_its_dash():
    ax = plot.figure()[1][0, 0]
    plot.floor(ax, [1, 2], [1.0, 0.5], label="fewer layers", style=1, hatch="")
    assert not ax.collections
    assert ax.lines[0].get_linestyle() == "--"
    assert ax.lines[0].get_label() == "fewer layers"


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
