"""Which architectures can keep track of a state, and how far beyond the length they were trained on?

Paper     Grazzi et al. 2024, arXiv:2411.12537; Merrill, Petty & Sabharwal 2024, arXiv:2404.08819; Siems et al. 2025,
          arXiv:2502.10297
Figure    experiments/figures/state_tracking.png
Question  The product of all elements of a group read so far, in Z2 (parity), S3 (two transpositions) and A5 (two cycles
          of three letters): how accurate are answers at half to eight times the length of training, and from which
          length on is the answer to a word of one token the same for ever?
Expect    A model that only counts tokens of S3: at most .492, .383, .338, .3334 after 8, 16, 32, 64 of them. GRU on S3:
          .999 or more at 8 times the training length. DeltaNet on S3 at the training length: 1/6 (.12 to .21) with beta
          in (0, 1), .95 or more with beta in (0, 2), which differs in one line of code. Constructed weights: all
          answers right up to length 5,000. Networks with positive eigenvalues answer a word of T equal tokens always
          the same from some T0 on, and so are right on exactly .5 of Z2's words of 50,000 to 100,000 equal tokens, and
          on no more of S3's; a GRU is right on all of Z2's.
Answer    S3, trained on up to 24 tokens, at 24 and at 192 tokens: GRU {accuracy group=S3 model=gru:.3f} and
          {far group=S3 model=gru:.3f}, DeltaNet with beta up to 2 {accuracy group=S3 model=signed_deltanet:.3f} and
          {far group=S3 model=signed_deltanet:.3f}, up to 1 {accuracy group=S3 model=deltanet:.3f} and
          {far group=S3 model=deltanet:.3f}, Transformer {accuracy group=S3 model=transformer:.3f} and
          {far group=S3 model=transformer:.3f}. Parity of words of 50,000 to 100,000 equal tokens: GRU
          {words group=Z2 model=gru:.2f}, selective SSM with positive factors {words group=Z2 model=selective_ssm:.2f},
          MinGRU {words group=Z2 model=mingru:.2f}; in every seed their answer is constant from T =
          {latest group=Z2 model=selective_ssm} and {latest group=Z2 model=mingru} on.
Fair      Width 32, not equal parameters (3,500 to 28,000, the GRU has fewest); equal batches and steps within a group,
          fresh words, one learning rate for each architecture, not searched. Accuracy at a length is that of the last
          four answers. Chance is the best answer from the length alone: two transpositions of S3 have its sign, so 1/3;
          one answer for all lengths is right on 1/6. An attention layer without positions knows the counts, and the
          last token besides, which gives the ceiling of one token less. Beyond T0 nothing is rounded in parallel: words
          of one token are read step by step. That there is a T0 is a theorem, of positive diagonals in finite precision
          (Krohn & Rhodes) and of idealised numbers for the delta rule (theorem 1 of Grazzi et al.); which T0 it is, is
          measured.
Differs   from the papers: T = 24, two generators as tokens instead of all elements, and no curriculum.
Cost      29 min of CPU time, 44 min on two cores that others used too
Run       python experiments/memory/state_tracking.py
Next      python experiments/memory/state_tracking.py --group A5 --model signed_deltanet --steps 20000
"""

from dataclasses import dataclass, replace
from typing import Any, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from _state_tracking_figure import LAST, PROVED, RATIOS, TOKENS, GroupName, Model, at, ceiling, draw, task_of
from jaxtyping import Int

from seqjax import evaluate, losses, models, runs, tasks
from seqjax.theory import bounds, groups
from seqjax.types import InputError

LETTERS: dict[GroupName, int] = {"Z2": 2, "S3": 3, "A5": 5}
"""Of the symmetric group that each group lies in; Z2 is S2."""

POSITIVE: tuple[Model, ...] = ("mingru", "selective_ssm", "deltanet")
"""Models that have no other eigenvalues than those in (0, 1)."""

