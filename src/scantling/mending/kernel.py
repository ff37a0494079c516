"""The mending equation as one compiled sweep over rows, in 2-D and 3-D.

A step of RK4 is four stages, each a gradient, a flux and a divergence. Done one after another over the whole image
they would send twenty images through memory. Here all four travel over the image together, a band of slabs at a time
(rows in 2-D, planes in 3-D): each stage follows eight slabs behind the one before it, so that whatever passes between
them lives in rings of a few slabs that stay in the cache.

Nothing is summed across pixels and nothing runs in parallel, so results repeat bit for bit. Compiling takes two to
eight seconds, once for all processes; what is kept follows changes of this file alone, so this file has to change
where the intrinsics of `apart` or the weights of the stencil do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scantling.core.compiled import compiled
from scantling.mending.apart import apart
from scantling.mending.stencil import WEIGHTS, Integrator

Array = NDArray[np.float32]

MARGIN = 16
"""Floats before the first pixel of a row: rows begin on a cache line and there is room for the border."""
BAND = 16
"""Rows of a 2-D image that a stage does before the next stage has its turn."""

_W1, _W2, _W3, _W4 = (np.float32(weight) for weight in WEIGHTS)
_ZERO, _ONE = np.float32(0), np.float32(1)
_FAR = np.float32(-1e9)
"""Below any change: infinity is not to be named where loops are compiled as if there were none."""
_U = np.uint64
_SAFE = {"contract", "nsz", "nnan", "ninf"}


def _differences(read: Any) -> tuple[Any, Any]:
    """The stencil across nine rows (the fifth is not needed) and along one row, with one way to read."""

    @njit(fastmath=_SAFE)
    def across(a: Any, m4: Any, m3: Any, m2: Any, m1: Any, p1: Any, p2: Any, p3: Any, p4: Any, j: Any) -> Any:
        return (
            _W1 * (read(a, p1 + j) - read(a, m1 + j))
            + _W2 * (read(a, p2 + j) - read(a, m2 + j))
            + _W3 * (read(a, p3 + j) - read(a, m3 + j))
            + _W4 * (read(a, p4 + j) - read(a, m4 + j))
        )

    @njit(fastmath=_SAFE)
    def along(a: Any, at: Any) -> Any:
        return (
            _W1 * (read(a, at + _U(1)) - read(a, at - _U(1)))
            + _W2 * (read(a, at + _U(2)) - read(a, at - _U(2)))
            + _W3 * (read(a, at + _U(3)) - read(a, at - _U(3)))
            + _W4 * (read(a, at + _U(4)) - read(a, at - _U(4)))
        )

    return across, along


# The flux never writes what it reads (a map and the tensor), nor do the stages (the flux and the first map).
_read_map, _write_flux = apart("flux")
_read_flux, _write_stage = apart("stage")
_map_across, _map_along = _differences(_read_map)
_flux_across, _flux_along = _differences(_read_flux)


@njit(fastmath=_SAFE)
def _flux_2d(
    u: Any, near: Any, tensor: Any, t: Any, size: Any, outward: Any, to: Any, inward: Any, begin: Any, width: Any
) -> None:  # fmt: skip
    """q = D grad u on one row: `near` says where nine rows of u begin, `tensor` holds ss, sx, xx one after another."""
    m4, m3, m2, m1, here, p1, p2, p3, p4 = near
    for j in range(width):
        gs = _map_across(u, m4, m3, m2, m1, p1, p2, p3, p4, j)
        gx = _map_along(u, here + j)
        at = t + j
        ss, sx, xx = _read_map(tensor, at), _read_map(tensor, at + size), _read_map(tensor, at + _U(2) * size)
        _write_flux(outward, to + j, ss * gs + sx * gx)
        _write_flux(inward, begin + j, sx * gs + xx * gx)


@njit(fastmath=_SAFE)
def _flux_3d(
    u: Any, near: Any, beside: Any, tensor: Any, t: Any, size: Any, outward: Any, aside: Any, to: Any, inward: Any,
    begin: Any, width: Any,
) -> None:  # fmt: skip
    """The same in 3-D; `beside` are nine rows of the same plane, `tensor` holds ss, sy, sx, yy, yx, xx."""
    m4, m3, m2, m1, here, p1, p2, p3, p4 = near
    l4, l3, l2, l1, _, r1, r2, r3, r4 = beside
    for j in range(width):
        gs = _map_across(u, m4, m3, m2, m1, p1, p2, p3, p4, j)
        gy = _map_across(u, l4, l3, l2, l1, r1, r2, r3, r4, j)
        gx = _map_along(u, here + j)
        at = t + j
        ss, sy, sx = _read_map(tensor, at), _read_map(tensor, at + size), _read_map(tensor, at + _U(2) * size)
        yy, yx = _read_map(tensor, at + _U(3) * size), _read_map(tensor, at + _U(4) * size)
        xx = _read_map(tensor, at + _U(5) * size)
        _write_flux(outward, to + j, ss * gs + sy * gy + sx * gx)
        _write_flux(aside, to + j, sy * gs + yy * gy + yx * gx)
        _write_flux(inward, begin + j, sx * gs + yx * gy + xx * gx)


@njit(fastmath=_SAFE)
def _stage_2d(
    outward: Any, near: Any, inward: Any, begin: Any, u: Any, here: Any, total: Any, t: Any, keep: Any, share: Any,
    ahead: Any, following: Any, to: Any, width: Any, least: Any,
) -> None:  # fmt: skip
    """k = max(div q, least); then total = keep · total + share · k, and the next stage's map u + ahead · k."""
    m4, m3, m2, m1, _, p1, p2, p3, p4 = near
    for j in range(width):
        k = _flux_across(outward, m4, m3, m2, m1, p1, p2, p3, p4, j) + _flux_along(inward, begin + j)
        k = max(k, least)
        _write_stage(following, to + j, _read_flux(u, here + j) + ahead * k)
        _write_stage(total, t + j, keep * total[t + j] + share * k)


