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
# # A tour of sequence-to-sequence modelling
#
# Sequences go in, sequences come out: first four tasks to look at, then three architectures to hold against them. The
# sections are those of the tutorial, the *Sequence to Sequence modelling notebook*; what it got wrong is said where it
# comes up, with the number that shows it.
#
# In Jupyter each explorer has buttons: Refresh draws new random numbers. As a script,
# `python experiments/tutorials/notebooks/tour.py`, all of it runs too, and prints what can be printed.

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import numpy as np

from seqjax import data, explore, losses, models, plot, pretrained, tasks, train
from seqjax.data import files, plain_text
from seqjax.theory import fits
from seqjax.types import EOS

# %% [markdown]
# ## 1. Tasks
#
# ### 1.1 Shift
#
# The output is the input, k steps later, and zeros before that:
#
#     input   5 8 9 0 1 2 5 6
#     output  0 0 0 5 8 9 0 1        k = 3
#
# It is a convolution with an impulse at lag k, y(t) = x(t - k), so that k is its memory. The tutorial's input is
# smooth, which is kind to the eye and to the learner: the last few steps tell much of those before. White noise tells
# nothing about them; the toggle changes between the two.

# %%
explore.ShiftPlotter(k=25).plot()

# %% [markdown]
# How much of x(t - 8) is known to who sees only the last steps of the input? On white noise nothing, until the window
# is long enough; on the tutorial's smooth input four steps are enough for all but a thousandth, so that a "memory of 8"
# takes four.

# %%
smooth, noise = tasks.Shift(8, 32, data.GaussianProcess()), tasks.Shift(8, 32)
for window in (1, 2, 3, 4, 8, 9):
    errors = [task.window_floor(window) for task in (smooth, noise)]
    print(f"last {window} steps: no error below {errors[0]:.4f} if smooth, {errors[1]:.4f} if noise")

# %% [markdown]
# ### 1.2 Convolution
#
# y(t) = sum of rho(s) x(t - s). The filter decides all; any numbers, separated by commas, make one.

# %%
explore.ConvoPlotter(filter="0.002, 0.022, 0.097, 0.159, 0.097, 0.022, 0.002").plot()

# %% [markdown]
# ### 1.3 Lorenz96
#
# K slow variables y are driven from outside and coupled to J fast ones each, z, which a model does not see:
#
# $$\frac{dy_k}{dt} = -y_{k-1}(y_{k-2} - y_{k+1}) - y_k + x_k - \frac1J \sum_j z_{jk}, \qquad
# \frac{dz_{jk}}{dt} = -z_{j+1,k}(z_{j+2,k} - z_{j-1,k}) - z_{jk} + y_k.$$
#
# The tutorial calls K and J a measure of complexity. At its own K = 1 the quadratic term of the slow equation is $-y(y
# - y) = 0$, and the fast variables come to agree, so that theirs vanishes, too: what is left is linear. From K = 4 on,
# and with a strong forcing, it is not.

# %%
explore.LorenzPlotter(K=1, J=10).plot()

# %%
explore.LorenzPlotter(K=4, J=10, amplitude=4.0).plot()

# %% [markdown]
# ### 1.4 Text
#
# The next symbol, given those so far: characters or words. Two small LSTMs are trained here and now, for some
# seconds each, so expect words rather than sense. After `python -m seqjax.data fetch ptb` the text is the
# Penn Treebank, otherwise the English side of the creature's language.

# %%
try:
    folder = files.data_folder("text/ptb/ptb.train.txt")
    sentences = plain_text.sentences(folder / "text" / "ptb" / "ptb.train.txt").sentences[:20_000]
except FileNotFoundError as error:
    print(f"sentences of the creature's villagers instead: {error}")
    creature = tasks.Creature()
    sentences = [creature.read_target(ids) for ids in creature.sample(jax.random.key(0), 5_000).target]


