# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From reversal to translation
#
# An encoder reads, a decoder writes. Three tutorials tell this story: `reversal` reverses sequences of numbers,
# `translation` translates Spanish with LSTMs and discusses over-fitting, `attention` adds attention, whose class it
# does not show. Here are the same three steps with what was missing: targets
# that end, a decoder that carries its state, sentences that were not trained on, a score, and the likeliest translation
# rather than the greedy one.
#
# After `python -m seqjax.data fetch tatoeba` the sentences are real (Spanish to English); otherwise they are those of a
# made-up language, for which everything else is the same. `python experiments/tutorials/notebooks/translation.py` runs
# all of this, too.

# %%
# %matplotlib inline
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import decode, losses, metrics, models, plot, tasks, train
from seqjax.data import corpora, files
from seqjax.data.tokenizers import Words
from seqjax.types import EOS, SOS, UNK


# %%
def loss_of(model):
    """Cross-entropy per token of the target, each given the true ones before it (teacher forcing)."""

    def loss(params, batch, key):
        masks = {"source_mask": batch.source_mask, "target_mask": batch.target_mask}
        logits = model.apply(params, batch.source, batch.target, **masks, train=True, rngs={"dropout": key})
        return losses.cross_entropy(logits, batch.target, batch.target_mask), {}

    return loss