@njit(fastmath=_SAFE)
def _stage_3d(
    outward: Any, near: Any, aside: Any, beside: Any, inward: Any, begin: Any, u: Any, here: Any, total: Any, t: Any,
    keep: Any, share: Any, ahead: Any, following: Any, to: Any, width: Any, least: Any,
) -> None:  # fmt: skip
    """The same in 3-D."""
    m4, m3, m2, m1, _, p1, p2, p3, p4 = near
    l4, l3, l2, l1, _, r1, r2, r3, r4 = beside
    for j in range(width):
        k = _flux_across(outward, m4, m3, m2, m1, p1, p2, p3, p4, j) + _flux_along(inward, begin + j)
        k = max(k + _flux_across(aside, l4, l3, l2, l1, r1, r2, r3, r4, j), least)
        _write_stage(following, to + j, _read_flux(u, here + j) + ahead * k)
        _write_stage(total, t + j, keep * total[t + j] + share * k)


@njit(fastmath=_SAFE)
def _finish(u: Any, here: Any, total: Any, t: Any, width: Any) -> None:
    """u = clip(u + total)."""
    for j in range(width):
        u[here + j] = min(max(u[here + j] + total[t + j], _ZERO), _ONE)


@njit
def _border(rows: Any, begin: Any, width: Any) -> None:
    """Repeat the first and the last pixel of a row four times."""
    for k in range(_U(4)):
        rows[begin - k - _U(1)] = rows[begin]
        rows[begin + width + k] = rows[begin + width - _U(1)]


@njit
def _at(place: Any, last: Any, ring: Any, first: Any, stride: Any, offset: Any) -> Any:
    """Where a row begins: that of slab `place`, or of the nearest that there is, in a ring of slabs."""
    return _U((first + min(max(place, 0), last) % ring) * stride + offset)


@njit
def _nine(place: Any, last: Any, ring: Any, first: Any, stride: Any, offset: Any) -> Any:
    """Where the rows of the slabs `place - 4` to `place + 4` begin."""
    return (
        _at(place - 4, last, ring, first, stride, offset),
        _at(place - 3, last, ring, first, stride, offset),
        _at(place - 2, last, ring, first, stride, offset),
        _at(place - 1, last, ring, first, stride, offset),
        _at(place, last, ring, first, stride, offset),
        _at(place + 1, last, ring, first, stride, offset),
        _at(place + 2, last, ring, first, stride, offset),
        _at(place + 3, last, ring, first, stride, offset),
        _at(place + 4, last, ring, first, stride, offset),
    )