def writer(tokenizer, *, length, steps):
    """A language model of these sentences, trained for some steps, and how many bits a character it needs."""
    parts = sentences[:-400], sentences[-400:-200], sentences[-200:]
    task = tasks.TextGeneration.of_sentences(*parts, tokenizer, length=length)
    model = models.LanguageModel(models.LSTM(160), len(task.language.vocabulary), 96, tied=True)

    def loss(params, batch, key):
        return losses.cross_entropy(model.apply(params, batch.inputs), batch.labels), {}

    optimizer = train.adam(5e-3, steps)
    params = model.init(jax.random.key(0), jnp.zeros((1, length), int))
    state = start = train.init(params, optimizer, jax.random.key(1))
    advance = train.scan(loss, optimizer, lambda key: task.sample(key, 32), steps // 4)
    for state, found in train.run(advance, start, steps):
        bits = task.train.bits(found["loss"])
        print(f"step {state.step:4}   {bits:.2f} bits a character")
    return explore.Writer(model, state.params, task.language, window=length, prefix=(EOS,))


writers = {
    "Character": writer(data.Characters(), length=48, steps=600),
    "Word": writer(data.Whitespace(), length=16, steps=400),
}
for unit in writers:
    print(f"\n{unit}: {''.join(explore.TextGenerator(writers, unit=unit, prompt='the ', length=80).text())}")

# %%
explore.TextGenerator(writers, prompt="the ", length=120).plot()

# %% [markdown]
# ## 2. Architectures
#
# ### 2.1 Recurrent networks
#
# ![The recurrence as a loop, and step by step](../../figures/diagrams/recurrence.svg)
#
# (the tutorial's text has o(t+1) = c' h(t), its code c' h(t+1); what is drawn is the code, in which an input at t
# reaches the output at t. The code as printed stops with an AttributeError, as `self.activation` is never set.)
#
# Input and output are (batch, time, features). Any cell will do, and the whole network is three words:

# %%
network = models.Regressor(models.RNN(128))
x = jax.random.normal(jax.random.key(0), (2, 32, 1))
params = network.init(jax.random.key(1), x)
print("out of", x.shape, "comes", network.apply(params, x).shape)

# %% [markdown]
# It is causal: an output depends on inputs up to its own time. That can be seen in the gradients: none points
# to the future, and those to the past do not vanish all.

# %%
gradient = abs(jax.jacobian(lambda x: network.apply(params, x)[0, :, 0])(x)[:, 0, :, 0])
later, earlier = jnp.triu(gradient, 1), jnp.tril(gradient, -1)
print(f"largest influence of a later input {later.max()}, of an earlier one {earlier.max():.2f}")

# %% [markdown]
# **The shipped LSTM on Lorenz96.** The tutorial's recurrent net, of 791,809 parameters, "can nearly learn the basic
# pattern". This one has less than a fortieth of them. Beside it stands the best linear filter of 32 taps, which is
# nearly exact at K = 1.

# %%
explore.LorenzEvaluation(*pretrained.load("lorenz_rnn_1_10_128")).plot()

# %% [markdown]
# **The shipped LSTM on Shift, 8 of 32 steps.** The tutorial's prediction stays near zero and its training on a plateau,
# for which it gives two reasons: long memory is hard for an RNN, and a mean squared error makes a model that has
# learned nothing say the mean, which is zero. This one has learned it:

# %%
explore.ShiftEvaluation(*pretrained.load("shift_rnn_8_32")).plot()

# %% [markdown]
# The difference is a defect. The code behind the tutorial hands (batch, time, features) to a network that takes (time,
# batch, features): it recurs over the *batch*, and has no memory in time at all. Its recorded plateau is an error of
# .01812; the best that can be done without memory, computed for its data (which are divided by 5), is this:

# %%
print(f"floor without memory {smooth.memoryless_floor() / 25:.6f}, zero predictor {smooth.zero_loss() / 25:.4f}")


def shift_curve(across, *, steps=600, calls=30):
    """Training errors of a small LSTM on the smooth shift by 8, along time or, as in the tutorial, across the batch."""
    model = models.Regressor(models.LSTM(48))

    def predict(params, x):
        return jnp.swapaxes(model.apply(params, jnp.swapaxes(x, 0, 1)), 0, 1) if across else model.apply(params, x)

    def loss(params, batch, key):
        return losses.squared_error(predict(params, batch.inputs), batch.targets), {}

    def sample(key):
        return smooth.sample(key, 64)

    optimizer = train.adam(1e-2, steps)
    start = train.init(model.init(jax.random.key(0), jnp.zeros((1, 32, 1))), optimizer, jax.random.key(1))
    advance = train.scan(loss, optimizer, sample, steps // calls)
    found = [(int(state.step), float(found["loss"])) for state, found in train.run(advance, start, steps)]
    return np.array(found).T


def draw_curves(curves):
    """Both, and what can be reached without memory."""
    figure, axes = plot.figure(width=7.5, height=3.4)
    ax = axes[0, 0]
    for style, (label, (steps, errors)) in enumerate(curves.items()):
        plot.curve(ax, steps, errors, errors, errors, label=f"{label}: {errors[-1]:.2g}", style=style, markers=False)
    ax.axhline(smooth.memoryless_floor(), color="black", linewidth=0.9, label="floor without memory")
    ax.axhline(smooth.zero_loss(), color="black", linewidth=0.9, linestyle=":", label="zero predictor")
    ax.set(xlabel="training step", ylabel="squared error (input variance 1)", yscale="log")
    plot.legend(ax, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


draw_curves({"recurs over time": shift_curve(False), "recurs over the batch": shift_curve(True)})

# %% [markdown]
# And what of the theory? For *linear* recurrent networks it is exact: with m states, and white noise, the error of a
# shift by k is at least 1 - m/(k+1) of the variance at full view, and a delay line of k + 1 states has none
# ([shift_memory.py](../../memory/shift_memory.py)). It is no statement about LSTMs. Plateaus exist too, for plain
# gradient descent, and grow exponentially with the memory; Adam removes most of that
# ([plateau.py](../../theory/plateau.py)).
#
# ### 2.2 Convolutional networks
#
# ![What the last output of a dilated network sees](../../figures/diagrams/receptive_field.svg)
#
# Dilations that double: the tutorial's picture has a receptive field of 16 steps with 8 weights. A shift by k needs no
# training there: in each layer a single tap is 1, which one is a binary digit of k.

# %%
delay = 11
certificate = fits.digits(delay, layers=4)
linear = models.LinearDilatedCNN(channels=1, layers=4)
x = jax.random.normal(jax.random.key(0), (64, 64, 1))
y = linear.apply(jax.tree.map(jnp.float32, certificate.params()), x)
print(f"shift by {delay} = {delay:04b} in binary: {linear.receptive_field} steps seen,", end=" ")
print(f"{sum(taps.size for taps in certificate.taps)} weights, largest error {abs(y[:, delay:] - x[:, :-delay]).max()}")

# %% [markdown]
# Three exact or nearly exact ways to shift by 8: a recurrent network needs 9 states for it (with 5 it repeats itself),
# a dilated network 8 weights, and a head of attention two dimensions, if its logits are large enough and it may look
# around a circle. Each picture has a row for every output: the darker, the more of that input is in it.


# %%
def draw_ways(length=32, delay=8):
    """Who shifts how, as matrices from inputs to outputs."""
    lag = np.subtract.outer(np.arange(length), np.arange(length))

    def filtered(kernel):
        return np.where(lag >= 0, kernel[np.clip(lag, 0, length - 1)], 0)

    sharpness = length**2 / (2 * np.pi**2) * np.log(20)
    ways = {
        "linear RNN, 9 states": filtered(fits.delay_line(delay + 1).kernel(length)),
        "linear RNN, 5 states": filtered(fits.ring(delay, 5).kernel(length)),
        "dilated, 4 layers": filtered(np.pad(fits.digits(delay, layers=4).kernel(), (0, length - 16))),
        "attention, 2 dimensions": fits.position_attention(delay, length, sharpness).weights(),
    }
    figure, axes = plot.figure(1, len(ways), width=9, height=2.8)
    for ax, (name, matrix) in zip(axes[0], ways.items(), strict=True):
        ax.imshow(matrix, cmap="Greys", vmin=0, vmax=1)
        ax.set_title(name, fontsize=9)
        ax.set(xlabel="input, time (steps)")
        ax.grid(False)
    axes[0, 0].set_ylabel("output, time (steps)")
    return figure


draw_ways()

# %% [markdown]
# **The shipped TCN on Lorenz96.** The tutorial finds that its CNN of 40K parameters is much better than its RNN of
# 791K. The RNN of that comparison could not see time; see both here, and the linear filter beside them, which needs 32
# parameters.

# %%
explore.LorenzEvaluation(*pretrained.load("lorenz_tcn_1_10_128")).plot()

# %% [markdown]
# **The shipped TCN on Shift, 32 of 128 steps.** The tutorial compares it with an RNN at 8 of 32 steps; at equal tasks
# and parameters see [shift_memory.py](../../memory/shift_memory.py).

# %%
explore.ShiftEvaluation(*pretrained.load("shift_tcn_32_128")).plot()

# %% [markdown]
# ### 2.3 Transformers
#
# The tutorial shows the outputs of its two Transformers without a word. Here they are, with numbers.

# %%
explore.ShiftEvaluation(*pretrained.load("shift_transformer_32_128")).plot()

# %%
explore.LorenzEvaluation(*pretrained.load("lorenz_transformer_1_10_128")).plot()

# %% [markdown]
# What has each of the three learned? The gradient of every output with respect to every input says who listens to
# what. A shift is one dark line, k steps below the diagonal; Lorenz96 at K = 1 is a band along it, its kernel being
# close to exp(-t) cos t. But a model that was only ever shown smooth sequences need not have the line: it may as well
# take the value from neighbours, which tell as much (section 1.1).


# %%
def influence(model, params, task):
    """How much each output (first axis) depends on each input, for one sequence of the task."""
    x = task.sample(jax.random.key(0), 1).inputs
    gradient = jax.jit(jax.jacobian(lambda x: model.apply(params, x)[0, :, 0]))
    return abs(np.asarray(gradient(x)[:, 0, :, 0]))


def draw_influence():
    """Gradients of the outputs of all six models, on one sequence each, every row's largest one black."""
    figure, axes = plot.figure(2, 3, width=9, height=6.2)
    for row, (title, names) in enumerate(
        (
            ("Shift", ("shift_rnn_8_32", "shift_tcn_32_128", "shift_transformer_32_128")),
            ("Lorenz96", ("lorenz_rnn_1_10_128", "lorenz_tcn_1_10_128", "lorenz_transformer_1_10_128")),
        )
    ):
        for ax, name in zip(axes[row], names, strict=True):
            found = influence(*pretrained.load(name))
            ax.imshow(found / found.max(axis=1, keepdims=True).clip(1e-6), cmap="Greys", vmin=0, vmax=1)
            ax.set_title(name, fontsize=9)
            ax.set(xlabel="input, time (steps)")
            ax.grid(False)
        axes[row, 0].set_ylabel(f"{title}: output, time (steps)")
    return figure


draw_influence()

# %% [markdown]
# How they got there, with three random seeds each: the curves that the tutorial shows for four of the six.
#
# ![Errors and training curves of the six models](../../figures/shipped_models.png)
#
# What a shift and a linear system cannot ask of a network, the experiments do:
# [lorenz96_response.py](../../memory/lorenz96_response.py) goes up the ladder to chaos,
# [audit.py](../../tutorials/audit.py) has all of the tutorial's claims with their floors and verdicts, and
# [text_generation.py](../../language/text_generation.py) trains until there is some sense.