LEARNING_RATE = {
    "gru": 1e-2, "mingru": 1e-2, "selective_ssm": 1e-2, "signed_selective_ssm": 1e-2, "deltanet": 1e-2,
    "signed_deltanet": 1e-2, "transformer": 3e-3, "counts": 1e-2,
}  # fmt: skip

FEATURES = 32

TEST_SEQUENCES = 512


@dataclass(frozen=True)
class Config:
    """One model on one group.

    Attributes:
        group: whose elements are multiplied.
        model: architecture.
            signed: eigenvalues may be negative; constructed: reflections as the weights of a delta rule; counts: one
            layer of attention without positions.
        length: T, tokens of a training sequence.
        longest_word: tokens of the longest word of one token, read step by step.
        steps: training updates.
        batch_size: sequences of a batch.
        learning_rate: peak of Adam's learning rate; 0: the architecture's own.
        seeds: random seeds, trained together.
    """

    group: GroupName = "S3"
    model: Model = "gru"
    length: int = 24
    longest_word: int = 100_000
    steps: int = 600
    batch_size: int = 64
    learning_rate: float = runs.traced(0.0)
    seeds: int = 3

    def __post_init__(self) -> None:
        if self.length < 3 * LAST:
            raise InputError(f"--length must be >= {3 * LAST}, got {self.length}")
        if self.longest_word < 4:
            raise InputError(f"--longest-word must be >= 4, got {self.longest_word}")


def configs(scale: runs.Scale) -> list[Config]:
    """Every model on every group, with positive eigenvalues and with signed ones."""
    if scale == "smoke":
        short = Config(length=12, longest_word=100, steps=20, batch_size=8, seeds=2)
        return [replace(short, model=model) for model in ("constructed", "gru", "signed_deltanet", "counts")]
    longer, seeds = {"laptop": (1, 3), "gpu": (20, 5)}[scale]
    steps: dict[GroupName, int] = {"Z2": 600, "S3": 600, "A5": 1_500}
    return [
        Config(group, model, steps=longer * steps[group], seeds=seeds)
        for group in get_args(GroupName)
        for model in get_args(Model)
    ]


def build(config: Config) -> models.Module:
    """Logits of the group's elements at every step, from one-hot tokens."""
    return models.Regressor(backbone(config), groups.named(config.group).order)


def backbone(config: Config) -> models.Module:
    """The architecture: one layer of DeltaNet, of GRU and of what counts, two of the others."""
    match config.model:
        case "gru":
            return models.GRU(FEATURES)
        case "mingru":
            return models.MinGRU(FEATURES)
        case "selective_ssm" | "signed_selective_ssm":
            return models.SelectiveSSM(FEATURES, signed=config.model != "selective_ssm")
        case "deltanet" | "signed_deltanet":
            signed = config.model != "deltanet"
            return models.GatedDeltaNet(FEATURES, layers=1, gate=False, negative_eigenvalues=signed)
        case "transformer":
            return models.Transformer(FEATURES, heads=2, layers=2, positions=models.Rotary())
        case "counts":
            return models.Transformer(FEATURES, heads=2, layers=1, positions=models.Positions())
        case "constructed":
            raise InputError("--model constructed is no network: it has no parameters to load")
        case _:
            assert_never(config.model)


