"""Claims of the tutorial `attention`."""

import jax
import jax.numpy as jnp
import numpy as np
from _claims import training
from _claims.finding import Finding, Settings

from seqjax import evaluate, losses, metrics, models, tasks
from seqjax.types import Seq2SeqBatch


def without_a_mask(settings: Settings) -> Finding:
    """D15: the tutorial's translator with the attention class it lacks, without a mask and with one, on padded rows."""
    task, seeds = tasks.Reversal(longest=6), settings.seeds
    decoder = models.BahdanauDecoder(64, attention=models.AdditiveAttention(32))
    model = models.EncoderDecoder(models.Bidirectional(64), decoder, 29, 29, embedding=32)

    def sample(key, masked):
        batch = task.sample(key, 64)
        return batch._replace(source_mask=batch.source_mask | ~masked)

    def cost(params, batch):
        masks = {"source_mask": batch.source_mask, "target_mask": batch.target_mask}
        logits = jnp.asarray(model.apply(params, batch.source, batch.target, **masks))
        return losses.cross_entropy(logits, batch.target, batch.target_mask)

    first = task.sample(jax.random.key(0), 1)
    params = training.fitted(
        lambda key: model.init(key, first.source, first.target),
        cost,
        sample,
        seeds,
        settings.steps,
        rate=3e-3,
        settings=np.array([False, True]),
    )
    rows = task.held_out(jax.random.key(1), 1_000)
    missed = {}
    for name, masked in (("no mask", False), ("mask", True)):
        of_case = training.of_setting(params, int(masked), seeds)
        for padding in (0, 2, 6, 14):
            batch = _padded(rows, padding, masked=masked)
            right = (evaluate.greedy(model, of_case, batch) == rows.target[None]).all(axis=2)
            missed[name, padding] = metrics.band(1 - right.mean(axis=1))
    ours, fixed = missed["no mask", 14], missed["mask", 14]
    alone = missed["no mask", 0].median
    return Finding(
        quantity="fraction not reversed, 14 steps of padding",
        ours=ours,
        verdict=f"padded, {ours.median:.0%} are wrong (not padded {alone:.1%}); with a mask {fixed.median:.1%}"
        if ours.median > 10 * fixed.median and fixed == missed["mask", 0]
        else "padding does no harm",
        corrected=fixed.median,
        also={f"{name}, {padding} steps": wrong.median for (name, padding), wrong in missed.items() if padding < 14},
        parameters=training.count(params),
    )


def _padded(batch: Seq2SeqBatch, steps: int, *, masked: bool) -> Seq2SeqBatch:
    """Sources padded to the length of a longer one."""
    source, mask = (jnp.pad(part, ((0, 0), (0, steps))) for part in (batch.source, batch.source_mask))
    return batch._replace(source=source, source_mask=mask if masked else jnp.ones_like(mask))
