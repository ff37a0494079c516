"""Damaged files of every format end in the one typed error or in an image of the same shape, and soon."""

from __future__ import annotations

from pathlib import Path

import pytest

from scantling.core.errors import FileError
from scantling.data import files
from script import script

pytestmark = pytest.mark.filterwarnings("error")


fuzz = script("benchmarks/fuzz.py")
MUTATIONS = 60
"""Of each sample; `benchmarks/fuzz.py` makes thousands."""
SAMPLES = {sample.kind: sample for sample in fuzz.samples()}


@pytest.mark.parametrize("kind", [kind for kind, sample in SAMPLES.items() if sample.judged])
def test_mutations_end_in_a_typed_error_or_in_the_same_shape(kind: str) -> None:
    tally = fuzz.fuzz(SAMPLES[kind], count=MUTATIONS, seed=11)
    assert (tally.untyped, tally.other) == (0, 0), tally.example
    assert tally.same + tally.typed == MUTATIONS
    assert tally.slowest < fuzz.SLOWEST


@pytest.mark.parametrize("kind", [kind for kind, sample in SAMPLES.items() if not sample.judged])
def test_mutations_of_unprotected_sizes_still_end_in_a_typed_error_or_an_image(kind: str) -> None:
    tally = fuzz.fuzz(SAMPLES[kind], count=MUTATIONS, seed=11)
    assert tally.untyped == 0, tally.example
    assert tally.other < (12 if "EXIF" in kind else 3)  # a tenth of the mutations at most change a byte of EXIF
    assert tally.slowest < fuzz.SLOWEST


def test_mutations_are_the_same_for_the_same_seed_and_differ_from_the_file() -> None:
    data = SAMPLES["PNG grey"].data
    first, second = (list(fuzz.mutations(data, 40, 5)) for _ in range(2))
    assert first == second
    assert sum(mutation == data for mutation in first) <= 1  # two flips may meet on one bit
    assert {len(mutation) < len(data) for mutation in first} == {True, False}


@pytest.mark.parametrize(
    "kind", ["PNG grey", "JPEG colour", "GIF grey", "BMP colour", "TIFF plain", "NIfTI", "DICOM explicit", "NPY image"]
)
def test_every_truncation_is_refused(tmp_path: Path, kind: str) -> None:
    data, path = SAMPLES[kind].data, tmp_path / SAMPLES[kind].name
    for length in [*range(1, len(data) - 64, max(1, len(data) // 40)), *range(len(data) - 64, len(data))]:
        path.write_bytes(data[:length])
        with pytest.raises(FileError):
            files.read(path)