def measure(records: list[runs.Record]) -> None:
    """Seeds are one program; answers to random words up to 8 T, and to words of one token."""
    config: Config = records[0].config
    test_lengths = [round(ratio * config.length) for ratio in RATIOS]
    task = task_of(config, test_lengths[-1])
    train_key, test_key = jax.random.split(jax.random.key(0))
    test = task.sample(test_key, 32 if config.steps < 100 else TEST_SEQUENCES)
    row: runs.Row = {"chance": at(task.chance, config.length), "ceiling": ceiling(task, config.length)}
    if config.model == "constructed":
        right = (constructed(config.group, test.inputs) == test.labels)[None]
        proof = task_of(config, PROVED).sample(test_key, 4)
        row["proved"] = float(np.mean(constructed(config.group, proof.inputs) == proof.labels))
        words = np.zeros((1, 0), int)
    else:
        params = train(records, train_key)
        model = build(config)
        inputs = jax.nn.one_hot(test.inputs, task.vocab)
        chunk = 64 if config.model in ("transformer", "counts") else 256
        logits = evaluate.predict(model.apply, params, inputs, batch_size=chunk)
        right = logits.argmax(axis=-1) == np.asarray(test.labels)
        words = one_token(model, params, task.vocab, config)
    scores = np.stack([right[..., length - LAST : length].mean(axis=-1) for length in test_lengths], axis=-1)
    if config.model == "counts":
        for length, score in zip(test_lengths, np.moveaxis(scores, -1, 0), strict=True):
            bounds.require_below(ceiling(task, length), *bounds.mean_and_error(score))
    row["error"] = float(bounds.mean_and_error(scores[..., 1])[1].max())
    by_length = scores.mean(axis=1)
    for record, lengths, answers in zip(
        records, runs.by_record(records, by_length), runs.by_record(records, words), strict=True
    ):
        times = np.array([groups.settling_time(one) or 0 for one in answers] if answers.size else [])
        far = {"far": float(np.median(lengths[:, -1])), "far_low": float(lengths[:, -1].min())}
        own = runs.scores(record, "accuracy", lengths[:, 1]) | far | on_words(answers, config.group)
        record.finish(own | row, by_length=lengths, times=times)


def train(records: list[runs.Record], key: jax.Array) -> Any:
    """Parameters of all runs."""
    config: Config = records[0].config
    model, task = build(config), task_of(config, config.length)

    def loss(params, batch, key):
        logits = model.apply(params, jax.nn.one_hot(batch.inputs, task.vocab))
        right = logits.argmax(axis=-1) == batch.labels
        return losses.cross_entropy(logits, batch.labels), {"accuracy": jnp.mean(right[:, -LAST:])}

    state = runs.train_group(
        records,
        lambda key: model.init(key, jnp.zeros((1, config.length, task.vocab))),
        loss,
        lambda key: task.sample(key, config.batch_size),
        keys=jax.random.split(key, config.seeds),
        rates=LEARNING_RATE,
    )
    return state.params


def constructed(group: GroupName, tokens: Int[jax.Array, "words time"]) -> Int[np.ndarray, "words time"]:
    """Answers of reflections as weights of the delta rule: values of zero, beta of 2, and S = 1 at the beginning.

    There is a head for each column of S, which it reads.
    """
    letters = LETTERS[group]
    found, elements = groups.reflections(letters), _in_symmetric(group)
    width = letters - 1
    of_token = elements[list(TOKENS[group])]

    def each_head(x: np.ndarray) -> jax.Array:
        """(tokens, factors, …) -> (words, time * factors, heads, …)"""
        chosen = jnp.asarray(x[of_token], jnp.float32)[tokens]
        chosen = chosen.reshape(len(tokens), -1, *chosen.shape[3:])
        return jnp.repeat(chosen[:, :, None], width, axis=2)

    k, beta = each_head(found.keys), each_head(found.gains)
    q = jnp.broadcast_to(jnp.eye(width), (*tokens.shape, width, width))
    start = jnp.broadcast_to(jnp.eye(width), (len(tokens), width, width, width))
    alpha = jnp.ones((*tokens.shape, width))
    _, columns = jax.jit(lambda q, k, beta: models.delta_rule(q, k, jnp.zeros_like(k), alpha, beta, state=start))(
        q, k, beta
    )
    return np.asarray(jnp.einsum("bthv,gvh->btg", columns, found.readout[elements]).argmax(axis=-1))


def _in_symmetric(group: GroupName) -> Int[np.ndarray, " elements"]:
    """The number of each element in the symmetric group: both list permutations in lexicographic order."""
    symmetric = groups.symmetric(LETTERS[group])
    return symmetric.commutator_subgroup if group == "A5" else np.arange(symmetric.order)


