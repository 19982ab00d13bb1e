"""Explorers: figures are functions of their settings, buttons redraw them, and errors are shown above the figure."""

import base64
import dataclasses
import functools
import io
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import IPython
import ipywidgets
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from matplotlib import image
from matplotlib.figure import Figure

from seqjax import decode, explore, models, pretrained
from seqjax.data import Language
from seqjax.data.gaussian_process import GaussianProcess, WhiteNoise
from seqjax.data.tokenizers import Characters, Words
from seqjax.data.vocabulary import Vocabulary
from seqjax.explore import __main__ as command
from seqjax.explore import plotters
from seqjax.tasks import Lorenz96, Shift
from seqjax.types import EOS, UNK

SHIFT = Shift(delay=3, length=12)
LORENZ_PLOTTER = explore.LorenzPlotter(K=2, J=4, amplitude=2.0, length=40)
LORENZ = Lorenz96(J=3, length=48, burn_in=5.0, target_scale=0.5)
TEXT = "the <cat> sat on the mat & slept"


class Parts(NamedTuple):
    """A widget's: the button, the controls by name, what went wrong, and what is shown."""

    refresh: Any
    controls: dict[str, Any]
    fault: Any
    picture: Any


def parts(explorer: explore.Explorer) -> Parts:
    bar, fault, picture = explorer.widget().children
    refresh, *controls = bar.children
    return Parts(refresh, {control.description or control.tooltip: control for control in controls}, fault, picture)


@functools.cache
def regressor() -> tuple[Any, Any]:
    model = models.Regressor(models.RNN(3))
    return model, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 4, 1)))


@functools.cache
def writer(tokenizer: Any, prefix: tuple[int, ...] = ()) -> explore.Writer:
    language = Language(tokenizer, Vocabulary.count([tokenizer.split(TEXT)]))
    model = models.LanguageModel(models.RNN(6), len(language.vocabulary), embedding=4)
    params = jax.jit(model.init)(jax.random.key(1), jnp.zeros((1, 4), jnp.int32))
    return explore.Writer(model, params, language, window=5, prefix=prefix)


def generator(**settings: Any) -> explore.TextGenerator:
    writers = {"characters": writer(Characters()), "words": writer(Words(), prefix=(EOS,))}
    return explore.TextGenerator(writers, **{"prompt": "the cat", "length": 12} | settings)


EXPLORERS: dict[str, Callable[[], explore.Explorer]] = {
    "shift": lambda: explore.ShiftPlotter(k=3, length=12),
    "convolution": lambda: explore.ConvoPlotter(length=12),
    "lorenz": lambda: LORENZ_PLOTTER,
    "text": generator,
    "shift evaluation": lambda: explore.ShiftEvaluation(*regressor(), SHIFT, rows=1000),
    "lorenz evaluation": lambda: explore.LorenzEvaluation(*regressor(), LORENZ, rows=64),
}


def axes(explorer: explore.Explorer) -> list[Any]:
    return [*explorer.figure().axes]


@pytest.mark.parametrize("name", EXPLORERS)
def test_an_explorer_shows_what_its_settings_and_its_seed_decide(name):
    explorer = EXPLORERS[name]()
    first = explorer.html()
    refresh, controls, fault, picture = parts(explorer)
    assert picture.value == first
    refresh.click()
    assert picture.value != first
    assert not refresh.disabled
    assert controls["seed"].value == 1
    assert fault.value == ""


