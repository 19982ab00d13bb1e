"""What grows, and what is measured of it: programs by XLA's count of their memory, and the way from text to batches."""

import gc
import itertools
import string
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental.compilation_cache import compilation_cache

from seqjax import losses, models, sweep, tasks, train
from seqjax.data import batching, corpora
from seqjax.data.tokenizers import Words
from seqjax.models import attention
from seqjax.types import EOS, UNK, Batches

Program = tuple[Any, tuple[Any, ...]]
"""What `jax.jit` made, and its arguments or their shapes."""

MEBI = 2**20


def attending(length: int, way: str) -> Program:
    """The gradient of a Transformer of 2 layers x 64 with 4 heads, batch 1; before: all scores of a head at once."""
    dtype = jnp.bfloat16 if way == "bfloat16" else None
    backbone = models.Transformer(64, heads=4, layers=2, positions=models.Rotary(), dtype=dtype)
    model = models.LanguageModel(backbone, 65, embedding=64)

    def loss(params: Any, tokens: Any) -> Any:
        limit = 2**62 if way == "before" else attention.SCORES_BYTES
        with mock.patch.object(attention, "SCORES_BYTES", limit):
            return losses.cross_entropy(model.apply(params, tokens), tokens)

    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8), jnp.int32))
    return jax.jit(jax.value_and_grad(loss)), (params, jax.ShapeDtypeStruct((1, length), jnp.int32))


def predicting(vocab: int, way: str, shape: tuple[int, int] = (64, 256)) -> Program:
    """Loss and gradient of a GRU of 256 whose readout is tied; before: the logits of all tokens at once."""
    model = models.LanguageModel(models.GRU(256), vocab, embedding=256, tied=True)

    def loss(params: Any, tokens: Any) -> Any:
        if way == "before":
            return losses.cross_entropy(model.apply(params, tokens), tokens)
        features = model.apply(params, tokens, method="features")
        return losses.chunked_cross_entropy(partial(model.apply, params, method="logits"), features, tokens)

    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8), jnp.int32))
    return jax.jit(jax.value_and_grad(loss)), (params, jax.ShapeDtypeStruct(shape, jnp.int32))