@compiled(fastmath=_SAFE, nogil=True)
def _sweep(
    u: Any, tensor: Any, slabs: int, rows: int, columns: int, iterations: int, shares: Any, aheads: Any, maps: Any,
    outward: Any, aside: Any, inward: Any, totals: Any, flat: bool, band: int, least: Any,
) -> None:  # fmt: skip
    """All steps, in place. `maps`, `outward`, `aside` and `inward` are rings of band + 8 slabs for each stage."""
    width, stages = _U(columns), len(shares)
    pitch = -(-columns // 16) * 16  # of rows without a margin
    long = pitch + 2 * MARGIN
    size = _U(slabs * rows * pitch)
    ring, carried = band + 8, band + 8 * stages - 4
    for _ in range(iterations):
        for head in range(0, slabs + 8 * stages - 4, band):
            for stage in range(stages):
                first = stage * ring
                source, around, base = (maps, ring, first - ring) if stage > 0 else (u, slabs, 0)
                begin_at = head - 8 * stage
                for slab in range(max(begin_at, 0), min(begin_at + band, slabs)):
                    for y in range(rows):
                        near = _nine(slab, slabs - 1, around, base, rows * long, y * long + MARGIN)
                        t = _U((slab * rows + y) * pitch)
                        to = _at(slab, slab, ring, first, rows * pitch, y * pitch)
                        begin = _at(slab, slab, ring, first, rows * long, y * long + MARGIN)
                        if flat:
                            _flux_2d(source, near, tensor, t, size, outward, to, inward, begin, width)
                        else:
                            plane = (base + slab % around) * rows * long + MARGIN
                            beside = _nine(y, rows - 1, rows, 0, long, plane)
                            _flux_3d(source, near, beside, tensor, t, size, outward, aside, to, inward, begin, width)
                        _border(inward, begin, width)
                for slab in range(max(begin_at - 4, 0), min(begin_at - 4 + band, slabs)):
                    for y in range(rows):
                        near = _nine(slab, slabs - 1, ring, first, rows * pitch, y * pitch)
                        begin = _at(slab, slab, ring, first, rows * long, y * long + MARGIN)
                        here = _U((slab * rows + y) * long + MARGIN)
                        t = _at(slab, slab, carried, 0, rows * pitch, y * pitch)
                        keep = _ZERO if stage == 0 else _ONE
                        if flat:
                            _stage_2d(
                                outward, near, inward, begin, u, here, totals, t, keep, shares[stage], aheads[stage],
                                maps, begin, width, least,
                            )  # fmt: skip
                        else:
                            beside = _nine(y, rows - 1, rows, 0, pitch, (first + slab % ring) * rows * pitch)
                            _stage_3d(
                                outward, near, aside, beside, inward, begin, u, here, totals, t, keep, shares[stage],
                                aheads[stage], maps, begin, width, least,
                            )  # fmt: skip
                        if stage == stages - 1:
                            _finish(u, here, totals, t, width)
                            _border(u, here, width)
                        else:
                            _border(maps, begin, width)


def sweep(
    u: Array, tensor: Array, *, iterations: int, step: float, integrator: Integrator, rectified: bool = True
) -> Array:
    """`iterations` steps of du/dt = ReLU(div(D grad u)), clipped to [0, 1] after each.

    Args:
        u: (*S) in two or three dimensions, values in [0, 1].
        tensor: the upper triangle of D by rows: (3, *S) in 2-D, (6, *S) in 3-D.
        iterations: N.
        step: Δt.
        integrator: "rk4" or "euler".
        rectified: whether the ReLU is there.
    """
    flat = u.ndim == 2
    slabs, rows, columns = (u.shape[0], 1, u.shape[1]) if flat else u.shape
    pitch = -(-columns // 16) * 16
    long = pitch + 2 * MARGIN
    shares, aheads = {
        "rk4": ((step / 6, step / 3, step / 3, step / 6), (step / 2, step / 2, step, 0.0)),
        "euler": ((step,), (0.0,)),
    }[integrator]
    stages, band = len(shares), BAND if flat else 1
    ring = stages * (band + 8)
    padded, diffusion = _aligned(slabs, rows, long), _aligned(len(tensor), slabs, rows, pitch)
    inside = u.reshape(slabs, rows, columns)
    padded[..., MARGIN - 4 : MARGIN + columns + 4] = np.pad(inside, ((0, 0), (0, 0), (4, 4)), "edge")
    diffusion[..., :columns] = tensor.reshape(len(tensor), slabs, rows, columns)
    run: Any = _sweep
    arrays = [
        _aligned(ring, rows, long),  # maps
        _aligned(ring, rows, pitch),  # outward
        _aligned(0 if flat else ring, rows, pitch),  # aside
        _aligned(ring, rows, long),  # inward
        _aligned(band + 8 * stages - 4, rows, pitch),  # totals
    ]
    run(
        padded.reshape(-1), diffusion.reshape(-1), slabs, rows, columns, iterations, np.array(shares, np.float32),
        np.array(aheads, np.float32), *(array.reshape(-1) for array in arrays), flat, band,
        _ZERO if rectified else _FAR,
    )  # fmt: skip
    return padded[..., MARGIN : MARGIN + columns].reshape(u.shape)


def _aligned(*shape: int) -> Array:
    """Zeros that begin on a cache line."""
    count = int(np.prod(shape))
    block = np.zeros(count + 16, np.float32)
    begin = (-block.ctypes.data % 64) // 4
    return block[begin : begin + count].reshape(shape)
