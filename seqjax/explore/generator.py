"""Text generation with trained language models."""

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from html import escape
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Int
from matplotlib.figure import Figure

from seqjax import decode, plot, pretrained
from seqjax.data.batching import pad
from seqjax.data.language import Language
from seqjax.decode import Beams, Decoded
from seqjax.explore.explorer import WIDTH, Explorer, choice, load_ipywidgets, number, title
from seqjax.explore.trained import require_fit
from seqjax.models.language_model import TokenWindow
from seqjax.types import UNK, InputError, Params


class Continuation(NamedTuple):
    """A prompt as the model reads it, and the generated text after it."""

    prompt: str
    text: str


@dataclass(frozen=True, eq=False)
class Writer:
    """A trained language model with its tokenizer, which continues a prompt. It never writes <unk>.

        write = explore.Writer(*pretrained.load("shakespeare_gru_characters_128"))
        write = explore.Writer(model, run.params(), language, window=64)
        write("To be", decode.sample, length=100, key=key, temperature=0.8)
        write("To be", partial(decode.beam, width=5), length=100)

    Attributes:
        model: a `models.LanguageModel`.
        params: of one seed; they, the model and the vocabulary must fit together.
        window: the number of last tokens that the model reads, as in training.
        prefix: tokens before every prompt: (EOS,) for a model of sentences, none for running text.
    """

    model: Any
    params: Params
    language: Language
    window: int = 64
    prefix: Sequence[int] = ()

    def __post_init__(self) -> None:
        require_fit(self.model, self.params, (1, self.window), jnp.int32, outputs=len(self.language.vocabulary))

    def __call__(
        self, prompt: str, search: Callable[..., Decoded | Beams], *, length: int, **options: Any
    ) -> Continuation:
        """The prompt and at most `length` more tokens, fewer where the sentence ends.

        Args:
            prompt: at least one token, unless there is a prefix.
            search: a function of `seqjax.decode`, compiled once for each model and length.
            options: further arguments of `search`, such as a key and a temperature, which are traced.
        """
        prompted = self.language.ids(prompt)
        read = [*self.prefix, *prompted]
        if not read:
            raise InputError(f"prompt must hold at least one token, got {prompt!r}")
        past = read[:-1][-self.window :]
        context = TokenWindow(jnp.asarray(pad([past], self.window)[0]), jnp.int32(len(past)))
        first = jnp.array(read[-1:], jnp.int32)
        tokens = _search(search, self.model, length, self.params, context, first, options)
        whole = self.language.text([*prompted, *np.asarray(tokens).reshape(-1, length)[0].tolist()])
        begun = self.language.text(prompted)
        split = len(begun) if whole.startswith(begun) else 0
        return Continuation(whole[:split], whole[split:])


@cache
def shipped_writers() -> Mapping[str, Writer]:
    """The language models of the package, by the unit of their tokens."""
    return {name.split("_")[2]: Writer(*pretrained.load(name)) for name in get_args(pretrained.TextName)}


@dataclass(frozen=True, eq=False)
class TextGenerator(Explorer):
    """Text that trained language models generate after a prompt, each token drawn at random.

        explore.TextGenerator().plot()      # the models of the package: characters and words of Shakespeare

        language = Language.from_json((run.folder / "language.json").read_bytes().decode())
        characters = explore.Writer(model, run.params(), language, window=64)
        explore.TextGenerator({"characters": characters, "words": words}, prompt="To be").plot()

    Attributes:
        writers: one or more models, by the unit of their tokens: characters, words; by default the package's.
        unit: the name of the model to use; None: the first.
        prompt: the text to continue.
        temperature: 0 takes the likeliest token, 1 draws from the model's own probabilities.
        length: the most tokens to generate; a model of sentences stops at the end of the sentence.
    """

    writers: tyro.conf.Suppress[Mapping[str, Writer]] = field(default_factory=shipped_writers)
    unit: str | None = None
    prompt: str = "The "
    temperature: float = 0.8
    length: int = 200

    def __post_init__(self) -> None:
        if not self.writers:
            raise InputError("writers must hold at least one, got none")
        if self.chosen not in self.writers:
            raise InputError(f"unit must be one of {', '.join(self.writers)}, got {self.unit!r}")

    @property
    def chosen(self) -> str:
        """The unit in use."""
        return next(iter(self.writers)) if self.unit is None else self.unit

    def text(self) -> Continuation:
        """The prompt and its continuation."""
        if not 0 <= self.temperature < math.inf:
            raise InputError(f"temperature must be finite and >= 0, got {self.temperature}")
        options = {"key": jax.random.key(self.seed), "temperature": jnp.float32(self.temperature)}
        return self.writers[self.chosen](self.prompt, decode.sample, length=self.length, **options)

    def figure(self) -> Figure:
        text = "".join(self.text())
        lines = [piece for line in text.split("\n") for piece in textwrap.wrap(line, 96) or [""]]
        figure, axes = plot.figure(width=WIDTH, height=0.6 + 0.18 * len(lines))
        ax = axes[0, 0]
        ax.axis("off")
        look: dict[str, Any] = {"va": "top", "family": "monospace", "fontsize": 9, "transform": ax.transAxes}
        # With `parse_math` a dollar sign would begin a formula.
        ax.text(0, 1, "\n".join(lines), parse_math=False, **look)
        title(figure, self._caption(), parse_math=False)
        return figure

    def html(self) -> str:
        """The text as text that can be selected and copied, the prompt in bold."""
        prompt, continuation = map(escape, self.text())
        style = "white-space: pre-wrap; max-width: 60em; line-height: 1.35"
        return f'<small>{escape(self._caption())}</small><pre style="{style}"><b>{prompt}</b>{continuation}</pre>'

    def controls(self) -> dict[str, Any]:
        widgets = load_ipywidgets()
        widest = max(2.0, self.temperature)
        late = {"continuous_update": False}
        return {
            "unit": choice(self.chosen, "unit", list(self.writers)),
            "prompt": widgets.Textarea(self.prompt, description="prompt", rows=2, **late),
            "temperature": widgets.FloatSlider(
                self.temperature, min=0, max=widest, step=0.05, description="temperature", **late
            ),
            "length": number(self.length, "length"),
        }

    def _caption(self) -> str:
        unknown = self.writers[self.chosen].language.unknown(self.prompt)
        read = f", read as <unk>: {' '.join(unknown)}" if unknown else ""
        return f"{self.chosen}, temperature {self.temperature:g}, seed {self.seed}{read}"


@partial(jax.jit, static_argnums=(0, 1, 2))
def _search(
    search: Callable[..., Decoded | Beams],
    model: Any,
    length: int,
    params: Params,
    context: TokenWindow,
    first: Int[Array, " batch"],
    options: Mapping[str, Any],
) -> Int[Array, "batch *width length"]:
    step = decode.forbid(partial(model.apply, params, method="reread"), UNK)
    return search(step=step, carry=context, first=first, length=length, **options).tokens
