"""One model on many devices, run as a process of its own, since JAX counts its devices once: prints JSON.

python -m tests.devices eight FOLDER      one process with eight devices
python -m tests.devices joined FOLDER     each of two processes with two devices
"""

import json
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from seqjax import checkpoint, data, early_stopping, losses, mesh, models, sweep, train
from seqjax._placing import whole
from seqjax.types import InputError

MODELS: dict[str, Any] = {
    "TCN": models.TCN(16, kernel_size=3, dilations=(1, 2)),
    "GRU": models.GRU(16),
    "Transformer": models.Transformer(16, heads=2),
    "dropout": models.TCN(16, kernel_size=3, dilations=(1, 2), dropout=0.2),
}
STEPS, BATCH = 6, 16


def sample(key):
    x = jax.random.normal(key, (BATCH, 8, 1))
    return x, jnp.roll(x, 1, axis=1)


def compilations() -> AbstractContextManager[list[str]]:
    from tests import regressions  # which computes: too soon before processes have joined

    return regressions.compilations()


class Training:
    """A model's first state, and what trains it on the devices of a grid or on one."""

    def __init__(self, name: str):
        model, rate = models.Regressor(MODELS[name]), optax.adam(1e-2)
        self.loss = lambda params, batch, key: losses.squared_error(
            jnp.asarray(model.apply(params, batch[0], train=True, rngs={"dropout": key})), batch[1]
        )
        self.optimizer = rate
        self.first = train.init(model.init(jax.random.key(0), jnp.zeros((1, 8, 1))), rate, jax.random.key(1))

    def advance(self, batches: Any = sample, **options: Any) -> train.Advance:
        return train.scan(self.loss, self.optimizer, batches, STEPS // 2, **options)


def trained(advance: train.Advance, state: train.TrainState) -> dict[str, Any]:
    """Losses, the last state, and how often training was compiled."""
    with compilations() as seen:
        reports = [(now, float(metrics["loss"])) for now, metrics in train.run(advance, state, STEPS)]
    return {"losses": [loss for _, loss in reports], "state": reports[-1][0], "compiled": seen.count("jit(compiled)")}


def shares(state: train.TrainState) -> list[float]:
    """Of the largest array of parameters and optimiser, and of all of them, the part that a device holds."""
    leaves = jax.tree.leaves((state.params, state.opt_state))
    held = [leaf.addressable_shards[0].data.nbytes for leaf in leaves]
    largest = max(range(len(leaves)), key=lambda number: leaves[number].nbytes)
    return [held[largest] / leaves[largest].nbytes, sum(held) / sum(leaf.nbytes for leaf in leaves)]


def eight(folder: Path) -> dict[str, Any]:
    """All that one process can show."""
    grid, four = mesh.grid(), mesh.grid(devices=jax.devices()[:4])
    found: dict[str, Any] = {"models": {}}
    for name, place, options in (
        ("TCN", mesh.replicated, {"accumulate": 2}),
        ("GRU", mesh.sharded, {}),
        ("Transformer", mesh.sharded, {}),
        ("dropout", mesh.replicated, {}),
    ):
        one, many = Training(name), Training(name)
        alone = trained(one.advance(), one.first)
        together = trained(many.advance(rows=grid, **options), place(many.first, grid))
        found["models"][name] = {
            "one": alone["losses"],
            "many": together["losses"],
            "compiled": together["compiled"],
            "shares": shares(together["state"]),
        }
    state = mesh.sharded(together["state"], four)
    checkpoint.save(folder, STEPS, state, {})
    found["saved"] = [checkpoint.fingerprint(state), shares(state)[0]]
    fresh = Training("dropout").first
    for like in (fresh, mesh.sharded(fresh, grid)):
        restored = checkpoint.restore(folder, like).state
        found.setdefault("restored", []).append([checkpoint.fingerprint(restored), shares(restored)[0]])
    found["filled up"] = filled_up()
    try:
        trained(one.advance(lambda key: sample(key)[0][:12], rows=grid), mesh.replicated(fresh, grid))
    except InputError as error:
        found["refused"] = str(error)
    return found


def swept(runs: int, rows: jax.sharding.Mesh | None) -> tuple[train.TrainState, train.Advance]:
    """Runs that differ in start, data and rate, with their best parameters."""

    def squared(params, batch, key):
        return jnp.mean((batch @ params["w"] - 1) ** 2), {}

    state, advance = sweep.sweep(
        lambda key: {"w": jax.random.normal(key, (3,))},
        squared,
        optax.adam,
        lambda key, rate: jax.random.normal(key, (8, 3)),
        keys=jax.random.split(jax.random.key(0), runs),
        settings=jnp.linspace(0.01, 0.2, runs),
        steps=STEPS // 2,
        rows=rows,
    )
    held_out = jax.random.normal(jax.random.key(5), (8, 3))
    return early_stopping.keep_best(state, advance, lambda params: squared(params, held_out, None))


def filled_up() -> dict[str, Any]:
    """Eleven runs on eight devices against the same without sharing."""
    found = {}
    for name, rows in (("shared", None), ("alone", mesh.grid(devices=jax.devices()[:1]))):
        state, advance = swept(11, rows)
        done = trained_sweep(advance, state)
        found[name] = done["weights"]
        if rows is None:
            found |= {"compiled": done["compiled"], "devices": done["devices"]}
    counts = (1, 8, 11, 12, 13, 17, 19, 21, 23)
    return found | {"each": {runs: [sweep._devices(runs).size, sweep._share(runs)] for runs in counts}}


def trained_sweep(advance: train.Advance, state: train.TrainState) -> dict[str, Any]:
    with compilations() as seen:
        *_, (last, metrics) = train.run(advance, state, STEPS)
    used = {shard.device for shard in last.step.addressable_shards}
    weights = np.asarray(whole(last.params["w"]), float).tolist()
    chosen = mesh.local(early_stopping.chosen(last))
    return {
        "weights": weights,
        "compiled": seen.count("jit(compiled)"),
        "devices": len(used),
        "validation": whole(metrics["validation"]).tolist(),
        "chosen": np.asarray(chosen["w"]).tolist(),
    }


def joined(folder: Path) -> dict[str, Any]:
    """Two devices in each of two processes; the other one must not write."""
    mesh.join(60)
    if not mesh.first():
        checkpoint.write_bytes = checkpoint.write_text = None  # pyright: ignore[reportAttributeAccessIssue]
    grid, training = mesh.grid(), Training("TCN")
    rows = jax.tree.map(np.asarray, sample(jax.random.key(3)))
    advance = training.advance(data.Epochs(rows, 8), rows=grid)
    done = trained(advance, mesh.sharded(training.first, grid))
    checkpoint.save(folder, STEPS, done["state"], {})
    mesh.agreed(np.int32(0))  # the file is there
    restored = checkpoint.restore(folder, mesh.sharded(Training("TCN").first, grid)).state
    state, advance = swept(3, grid)
    found = {
        "losses": done["losses"],
        "compiled": done["compiled"],
        "shares": shares(done["state"]),
        "fingerprints": [checkpoint.fingerprint(done["state"]), checkpoint.fingerprint(restored)],
        "sweep": trained_sweep(advance, state),
        "agreed": [int(mesh.agreed(np.int32(jax.process_index() + 7))), mesh.greatest(jax.process_index())],
    }
    if not mesh.first():
        return found
    alone = Training("TCN")
    expected = trained(alone.advance(data.Epochs(rows, 8)), alone.first)
    state, advance = swept(3, mesh.grid(devices=jax.local_devices()[:1]))
    return {"together": found, "losses": expected["losses"], "sweep": trained_sweep(advance, state)}


if __name__ == "__main__":
    print(json.dumps({"eight": eight, "joined": joined}[sys.argv[1]](Path(sys.argv[2]))))
