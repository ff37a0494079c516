"""MGH and MGZ as FreeSurfer writes them; what follows the voxels (echo times, tags) is not read.

A gzipped file is protected by its checksum. In a plain one nothing tells how long the tags are, so that a size that
became smaller cannot be seen.
"""

from __future__ import annotations

from math import prod

import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader

from scantling.data.formats.common import (
    Array,
    Header,
    Plan,
    Source,
    numbered,
    plausible_affine,
    plausible_spacing,
    volume,
)
from scantling.data.formats.gzipped import GZIP, unpacked

BEGIN = 284
"""The bytes of a header."""
TAIL = 1 << 24
"""The most bytes of tags that may follow the voxels of a gzipped file."""
TYPES = {0: "u1", 1: "i4", 3: "f4", 4: "i2", 10: "u2"}


def inspect(source: Source) -> Plan:
    """Judge sizes, number type and geometry."""
    packed = source.at(0, 2) == GZIP
    start = unpacked(source, BEGIN, whole=False)[:BEGIN] if packed else source.at(0, BEGIN)
    if len(start) < BEGIN:
        raise source.error(f"holds only {len(start)} bytes of a header", expected=f"{BEGIN}", remedy="it is truncated")
    head = MGHHeader(bytes(start), check=False)
    dims, kind = [int(length) for length in head["dims"]], TYPES.get(int(head["type"]))
    if int(head["version"]) != 1 or kind is None or min(dims) < 1:
        raise source.error(f"holds {dims} numbers of type {int(head['type'])}", expected="an MGH header of version 1")
    dtype = np.dtype(kind)
    length = BEGIN + prod(dims) * dtype.itemsize
    if not packed and length > source.size:
        raise source.error(
            f"holds {source.size:,} bytes",
            expected=f"at least {length:,} for {' x '.join(map(str, dims))} voxels",
            remedy="it is truncated or damaged: copy it again from its source",
        )
    stored, steps, affine = tuple(dims[:3]), None, None
    if int(head["goodRASFlag"]) == 1:
        steps = [float(step) for step in head["delta"]]
        plausible_spacing(source, steps)
        affine = np.asarray(head.get_affine(), np.float64)
        plausible_affine(source, affine, steps)
    geometry = volume(stored, steps, affine=affine, slice_axis=2)
    header = Header("MGH", geometry.shape, numbered(dims[3]), dtype, geometry)

    def decode() -> Array:
        data = unpacked(source, length, whole=True, tail=TAIL) if packed else source.at(0, length)
        voxels = np.frombuffer(data, dtype.newbyteorder(">"), prod(dims), BEGIN)
        array = np.moveaxis(voxels.reshape(dims, order="F"), -1, 0).reshape((dims[3], *header.shape), order="F")
        return np.ascontiguousarray(array, dtype)

    return Plan(header, decode, length, source.size)
