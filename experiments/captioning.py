"""Can a picture be told truly, and does the model look at what it names?

Paper     Xu et al. 2015, arXiv:1502.03044 (Show, Attend and Tell); Vinyals et al. 2015, arXiv:1411.4555; Kuhnle &
          Copestake 2017, arXiv:1704.04517 (ShapeWorld); seeds S0 and S2
Figure    experiments/figures/captioning.png
Question  What is said of a picture can be judged by what it means, instead of by its likeness to a reference: how often
          is it true, with attention over the grid and from an average over it? Does attention lie on the object named?
          And is it true of ShapeWorld's pictures too, of which there are only 1,360?
Expect    Scenes whose objects were never trained on together: 97 % true and complete after 8,000 steps and still rising
          (73 % after 3,000, when only relations are wrong); >= 99 % was hoped for. ShapeWorld with drawn worlds: 87.5 %
          true (90 % was hoped for), 43 % of the same captions are true of another image.
Fair      Scenes: same encoder, pictures and steps; parameters within 5 %; one learning rate for both GRUs, a third of
          it for the Transformer, as usual. ShapeWorld: same model, steps and batch; a quarter of each batch is
          ShapeWorld's, or all of it. All changed at random alike. Parameters are chosen by the loss on validation
          images; test images, a fifth of all kinds, are for the reported numbers.
Differs   from ShapeWorld's own use (agreement of image and caption): captions of three kinds (something is there, is
          something, is somewhere), the true ones, are learned and written. One that the file gives for the image is
          true if the file says so; of others a judge decides that recognises the objects by their colours, which are
          exact, and their outlines. How often it agrees with the file is reported; where objects overlap it may not.
Cost      17 min on one CPU core
Run       SEQJAX_DATA=path/to/data python experiments/captioning.py
Next      python experiments/captioning.py --caption picture.png
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, assert_never, get_args

from seqjax import runs

if TYPE_CHECKING:
    import numpy as np
    from flax import linen as nn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from seqjax.train import Advance, TrainState

Data = Literal["scenes", "shapeworld", "shapeworld+drawn"]
Model = Literal["context", "attention", "transformer"]

LEARNING_RATE = {"context": 3e-3, "attention": 3e-3, "transformer": 1e-3}

LABEL = {"context": "GRU, average of the grid", "attention": "GRU, attention", "transformer": "Transformer"}

WORDS = ("a", "size", "colour", "shape")
"""Of a phrase that names an object of a scene."""


@dataclass(frozen=True)
class Config:
    """One model, what it is shown, how many drawn worlds there are, and how many scenes it is tested on."""

    data: Data = "scenes"
    model: Model = "attention"
    steps: int = 8_000
    batch_size: int = 64
    drawn: int = 0
    tested: int = 2_000
    learning_rate: float = 0.0
    seed: int = 0

    @property
    def rate(self) -> float:
        """The learning rate in use."""
        return self.learning_rate or LEARNING_RATE[self.model]


def configs(scale: runs.Scale) -> list[Config]:
    """Attention on scenes, and on ShapeWorld with drawn worlds; at gpu scale every model, and without them too."""
    if scale == "smoke":
        return [Config(tested=16, steps=20, batch_size=4)]
    steps, seen, drawn = {"laptop": (8_000, 2_500, 4_000), "gpu": (30_000, 40_000, 50_000)}[scale]
    worlds: dict[str, Any] = {"steps": seen, "batch_size": 32, "learning_rate": 2e-3}
    drawn_too = Config("shapeworld+drawn", drawn=drawn, **worlds)
    if scale == "laptop":
        return [Config(steps=steps), drawn_too]
    return [*[Config(model=model, steps=steps) for model in get_args(Model)], drawn_too, Config("shapeworld", **worlds)]


def build(config: Config, vocab: int) -> "nn.Module":
    """A grid of 8 x 8 places from a scene, about 0.17 M parameters; one of 6 x 6 from a folded world."""
    from seqjax import models

    features, embedding = 128, 64
    match config.model:
        case "context":
            decoder = models.RecurrentDecoder(184)
        case "attention":
            decoder = models.BahdanauDecoder(128, attention=functools.partial(models.Additive, 64))
        case "transformer":
            features = embedding = 80
            decoder = models.TransformerDecoder(80, heads=4, layers=2, expansion=2)
        case _:
            assert_never(config.model)
    channels = (16, 32) if config.data == "scenes" else (32, 64, 64)
    return models.Captioner(models.CNN(channels), decoder, vocab, features=features, embedding=embedding)


def fold(images: Any) -> Any:
    """ShapeWorld's pictures with each 2 x 2 pixels as channels of one, which costs half as much to convolve."""
    batch, height, width, channels = images.shape
    blocks = images.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // 2, width // 2, 4 * channels)


