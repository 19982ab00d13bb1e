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
# # The five shapes of sequence modelling
#
# What goes in is one thing or many, and so is what comes out. Each of the five cases below is a network of a few lines,
# trained for real in some seconds, and judged on examples that it has not seen.
#
# ![One to one, one to many, many to one, many to many aligned and not aligned](../../figures/diagrams/shapes.svg)
#
# The sections are those of the tutorial, the notebook *Sequence-Sequence Models*, whose five networks were built and
# called once on random numbers. `python experiments/tutorials/notebooks/sequence_shapes.py` runs all of this, too; with
# the public data (`python -m seqjax.data fetch sst2 ud-english-ewt`) sentiment and tagging are learned from them,
# otherwise from made-up sentences.

# %%
# %matplotlib inline
import random
import textwrap
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import decode, evaluate, losses, metrics, models, plot, tasks, train
from seqjax.data import Example, files, read_sst2, treebank
from seqjax.data.tokenizers import Words
from seqjax.tasks import agreement, image_classification, scenes
from seqjax.types import SOS

# %% [markdown]
# Training is one function of a loss and of a source of batches. The batches of a task are made inside the compiled step
# from a key and the number of the step, so there is no loader to wait for.


# %%
def fit(params, loss, sample, *, steps, rate=3e-3):
    """Parameters after so many steps of Adam; four times in between, the loss is told."""
    optimizer = train.adam(rate, steps)
    advance = train.scan(loss, optimizer, sample, steps // 4)
    state = start = train.init(params, optimizer, jax.random.key(1))
    for state, found in train.run(advance, start, steps):
        print(f"step {state.step:4}   loss {found['loss']:.3f}")
    return state.params


def count(params):
    """How many numbers the parameters are."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def data_folder(*needed):
    """The folder of public data, if there is one that holds these files."""
    try:
        return files.data_folder(*needed)
    except FileNotFoundError as error:
        print(f"made-up sentences instead: {error}")
        return None


init_key, test_key = jax.random.split(jax.random.key(0))

# %% [markdown]
# ## 1. One to one: what is in the picture?
#
# An image in, a class out: two convolutions, each followed by a maximum over 2 x 2 pixels, and a linear readout. It is
# the tutorial's network to the last of its 25,578 parameters. The pictures are drawn: one of ten shapes at any place,
# of any size, turned by any angle, in two colours that differ by little, under noise.

# %%
pictures = tasks.Shapes()
classifier = models.ImageClassifier(models.CNN(), classes=10)
params = classifier.init(init_key, jnp.zeros((1, 32, 32, 3)))
assert count(params) == 25_578


def image_loss(params, batch, key):
    logits = classifier.apply(params, batch.inputs)
    return losses.cross_entropy(logits[:, None], batch.labels[:, None]), {}


params = fit(params, image_loss, lambda key: pictures.sample(key, 64), steps=1200)

# %%
test = pictures.sample(test_key, 1000)
guesses = jnp.argmax(jax.jit(classifier.apply)(params, test.inputs), axis=-1)
right = metrics.accuracy(test.labels, guesses)
print(
    f"{100 * right.value:.1f} % of 1,000 new pictures ({100 * right.low:.1f} to {100 * right.high:.1f}); chance is 10 %"
)


def picture_row(images, titles):
    """Some pictures side by side, a line or two above each."""
    figure, axes = plot.figure(1, len(titles), width=1.55 * len(titles), height=2.1)
    for ax, image, title in zip(axes[0], images, titles, strict=True):
        ax.imshow(np.clip(image, 0, 1))
        ax.axis("off")
        ax.set_title(title, fontsize=8)
    return figure


named = [image_classification.SHAPES[guess] for guess in guesses[:8]]
picture_row(test.inputs[:8], [f"says {name}" for name in named])

# %% [markdown]
# [image_classification.py](../../vision/image_classification.py) trains this network on CIFAR-10 and MNIST, beside its
# variants.
#
# ## 2. One to many: what can be said of a picture?
#
# An image in, a sentence out. The tutorial's network says a single word: its recurrence makes one step, no word is fed
# back and nothing can end. Here a decoder writes word after word until it writes EOS, each time given the words so far,
# and an additive attention chooses where on the 8 x 8 grid to look (Xu et al. 2015). What is said is judged by what it
# means: a caption counts as true if what it says is the case, and every true caption counts.

# %%
told = tasks.Scenes()
decoder = models.BahdanauDecoder(96, attention=models.AdditiveAttention(48))
captioner = models.Captioner(models.CNN((16, 32)), decoder, len(told.vocabulary), features=64, embedding=32)
params = captioner.init(init_key, jnp.zeros((1, 32, 32, 3)), jnp.zeros((1, 2), int))


def caption_loss(params, batch, key):
    logits = captioner.apply(params, batch.images, batch.target, target_mask=batch.target_mask)
    return losses.cross_entropy(logits, batch.target, batch.target_mask), {}


params = fit(params, caption_loss, lambda key: told.sample(key, 64), steps=1000)


# %%
@jax.jit
def describe(params, images):
    """The likeliest caption by beam search, which knows of the model no more than one step."""
    carry = captioner.apply(params, images, None, scenes.LENGTH, method="begin")
    step = partial(captioner.apply, params, method="step")
    found = decode.beam(step, carry, jnp.full(len(images), SOS), length=scenes.LENGTH, width=3)
    return found.tokens[:, 0]


shown = told.held_out(test_key, 200)
images = told.picture(init_key, shown).images
said = [told.read(ids) for ids in describe(params, images)]
verdicts = [scenes.judge(words, jax.tree.map(lambda field, n=n: field[n], shown)) for n, words in enumerate(said)]
for name in ("parsed", "true", "complete"):
    share = np.mean([getattr(verdict, name) for verdict in verdicts])
    print(f"{name:9} {100 * share:5.1f} % of 200 kinds of scenes that were held out")
picture_row(images[:6], [textwrap.fill(words, 24) for words in said[:6]])

# %% [markdown]
# Grammar is learned first, then sizes and colours; shapes, and what stands where, come last. So few steps make a
# quarter of the captions true; [captioning.py](../../vision/captioning.py) goes on for 16,000, gets to 98 %, and shows
# where the model looks.
#
# ## 3. Many to one: did they like it?
#
# A sentence in, a class out. The tutorial reads it with an LSTM and classifies the last state; with sentences of
# several lengths in one batch, that would be the state after the padding. Here a mask says which steps are real, and
# their average is what is classified.

# %%
found = data_folder("sentiment/sst2/train.tsv", "sentiment/sst2/dev.tsv")
if found:
    parts = (found / "sentiment" / "sst2" / name for name in ("train.tsv", "dev.tsv"))
    train_rows, test_rows = (read_sst2(part).rows for part in parts)
else:
    draw = random.Random(0)
    praise, blame = ("good", "fine", "great", "moving", "lovely"), ("bad", "dull", "poor", "tedious", "awful")
    judgements = [*((word, 1) for word in praise), *((word, 0) for word in blame)]
    starts = ("it is", "i think it is", "they all say this is", "in the end that is", "for me this was", "again it is")
    things = ("film", "story", "piece of work", "way to spend an evening", "sequel", "comedy about lawyers")

    def review():
        """A judgement, which a "not" turns round."""
        word, label = draw.choice(judgements)
        turned, very = draw.random() < 0.5, draw.choice(["", "very ", "really "])
        words = f"{draw.choice(starts)} {'not ' if turned else ''}a {very}{word} {draw.choice(things)}"
        return Example(words, label ^ turned)

    train_rows, test_rows = ([review() for _ in range(rows)] for rows in (2000, 400))
reviews = tasks.Sentiment.of(train_rows, test_rows, Words(), held_out=len(train_rows) // 10, seed=0, least=2)
print(f"{len(reviews.train)} sentences to learn from, {len(reviews.test)} to be judged by")

# %%
reader = models.TokenEmbedding(models.LSTM(64), len(reviews.language.vocabulary), 64, dropout=0.5)
judge = models.Classifier(reader, classes=2, pooling=models.mean, dropout=0.5)
params = judge.init(init_key, jnp.zeros((1, 5), int))


def review_loss(params, batch, key):
    logits = judge.apply(params, batch.inputs, mask=batch.mask, train=True, rngs={"dropout": key})
    return losses.cross_entropy(logits[:, None], batch.labels[:, None]), {}


params = fit(params, review_loss, reviews.batches(64, word_dropout=0.1), steps=600)
test = reviews.encode(reviews.test)
right = metrics.accuracy(test.labels, jnp.argmax(judge.apply(params, test.inputs, mask=test.mask), axis=-1))
print(
    f"{100 * right.value:.1f} % ({100 * right.low:.1f} to {100 * right.high:.1f})",
    "of the sentences judged as they were meant",
)

for sentence in ("it is a good film", "it is not a good film", "it is a really bad story"):
    ids = jnp.asarray([reviews.language.ids(sentence)])
    positive = jax.nn.softmax(judge.apply(params, ids))[0, 1]
    print(f"{100 * positive:5.1f} % positive: {sentence}")

# %% [markdown]
# [sentiment.py](../../language/sentiment.py) compares eight networks and five poolings, none of which beats naive
# Bayes.
#
# ## 4. Many to many, aligned: a tag for each word
#
# A sentence in, as many tags out. The tutorial's tagger reads forward only, so that it cannot know what comes later,
# and often that decides. How much this costs can be counted where the language is made up: here a noun looks alike in
# singular and plural, as *sheep* does, and the verb that tells its number comes eight words behind it.

# %%
language = tasks.Agreement()
print(f"in the long run, none that only reads forward gets more than {100 * language.ceiling:.1f} % of the nouns right")
directions = {"forward": models.LSTM(48), "both ways": models.Bidirectional(48, models.LSTMCell())}
for name, backbone in directions.items():
    tagger = models.Tagger(backbone, tags=len(agreement.TAGS), vocab=language.vocab, embedding=16)
    params = tagger.init(init_key, jnp.zeros((1, 5), int))

    def tag_loss(params, batch, key, tagger=tagger):
        return losses.cross_entropy(tagger.apply(params, batch.inputs), batch.labels), {}

    params = fit(params, tag_loss, lambda key: language.sample(key, 64), steps=400)
    test = language.sample(test_key, 500)
    right = jnp.argmax(tagger.apply(params, test.inputs), axis=-1) == test.labels
    nouns = right[:, language.nouns]
    print(f"{name}: {100 * nouns.mean():.1f} % of the nouns, {100 * right.mean():.1f} % of all words\n")

# %% [markdown]
# The same on real English, if it is there: the words' parts of speech in UD English EWT. Padding enters neither the
# loss nor the score.

# %%
names = [f"pos/ud_english_ewt/en_ewt-ud-{part}.conllu" for part in ("train", "dev")]
if found := data_folder(*names):
    train_rows, test_rows = (treebank.conllu(found / name).sentences for name in names)
    speech = tasks.Tagging.of(train_rows, test_rows, held_out=500, seed=0, least=2)
    backbone = models.Bidirectional(64, models.LSTMCell())
    tagger = models.Tagger(backbone, len(treebank.UPOS), len(speech.speller.words), 64, dropout=0.3, unknown=0.05)
    params = tagger.init(init_key, jnp.zeros((1, 5), int))

    def speech_loss(params, batch, key):
        logits = tagger.apply(params, *batch.inputs, mask=batch.mask, train=True, rngs={"dropout": key})
        return losses.cross_entropy(logits, batch.labels, batch.mask), {}

    params = fit(params, speech_loss, speech.buckets(speech.train, 32, 3), steps=800)
    test = speech.encode(speech.test)
    tags = jax.jit(lambda batch: jnp.argmax(tagger.apply(params, *batch.inputs, mask=batch.mask), axis=-1))
    tagged = evaluate.in_chunks(tags, test, batch_size=250)
    print(f"{100 * (tagged == test.labels)[np.asarray(test.mask)].mean():.1f} % of the words tagged as they should be")
    for word, tag in zip(speech.test[1].words, tagged[1], strict=False):
        print(f"{word:12} {treebank.UPOS[tag]}")

# %% [markdown]
# [agreement.py](../../language/agreement.py) asks how far away the verb may be; [tagging.py](../../language/tagging.py)
# adds the letters of the words, which is what gets beyond 93 %.
#
# ## 5. Many to many, not aligned: translation
#
# A sentence in, another one out, of another length and in another order. The tutorial hands the encoder's hidden state
# over as the decoder's cell state, gives the decoder the target unshifted, so that it could copy what it is to say, and
# has no way to write. Here the decoder reads the target one step late (SOS first, as `EncoderDecoder` does by itself),
# and looks back at the source. The language is that of the creature of the tutorial `attention`: verb first, subject
# last, word endings in vowel harmony, more than 10^19 sentences, and no form of a tested sentence is trained on.

# %%
creature = tasks.Creature()
vocabularies = creature.source_vocabulary, creature.target_vocabulary
decoder = models.BahdanauDecoder(96, attention=models.AdditiveAttention(48))
translator = models.EncoderDecoder(models.Bidirectional(96), decoder, *map(len, vocabularies), embedding=48)
first = creature.sample(test_key, 1)
params = translator.init(init_key, first.source, first.target)


def translation_loss(params, batch, key):
    masks = {"source_mask": batch.source_mask, "target_mask": batch.target_mask}
    logits = translator.apply(params, batch.source, batch.target, **masks)
    return losses.cross_entropy(logits, batch.target, batch.target_mask), {}


params = fit(params, translation_loss, lambda key: creature.sample(key, 64), steps=700)

# %%
test = creature.held_out(test_key, 300)
written = evaluate.greedy(translator, jax.tree.map(lambda leaf: leaf[None], params), test)[0]
exact = (written == test.target).all(axis=1)
print(f"{100 * exact.mean():.1f} % of 300 new sentences translated exactly\n")
for n in range(4):
    print(f"> {creature.read_source(test.source[n])}")
    print(f"= {creature.read_target(test.target[n])}")
    print(f"< {creature.read_target(written[n])}\n")

# %%
looked = translator.apply(params, test.source[:1], test.target[:1], source_mask=test.source_mask[:1], method="align")
read, wrote = (int(mask[0].sum()) for mask in (test.source_mask, test.target_mask))


def attention_map(weights, read, written):
    """One row for each word that is written: the darker a syllable, the more was looked at for it."""
    figure, axes = plot.figure(width=0.9 + 0.34 * len(read), height=0.9 + 0.27 * len(written))
    plot.heat_map(axes[0, 0], weights, written, read)
    axes[0, 0].set(xlabel="read", ylabel="written")
    return figure


attention_map(
    looked.weights[0, 0, :wrote, :read],
    [vocabularies[0].symbols[number] for number in test.source[0, :read]],
    [vocabularies[1].symbols[number] for number in test.target[0, :wrote]],
)

# %% [markdown]
# [translation.py](translation.py) goes on from here: reversal, real Spanish, greedy decoding against beam search.
