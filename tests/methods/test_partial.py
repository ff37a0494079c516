"""What learns from scribbles counts drawn pixels alone, and data that cannot teach it are refused in a sentence."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from scantling.contract.step import Step
from scantling.core.case import IGNORE
from scantling.core.errors import DataError, SettingsError
from scantling.data.dataset import open_dataset
from scantling.data.division import divide
from scantling.data.interpolation import most_drawn
from scantling.data.traits import measure_traits
from scantling.losses.overlap import cross_entropy
from scantling.methods.catalogue import CARDS
from scantling.testing.data import make_data
from scantling.training import Options, train
from scantling.training.readers import readers_of
from semi_supervised import noise, played, segmenter

TINY = Options(preset="tiny", steps=2)
SCRIBBLED = CARDS["partial"].model_copy(update={"needs": (("image", "scribbles", "mask"),)})


def trained(data: Path, run: Path, options: Options = TINY) -> str:
    said = io.StringIO()
    train("partial", [data], run, options, console=Console(file=said, width=1000, markup=False))
    return said.getvalue()


def changed(data: Path, change: object) -> None:
    """Apply a function of class numbers to the scribbles of all cases."""
    for path in (data / "scribbles").iterdir():
        drawn = np.asarray(Image.open(path))
        Image.fromarray(change(drawn).astype(np.uint8)).save(path)  # type: ignore[operator]


def test_pixels_that_were_not_drawn_count_in_no_term_of_the_loss() -> None:
    method = segmenter("partial", classes=2)
    batch = noise(1, classes=2)
    drawn = batch.mask.clone()
    drawn[:, :, ::3] = IGNORE
    batch.fields["scribbles"] = drawn  # type: ignore[index]
    terms = played(method.objectives({"scribbled": batch}, Step(seed=0, count=4)))["unet"]
    assert set(terms) == {"cross_entropy", "overlap"}
    logits = method.network(batch.image)
    known = (drawn != IGNORE)[:, 0]
    each = torch.nn.functional.cross_entropy(logits, batch.mask[:, 0].long(), reduction="none")
    expected = torch.stack([losses[where].mean() for losses, where in zip(each, known, strict=True)]).mean()
    assert torch.allclose(terms["cross_entropy"], expected)
    other = torch.where(drawn == IGNORE, (batch.mask + 1) % 3, batch.mask)
    again = torch.where(drawn == IGNORE, IGNORE, other).to(torch.uint8)
    assert torch.equal(cross_entropy(logits, again, ignore_index=IGNORE), terms["cross_entropy"])


def test_patches_hold_a_drawn_pixel_and_those_on_the_foreground_are_centred_on_one(tmp_path: Path) -> None:
    data = make_data(SCRIBBLED, tmp_path, dimensions=2)

    def corner(drawn: np.ndarray) -> np.ndarray:
        few = np.full_like(drawn, 254)
        few[:2, :2], few[1, 1] = 0, 255
        return few

    changed(data, corner)
    dataset = divide(open_dataset(data), validation=0.0)
    method = segmenter("partial", patch=(8, 8), foreground=0.0)
    method.traits = measure_traits(dataset, reads=("image", "scribbles"))
    reader = readers_of(method.stages()[0], method, dataset, seed=0)["scribbled"]
    batches = [reader.batch(step) for step in range(10)]
    assert all((batch.scribbles != IGNORE).flatten(1).any(1).all() for batch in batches)


def test_what_scribbles_tell_is_planned_with_and_thickness_is_not(tmp_path: Path) -> None:
    data = make_data(SCRIBBLED, tmp_path, dimensions=2, classes=2)
    dataset = divide(open_dataset(data), validation=0.0)
    traits = measure_traits(dataset, reads=("image", "scribbles"))
    assert traits.thickness == ()
    assert traits.labelled == 4
    assert traits.unlabelled == 0
    assert len(traits.mirrored) == 2
    drawn = [np.asarray(Image.open(data / "scribbles" / f"case{n}.png")) for n in range(4)]
    known = sum(int((one != 254).sum()) for one in drawn)
    assert traits.foreground == tuple(sum(int((one == k).sum()) for one in drawn) / known for k in (1, 2))


def test_no_subject_is_held_out_and_no_mask_is_read(tmp_path: Path) -> None:
    data = make_data(SCRIBBLED, tmp_path / "data", dimensions=2)
    for path in (data / "masks").iterdir():
        path.write_bytes(b"")
    said = trained(data, tmp_path / "run")
    assert "4 training cases with scribbles, 2 test" in said
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert not facts["split"]["validation"]
    assert facts["labels_read"]["training"]["cases"] == 4
    assert facts["labels_read"]["thresholds"]["cases"] == facts["labels_read"]["selection"]["cases"] == 0
    with pytest.raises(SettingsError, match="partial learns from no mask, and none may choose"):
        trained(data, tmp_path / "best", Options(preset="tiny", steps=2, select="best"))


def test_scribbles_that_mark_no_pixel_of_a_class_are_said_and_those_without_any_or_background_refused(
    tmp_path: Path,
) -> None:
    data = make_data(SCRIBBLED, tmp_path / "data", dimensions=2, classes=2)
    changed(data, lambda drawn: np.where(drawn == 2, 254, drawn))
    assert "no training scribble marks the class 'class-2'; it cannot be learnt" in trained(data, tmp_path / "run")
    changed(data, lambda drawn: np.where(drawn == 0, 254, drawn))
    with pytest.raises(DataError, match="mark class-1, and nothing as background; expected some"):
        trained(data, tmp_path / "no background")
    changed(data, lambda drawn: np.full_like(drawn, 254))
    with pytest.raises(DataError, match="all training scribbles are empty: no pixel is of class-1, class-2"):
        trained(data, tmp_path / "empty")
    changed(data, lambda drawn: np.full_like(drawn, 7))
    with pytest.raises(DataError, match="holds the value 7, which is unknown"):
        trained(data, tmp_path / "strange")


def test_a_line_stays_whole_where_scribbles_shrink_and_what_is_drawn_more_wins() -> None:
    generator = np.random.default_rng(0)
    drawn = np.full((1, 17, 23), IGNORE, np.uint8)
    places = generator.random((17, 23)) < 0.2
    drawn[0][places] = generator.integers(0, 4, int(places.sum()))
    found = most_drawn(torch.from_numpy(drawn), (5, 7)).numpy()[0]
    for row in range(5):
        for column in range(7):
            inside = [
                int(drawn[0, y, x])
                for y in range(17)
                for x in range(23)
                if int((y + 0.5) * 5 / 17) == row and int((x + 0.5) * 7 / 23) == column and drawn[0, y, x] != IGNORE
            ]
            times = {value: inside.count(value) for value in inside}
            best = [value for value in times if times[value] == max(times.values())]
            assert found[row, column] == (max(best) if best else IGNORE)
    volume = torch.from_numpy(np.repeat(drawn[:, None], 3, 1))
    assert torch.equal(most_drawn(volume, (3, 5, 7), slices=True)[0, 2], torch.from_numpy(found))
    same = torch.from_numpy(drawn)
    assert torch.equal(most_drawn(same, (17, 23)), same)
    assert torch.equal(most_drawn(same, (34, 46))[:, ::2, ::2], same)