@functools.lru_cache(maxsize=4)
def writing(model: "nn.Module", length: int, width: int = 5):
    """Beam search, compiled for any parameters and images: the ids of the best caption of each. No word is unknown."""
    import jax
    import jax.numpy as jnp

    from seqjax import decode
    from seqjax.types import SOS, UNK

    def write(params, images):
        def step(carry, token):
            carry, logits = model.apply(params, carry, token, method="step")
            return carry, jnp.asarray(logits).at[:, UNK].set(-jnp.inf)

        carry = model.apply(params, images, None, length, method="begin")
        first = jnp.full(len(images), SOS, jnp.int32)
        return decode.beam(step, carry, first, length=length, width=width).tokens[:, 0]

    return jax.jit(write)


@functools.lru_cache(maxsize=4)
def looking(model: "nn.Module"):
    """Where a model looks while it writes: weights of the grid's places, the mean over heads (of the last layer)."""
    import jax

    def look(params, rows):
        images, target = rows
        found: Any = model.apply(params, images, target, method="align")
        return found.weights[:, -4:].mean(axis=1)

    return jax.jit(look)


def measure(group: list[Config], records: list[runs.Record]) -> None:
    """Train with teacher forcing, describe unseen pictures by beam search, and judge what is said."""
    (config,), (record,) = group, records
    if config.data == "scenes":
        measure_scenes(config, record)
    else:
        measure_worlds(config, record)


def training(
    config: Config, model: "nn.Module", sample: Callable[..., Any], shape: tuple[int, ...], calls: int
) -> "tuple[TrainState, Advance]":
    """A run of `calls` compiled calls, on the batches that `sample(key, step)` gives."""
    import jax
    import jax.numpy as jnp

    from seqjax import losses, train

    def loss(params, batch, key):
        logits = jnp.asarray(model.apply(params, batch.images, batch.target, target_mask=batch.target_mask))
        return losses.cross_entropy(logits, batch.target, batch.target_mask), {}

    return train.sweep(
        lambda key: model.init(key, jnp.zeros((1, *shape)), jnp.zeros((1, 2), int)),
        loss,
        lambda rate: train.adam(rate, config.steps),
        lambda key, step, _: sample(key, step),
        keys=jax.random.key(config.seed)[None],
        settings=jnp.array([config.rate]),
        steps=config.steps // calls,
        vectorise=False,
    )


def measure_scenes(config: Config, record: runs.Record) -> None:
    """Every batch is fresh; what is said of held-out scenes is judged by `scenes.judge`."""
    import jax
    import numpy as np

    from seqjax import evaluate, metrics
    from seqjax.tasks import Scenes, scenes

    task = Scenes()
    model = build(config, len(task.vocabulary))

    def sample(key, step):
        return task.sample(jax.random.fold_in(key, step), config.batch_size)

    state = runs.fit([record], *training(config, model, sample, (32, 32, 3), 20), config.steps)
    params = jax.tree.map(lambda leaf: leaf[0], state.params)

    scene_key, picture_key = jax.random.split(jax.random.key(1))
    shown = jax.tree.map(np.asarray, jax.jit(task.held_out, static_argnums=1)(scene_key, config.tested))
    images = np.asarray(jax.jit(task.picture)(picture_key, shown).images)
    said = evaluate.in_chunks(functools.partial(writing(model, scenes.LENGTH), params), images)
    rows = [jax.tree.map(lambda field: field[n], shown) for n in range(config.tested)]  # noqa: B023
    texts = [task.read(ids) for ids in said]
    verdicts = np.array([scenes.judge(text, row) for text, row in zip(texts, rows, strict=True)])
    # A caption is true and complete exactly if it is one of these.
    scores = metrics.translation(texts, [scenes.captions(row) for row in rows], resamples=200)
    result = {
        "learning_rate": config.rate,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "judged_true": 100 * verdicts[:, 1].mean(),
        "complete": scores.exact.value,
        "low": scores.exact.low,
        "high": scores.exact.high,
        "bleu": scores.bleu.value,
    }
    pictured = next(n for n, row in enumerate(rows) if row.real.all())
    arrays = {"image": images[pictured], "text": np.array(texts[pictured])}
    if config.model != "context":
        weights = evaluate.in_chunks(functools.partial(looking(model), params), (images, said))
        judged = [n for n in range(config.tested) if verdicts[n, 1]]
        found = point(weights[judged], [texts[n] for n in judged], [rows[n] for n in judged])
        result |= {name: value[1:].mean() for name, value in found._asdict().items()}
        arrays |= {"weights": weights[pictured], "by_word": np.stack(found)}
    record.finish(result, **arrays)


