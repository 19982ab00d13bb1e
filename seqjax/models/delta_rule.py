"""Matrix-valued memories: the gated delta rule and gated linear attention, by chunks of the sequence."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from seqjax._checks import integers
from seqjax.models.module import Mask, widened
from seqjax.types import InputError

Matrix = Float[Array, "batch heads values keys"]


def delta_rule(
    q: Float[Array, "batch time heads keys"],
    k: Float[Array, "batch writes heads keys"],
    v: Float[Array, "batch writes heads values"],
    alpha: Float[Array, "batch time heads"],
    beta: Float[Array, "batch writes heads"],
    *,
    state: Matrix | None = None,
    mask: Mask = None,
    chunk: int = 16,
) -> tuple[Matrix, Float[Array, "batch time heads values"]]:
    """The gated delta rule, S[t] = alpha S[t-1] (I - beta k k') + beta v k', y[t] = S[t] q.

    Yang, Kautz & Hatamizadeh 2024, arXiv:2412.06464, eq. 10; with alpha = 1 the delta rule of Schlag et al. 2021,
    arXiv:2102.11174. With n times as many `writes` as steps, a step writes n times, one after the other, before it
    reads, and only the first of them has its alpha: S (I - beta_1 k_1 k_1') … (I - beta_n k_n k_n'), a product of n
    Householder matrices where k has length 1 and beta = 2 (DeltaProduct, Siems et al. 2025, arXiv:2502.10297).

    Within a chunk all steps are computed by matrix products and one triangular system (sec. 3.3 of arXiv:2412.06464);
    a chunk of one step is the equation above.

    Args:
        alpha: in [0, 1].
        beta: in [0, 1], or up to 2; S does not grow by itself where beta |k|^2 <= 2.
        state: S before the first step; None: zeros.
        mask: which steps are real: others leave S as it is, and what is read there means nothing.
        chunk: steps of a chunk; sequences that are not longer are one chunk.

    Returns:
        S after the last real step, and what was read.

    Raises:
        InputError: `writes` is not a multiple of `time`, or `chunk` is below 1.
    """
    return matrix_memory(q, k, v, _log(alpha), beta, state=state, mask=mask, chunk=chunk)


def linear_attention(
    q: Float[Array, "batch time heads keys"],
    k: Float[Array, "batch time heads keys"],
    v: Float[Array, "batch time heads values"],
    alpha: Float[Array, "batch time heads"] | None = None,
    *,
    state: Matrix | None = None,
    mask: Mask = None,
    chunk: int = 16,
) -> tuple[Matrix, Float[Array, "batch time heads values"]]:
    """Gated linear attention, S[t] = alpha S[t-1] + v k', y[t] = S[t] q; alpha None: 1.

    Katharopoulos et al. 2020, arXiv:2006.16236, without its normaliser; with a scalar gate for each head as in Mamba-2
    (Dao & Gu 2024, arXiv:2405.21060). Arguments and results as in `delta_rule`.
    """
    log_alpha = jnp.zeros(q.shape[:3], q.dtype) if alpha is None else _log(alpha)
    return matrix_memory(q, k, v, log_alpha, None, state=state, mask=mask, chunk=chunk)


def _log(alpha: Array) -> Array:
    return jnp.log(jnp.maximum(widened(alpha), jnp.finfo(jnp.float32).tiny))


class Chunks(NamedTuple):
    """What does not depend on S, of all chunks, whose axis comes first.

    Attributes:
        reads: queries, each times the decay since the chunk began.
        within: of each query, the coefficient of each write of its chunk.
        keys: each times the decay from its write to the chunk's end.
        writes: what would be written if S were zero.
        taken: keys that read from S what the writes replace; None where they replace nothing.
        kept: decay of S over the chunk.
    """

    reads: Float[Array, "chunks batch heads steps keys"]
    within: Float[Array, "chunks batch heads steps writes"]
    keys: Float[Array, "chunks batch heads writes keys"]
    writes: Float[Array, "chunks batch heads writes values"]
    taken: Float[Array, "chunks batch heads writes keys"] | None
    kept: Float[Array, "chunks batch heads"]


def matrix_memory(
    q: Float[Array, "batch time heads keys"],
    k: Float[Array, "batch writes heads keys"],
    v: Float[Array, "batch writes heads values"],
    log_alpha: Float[Array, "batch time heads"],
    beta: Float[Array, "batch writes heads"] | None,
    *,
    state: Matrix | None,
    mask: Mask,
    chunk: int,
) -> tuple[Matrix, Float[Array, "batch time heads values"]]:
    """`delta_rule` with the logarithm of alpha; `beta` None: `linear_attention`."""
    integers(1, chunk=chunk)
    (batch, time, heads, width), writes = q.shape, k.shape[1]
    if writes % time:
        raise InputError(f"there must be a multiple of {time} writes, one or more a step, got {writes}")
    q, k, v, log_alpha = (widened(x) for x in (q, k, v, log_alpha))
    beta = None if beta is None else widened(beta)
    if state is None:
        state = jnp.zeros((batch, heads, v.shape[-1], width), v.dtype)
    if mask is not None:
        log_alpha = jnp.where(mask[..., None], log_alpha, 0)
        real = jnp.repeat(mask, writes // time, axis=1)[..., None]
        if beta is None:
            v = jnp.where(real[..., None], v, 0)
        else:
            beta = jnp.where(real, beta, 0)
    count = -(-time // chunk)
    steps = -(-time // count)
    q, log_alpha = (_split(x, count, steps) for x in (q, log_alpha))
    k, v = (_split(x, count, steps * writes // time) for x in (k, v))
    chunks = _prepare(q, k, v, log_alpha, None if beta is None else _split(beta, count, steps * writes // time))

    def read(state: Array, now: Chunks) -> tuple[Array, Array]:
        written = now.writes
        if now.taken is not None:
            written -= jnp.einsum("bhwk,bhvk->bhwv", now.taken, state)
        y = jnp.einsum("bhsk,bhvk->bhsv", now.reads, state) + now.within @ written
        return now.kept[..., None, None] * state + jnp.einsum("bhwv,bhwk->bhvk", written, now.keys), y

    wide = jnp.result_type(state, chunks.writes, chunks.reads)
    state, y = jax.lax.scan(read, state.astype(wide), jax.tree.map(lambda x: x.astype(wide), chunks))
    return state, y.transpose(1, 0, 3, 2, 4).reshape(batch, -1, heads, v.shape[-1])[:, :time]


def _split(x: Array, count: int, size: int) -> Array:
    """(batch, time, heads, …) -> (count, batch, heads, size, …); zeros at the end neither write nor decay."""
    batch, time, heads, *rest = x.shape
    x = jnp.pad(x, ((0, 0), (0, count * size - time), *((0, 0),) * (x.ndim - 2)))
    return jnp.moveaxis(x.reshape(batch, count, size, heads, *rest), (0, 1, 2, 3), (1, 0, 3, 2))


def _prepare(q: Array, k: Array, v: Array, log_alpha: Array, beta: Array | None) -> Chunks:
    writes = k.shape[-2]
    factors = writes // q.shape[-2]
    # Before each write: only the first of a step has its decay.
    log_alpha = jnp.pad(log_alpha[..., None], (*((0, 0),) * 4, (0, factors - 1))).reshape(*k.shape[:-1])
    until, before = jnp.tri(writes, dtype=bool), jnp.tri(writes, k=-1, dtype=bool)
    # The logarithm of the decay from one write to another, as a sum: differences of running sums would cancel.
    between = jnp.einsum("il,cbhl,lj->cbhij", until.astype(v.dtype), log_alpha, before.astype(v.dtype))
    decay = jnp.where(until[None, None, None], jnp.exp(between), 0)
    since = jnp.exp(jnp.einsum("il,cbhl->cbhi", until.astype(v.dtype), log_alpha))
    at_read = slice(factors - 1, None, factors)
    taken = None
    if beta is not None:
        system = jnp.einsum("cbhik,cbhjk->cbhij", k, k) * decay * beta[..., None]
        sides = jnp.concatenate([v, since[..., None] * k], axis=-1) * beta[..., None]
        v, taken = jnp.split(_solve(system, sides), [v.shape[-1]], axis=-1)
    return Chunks(
        reads=q * since[..., at_read, None],
        within=jnp.einsum("cbhsk,cbhwk->cbhsw", q, k) * decay[..., at_read, :],
        keys=k * decay[..., -1, :, None],
        writes=v,
        taken=taken,
        kept=since[..., -1],
    )


def _solve(
    system: Float[Array, "*batch writes writes"], sides: Float[Array, "*batch writes columns"]
) -> Float[Array, "*batch writes columns"]:
    """Forward substitution by halves, for a lower triangular system whose diagonal is taken as 1.

    Not by `jax.lax.linalg.triangular_solve`: on CPU, `lapack_strsm_ffi` of jaxlib 0.10.2 waits in a thread of XLA's
    pool for other threads of that pool, and two such calls at once stop a machine of two cores for good.
    """
    if (size := sides.shape[-2]) == 1:
        return sides
    half = size // 2
    first = _solve(system[..., :half, :half], sides[..., :half, :])
    second = sides[..., half:, :] - system[..., half:, :half] @ first
    return jnp.concatenate([first, _solve(system[..., half:, half:], second)], axis=-2)
