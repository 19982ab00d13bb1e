"""Trained language models that go on from a prompt."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, Scalar
from matplotlib.figure import Figure

from seqjax import decode, plot
from seqjax.data.batching import pad
from seqjax.data.language import Language
from seqjax.explore.explorer import Explorer, load_ipywidgets, title
from seqjax.explore.trained import require_fit
from seqjax.models.language_model import Window
from seqjax.types import Params


class Written(NamedTuple):
    """A text that a model went on with: the prompt as it was read, and the rest."""

    prompt: str
    continuation: str


@dataclass(frozen=True, eq=False)
class Writer:
    """A trained language model, and all that it needs to go on from a text.

    Attributes:
        model: a `models.LanguageModel`.
        params: of one seed.
        language: how text becomes its tokens.
        window: how many of the last tokens it reads, as many as in training.
        before: tokens that stand before every prompt: (EOS,) for a model of sentences, none for running text.

    Raises:
        ValueError: the parameters are not the model's, or the language has not its number of symbols.
    """

    model: Any
    params: Params
    language: Language
    window: int = 64
    before: Sequence[int] = ()

    def __post_init__(self) -> None:
        require_fit(self.model, self.params, (1, self.window), jnp.int32, outputs=len(self.language.vocabulary))

    def __call__(self, key: Key[Array, ""], prompt: str, *, temperature: float, length: int) -> Written:
        """At most `length` more tokens, fewer where the sentence ends.

        Raises:
            ValueError: there is nothing to go on from, or a number outside its range.
        """
        prompted = self.language.ids(prompt)
        read = [*self.before, *prompted]
        if not read:
            raise ValueError(f"prompt must hold something to go on from, got {prompt!r}")
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature must be finite and >= 0, got {temperature}")
        past = read[:-1][-self.window :]
        context = Window(jnp.asarray(pad([past], self.window)[0]), jnp.int32(len(past)))
        first = jnp.array(read[-1:], jnp.int32)
        tokens = _sample(key, self.model, self.params, context, first, jnp.float32(temperature), length)
        whole = self.language.text([*prompted, *np.asarray(tokens).tolist()])
        begun = self.language.text(prompted)
        split = len(begun) if whole.startswith(begun) else 0
        return Written(whole[:split], whole[split:])


@dataclass(frozen=True, eq=False)
class TextGenerator(Explorer):
    """Trained language models that go on from a prompt, each token drawn at random.

        language = Language.from_json((run.folder / "language.json").read_bytes().decode())
        letters = explore.Writer(model, run.params(), language, window=64)
        explore.TextGenerator({"characters": letters, "words": words}, prompt="To be").plot()

    Attributes:
        writers: those to choose from, by what they write.
        unit: which of them writes; the first, unless it is given.
        prompt: what it goes on from.
        temperature: 0 is always the likeliest token, 1 the model's own probabilities, and more is wilder.
        length: tokens at most; a model of sentences ends with its sentence.

    Raises:
        ValueError: there is no writer, or none of this name.
    """

    writers: Mapping[str, Writer]
    unit: str | None = None
    prompt: str = "The "
    temperature: float = 0.8
    length: int = 200

    def __post_init__(self) -> None:
        if not self.writers:
            raise ValueError("writers must hold at least one, got none")
        if self.chosen not in self.writers:
            raise ValueError(f"unit must be one of {', '.join(self.writers)}, got {self.unit!r}")

    @property
    def chosen(self) -> str:
        """The unit in use."""
        return next(iter(self.writers)) if self.unit is None else self.unit

    def written(self) -> Written:
        """The prompt, and what the model goes on with."""
        writer, key = self.writers[self.chosen], jax.random.key(self.seed)
        return writer(key, self.prompt, temperature=self.temperature, length=self.length)

    def figure(self) -> Figure:
        text = "".join(self.written())
        lines = [piece for line in text.split("\n") for piece in textwrap.wrap(line, 96) or [""]]
        figure, axes = plot.figure(width=9.0, height=0.6 + 0.18 * len(lines))
        ax = axes[0, 0]
        ax.axis("off")
        look: dict[str, Any] = {"va": "top", "family": "monospace", "fontsize": 9, "transform": ax.transAxes}
        # A dollar sign is one here, not the begin of a formula.
        ax.text(0, 1, "\n".join(lines), parse_math=False, **look)
        title(figure, self._caption(), parse_math=False)
        return figure

    def html(self) -> str:
        """The text as text, to be selected and copied; the prompt in bold."""
        prompt, continuation = map(escape, self.written())
        style = "white-space: pre-wrap; max-width: 60em; line-height: 1.35"
        return f'<small>{escape(self._caption())}</small><pre style="{style}"><b>{prompt}</b>{continuation}</pre>'

    def controls(self) -> dict[str, Any]:
        widgets = load_ipywidgets()
        widest = max(2.0, self.temperature)
        late, snug = {"continuous_update": False}, {"button_width": "auto"}
        return {
            "unit": widgets.ToggleButtons(
                options=list(self.writers), value=self.chosen, description="unit", style=snug
            ),
            "prompt": widgets.Textarea(self.prompt, description="prompt", rows=2, **late),
            "temperature": widgets.FloatSlider(
                self.temperature, min=0, max=widest, step=0.05, description="temperature", **late
            ),
            "length": widgets.IntText(self.length, description="length", layout={"width": "9em"}),
        }

    def _caption(self) -> str:
        unknown = self.writers[self.chosen].language.unknown(self.prompt)
        read = f", read as <unk>: {' '.join(unknown)}" if unknown else ""
        return f"{self.chosen}, temperature {self.temperature:g}, seed {self.seed}{read}"


@partial(jax.jit, static_argnums=(1, 6))
def _sample(
    key: Key[Array, ""],
    model: Any,
    params: Params,
    context: Window,
    first: Int[Array, " batch"],
    temperature: Scalar,
    length: int,
) -> Int[Array, " length"]:
    step = partial(model.apply, params, method="reread")
    return decode.sample(key, step, context, first, length=length, temperature=temperature).tokens[0]