class Pointing(NamedTuple):
    """How well attention lies on the object that a word is about: one number for a, size, colour and shape.

    Attributes:
        mass: share of the attention on the places that the object's place of the board covers.
        hit: how often the place attended to most is one of those (the pointing game, Zhang et al. 2016).
        overlap: intersection over union of those with as many places, those attended to most.
    """

    mass: "np.ndarray"
    hit: "np.ndarray"
    overlap: "np.ndarray"


def point(weights: "np.ndarray", texts: list[str], rows: list[Any]) -> Pointing:
    """Measure it on captions that are true."""
    import numpy as np

    from seqjax.tasks import scenes

    side = int(weights.shape[-1] ** 0.5)
    block = side // scenes.PLACES
    found: list[list[Any]] = [[] for _ in WORDS]
    for looks, text, row in zip(weights, texts, rows, strict=True):
        names = scenes.named(text, row)
        for number, name in enumerate(names):
            if name < 0:
                continue
            there = np.zeros((side, side), bool)
            top, left = block * row.row[name], block * row.column[name]
            there[top : top + block, left : left + block] = True
            there, look = there.ravel(), looks[number]
            most = np.argsort(look)[-there.sum() :]
            both = there[most].sum()
            overlap = both / (2 * there.sum() - both)
            # The phrases stand at the beginning and at the end.
            place = number if number < len(WORDS) else number - len(names) + len(WORDS)
            found[place].append((look[there].sum(), there[most[-1]], overlap))
    nothing = [(0.0, False, 0.0)]  # where nothing true was said
    return Pointing(*np.array([np.mean(one or nothing, axis=0) for one in found]).T)