def one_token(model: models.Module, params: Any, vocab: int, config: Config) -> Int[np.ndarray, "runs words"]:
    """Answers of each run to 1, 2, … copies of the last token, one step at a time; none of a Transformer.

    Its carry would grow with the word.
    """
    count = len(jax.tree.leaves(params)[0])
    if config.model in ("transformer", "counts"):
        return np.zeros((count, 0), int)

    def answers(run: Any) -> np.ndarray:
        def step(carry, token):
            carry, logits = model.apply(run, carry, jax.nn.one_hot(token, vocab)[:, None], method="extend")
            return carry, logits[:, 0]

        start = model.apply(run, 1, vocab, 1, method="start")
        return groups.answers_to_one_token(step, start, vocab - 1, config.longest_word)

    return np.stack([answers(jax.tree.map(lambda leaf, run=run: leaf[run], params)) for run in range(count)])


def powers(group: GroupName) -> Int[np.ndarray, " order"]:
    """The last token, its square, …, and the identity."""
    table, token = groups.named(group).table, TOKENS[group][-1]
    found = [token]
    while found[-1] != groups.named(group).identity:
        found.append(int(table[found[-1], token]))
    return np.array(found)


def on_words(answers: Int[np.ndarray, "runs words"], group: GroupName) -> runs.Row:
    """How many runs settle, the range of their T0, and the accuracy on the longer half of the words of one token.

    As many of them as are a multiple of the token's order: an answer that never changes is right on one in each order,
    or on none if it is no power of the token.
    """
    if not answers.size:
        return {"settled": None, "earliest": None, "latest": None, "words": None, "one_in": None}
    order, longest = powers(group), answers.shape[1]
    times = [time for one in answers if (time := groups.settling_time(one)) is not None]
    counted = max(1, longest // 2 // len(order)) * len(order)
    right = answers == order[np.arange(longest) % len(order)]
    return {
        "settled": len(times),
        "earliest": min(times, default=None),
        "latest": max(times, default=None),
        "words": float(np.median(right[:, -counted:].mean(axis=1))),
        "one_in": 1 / len(order),
    }


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""

    def ceilings() -> list[float]:
        task = tasks.WordProblem(groups.named("S3"), TOKENS["S3"])
        return [task.commutative_ceiling(length) for length in (8, 16, 32, 64)] if rows else []

    def seeds(column: str, **wanted: Any) -> list[float]:
        return [runs.value(rows, column, **wanted)]

    def both(**wanted: Any) -> list[float]:
        return [runs.value(rows, end, **wanted) for end in ("low", "high")]

    positive = runs.select(rows, model=POSITIVE)
    settled = [row["settled"] == row["seeds"] for row in positive]
    halves = [row["words"] == 0.5 for row in positive if row["group"] == "Z2"]
    at_most = [row["words"] <= row["one_in"] for row in positive if row["group"] != "Z2"]
    counting = [row["high"] <= row["ceiling"] + 4 * row["error"] for row in runs.select(rows, model="counts")]
    signed = seeds("low", group="S3", model="signed_deltanet")
    return [
        runs.check("S3, ceilings of models that count, at 8, 16, 32, 64", ceilings(), ".492, .383, .338, .3334"),
        runs.every("what counts is never above its ceiling, but for 4 standard errors", counting),
        runs.check("S3, GRU at 8 times the length, worst seed", seeds("far_low", group="S3", model="gru"), ">= .999"),
        runs.check("constructed weights, to length 5,000", runs.values(rows, "proved", model="constructed"), ">= 1"),
        runs.check("S3, DeltaNet, beta in (0, 1), all seeds", both(group="S3", model="deltanet"), ".12 to .21"),
        runs.check("S3, DeltaNet, beta in (0, 2), worst seed", signed, ">= .95"),
        runs.every("positive eigenvalues: every seed settles", settled),
        runs.every("and is right on exactly .5 of Z2's long words of one token", halves),
        runs.every("and on no more than one in two of S3's, one in three of A5's", at_most),
        runs.check("Z2, GRU, long words of one token", seeds("words", group="Z2", model="gru"), ">= 1"),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