def fit(model, sample, first, *, steps, rate=3e-3):
    """Parameters after so many steps of Adam; four times in between, the loss is told."""
    init_key, train_key = jax.random.split(jax.random.key(0))
    optimizer = train.adam(rate, steps)
    advance = train.scan(loss_of(model), optimizer, sample, steps // 4)
    state = start = train.init(model.init(init_key, first.source, first.target), optimizer, train_key)
    print(f"{sum(leaf.size for leaf in jax.tree.leaves(state.params)):,} parameters")
    for state, found in train.run(advance, start, steps):
        print(f"step {state.step:4}   loss {found['loss']:.3f}")
    return state.params


@partial(jax.jit, static_argnums=(0, 4, 5))
def beam(model, params, source, mask, length, width):
    """The best translations of each row; decoding knows of the model no more than one step, and says no <unk>."""
    carry = model.apply(params, source, mask, length, method="begin")
    step = decode.forbid(partial(model.apply, params, method="step"), UNK)
    return decode.beam(step, carry, jnp.full(len(source), SOS), length=length, width=width)


# %% [markdown]
# ## 1. Reversal
#
# The tutorial `reversal` trains on five sequences, and on one token of each: its loop runs over an axis of length 1.
# The losses it prints, 3.06 to 3.40, are those of a network that knows nothing: a guess among 26 symbols costs ln 26 =
# 3.26. Besides, its end of sequence has the id of the number 1, and no target holds it.
#
# Here batches are drawn anew, EOS is a symbol of its own and ends every target, and all tokens count. Sequences whose
# sum is divisible by 25 are never trained on: they are what is tested. The encoder is the tutorial `reversal`'s GRU,
# and its last state is all that the decoder knows.

# %%
reversal = tasks.Reversal(symbols=25, longest=6)
print(f"knowing nothing costs {math.log(26):.3f} a token")
decoder = models.RecurrentDecoder(128, models.GRUCell(), bridge=models.CopyState())
reverser = models.EncoderDecoder(models.GRU(128), decoder, 29, 29, embedding=64)
params = fit(
    reverser,
    lambda key: reversal.sample(key, 128),
    reversal.sample(jax.random.key(1), 1),
    steps=2000,
)

# %%
test = reversal.held_out(jax.random.key(2), 500)
written = beam(reverser, params, test.source, test.source_mask, 7, 1).tokens[:, 0]
right = metrics.wilson_interval(int((written == test.target).all(axis=1).sum()), 500)
print(
    f"{100 * right.value:.1f} % of 500 new sequences of 4 to 6 ({100 * right.low:.1f} to {100 * right.high:.1f});",
    "the tutorial: 0 of its own 5\n",
)

rows = np.arange(1, 26).reshape(5, 5)  # the five sequences of the tutorial, in ids
source = jnp.asarray(np.pad(rows + UNK, ((0, 0), (0, 1)), constant_values=EOS))
for row, ids in zip(rows, beam(reverser, params, source, jnp.ones(source.shape, bool), 7, 1).tokens[:, 0], strict=True):
    print(f"{row.tolist()} -> {' '.join(reversal.vocabulary.decode(ids))}")

# %% [markdown]
# ## 2. Sentences
#
# The tutorial `translation` takes the pairs of Tatoeba, in lower case and without punctuation: "i m very excited". It
# tests what it has trained on. Below, no test sentence has a translation, or a translation of a translation, in the
# training set, and the tutorial `translation`'s three examples are taken out as well. Pairs of at most six words, so
# that two minutes are enough.

# %%
TUTORIAL_SENTENCES = {
    "estoy muy emocionada": "i m very excited",
    "eres un imbecil": "you re an imbecile",
    "estoy algo impactado": "i m kind of stunned",
}
try:
    folder = files.data_folder("translation/tatoeba/spa-eng.zip")
except FileNotFoundError as error:
    folder = None
    print(f"the creature's language instead of Spanish: {error}")

# %%
if folder:
    words = Words(punctuation="")
    pairs = corpora.tatoeba(folder / "translation" / "tatoeba" / "spa-eng.zip", source_column=2).pairs
    pairs = corpora.dedup(corpora.normalise(pairs, words, words).pairs)
    pairs = [pair for pair in pairs if max(len(side.split()) for side in pair) <= 6]
    spanish = tasks.Translation.of(
        corpora.split(corpora.without(pairs, TUTORIAL_SENTENCES), held_out=500, seed=0), words, words, least=3
    )
    print(f"{len(spanish.pairs.train):,} pairs to learn from, {len(spanish.pairs.test)} to be tested")
    sizes = [len(side.vocabulary) for side in (spanish.source, spanish.target)]
    sample, test = spanish.buckets(64, 1), spanish.encode(spanish.pairs.test)
    read_source, read_target = spanish.source.text, spanish.target.text
    meant = corpora.references(spanish.pairs.test)
    references = [meant[pair.source] for pair in spanish.pairs.test]
    symbols = [side.vocabulary.symbols for side in (spanish.source, spanish.target)]
else:
    task = tasks.Creature()
    sizes = [len(side) for side in (task.source_vocabulary, task.target_vocabulary)]
    test = task.held_out(jax.random.key(3), 500)
    read_source, read_target = task.read_source, task.read_target
    references = [[read_target(ids)] for ids in test.target]
    symbols = [side.symbols for side in (task.source_vocabulary, task.target_vocabulary)]

    def sample(key):
        return task.sample(key, 64)


length = test.target.shape[1]
first = jax.tree.map(lambda side: jnp.asarray(side[:1]), test)
STEPS = 1500

# %% [markdown]
# ## 3. One vector for a sentence
#
# An LSTM reads, and its two states, hidden and cell, are where the LSTM that writes starts from. Nothing else gets
# through. The tutorial `translation` runs its decoder for a fixed number of steps whatever it says; here it stops at
# EOS.

# %%
plain = models.EncoderDecoder(
    models.LSTM(128),
    models.RecurrentDecoder(128, models.LSTMCell(), bridge=models.CopyState()),
    *sizes,
    embedding=96,
    dropout=0.2,
)
plain_params = fit(plain, sample, first, steps=STEPS)

# %% [markdown]
# ## 4. With attention
#
# ![A decoder that looks back at what was read](../../figures/diagrams/attention.svg)
#
# The encoder reads both ways, and at each step the decoder weighs all that was read: a softmax over the real steps
# only, of v' tanh(A s + B h). This is the class that the tutorial `attention` calls `attention` and does not define;
# its decoder is `BahdanauDecoder`, whose output reads state, context and embedding, as the tutorial `attention`'s code
# does.

# %%
attentive = models.EncoderDecoder(
    models.Bidirectional(96, models.GRUCell()),
    models.BahdanauDecoder(128, models.GRUCell(), attention=models.AdditiveAttention(64)),
    *sizes,
    embedding=96,
    dropout=0.2,
)
attentive_params = fit(attentive, sample, first, steps=STEPS)

# %% [markdown]
# ## 5. How good is it, and is greedy good enough?
#
# "Machine translation needs the most likely output", the tutorial `translation` says, and takes the likeliest *word* at
# each step. Beam search keeps several beginnings, and finds sentences that are likelier as a whole.

# %%
source, mask = jnp.asarray(test.source), jnp.asarray(test.source_mask)
said = {}
for name, model, params in (("context vector", plain, plain_params), ("attention", attentive, attentive_params)):
    for width in (1, 5):
        found = beam(model, params, source, mask, length, width)
        said[name, width] = found, [read_target(ids) for ids in np.asarray(found.tokens[:, 0])]
        score = metrics.translation(said[name, width][1], references, resamples=200)
        print(
            f"{name:15} {'greedy' if width == 1 else 'beam of 5':10}"
            f" BLEU {score.bleu.value:5.1f} ({score.bleu.low:.1f} to {score.bleu.high:.1f})"
            f"   exact {100 * score.exact.value:5.1f} %   mean log-probability {found.log_probability[:, 0].mean():.2f}"
        )

greedy, wide = (said["attention", width][0].log_probability[:, 0] for width in (1, 5))
print(f"\nbeam search finds a likelier sentence for {100 * (wide > greedy + 1e-4).mean():.1f} % of the sources")
for n in range(5):
    print(f"\n> {read_source(test.source[n])}\n= {references[n][0]}\n< {said['attention', 5][1][n]}")

# %% [markdown]
# The tutorial `translation`'s three sentences. There they become "i am a boy", "you re my imbecile" and "a donut".

# %%
if folder:
    ids, real = spanish.source.encode(list(TUTORIAL_SENTENCES))
    found = beam(attentive, attentive_params, jnp.asarray(ids), jnp.asarray(real), length, 5).tokens[:, 0]
    for (sentence, reference), tokens in zip(TUTORIAL_SENTENCES.items(), np.asarray(found), strict=True):
        unknown = spanish.source.warning(sentence)
        print(f"> {sentence}{f' ({unknown})' if unknown else ''}\n= {reference}\n< {read_target(tokens)}\n")

# %% [markdown]
# ## 6. Where does it look?
#
# One row for each word that is written; the darker, the more was looked at. Where word orders differ, the dark places
# leave the diagonal.


# %%
def attention_maps(rows):
    """Attention over some sources while the model writes its own best translation."""
    figure, axes = plot.figure(1, len(rows), width=5.2 * len(rows), height=4.0)
    for ax, row in zip(axes[0], rows, strict=True):
        written = said["attention", 5][0].tokens[row, :1]
        looked = attentive.apply(
            attentive_params, source[row : row + 1], written, source_mask=mask[row : row + 1], method="align"
        )
        read, wrote = int(mask[row].sum()), int(said["attention", 5][0].lengths[row, 0])
        names = [
            [table[token] for token in tokens]
            for table, tokens in zip(symbols, (source[row, :read], written[0, :wrote]), strict=True)
        ]
        plot.heat_map(ax, looked.weights[0, 0, :wrote, :read], names[1], names[0])
        ax.set(xlabel="read", ylabel="written")
    return figure


long = np.flatnonzero(np.asarray(mask.sum(axis=1)) >= min(7, length))
attention_maps(long[:: len(long) // 3][:3].tolist())

# %% [markdown]
# [translation.py](../../seq2seq/translation.py) trains six times as long on longer sentences, with the tutorial
# `translation`'s question about over-fitting answered by an ablation; [bottleneck.py](../../seq2seq/bottleneck.py)
# measures what does not fit into the context vector; [creature.py](../../seq2seq/creature.py) has the creature's
# language at full length.