def reading(mebibytes: int, way: str) -> Program:
    """Ten updates on batches of a data set; before: one that a function closes over."""
    rows = jnp.asarray(np.random.default_rng(0).integers(0, 9999, (mebibytes * MEBI // 64, 16), np.int32))
    held = batching.Epochs(rows, batch_size=64)
    batches: Batches | Callable = held if way == "now" else lambda key: held.batch(key, 0)
    advance = train.scan(lambda params, batch, key: jnp.mean((params * batch) ** 2), optax.sgd(0.1), batches, steps=10)
    state = train.init(jnp.ones((16,))[None], optax.sgd(0.1), jax.random.key(0))
    return jax.jit(lambda advance, state: advance(state)), (advance, state)


def sweeping(count: int, way: str) -> Program:
    """One update of many RNNs of 32, batch 128, 32 steps; before: all runs batched."""
    model, optimizer = models.Regressor(models.RNN(32)), optax.adam

    def loss(params: Any, x: Any, key: Any) -> Any:
        return losses.squared_error(model.apply(params, x), jnp.roll(x, 1, axis=1))

    state, advance = sweep.sweep(
        lambda key: model.init(key, jnp.zeros((1, 32, 1))),
        loss,
        optimizer,
        lambda key, rate: jax.random.normal(key, (128, 32, 1)),
        keys=jax.random.split(jax.random.key(0), count),
        settings=jnp.full((count,), 1e-3),
        steps=1,
        chunk=count if way == "before" else None,
    )
    return jax.jit(lambda advance, state: advance(state)), (advance, state)


PROGRAMS = {"attention": attending, "vocabulary": predicting, "data": reading, "runs": sweeping}


def of_programs(programs: Sequence[Program], repeats: int) -> list[dict[str, float]]:
    """Memory, time to compile, size in the compilation cache and, if repeated, the best time of each, all in turn."""
    compiled, rows = [], list[dict[str, float]]()
    for function, arguments in programs:
        with _empty_cache() as folder:
            began = time.process_time()
            compiled.append(function.lower(*arguments).compile())
            row = {"compile_seconds": time.process_time() - began}
            row["cache"] = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / MEBI
        row["memory"] = compiled[-1].memory_analysis().temp_size_in_bytes / MEBI
        rows.append(row)
    given = [_filled(arguments) for _, arguments in programs] if repeats else []
    for number in range(repeats + 1 if repeats else 0):
        for program, arguments, row in zip(compiled, given, rows, strict=True):
            began = time.process_time()
            found = jax.block_until_ready(program(*arguments))
            spent = time.process_time() - began
            if number:  # the first time, memory is new
                row["seconds"] = min(spent, row.get("seconds", np.inf))
            if jnp.ndim(first := jax.tree.leaves(found)[0]) == 0:
                row["value"] = float(first)
    return rows


def _filled(arguments: Any) -> Any:
    """Small random numbers, or tokens, where only a shape is given."""
    rng = np.random.default_rng(0)

    def fill(leaf: Any) -> Any:
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        if jnp.issubdtype(leaf.dtype, jnp.integer):
            return jnp.asarray(rng.integers(UNK + 1, 65, leaf.shape), leaf.dtype)
        return jnp.asarray(rng.normal(scale=0.05, size=leaf.shape), leaf.dtype)

    return jax.tree.map(fill, arguments)


@contextmanager
def _empty_cache() -> Iterator[Path]:
    """A folder into which every program is compiled."""
    options = {
        "jax_compilation_cache_dir": "",
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": 0,
    }
    before = {name: getattr(jax.config, name) for name in options}
    with TemporaryDirectory() as folder:
        try:
            for name, value in (options | {"jax_compilation_cache_dir": folder}).items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()
            yield Path(folder)
        finally:
            for name, value in before.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()


LONGEST = 500
"""Words of one sentence; the others have 3 and more, 8 on average."""


def of_pairs(count: int, ways: Sequence[str]) -> list[dict[str, float]]:
    """Processor time of all that comes before training on sentence pairs, of batching them, and the memory of that.

    Both ways batch the same ids; before, with loops over them.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.txt"
        path.write_text("\n".join(map("\t".join, zip(_sentences(count, 0), _sentences(count, 1), strict=True))))
        began = time.process_time()
        parts = corpora.split(corpora.tatoeba(path).pairs, held_out=max(1, count // 1000), seed=0)
    task = tasks.Translation.of(parts, Words(), Words(), least=2)
    assert task.known is not None
    _, source, target = task.known
    before_batching = time.process_time() - began
    vocabs = len(task.source.vocabulary), len(task.target.vocabulary)
    del parts, task
    rows = []
    for way in ways:
        sides: Any = (source, target) if way == "now" else tuple(map(_lists, (source, target)))
        make = partial(_by_arrays if way == "now" else _by_loops, sides, vocabs)
        gc.collect()
        began = time.process_time()
        made = make()
        seconds = time.process_time() - began
        del made
        tracemalloc.start()
        made = make()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        del made
        ids = source.ids.nbytes + target.ids.nbytes
        rows.append({"seconds": before_batching + seconds, "batching_seconds": seconds, "per_id": peak / ids})
    return rows


def _sentences(count: int, seed: int) -> list[str]:
    """Of 20,000 words, whose frequencies fall as in a language."""
    rng = np.random.default_rng(seed)
    words = np.array(["".join(rng.choice([*string.ascii_lowercase], rng.integers(2, 9))) for _ in range(20_000)])
    lengths = 3 + rng.poisson(5, count)
    lengths[count // 2] = LONGEST
    flat = words[np.minimum(rng.zipf(1.3, lengths.sum()) - 1, len(words) - 1)].tolist()
    ends = np.cumsum(lengths).tolist()
    return [" ".join(flat[start:end]).capitalize() + "." for start, end in itertools.pairwise([0, *ends])]


def _lists(rows: batching.Rows) -> list[list[int]]:
    flat, ends = rows.ids.tolist(), np.cumsum(rows.lengths).tolist()
    return [flat[start:end] for start, end in itertools.pairwise([0, *ends])]


BUCKETS = {"batch_size": 64, "count": 8}


def _by_arrays(sides: tuple[Any, Any], vocabs: tuple[int, int]) -> Any:
    return batching.Buckets.of(*sides, source_vocab=vocabs[0], target_vocab=vocabs[1], **BUCKETS)


def _by_loops(sides: tuple[list[list[int]], list[list[int]]], vocabs: tuple[int, int]) -> Any:
    for side, vocab in zip(sides, vocabs, strict=True):
        for row in side:
            for number in row:
                if not UNK <= number < vocab:
                    raise ValueError(number)
    lengths = np.array([[len(row) for row in side] for side in sides])
    made = []
    for rows in batching.by_length(lengths, **BUCKETS):
        for side in sides:
            chosen = [[*side[row], EOS] for row in rows]
            found = np.array([len(row) for row in chosen])
            mask = np.arange(found.max())[None] < found[:, None]
            ids = np.zeros(mask.shape, np.int32)
            ids[mask] = np.fromiter(itertools.chain.from_iterable(chosen), np.int32, found.sum())
            made += [jnp.asarray(ids), jnp.asarray(mask)]
    return made
