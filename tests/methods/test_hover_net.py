"""HoVer-Net: its network, its loss by hand, its objects in tiles and in classes, and the way through the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from commands import command
from scantling.contract.method import build
from scantling.contract.step import Inference, Step, Total
from scantling.core.case import Labels
from scantling.core.errors import ArrayError, SettingsError
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch, Intensity, Traits
from scantling.inference.models import models_of
from scantling.inference.objects import label_map
from scantling.inference.tiles import Tiler
from scantling.losses.hover import hover_terms
from scantling.methods.catalogue import CARDS, implementation_of
from scantling.methods.supervised.hover_net import HoVerNetSegmenter
from scantling.methods.supervised.instances import objects_of
from scantling.metrics import instances as compared
from scantling.networks import HoVerNet
from scantling.objects import hover_maps
from scantling.testing.data import make_data

FACTS = Intensity(mean=0, std=1, low=0, high=1, minimum=0, maximum=255)
ONE, TWO = Labels(names=("ball",), values=((1,),)), Labels(names=("a", "b"), values=((1,), (2,)))


def traits_of(labels: Labels | None, *, channels: int = 1, dimensions: Literal[2, 3] = 2) -> Traits:
    return Traits(
        dimensions=dimensions, channels=tuple(f"c{n}" for n in range(channels)), spacing=(1.0,) * dimensions,
        shape=(32,) * dimensions, smallest=(32,) * dimensions, intensity=(FACTS,) * channels, labels=labels, labelled=3,
    )  # fmt: skip


def segmenter(labels: Labels | None = ONE) -> HoVerNetSegmenter:
    traits = traits_of(labels)
    return build(HoVerNetSegmenter, HoVerNetSegmenter.Settings.preset("tiny").resolve(traits), traits).eval()


def slide(side: int, step: int) -> np.ndarray:
    """Discs on a lattice, so close that some touch."""
    numbers, generator = np.zeros((side, side), np.int32), np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    for number, (row, column) in enumerate(np.ndindex(side // step, side // step), start=1):
        middle = [(n + 0.5) * step + generator.uniform(-1, 1) for n in (row, column)]
        inside = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 <= (step / 2) ** 2
        numbers[inside & (numbers == 0)] = number
    return numbers


class Known(HoVerNetSegmenter):
    """Answers what the channels of the image say, the foreground and both maps, and remembers how large they were."""

    def maps(self, image: Tensor) -> Tensor:
        self.seen = getattr(self, "seen", 0) + 1
        return image


def test_tiles_of_a_slide_give_each_object_once() -> None:
    numbers = slide(192, 16)
    image = torch.from_numpy(np.concatenate([(numbers > 0)[None], hover_maps(numbers)]).astype(np.float32))[None]
    settings = HoVerNetSegmenter.Settings.preset("tiny")
    for memory, tiles in ((None, 1), (64 * 64 * 4 * 3 * 2, 25)):  # what a tile and its answer take; a half in common
        known, tiler = Known(settings, traits_of(ONE, channels=3)), Tiler(memory=memory)
        batch = Batch(torch.arange(1), torch.arange(1), {"image": image})
        answer = known.segment(batch, Inference(seed=0, tile=tiler, find=tiler.find))
        assert len(answer.instances[0].classes) == numbers.max() == 144
        assert tiles <= known.seen <= tiles + 2  # two trials
        found = label_map(answer.instances[0], numbers.shape)
        assert found is not None
        assert compared(found, numbers).aji > 0.9


def test_the_network_answers_any_size_and_the_published_one_has_the_layers_of_the_paper() -> None:
    network = HoVerNet(1, {"inside": 1, "maps": 2, "types": 4}, width=4, units=(1, 1, 1, 1), growth=4, norm="instance")
    for size in ((5, 3), (33, 40)):
        answer = network(torch.zeros(2, 1, *size))
        assert {name: tuple(each.shape[1:]) for name, each in answer.items()} == {
            "inside": (1, *size), "maps": (2, *size), "types": (4, *size)
        }  # fmt: skip
    with torch.device("meta"):
        paper = HoVerNet(3, {"inside": 1, "maps": 2})
    convolutions = [m for stage in paper.stages for m in stage.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 3 * (3 + 4 + 6 + 3) + 4  # three a unit, and a shortcut a stage
    assert convolutions[-1].out_channels == 2048
    assert paper.decoders["maps"].levels[0][1].channels == 256 + 8 * 32
    with pytest.raises(ArrayError, match="channels"):
        network(torch.zeros(1, 3, 16, 16))


def test_the_terms_of_the_maps_by_hand() -> None:
    true = torch.zeros(1, 2, 9, 9)
    objects, known = torch.zeros(1, 1, 9, 9, dtype=torch.bool), torch.ones(1, 1, 9, 9, dtype=torch.bool)
    objects[..., 4, 4] = True
    ramp = torch.arange(9.0).expand(9, 9)
    found = torch.stack([ramp, ramp])[None]  # of the vertical map the gradient is asked downwards: none
    squared, slopes, count = hover_terms(found, true, objects=objects, known=known)
    assert squared.item() == pytest.approx(float(ramp.square().mean()))
    steps = torch.arange(-2.0, 3)
    slope = sum(x * x / (x * x + y * y) for x in steps for y in steps if x or y)
    assert slopes.item() == pytest.approx(float(slope) ** 2)
    assert count == 1
    known[..., 4, 4] = False
    assert hover_terms(found, true, objects=objects, known=known)[1] == 0
    with pytest.raises(ArrayError, match=r"\(B, 2, H, W\)"):
        hover_terms(found[:, :1], true[:, :1], objects=objects, known=known)


def terms_of(method: HoVerNetSegmenter, batch: Batch) -> dict[str, Tensor]:
    game = method.objectives({"labelled": batch}, Step(seed=0))
    move: Any = next(game)
    while isinstance(move, Total):
        move = game.send(move.part.detach())
    return dict(move[1])


def test_unknown_pixels_count_in_no_term() -> None:
    method = segmenter(TWO)
    numbers = torch.from_numpy(slide(32, 16))[None, None]
    mask = (numbers > 0).to(torch.uint8)
    mask[..., 16:] *= 2
    there = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    mask[..., 24:, :], numbers[..., 24:, :] = IGNORE, 0
    rows = torch.arange(1)
    answers, off = method.network(there), torch.zeros(1, 1, 32, 32)
    method.network.forward = lambda image: {name: each + image for name, each in answers.items()}  # type: ignore[method-assign]
    terms = []
    for shift in (0.0, 7.0):
        off[..., 26:, :] = shift  # beyond the reach of the gradient of what is known
        fields = {"image": off.clone(), "mask": mask, "instances": numbers}
        terms.append(terms_of(method, Batch(rows, rows, fields)))
    assert terms[0].keys() == {
        "cross_entropy", "overlap", "maps", "gradients", "type_cross_entropy", "type_overlap"
    }  # fmt: skip
    for name, one in terms[0].items():
        torch.testing.assert_close(one, terms[1][name], msg=name)


def test_objects_have_the_class_of_most_of_their_pixels_and_the_mean_as_score() -> None:
    numbers = np.zeros((4, 6), np.int32)
    numbers[1:3, 1:4], numbers[3, 5] = 1, 2
    probabilities = torch.zeros(2, 4, 6)
    probabilities[0, :, :3], probabilities[1, :, 3:] = 0.8, 0.5
    found = objects_of(numbers, probabilities)
    assert found.classes.tolist() == [0, 1]
    assert found.scores is not None
    assert found.scores.tolist() == pytest.approx([(4 * 0.8 + 2 * 0.5) / 6, 0.5])
    assert found.boxes.tolist() == [[[1, 3], [1, 4]], [[3, 4], [5, 6]]]
    assert found.crops[0].all()
    none = objects_of(np.zeros((4, 6), np.int32), probabilities)
    assert none.boxes.shape == (0, 2, 2)
    assert len(none.classes) == 0


@pytest.mark.parametrize("name", ["gland-diffusion", "ssd"])
def test_views_are_declined_with_the_true_reason_where_objects_are_found(name: str) -> None:
    traits, kind = traits_of(ONE), implementation_of(CARDS[name])
    method = build(kind, kind.Settings.preset("tiny").resolve(traits), traits)
    (note,) = models_of([method], {"views": True}).notes
    assert note == "--views: objects of several answers do not become one; images are answered as they are"
    assert not models_of([method], {}).notes


@pytest.mark.parametrize(
    ("labels", "dimensions", "sentence"),
    [
        (ONE, 3, "the data are volumes"),
        (None, 2, "found no classes"),
        (Labels(names=("a", "b"), values=((1, 2), (2,))), 2, "an object has one class"),
    ],
)
@pytest.mark.parametrize("name", ["hover-net", "unet-watershed"])
def test_what_has_no_single_objects_is_refused(
    labels: Labels | None, dimensions: Literal[2, 3], sentence: str, name: str
) -> None:
    with pytest.raises(SettingsError, match=sentence):
        implementation_of(CARDS[name]).Settings.preset("tiny").resolve(traits_of(labels, dimensions=dimensions))


def test_an_even_kernel_is_refused_before_anything_is_read() -> None:
    with pytest.raises(SettingsError, match=r"--options.sobel: found 4; .*odd"):
        HoVerNetSegmenter.segment_with.of({"sobel": 4})


def test_two_types_go_all_the_way_from_data_to_scores_of_objects(tmp_path: Path) -> None:
    data = make_data(CARDS["hover-net"], tmp_path / "data", dimensions=2, classes=2)
    run, out, scores = tmp_path / "run", tmp_path / "found", tmp_path / "scores.json"
    done = command("train", "hover-net", "--data", data, "--out", run, "--preset", "tiny", "--steps", "20")
    assert done.returncode == 0, done.stderr
    done = command("predict", run, data, "--out", out, "--options.edge", "0.5", "--options.smallest", "4")
    assert done.returncode == 0, done.stderr
    for path in (out / "instances").glob("*.json"):
        objects = json.loads(path.read_text())["objects"]
        assert {each["class"] for each in objects} <= {"class-1", "class-2"}
        assert all({"class", "score", "box", "number"} == each.keys() for each in objects)
    done = command("evaluate", out, data, "--json", scores)
    assert done.returncode == 0, done.stderr
    assert {"class-1", "class-2"} <= json.loads(scores.read_text())["objects"].keys()