def measure_worlds(config: Config, record: runs.Record) -> None:
    """Train on true captions; what is said of test images is judged by the file, or else by the judge."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from seqjax import decode, evaluate, losses, metrics, train
    from seqjax.data import captions, files
    from seqjax.data.images import split
    from seqjax.tasks import Captioning, worlds
    from seqjax.tasks.captioning import LENGTH
    from seqjax.types import PAD, SOS

    read = captions.shapeworld(files.data_folder(None) / "captions" / "shapeworld" / "shapeworld.tar.gz")
    rows = split(len(read.images), validation=136, test=272, seed=0, labels=read.kind)
    known = [[caption for caption in given if worlds.parse(caption)] for given in read.captions]
    labels = [
        dict(zip(given, agreed, strict=True)) for given, agreed in zip(read.captions, read.agreement, strict=True)
    ]
    true = [[caption for caption in given if label[caption]] for given, label in zip(known, labels, strict=True)]
    real, validation = (
        Captioning.of(read.images[part], [true[n] for n in part]) for part in (rows.train, rows.validation)
    )
    own = config.batch_size
    drawn = None
    if config.data == "shapeworld+drawn":
        own = config.batch_size // 4
        random = np.random.default_rng(1)
        pictures, contents = worlds.draw(0, config.drawn)
        drawn = Captioning.of(pictures, [[worlds.say(random, world) for _ in range(8)] for world in contents])

    def sample(key, step):
        batch = real.sample(key, step, own)
        if drawn is not None:
            more = drawn.sample(key, step, config.batch_size - own)
            batch = jax.tree.map(lambda *parts: jnp.concatenate(parts), batch, more)
        return batch._replace(images=fold(batch.images))

    held_images = jnp.asarray(fold(validation.images[validation.image] / np.float32(255)))
    held_target = jnp.asarray(validation.target)

    def validate(params):
        logits = jnp.asarray(model.apply(params, held_images, held_target))
        return losses.cross_entropy(logits, held_target, held_target != PAD), {}

    model = build(config, len(worlds.WORDS))
    state = train.keep_best(*training(config, model, sample, (50, 50, 12), 20), validate)
    state = runs.fit([record], *state, config.steps)
    params = jax.tree.map(lambda leaf: leaf[0], train.chosen(state))

    images = fold(read.images[rows.test] / np.float32(255))
    said = evaluate.in_chunks(functools.partial(writing(model, LENGTH), params), images)
    texts = [" ".join(worlds.WORDS.decode(ids)) for ids in said]
    seen = [worlds.recognise(read.images[n]) for n in rows.test]

    def is_true(text: str, place: int) -> bool:
        """By the file where it has the caption, else by the judge."""
        label, statement = labels[rows.test[place]], worlds.parse(text)
        return bool(label[text]) if text in label else statement is not None and worlds.holds(statement, seen[place])

    places = range(len(texts))
    right = np.array([is_true(text, place) for place, text in zip(places, texts, strict=True)])
    # The same captions of another image: what is true by chance of pictures so full.
    elsewhere = np.mean([is_true(text, place - 1) for place, text in zip(places, texts, strict=True)])
    judge = [
        worlds.holds(worlds.parse(caption), seen[place]) == labels[n][caption]  # pyright: ignore
        for place, n in enumerate(rows.test)
        for caption in known[n]
    ]
    drawn_again = np.random.default_rng(0).integers(len(right), size=(1000, len(right)))
    low, high = np.percentile(100 * right[drawn_again].mean(axis=1), (2.5, 97.5))

    # Of the captions that the file gives for an image, the one that the model finds likeliest: is it a true one?
    offered = [place for place, n in enumerate(rows.test) if 0 < len(true[n]) < len(known[n])]
    pairs = [(place, caption) for place in offered for caption in known[rows.test[place]]]
    asked = Captioning.of(read.images[rows.test], [[caption for p, caption in pairs if p == place] for place in places])

    def likely(chunk):
        pictures, target = chunk
        carry = model.apply(params, pictures, None, LENGTH, method="begin")
        step: Any = functools.partial(model.apply, params, method="step")
        return decode.score(step, carry, jnp.full(len(target), SOS), target, target != PAD)

    scores = evaluate.in_chunks(jax.jit(likely), (images[asked.image], asked.target), batch_size=64)
    agreed = np.array([labels[rows.test[place]][caption] for place, caption in pairs])
    picked = [agreed[asked.image == place][scores[asked.image == place].argmax()] for place in offered]
    chance = np.mean([agreed[asked.image == place].mean() for place in offered])

    references = [(text, true[n]) for text, n in zip(texts, rows.test, strict=True) if true[n]]
    pictured = next(
        n for n, text in enumerate(texts) if (right[n] and (said[n] != PAD).sum() > 10) or n == len(texts) - 1
    )
    weights = np.asarray(looking(model)(params, (images[pictured][None], said[pictured][None])))
    result = {
        "learning_rate": config.rate,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "judged_true": 100 * right.mean(),
        "low": low,
        "high": high,
        "true_elsewhere": 100 * elsewhere,
        "by_file": int(sum(text in labels[n] for text, n in zip(texts, rows.test, strict=True))),
        "distinct": len(set(texts)),
        "judge_agrees": 100 * np.mean(judge),
        "picked_true": 100 * np.mean(picked),
        "picked_by_chance": 100 * chance,
        "bleu": metrics.translation(*map(list, zip(*references, strict=True)), resamples=1).bleu.value,
    }
    arrays = {"image": read.images[rows.test[pictured]], "text": np.array(texts[pictured]), "weights": weights[0]}
    record.finish(result, **arrays)


def caption(records: list[runs.Record], path: str) -> None:
    """What the models of ShapeWorld say of a PNG of 100 x 100 pixels."""
    import pathlib

    import numpy as np

    from seqjax.data import captions
    from seqjax.tasks import worlds
    from seqjax.tasks.captioning import LENGTH

    finished = [record for record in records if record.config.data != "scenes"]
    if not finished:
        raise ValueError("--caption needs a finished run on ShapeWorld, found runs on scenes alone")
    try:
        image = captions.png(pathlib.Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    for record in finished:
        model, params = build(record.config, len(worlds.WORDS)), runs.load(record.folder).params()
        said = writing(model, LENGTH)(params, fold(image[None] / np.float32(255)))
        text = " ".join(worlds.WORDS.decode(np.asarray(said)[0]))
        print(f"{text}   ({record.folder.name}: {record.result['judged_true']:.1f} % true)")


def draw(records: list[runs.Record]) -> "Figure":
    """How many captions are true, whether attention points, and where it lies while they are written."""
    from seqjax import plot

    figure, axes = plot.figure(2, 2, width=13.5, height=6.5)
    axes[0, 0].get_gridspec().set_height_ratios((2.5, 1))
    on_scenes = [record for record in records if record.config.data == "scenes"]
    on_worlds = [record for record in records if record.config.data != "scenes"]

    ax: Axes = axes[0, 0]
    names = []
    for place, record in enumerate([*on_scenes, *on_worlds]):
        row, is_scene = record.result, record.config.data == "scenes"
        value = row["complete" if is_scene else "judged_true"]
        label = f"{value:.1f} %, BLEU {row['bleu']:.0f}, {row['parameters']:,} parameters"
        plot.points(ax, [place], [value], [row["low"]], [row["high"]], label=label, style=place)
        names.append(f"{'drawn scenes' if is_scene else record.config.data}\n{LABEL[record.config.model]}")
        if not is_scene:
            first = record is on_worlds[0]
            plot.levels(
                ax,
                [place],
                [row["true_elsewhere"]],
                label="the same captions, of another image" if first else "",
                linestyle="--",
            )
    ax.set_xticks(range(len(names)), names, fontsize=7)
    ax.set(ylabel="captions of unseen images that are true (%)", ylim=(0, 104), xlim=(-0.5, len(names) - 0.5))
    ax.set_title("true (of scenes: true and complete), 95 % interval", fontsize=10)
    ax.legend(frameon=False, fontsize=8, loc="lower left")

    ax = axes[0, 1]
    looking_at = [record for record in on_scenes if record.config.model != "context"]
    for number, record in enumerate(looking_at):
        for measured, name in zip(record.arrays["by_word"], Pointing._fields, strict=True):
            label = f"{LABEL[record.config.model]}: {name}"
            style = 3 * number + Pointing._fields.index(name)
            plot.curve(ax, range(len(WORDS)), measured, measured, measured, label=label, style=style)
    plot.baseline(ax, (0, len(WORDS) - 1), (4 / 64, 4 / 64), label="attention spread evenly: mass")
    ax.set_xticks(range(len(WORDS)), WORDS)
    ax.set(xlabel="word that is written", ylabel="attention on the object named (share)", ylim=(0, 1.02))
    ax.legend(frameon=False, fontsize=8)

    for ax in axes[1]:
        ax.axis("off")
    for ax, chosen in zip(axes[1], (looking_at[:2], on_worlds[::-1][:1]), strict=True):
        overlay(ax, chosen)
    return figure


def overlay(ax: "Axes", records: list[runs.Record]) -> None:
    """A picture once for each word, the brighter the more is looked at; a row for each model."""
    import numpy as np

    gap = 0.08
    columns = 1
    for down, record in enumerate(records):
        shown = record.arrays
        words = [*str(shown["text"]).split(), "end"]
        columns = max(columns, len(words) + 1)
        side = int(shown["weights"].shape[-1] ** 0.5)
        picture = shown["image"] / (255 if shown["image"].dtype == np.uint8 else 1)
        for place, word in enumerate(["", *words]):
            panel = picture
            if word:
                looked = shown["weights"][place - 1].reshape(side, side)
                size = picture.shape[0] // side
                spread = np.kron(looked / looked.max(), np.ones((size, size)))
                margin = [(0, length - size * side) for length in picture.shape[:2]]
                light = np.pad(spread, margin, mode="edge")[..., None]
                panel = 0.25 * picture + 0.75 * light * (0.35 + 0.65 * picture)
            top = 1.35 * down
            ax.imshow(np.clip(panel, 0, 1), extent=(place, place + 1 - gap, top + 1, top), interpolation="nearest")
            ax.text(place + 0.46, top - 0.06, word or "picture", ha="center", va="bottom", fontsize=8)
        ax.text(0.46, top + 1.04, LABEL[record.config.model].replace(", ", ",\n"), ha="center", va="top", fontsize=7)
    ax.set(xlim=(0, columns), ylim=(1.35 * len(records), -0.35))


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, caption=caption)
