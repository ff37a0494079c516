"""The mending equation as one compiled sweep over rows, in 2-D and 3-D.

A step of RK4 is four stages, each a gradient, a flux and a divergence. Done one after another over the whole image
they would send twenty images through memory. Here all four travel over the image together: the flux of a stage
follows eight slabs (rows in 2-D, planes in 3-D) behind that of the stage before it, so that whatever passes between
them lives in rings of a few slabs that stay in the cache.

Nothing is summed across pixels and nothing runs in parallel, so results repeat bit for bit. The compiled code is
kept for the life of the process only (compiling takes about three seconds).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scantling.mending.apart import apart
from scantling.mending.stencil import WEIGHTS, Integrator

Array = NDArray[np.float32]

MARGIN = 16
"""Floats before the first pixel of a row: rows begin on a cache line and there is room for the border."""
BAND = 16
"""Rows that a stage of a 2-D image does before the next stage has its turn."""

_W1, _W2, _W3, _W4 = (np.float32(weight) for weight in WEIGHTS)
_ZERO, _ONE = np.float32(0), np.float32(1)
_U = np.uint64
_SAFE = {"contract", "nsz", "nnan", "ninf"}


def _differences(read: Any) -> tuple[Any, Any]:
    """The stencil across nine rows that begin at `near`, and along one row, with one way to read."""

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


# What `flux` reads (the map and the tensor) it never writes, and so on for the three loops.
_read_map, _write_flux = apart("flux")
_read_flux, _write_slope = apart("slope")
_read_slope, _write_stage = apart("stage")
_map_across, _map_along = _differences(_read_map)
_flux_across, _flux_along = _differences(_read_flux)
_outward_across, _ = _differences(_read_slope)


@njit(fastmath=_SAFE)
def _flux_2d(u: Any, near: Any, tensor: Any, t: Any, size: Any, outward: Any, to: Any, inward: Any, width: Any) -> None:
    """One row of D grad u; `near` are the beginnings of nine rows, `tensor` holds ss, sx, xx one after another."""
    m4, m3, m2, m1, here, p1, p2, p3, p4 = near
    for j in range(width):
        gs = _map_across(u, m4, m3, m2, m1, p1, p2, p3, p4, j)
        gx = _map_along(u, here + j)
        ss, sx, xx = _read_map(tensor, t + j), _read_map(tensor, t + size + j), _read_map(tensor, t + _U(2) * size + j)
        _write_flux(outward, to + j, ss * gs + sx * gx)
        _write_flux(inward, _U(MARGIN) + j, sx * gs + xx * gx)


@njit(fastmath=_SAFE)
def _flux_3d(
    u: Any, near: Any, beside: Any, tensor: Any, t: Any, size: Any, outward: Any, to: Any, aside: Any, row: Any,
    inward: Any, begin: Any, width: Any,
) -> None:  # fmt: skip
    """The same in 3-D; `tensor` holds ss, sy, sx, yy, yx, xx, and `beside` the nine rows of the same plane."""
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
        _write_flux(aside, row + j, sy * gs + yy * gy + yx * gx)
        _write_flux(inward, begin + j, sx * gs + yx * gy + xx * gx)


@njit(fastmath=_SAFE)
def _slope_2d(inward: Any, begin: Any, slope: Any, to: Any, width: Any) -> None:
    """The part of the divergence that lies inside a row."""
    for j in range(width):
        _write_slope(slope, to + j, _flux_along(inward, begin + j))


@njit(fastmath=_SAFE)
def _slope_3d(inward: Any, begin: Any, aside: Any, beside: Any, slope: Any, to: Any, width: Any) -> None:
    """The part of the divergence that lies inside a plane."""
    l4, l3, l2, l1, _, r1, r2, r3, r4 = beside
    for j in range(width):
        across = _flux_across(aside, l4, l3, l2, l1, r1, r2, r3, r4, j)
        _write_slope(slope, to + j, _flux_along(inward, begin + j) + across)


@njit(fastmath=_SAFE)
def _stage(
    outward: Any, near: Any, slope: Any, s: Any, u: Any, here: Any, total: Any, t: Any, keep: Any, share: Any,
    ahead: Any, following: Any, to: Any, width: Any,
) -> None:  # fmt: skip
    """k = ReLU(div q); then total = keep · total + share · k, and the next stage's map u + ahead · k."""
    m4, m3, m2, m1, _, p1, p2, p3, p4 = near
    for j in range(width):
        k = _read_slope(slope, s + j) + _outward_across(outward, m4, m3, m2, m1, p1, p2, p3, p4, j)
        k = max(k, _ZERO)
        _write_stage(following, to + j, _read_slope(u, here + j) + ahead * k)
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
    return _U((first + min(max(place, 0), last) % ring) * stride + offset)


@njit
def _nine(place: Any, last: Any, ring: Any, first: Any, stride: Any, offset: Any) -> Any:
    """Where the rows `place - 4` to `place + 4` begin, repeated beyond 0 and `last`, in a ring of `ring` slabs."""
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