@pytest.mark.parametrize("name", EXPLORERS)
def test_an_explorer_is_a_figure_where_there_are_no_widgets(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert isinstance(EXPLORERS[name]().plot(), Figure)
    with pytest.raises(ImportError, match=r"seqjax\[notebook\]"):
        EXPLORERS[name]().widget()


def test_a_figure_in_a_widget_is_a_png_with_a_name():
    shown = EXPLORERS["shift"]().html()
    assert 'src="data:image/png;base64,iVBORw0KGgo' in shown
    assert 'alt="Shift by 3 of 12 steps"' in shown


def message(widget: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What Jupyter is sent to show a widget, and saves in a notebook: data and metadata, by their kind."""
    shell: Any = InteractiveShell()
    return shell.display_formatter.format(widget)


@pytest.mark.parametrize("name", EXPLORERS)
def test_a_widget_leaves_a_picture_where_no_kernel_runs(name):
    explorer = EXPLORERS[name]()
    widget = explorer.widget()
    widget.children[0].children[0].click()
    data, about = message(widget)
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == widget.model_id
    figure = dataclasses.replace(explorer, seed=1).figure()
    expected, found = io.BytesIO(), io.BytesIO(base64.b64decode(data["image/png"]))
    figure.savefig(expected, format="png", dpi=160)
    expected.seek(0)
    np.testing.assert_array_equal(image.imread(found), image.imread(expected))
    assert about["image/png"] == {"width": 864, "alt": figure.get_suptitle()}


def test_a_widget_that_has_drawn_nothing_leaves_no_picture():
    data, _ = message(explore.ConvoPlotter("one").widget())
    assert "image/png" not in data
    assert "application/vnd.jupyter.widget-view+json" in data


def test_while_a_figure_is_computed_the_button_says_so():
    seen = []

    @dataclasses.dataclass(frozen=True, eq=False)
    class Slow(explore.Explorer):
        def figure(self):
            seen.append((refresh.description, refresh.disabled) if self.seed else None)
            return EXPLORERS["shift"]().figure()

    refresh, *_ = parts(Slow())
    refresh.click()
    assert seen == [None, ("computing …", True)]
    assert (refresh.description, refresh.disabled) == ("Refresh", False)


def test_plot_gives_a_widget_in_a_notebook_and_without_ipywidgets_a_figure_that_can_be_seen(monkeypatch):
    plotter = EXPLORERS["shift"]()
    shell: Any = InteractiveShell()
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    assert isinstance(plotter.plot(), Figure), "a terminal"
    shell.kernel = object()
    assert isinstance(plotter.plot(), ipywidgets.VBox)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    figure = plotter.plot()
    assert isinstance(figure, Figure)
    assert "image/png" in shell.display_formatter.format(figure)[0]


def test_whatever_is_raised_is_said_in_the_widget():
    @dataclasses.dataclass(frozen=True, eq=False)
    class Broken(explore.Explorer):
        def figure(self):
            if self.seed:
                raise KeyError("<no such thing>")
            return EXPLORERS["shift"]().figure()

    refresh, controls, fault, picture = parts(Broken())
    shown = picture.value
    refresh.click()
    assert "KeyError: &#x27;&lt;no such thing&gt;&#x27;" in fault.value
    assert 'role="alert"' in fault.value
    assert picture.value == shown
    assert not refresh.disabled
    controls["seed"].value = 0
    assert fault.value == ""


@pytest.mark.parametrize("signal", [GaussianProcess(), WhiteNoise(), GaussianProcess(2.0)])
def test_shift_draws_a_sequence_and_the_same_later(signal):
    plotter = explore.ShiftPlotter(k=15, length=20, signal=signal)
    (ax,) = axes(plotter)
    x, y = (np.asarray(line.get_ydata()) for line in ax.lines)
    np.testing.assert_array_equal(y, [0] * 15 + [*x[:-15]])
    arrow, words = ax.texts
    assert words.get_text() == "15 steps"
    tail, head = arrow.xyann, arrow.xy
    assert head[0] - tail[0] == 15
    assert tail[1] == x[tail[0]] == y[head[0]] == head[1]
    assert parts(plotter).controls["input x"].value == signal


def test_shift_has_a_control_for_its_delay_and_its_input():
    refresh, controls, fault, picture = parts(explore.ShiftPlotter(k=3, length=12))
    smooth = picture.value
    controls["input x"].value = WhiteNoise()
    assert picture.value == explore.ShiftPlotter(k=3, length=12, signal=WhiteNoise()).html() != smooth
    controls["delay k"].value = 12
    nothing = picture.value
    assert nothing == explore.ShiftPlotter(k=12, length=12, signal=WhiteNoise()).html()
    controls["delay k"].value = -1
    assert "delay must be &gt;= 0, got -1" in fault.value
    assert picture.value == nothing
    refresh.click()
    assert picture.value == nothing
    controls["delay k"].value = 0
    assert fault.value == ""
    assert picture.value == explore.ShiftPlotter(k=0, length=12, signal=WhiteNoise(), seed=1).html()


def test_convolution_draws_its_filter_and_what_comes_of_it():
    plotter = explore.ConvoPlotter("1, 0.5, -2", length=20)
    left, right = axes(plotter)
    np.testing.assert_array_equal(left.lines[-1].get_ydata(), [1, 0.5, -2])
    stems = [segment[:, 1].tolist() for segment in left.collections[0].get_segments()]
    assert stems == [[0, 1], [0, 0.5], [0, -2]]
    x, y = (np.asarray(line.get_ydata()) for line in right.lines)
    np.testing.assert_allclose(y, np.convolve(x, [1, 0.5, -2])[:20], atol=1e-5)
    normalised = axes(explore.ConvoPlotter("1, 3", normalise=True))[0].lines[-1].get_ydata()
    np.testing.assert_array_equal(normalised, [0.25, 0.75])
    published = explore.ConvoPlotter().figure()
    assert published.get_suptitle() == "Convolution with a filter of 7 taps, sum 0.401"


def test_a_filter_of_many_taps_is_a_line():
    taps = 0.9 ** np.arange(200)
    left, _ = axes(explore.ConvoPlotter(", ".join(map(str, taps))))
    np.testing.assert_allclose(left.lines[-1].get_ydata(), taps)
    assert left.lines[-1].get_linestyle() == "-"
    assert left.lines[-1].get_marker() == "None"
    assert not left.collections


def test_a_bad_filter_is_named_and_the_last_picture_stays():
    _, controls, fault, picture = parts(explore.ConvoPlotter("1, 1", length=12))
    good = picture.value
    controls["filter"].value = "0.1, <abc>"
    assert "filter must be comma-separated finite numbers, got &#x27;&lt;abc&gt;&#x27; at position 2" in fault.value
    assert picture.value == good
    controls["filter"].value = "1, -1"
    assert fault.value == ""
    assert picture.value == explore.ConvoPlotter("1, -1", length=12).html() != good
    controls["normalise"].value = True
    assert "taps must have a sum other than 0 to be normalised, got (1.0, -1.0)" in fault.value


@pytest.mark.parametrize("text", ["", "0.1,", "0.1 0.2", "nan", "1e999", "0x10", "__import__('os')"])
def test_no_other_text_is_a_filter(text):
    assert "filter must be comma-separated finite numbers" in parts(explore.ConvoPlotter(text)).fault.value


def test_lorenz_draws_the_trajectory_its_phase_and_what_is_hidden(monkeypatch):
    path = jax.tree.map(lambda rows: np.asarray(rows[0]), Lorenz96(2, 4, 40, 2.0).solve(jax.random.key(4), 1))
    top, below, phase, _ = axes(dataclasses.replace(LORENZ_PLOTTER, seed=4))
    forcing, slow, other = top.lines
    for line, expected in ((forcing, path.forcing[:, 0]), (slow, path.slow[:, 0]), (other, path.slow[:, 1])):
        np.testing.assert_allclose(line.get_ydata(), expected, atol=1e-4)
    np.testing.assert_allclose(slow.get_xdata()[[0, -1]], [0.1, 4.0])
    orbit, start, end = phase.lines
    np.testing.assert_allclose(orbit.get_xdata(), path.slow[:, 0], atol=1e-4)
    np.testing.assert_allclose(orbit.get_ydata(), path.fast[:, 0].mean(axis=1), atol=1e-4)
    assert start.get_xdata()[0] == orbit.get_xdata()[0]
    assert end.get_xdata()[0] == orbit.get_xdata()[-1]
    (shown,) = below.images
    np.testing.assert_allclose(shown.get_array()[4 * 1 + 2], path.fast[:, 1, 2], atol=1e-4)
    assert shown.get_extent() == [0, pytest.approx(4.0), 8, 0], "the first row on top"
    assert below.get_xlim() == top.get_xlim(), "one time axis for both"
    assert [text.get_text() for text in below.get_yticklabels()] == ["k = 1", "k = 2"]
    assert below.get_yticks().tolist() == [2, 6]
    monkeypatch.setattr(plotters, "MOST_NAMES", 1)
    assert axes(LORENZ_PLOTTER)[1].get_yticks().tolist() == [2]


def test_lorenz_says_what_it_cannot_draw():
    _, controls, fault, picture = parts(LORENZ_PLOTTER)
    good = picture.value
    controls["amplitude"].value = 1e6
    assert "amplitude must be small enough for the solver, got 1000000.0" in fault.value
    controls["J"].value = 2
    assert "J must be &gt;= 3, got 2" in fault.value
    assert picture.value == good
    controls["J"].value, controls["K"].value = 4, 0
    assert "K must be &gt;= 1, got 0" in fault.value


def legend(ax: Any) -> dict[str, float]:
    lines = (text.get_text().split(": ") for text in ax.get_legend().get_texts())
    return {name: float(number) for name, number in lines}


def test_a_model_of_shift_that_says_nothing_is_the_zero_predictor():
    model, params = regressor()
    silent = jax.tree.map(jnp.zeros_like, params)
    figure = explore.ShiftEvaluation(model, silent, SHIFT, rows=1000).figure()
    left, right = cast(Any, figure.axes)
    target, prediction = (np.asarray(line.get_ydata()) for line in left.lines)
    batch = SHIFT.sample(jax.random.key(0), 1000)
    np.testing.assert_array_equal(target, batch.targets[0, :, 0])
    np.testing.assert_array_equal(prediction, 0)
    errors = np.asarray(right.lines[0].get_ydata())
    np.testing.assert_array_equal(errors[:3], 0)
    np.testing.assert_allclose(errors[3:], 1, atol=0.2)
    numbers = legend(right)
    assert numbers["prediction"] == pytest.approx(errors.mean(), rel=0.05)
    assert numbers["zero predictor"] == numbers["floor without memory"] == 0.75
    smooth = explore.ShiftEvaluation(model, params, Shift(3, 12, GaussianProcess()), rows=1000).figure()
    assert legend(smooth.axes[1])["floor without memory"] < 0.3
    assert "; 19 parameters, 1000 sequences" in smooth.get_suptitle()


def test_a_model_of_shift_is_drawn_as_it_predicts():
    model, params = regressor()
    left, right = axes(explore.ShiftEvaluation(model, params, SHIFT, rows=1000, seed=2))
    batch = SHIFT.sample(jax.random.key(2), 1000)
    found = model.apply(params, batch.inputs)
    np.testing.assert_allclose(left.lines[1].get_ydata(), found[0, :, 0], atol=1e-6)
    expected = jnp.square(found - batch.targets).mean(axis=(0, 2))
    np.testing.assert_allclose(right.lines[0].get_ydata(), expected, rtol=1e-4)


def test_a_model_of_lorenz_stands_beside_the_linear_filter():
    """At K = 1 the map is linear: the filter has next to no error, and a model that says nothing all of it."""
    model, params = regressor()
    silent = jax.tree.map(jnp.zeros_like, params)
    figure = explore.LorenzEvaluation(model, silent, LORENZ, rows=64).figure()
    left, right = cast(Any, figure.axes)
    numbers = legend(right)
    errors = np.asarray(right.lines[0].get_ydata())
    assert numbers["prediction"] == numbers["zero predictor"] == pytest.approx(errors[32:].mean(), rel=0.05)
    assert numbers["linear filter, 32 taps"] < 1e-4 < numbers["prediction"]
    for ax in (left, right):
        (washout,) = ax.patches
        assert washout.get_x() + washout.get_width() == pytest.approx(3.3)
    assert float(figure.get_suptitle().split("R² ")[1]) == pytest.approx(0, abs=0.1)


@dataclasses.dataclass(frozen=True)
class HalfBlownUp(Lorenz96):
    """The first row is one that did not stay finite."""

    def sample(self, key, batch_size):
        batch = super().sample(key, batch_size)
        blown = jnp.arange(batch_size) == 0
        return batch._replace(
            targets=jnp.where(blown[:, None, None], 0, batch.targets),
            weight=jnp.where(blown[:, None], 0, jnp.asarray(batch.weight)),
        )


def test_trajectories_that_blew_up_are_neither_shown_nor_counted_and_the_filter_knows_others_only():
    """Of 16 steps a filter of 32 taps could know each by heart."""
    model, params = regressor()
    silent = jax.tree.map(jnp.zeros_like, params)
    left, right = axes(explore.LorenzEvaluation(model, silent, HalfBlownUp(J=3, length=48, burn_in=5.0), rows=2))
    target = np.asarray(left.lines[0].get_ydata())
    assert target.std() > 0.01
    np.testing.assert_allclose(right.lines[0].get_ydata(), target**2, rtol=1e-4)
    assert legend(right)["prediction"] == pytest.approx(np.square(target[32:]).mean(), rel=0.05)
    assert legend(right)["linear filter, 32 taps"] > 1e-9


def test_parameters_that_are_not_the_models_are_all_named():
    model, params = regressor()
    wide = models.Regressor(models.RNN(4))
    with pytest.raises(ValueError) as told:
        explore.ShiftEvaluation(wide, params, SHIFT)
    assert str(told.value).startswith("params must be those of the model:\n")
    where = "['params']['backbone']['layer_0']['recurrent_kernel']"
    assert f"{where}: expected float32[4, 4], found float32[3, 3]" in str(told.value)
    seeds = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), params)
    other: list[tuple[Any, Any, Any, str]] = [
        (models.Regressor(models.TCN(3)), params, SHIFT, r"nothing, found float32\[3, 3\]"),
        (model, params["params"], SHIFT, r"float32\[1\], found nothing"),
        (model, lambda: params, SHIFT, r"nothing, found function\[\]"),
        (model, seeds, LORENZ, r"float32\[1\], found float32\[2, 1\]"),
        (model, params, Lorenz96(K=2), r"float32\[2, 3\], found float32\[1, 3\]"),
    ]
    for network, given, task, message in other:
        evaluation = explore.ShiftEvaluation if task is SHIFT else explore.LorenzEvaluation
        with pytest.raises(ValueError, match=f": expected {message}"):
            evaluation(network, given, task)


def test_parameters_may_be_a_file(tmp_path):
    model, params = regressor()
    path = tmp_path / "model.safetensors"
    pretrained.write_params(path, params)
    opened = explore.LorenzEvaluation(model, str(path), LORENZ)
    jax.tree.map(np.testing.assert_array_equal, opened.params, params)
    jax.tree.map(np.testing.assert_array_equal, explore.ShiftEvaluation(model, path, SHIFT).params, params)
    wide = models.Regressor(models.RNN(4))
    with pytest.raises(ValueError, match=r"expected float32\[4, 4\], found float32\[3, 3\]"):
        explore.ShiftEvaluation(wide, path, SHIFT)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"model\.safetensors must be a safetensors file, and whole"):
        explore.ShiftEvaluation(model, path, SHIFT)


def test_a_model_with_another_output_width_than_the_task_is_refused():
    model = models.Regressor(models.RNN(3), targets=2)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 4, 1)))
    with pytest.raises(ValueError, match="model must return 1 values at each step, got 2"):
        explore.ShiftEvaluation(model, params, SHIFT)
    narrow = models.Regressor(models.RNN(3))
    reads_two = jax.eval_shape(narrow.init, jax.random.key(0), jnp.zeros((1, 4, 2)))
    with pytest.raises(ValueError, match="model must return 2 values at each step, got 1"):
        explore.LorenzEvaluation(narrow, reads_two, Lorenz96(K=2))
    words = writer(Words())
    message = f"model must return 5 values at each step, got {len(words.language.vocabulary)}"
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(words, language=Language(Words(), Vocabulary.count([["cat"]])))


@pytest.mark.parametrize(("prompt", "prefix"), [("t", ()), ("the cat sat on", (EOS,))])
def test_greedy_text_is_the_likeliest(prompt, prefix):
    """Against a loop that applies the model to the last tokens read, one after the other."""
    letters = writer(Characters(), prefix=prefix)
    read = [*prefix, *letters.language.ids(prompt)]
    apply = jax.jit(letters.model.apply)
    for _ in range(12):
        last = read[-5:]
        logits = apply(letters.params, jnp.array([[*last, 0, 0, 0, 0][:5]]))
        read.append(int(logits[0, len(last) - 1].argmax()))
    expected = letters.language.text(read[len(prefix) :])
    written = letters(prompt, decode.greedy, length=12)
    assert written.prompt == prompt
    assert "".join(written) == expected
    assert letters(prompt, decode.sample, length=12, key=jax.random.key(0), temperature=0.0) == written
    assert letters(prompt, functools.partial(decode.beam, width=1), length=12) == written


def test_a_writer_never_writes_unknown_words():
    letters = writer(Characters())
    shouting = jax.tree.map(lambda leaf: leaf, letters.params)
    bias = shouting["params"]["readout"]["bias"]
    shouting["params"]["readout"]["bias"] = bias.at[UNK].set(100.0)
    found = dataclasses.replace(letters, params=shouting)("t", decode.greedy, length=5)
    assert "<unk>" not in found.text
    assert found == letters("t", decode.greedy, length=5)


def test_a_generator_without_arguments_has_the_models_of_the_package():
    found = explore.TextGenerator(prompt="ROMEO:", length=20)
    assert [*found.writers] == ["characters", "words"]
    assert found.text() == explore.TextGenerator(found.writers, prompt="ROMEO:", length=20).text()
    assert found.html().startswith("<small>characters, temperature 0.8, seed 0</small>")
    assert dataclasses.replace(found, unit="words").text().text


def test_words_are_toggled_and_unknown_ones_named():
    refresh, controls, fault, picture = parts(generator())
    letters = picture.value
    assert letters.startswith("<small>characters, temperature 0.8, seed 0</small>")
    assert "<b>the cat</b>" in letters
    controls["unit"].value = "words"
    assert "<small>words, temperature 0.8, seed 0</small>" in picture.value
    assert picture.value == generator(unit="words").html()
    controls["prompt"].value = "the dog & I"
    assert "seed 0, read as &lt;unk&gt;: dog i</small>" in picture.value
    assert "<b>the &lt;unk&gt; &lt;unk&gt;</b>" in picture.value
    controls["unit"].value = "characters"
    controls["prompt"].value = "the <cat> & "
    assert "<b>the &lt;cat&gt; &amp; </b>" in picture.value
    controls["temperature"].value = 0.0
    cold = picture.value
    refresh.click()
    assert cold.replace("seed 0", "seed 1") == picture.value, "greedy decoding is not random"
    assert fault.value == ""


def test_a_generator_shows_what_is_wrong_with_its_settings():
    _, controls, fault, picture = parts(generator())
    shown = picture.value
    controls["prompt"].value = ""
    assert "prompt must hold at least one token, got &#x27;&#x27;" in fault.value
    controls["unit"].value = "words"
    assert fault.value == "", "a sentence follows another"
    controls["unit"].value, controls["prompt"].value = "characters", "the cat"
    assert picture.value == shown
    controls["length"].value = 0
    assert "length must be &gt;= 1, got 0" in fault.value
    assert picture.value == shown
    for temperature in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"temperature must be finite and >= 0, got {temperature}"):
            generator(temperature=temperature).text()
    with pytest.raises(ValueError, match="unit must be one of characters, words, got 'pieces'"):
        generator(unit="pieces")
    with pytest.raises(ValueError, match="writers must hold at least one, got none"):
        explore.TextGenerator({})


def test_text_varies_more_at_a_higher_temperature():
    letters = writer(Characters())
    keys = jax.random.split(jax.random.key(0), 8)
    texts = {
        t: {letters("the", decode.sample, length=12, key=key, temperature=t) for key in keys} for t in (0.0, 1e-3, 1.0)
    }
    assert len(texts[0.0]) == len(texts[1e-3]) == 1
    assert len(texts[1.0]) > 4
    assert generator().text() == generator().text() != generator(seed=1).text()


def test_a_text_is_drawn_as_it_is_not_as_a_formula():
    dollars = dataclasses.replace(generator(), prompt="cost $1 or $2", length=200)
    figure = dollars.figure()
    (text,) = cast(Any, figure.axes[0]).texts
    assert not text.get_parse_math()
    assert text.get_text().replace("\n", " ").split() == "".join(dollars.text()).split()
    assert max(map(len, text.get_text().split("\n"))) <= 96
    figure.savefig("/dev/null", format="png")


def test_the_command_line_draws_a_plotter(tmp_path, capsys):
    assert command.main([str(tmp_path / "a.svg"), "shift-plotter", "--k", "3", "--length", "12", "white-noise"]) == 0
    assert "<svg" in (tmp_path / "a.svg").read_text()
    assert command.main([str(tmp_path / "b.png"), "convo-plotter", "--filter", "1, abc"]) == 2
    assert "got 'abc' at position 2" in capsys.readouterr().err
    assert not (tmp_path / "b.png").exists()


def test_the_command_line_writes_text(tmp_path, capsys):
    page, asked = tmp_path / "page.svg", ["--prompt", "ROMEO:", "--length", "20", "--seed", "3"]
    assert command.main([str(page), "text-generator", *asked, "--temperature", "0.5", "--unit", "words"]) == 0
    assert "<svg" in page.read_text()
    wrong = [
        (["--temperature", "-1"], "temperature must be finite and >= 0, got -1.0"),
        (["--length", "0"], "length must be >= 1, got 0"),
        (["--prompt", ""], "prompt must hold at least one token, got ''"),
    ]
    for options, message in wrong:
        assert command.main([str(tmp_path / "b.png"), "text-generator", *asked, *options]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):  # while options are read
        command.main([str(tmp_path / "b.png"), "text-generator", *asked, "--unit", "pieces"])
    assert "unit must be one of characters, words, got 'pieces'" in capsys.readouterr().err
    assert command.main([str(tmp_path / "b.xyz"), "text-generator", *asked]) == 2
    assert "suffix must be one of" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["page.svg"]
