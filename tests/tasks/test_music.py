import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.data.music import KEYS
from seqjax.tasks.music import Music, frequency_loss, repetition_loss
from tests.refusals import refuses

RNG = np.random.default_rng(0)


def roll(steps: int, low: int = 20, high: int = 70) -> np.ndarray:
    """Random, but for its first step, which tells its range."""
    made = np.zeros((steps, KEYS), np.uint8)
    made[:, low : high + 1] = RNG.random((steps, high + 1 - low)) < 0.2
    made[0, [low, high]] = 1
    return made


PIECES = [roll(9), roll(4), roll(2), roll(10)]


def test_every_step_but_the_first_is_predicted_once():
    batch = Music.of(PIECES, length=4).whole()
    assert batch.inputs.shape == batch.targets.shape == (2 + 1 + 1 + 3, 4, KEYS)
    mask = np.asarray(batch.mask)
    expected = [(piece[:-1], piece[1:]) for piece in PIECES]
    np.testing.assert_array_equal(np.asarray(batch.inputs)[mask], np.concatenate([read for read, _ in expected]))
    np.testing.assert_array_equal(np.asarray(batch.targets)[mask], np.concatenate([said for _, said in expected]))
    assert mask.sum(axis=1).tolist() == [4, 4, 3, 1, 4, 4, 1]


def windows(batch) -> list[bytes]:
    """What is read, what is predicted and what of it counts, of each."""
    rows = zip(*map(np.asarray, (batch.inputs, batch.targets, batch.mask)), strict=True)
    return [b"".join(part.tobytes() for part in row) for row in rows]


def test_an_epoch_has_every_window_once():
    task = Music.of(PIECES, length=4)
    sample = jax.jit(task.batches(1).batch)
    key = jax.random.key(0)
    for epoch in range(2):
        batches = [sample(key, jnp.array(7 * epoch + step)) for step in range(7)]
        seen = sorted(window for batch in batches for window in windows(batch))
        assert seen == sorted(windows(task.whole()))
    jax.tree.map(np.testing.assert_array_equal, *(sample(key, jnp.array(3)) for _ in range(2)))


def test_a_window_is_moved_as_a_whole_and_by_every_number_of_semitones():
    piece = roll(6)
    sample = jax.jit(Music.of([piece], length=5, transpose=3).batches(1).batch)
    moves = []
    for step in range(60):
        batch = sample(jax.random.key(0), jnp.array(step))
        found = np.concatenate([batch.inputs[0, :1], batch.targets[0]])
        moves += [move for move in range(-20, 21) if (found == np.roll(piece, move, axis=1)).all()]
        np.testing.assert_array_equal(batch.inputs[0, 1:], batch.targets[0, :-1])
    assert len(moves) == 60
    assert set(moves) == set(range(-3, 4))


@pytest.mark.parametrize(("low", "high", "allowed"), [(1, 86, range(-1, 2)), (0, 80, range(6)), (5, 87, range(-5, 1))])
def test_no_key_leaves_the_keyboard(low, high, allowed):
    piece = roll(3, low, high)
    sample = jax.jit(Music.of([piece], length=2, transpose=5).batches(1).batch)
    moves = set()
    for step in range(40):
        first = np.asarray(sample(jax.random.key(1), jnp.array(step)).inputs[0, 0])
        moves.add(int(first.argmax()) - low)
        np.testing.assert_array_equal(first, np.roll(piece[0], int(first.argmax()) - low))
    assert moves == set(allowed)


def test_each_window_of_a_batch_has_its_own_room():
    """The outermost keys sound at the last step only; how far they are apart tells the piece."""
    allowed = {(0, 80): range(6), (6, 87): range(-5, 1), (1, 85): range(-1, 3)}
    pieces = []
    for outermost in allowed:
        piece = np.zeros((3, KEYS), np.uint8)
        piece[:, 44] = piece[2, list(outermost)] = 1
        pieces.append(piece)
    sample = jax.jit(Music.of(pieces, length=2, transpose=5).batches(3).batch)
    moves = {high - low: set() for low, high in allowed}
    for step in range(60):
        batch = sample(jax.random.key(2), jnp.array(step))
        for read, said in zip(np.asarray(batch.inputs), np.asarray(batch.targets), strict=True):
            keys = np.flatnonzero(said[1])
            moves[keys[-1] - keys[0]].add(int(keys[1]) - 44)
            assert np.flatnonzero(read[0]).tolist() == [keys[1]]
    assert moves == {high - low: set(room) for (low, high), room in allowed.items()}


def test_silence_stays_where_it_is():
    silent = np.zeros((4, KEYS), np.uint8)
    sample = jax.jit(Music.of([silent], length=3, transpose=5).batches(1).batch)
    assert not sample(jax.random.key(0), jnp.array(0)).inputs.any()


def test_baselines_are_those_of_counting():
    """Against sums over single keys and steps."""
    train, test = PIECES[:3], PIECES[3:]

    def counted(state_of) -> float:
        total, steps = 0.0, 0
        for piece in test:
            for now in range(1, len(piece)):
                steps += 1
                for key in range(KEYS):
                    state = state_of(piece, now, key)
                    seen = [
                        other[then, key]
                        for other in train
                        for then in range(1, len(other))
                        if state_of(other, then, key) == state
                    ]
                    one = (sum(int(n) for n in seen) + 0.5) / (len(seen) + 1)
                    total -= np.log(one if piece[now, key] else 1 - one)
        return total / steps

    assert frequency_loss(train, test) == pytest.approx(counted(lambda piece, now, key: 0))
    assert repetition_loss(train, test) == pytest.approx(counted(lambda piece, now, key: piece[now - 1, key]))


test_wrong_arguments_are_refused = refuses(
    lambda pieces, options: Music.of(pieces, **options),
    (PIECES, {"length": 0}, "length must be >= 1, got 0"),
    (PIECES, {"length": 4, "transpose": -1}, "transpose must be >= 0, got -1"),
    ([], {"length": 4}, "needs one piece or more, got none"),
)