@njit(fastmath=_SAFE, nogil=True)
def _sweep(
    u: Any, tensor: Any, slabs: int, rows: int, columns: int, iterations: int, shares: Any, aheads: Any, maps: Any,
    outward: Any, slope: Any, totals: Any, aside: Any, inward: Any, flat: bool, band: int,
) -> None:  # fmt: skip
    width, length = _U(columns), len(shares)
    pitch = -(-columns // 16) * 16  # of rows without a margin
    long = pitch + 2 * MARGIN
    size = _U(slabs * rows * pitch)
    kept, carried = band + 8, band + 8 * length - 4
    for _ in range(iterations):
        for head in range(0, slabs + 8 * length - 4, band):
            for stage in range(length):
                source, ring, base = (maps, kept, (stage - 1) * kept) if stage > 0 else (u, slabs, 0)
                for slab in range(head - 8 * stage, head - 8 * stage + band):
                    if 0 <= slab < slabs:
                        for y in range(rows):
                            near = _nine(slab, slabs - 1, ring, base, rows * long, y * long + MARGIN)
                            t = _U((slab * rows + y) * pitch)
                            to = _U(((stage * 9 + slab % 9) * rows + y) * pitch)
                            begin = _U(y * long + MARGIN)
                            if flat:
                                _flux_2d(source, near, tensor, t, size, outward, to, inward, width)
                            else:
                                plane = (base + slab % ring) * rows * long + MARGIN
                                beside = _nine(y, rows - 1, rows, 0, long, plane)
                                row = _U(y * pitch)
                                _flux_3d(
                                    source, near, beside, tensor, t, size, outward, to, aside, row, inward, begin, width
                                )
                            _border(inward, begin, width)
                        for y in range(rows):
                            begin, to = _U(y * long + MARGIN), _U(((stage * 5 + slab % 5) * rows + y) * pitch)
                            if flat:
                                _slope_2d(inward, begin, slope, to, width)
                            else:
                                _slope_3d(inward, begin, aside, _nine(y, rows - 1, rows, 0, pitch, 0), slope, to, width)
                    done = slab - 4
                    if 0 <= done < slabs:
                        for y in range(rows):
                            near = _nine(done, slabs - 1, 9, stage * 9, rows * pitch, y * pitch)
                            s = _U(((stage * 5 + done % 5) * rows + y) * pitch)
                            here = _U((done * rows + y) * long + MARGIN)
                            t = _U((done % carried * rows + y) * pitch)
                            to = _U(((stage * kept + done % kept) * rows + y) * long + MARGIN)
                            keep = _ZERO if stage == 0 else _ONE
                            _stage(
                                outward, near, slope, s, u, here, totals, t, keep, shares[stage], aheads[stage], maps,
                                to, width,
                            )  # fmt: skip
                            if stage == length - 1:
                                _finish(u, here, totals, t, width)
                                _border(u, here, width)
                            else:
                                _border(maps, to, width)


def sweep(u: Array, tensor: Array, *, iterations: int, step: float, integrator: Integrator) -> Array:
    """`iterations` steps of du/dt = ReLU(div(D grad u)), clipped to [0, 1] after each.

    Args:
        u: (*S) in two or three dimensions, values in [0, 1].
        tensor: the upper triangle of D by rows: (3, *S) in 2-D, (6, *S) in 3-D.
        iterations: N.
        step: Δt.
        integrator: "rk4" or "euler".
    """
    flat = u.ndim == 2
    slabs, rows, columns = (u.shape[0], 1, u.shape[1]) if flat else u.shape
    pitch = -(-columns // 16) * 16
    long, inside = pitch + 2 * MARGIN, slice(MARGIN, MARGIN + columns)
    shares, aheads = {
        "rk4": ((step / 6, step / 3, step / 3, step / 6), (step / 2, step / 2, step, 0.0)),
        "euler": ((step,), (0.0,)),
    }[integrator]
    stages, band = len(shares), BAND if flat else 1
    padded = _aligned(slabs, rows, long)
    padded[..., MARGIN - 4 : MARGIN + columns + 4] = np.pad(
        u.reshape(slabs, rows, columns), ((0, 0), (0, 0), (4, 4)), "edge"
    )
    diffusion = _aligned(len(tensor), slabs, rows, pitch)
    diffusion[..., :columns] = tensor.reshape(len(tensor), slabs, rows, columns)
    _sweep(
        padded.reshape(-1), diffusion.reshape(-1), slabs, rows, columns, iterations,
        np.array(shares, np.float32), np.array(aheads, np.float32),
        _aligned(stages, band + 8, rows, long).reshape(-1),
        _aligned(stages, 9, rows, pitch).reshape(-1),
        _aligned(stages, 5, rows, pitch).reshape(-1),
        _aligned(band + 8 * stages - 4, rows, pitch).reshape(-1),
        _aligned(rows, pitch).reshape(-1), _aligned(rows, long).reshape(-1), flat, band,
    )  # fmt: skip
    return padded[..., inside].reshape(u.shape).copy()


def _aligned(*shape: int) -> Array:
    """Zeros that begin on a cache line."""
    count = int(np.prod(shape))
    block = np.zeros(count + 16, np.float32)
    begin = (-block.ctypes.data % 64) // 4
    return block[begin : begin + count].reshape(shape)
