"""A U-Net on an encoder of the user: its maps are read at every level, it learns, and it is saved with the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from scantling.contract.method import build
from scantling.contract.step import Inference
from scantling.core.case import Labels
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Intensity, Traits
from scantling.methods.supervised.unet import UNetSegmenter
from scantling.methods.supervised.unet_settings import UNetSettings
from scantling.networks.encoded_unet import EncodedUNet
from scantling.records.run_folder import load_model, save_model


class Small(nn.Module):
    """Maps of a half, a quarter and a sixteenth of the image, and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.body = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.deep = nn.Conv2d(6, 8, 3, stride=4, padding=1)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.deep(self.body(self.stem(x).relu()).relu()).mean((2, 3)))
        return out


OWN = f"{__name__}:Small"


def unet(channels: int = 1, *, dimensions: int = 2, **changes: Any) -> UNetSegmenter:
    each = Intensity(mean=100, std=50, low=0, high=250, minimum=0, maximum=255)
    traits = Traits(
        dimensions=dimensions, channels=tuple(map(str, range(channels))), spacing=(1.0,) * dimensions, labelled=4,
        shape=(40,) * dimensions, smallest=(40,) * dimensions, intensity=(each,) * channels,
        labels=Labels(names=("lesion",), values=((255,),)),
    )  # fmt: skip
    given = {"encoder": OWN, "layers": "stem,body,deep", **changes}
    settings = UNetSettings.preset("tiny", given).resolve(traits)
    return build(UNetSegmenter, settings, traits, seed=0).eval()


def test_each_map_stands_at_its_level_and_grey_is_given_three_times() -> None:
    network = unet().network
    assert isinstance(network, EncodedUNet)
    assert network.strides == [(2, 2), (2, 2), (4, 4)]
    image = torch.rand(2, 1, 32, 48)
    maps = network.encode(image)
    stem = network.encoder.get_submodule("stem")(image.expand(-1, 3, -1, -1))
    assert torch.equal(maps[1], stem)
    assert [tuple(one.shape[1:]) for one in maps] == [(4, 32, 48), (4, 16, 24), (6, 8, 12), (8, 2, 3)]
    assert network(torch.rand(1, 1, 37, 21)).shape == (1, 1, 37, 21)
    assert unet(3).network(torch.rand(1, 3, 16, 16)).shape == (1, 1, 16, 16)


def test_the_encoder_learns_with_the_rest_and_is_saved_with_the_model(tmp_path: Path) -> None:
    model = unet()
    (player,) = model.stages()[0].players
    model.network(torch.rand(2, 1, 32, 32)).square().mean().backward()
    weights = dict(model.network.named_parameters())
    for name in ("encoder.stem.weight", "encoder.deep.weight"):
        assert any(weights[name] is each for each in player.parameters())
        assert bool(weights[name].grad.any())
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    image = Batch(torch.zeros(1).long(), torch.zeros(1).long(), {"image": torch.rand(1, 1, 20, 30)})
    with torch.no_grad():
        one, other = (each.segment(image, Inference(seed=0)).probabilities for each in (model, loaded))  # type: ignore[attr-defined]
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"layers": ()}, "name the layers of the encoder to read; it has stem, body, deep, head"),
        ({"layers": "stem,tail"}, "found 'tail'; the encoder has stem, body, deep, head"),
        ({"layers": "body,stem"}, "maps are 4, 2 times smaller than the image; expected"),
        ({"layers": "stem,head"}, "'head' ends with no map"),
        ({"channels": 2}, "the images have 2 channels; expected 3, or grey ones"),
        ({"encoder": "small"}, "--settings.encoder small: expected MODULE:FACTORY"),
        ({"encoder": "nowhere:f"}, r"--settings.encoder nowhere:f: cannot be made \(ModuleNotFoundError"),
        ({"dimensions": 3}, "sees images in 2-D; add --settings.dimensions 2"),
    ],
)
def test_an_encoder_that_does_not_fit_is_refused_in_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        unet(**changes)
