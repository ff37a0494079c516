"""FEDD: frozen features stay frozen, heads see a pixel as a convolution would, and controls run the same heads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from commands import command
from diffusers_models import folder
from scantling.contract.method import build
from scantling.contract.step import Inference, Step
from scantling.core.case import Labels
from scantling.core.errors import FileError, SettingsError
from scantling.core.samples import Batch, Intensity, Traits
from scantling.methods.catalogue import CARDS
from scantling.methods.features import factories
from scantling.methods.features.fedd import BLOCKS, Fedd, FeddClassifier, block_for
from scantling.methods.features.fedd_settings import FeddClassifierSettings, FeddSettings
from scantling.methods.features.heads import PixelHead, disagreement, pooled
from scantling.methods.features.image_diffusion import network_of
from scantling.methods.features.pretrain import DiffusionPretrain
from scantling.methods.features.pretrain_settings import PretrainSettings
from scantling.methods.features.pyramid import SCALES, pyramid
from scantling.methods.features.reader import FeatureReader, block_like, encoder_read
from scantling.networks.denoiser import Denoiser
from scantling.records.run_folder import load_model, save_model
from scantling.testing.data import make_data


@cache
def public() -> Denoiser:
    """The network of the paper, without weights."""
    with torch.device("meta"):
        return network_of(PretrainSettings(), channels=3)


def traits(channels: tuple[str, ...] = ("red", "green", "blue"), **facts: Any) -> Traits:
    each = Intensity(mean=100, std=50, low=0, high=250, minimum=0, maximum=255)
    known: dict[str, Any] = {
        "labels": Labels(names=("lesion",), values=((255,),)), "labelled": 4, "image_classes": ("benign", "bad"),
        "intensity": (each,) * len(channels),
    }  # fmt: skip
    return Traits(
        dimensions=2, channels=channels, spacing=(1.0, 1.0), shape=(30, 40), smallest=(30, 40), **{**known, **facts}
    )


def encoder(channels: tuple[str, ...] = ("red", "green", "blue"), **changes: Any) -> DiffusionPretrain:
    of = PretrainSettings.preset("tiny", {"widths": (8, 8, 16), "size": 32, **changes}).resolve(traits(channels))
    model = build(DiffusionPretrain, of, traits(channels), seed=3).eval()
    with torch.no_grad():  # as if it had learned
        for parameter in model.parameters():
            parameter.add_(
                0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
            )
    return model.requires_grad_(False)


def fedd(*, uses: Mapping[str, Any] | None = None, of: Traits | None = None, **changes: Any) -> Fedd:
    of = of or traits()
    settings = FeddSettings.preset("tiny", changes).resolve(of)
    return build(Fedd, settings, of, seed=1, uses={"encoder": encoder()} if uses is None else uses).eval()


def batch(image: Tensor) -> Batch:
    return Batch(torch.arange(len(image)), torch.arange(len(image)), {"image": image})


def test_the_vectors_of_the_papers_have_8448_and_1024_numbers() -> None:
    decoded = public().decoded
    assert 3 * sum(decoded[block][1] for block in (5, 6, 7, 8, 12)) == 8448
    assert sum(decoded[block][1] for block in BLOCKS) == 1024


def test_a_block_of_the_paper_has_its_like_in_every_network() -> None:
    assert [block_like(public(), block) for block in range(18)] == list(range(18))
    small = Denoiser(1, 1, widths=(4, 4, 4, 4), blocks=1)
    for block in range(6, 18):  # the lowest levels have no like there
        if block % 3 != 1:
            assert small.decoded[block_like(small, block)][0] == public().decoded[block][0]
    assert (block_like(small, 6), block_like(small, 8)) == (0, 1)


def test_every_block_is_pooled_to_512_numbers_as_the_paper_says() -> None:
    for smaller, channels in dict.fromkeys(public().decoded):
        side = 256 // smaller
        maps = torch.randn(1, channels, side, side)
        flat = maps
        target = 1 if channels >= 512 else 512 // channels
        while flat.shape[-1] > target:
            flat = F.max_pool2d(flat, 2)
        flat = flat.flatten(1)[:, None]
        while flat.shape[-1] > 512:
            flat = F.max_pool1d(flat, 2)
        assert flat.shape == (1, 1, 512)
        assert torch.equal(pooled(maps), flat[:, 0])
    assert pooled(torch.randn(2, 12, 5, 7)).shape == (2, 512)


def test_the_block_of_the_classifier_follows_from_the_number_of_labelled_images() -> None:
    assert [block_for(images) for images in (5, 30, 31, 60, 90, 91, 500)] == [4, 4, 6, 6, 12, 10, 10]


def test_a_head_sees_a_pixel_as_a_convolution_of_one_pixel_does() -> None:
    torch.manual_seed(0)
    head = PixelHead(6, 3, hidden=(5, 4)).eval()
    for layer in head.layers:
        if isinstance(layer, nn.BatchNorm1d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 6, 7, 9)
    y = x
    for layer in head.layers:
        if isinstance(layer, nn.Linear):
            y = F.conv2d(y, layer.weight[..., None, None], layer.bias)
        elif isinstance(layer, nn.BatchNorm1d):
            y = F.batch_norm(y, layer.running_mean, layer.running_var, layer.weight, layer.bias)
        else:
            y = layer(y)
    torch.testing.assert_close(head(x.flatten(2)).unflatten(2, (7, 9)), y)


def test_maps_are_brought_to_the_size_of_the_image_before_the_head() -> None:
    torch.manual_seed(0)
    head = PixelHead(7, 2, hidden=(16, 8))
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_()
    head.eval()
    maps, size = [torch.randn(2, 3, 4, 5), torch.randn(2, 4, 8, 10)], (16, 20)

    def up(x: Tensor) -> Tensor:
        return F.interpolate(x, size, mode="bilinear", align_corners=False)

    first = head(torch.cat([up(one) for one in maps], 1).flatten(2)).unflatten(2, size)
    found = head.on_maps(maps, size)
    torch.testing.assert_close(found, first, atol=1e-4, rtol=1e-4)
    coarse = torch.cat([F.interpolate(maps[0], (8, 10), mode="bilinear", align_corners=False), maps[1]], 1)
    assert not torch.allclose(up(head(coarse.flatten(2)).unflatten(2, (8, 10))), found, atol=1e-2)


def test_heads_that_agree_are_not_divided_and_opposite_ones_are_by_log_2() -> None:
    one = torch.rand(1, 1, 1, 3, 3)
    for exclusive in (True, False):
        assert float(disagreement(one.expand(4, -1, -1, -1, -1), exclusive=exclusive).abs().max()) < 1e-6
        opposite = torch.stack([torch.zeros(1, 1, 3, 3), torch.ones(1, 1, 3, 3)])
        torch.testing.assert_close(
            disagreement(opposite, exclusive=exclusive), torch.full((1, 1, 3, 3), float(torch.log(torch.tensor(2.0))))
        )


def test_the_features_of_an_image_do_not_depend_on_when_and_beside_what_they_are_read() -> None:
    model, images = fedd(), torch.rand(3, 3, 32, 32)
    together, again = model.reader(batch(images)), model.reader(batch(images))
    assert all(one.dtype == torch.float16 for one in together.values())
    for name, maps in together.items():
        assert torch.equal(maps, again[name])
        alone = model.reader(batch(images[1:2]))[name]
        torch.testing.assert_close(alone[0].float(), maps[1].float(), atol=2e-3, rtol=2e-3)  # half precision
    assert model.reader.width == sum(maps.shape[1] for maps in together.values())


def test_the_encoder_is_frozen_whatever_is_done_to_the_method() -> None:
    model = fedd()
    model.train()
    before = model.reader(batch(torch.rand(1, 3, 32, 32)))
    assert not any(maps.requires_grad for maps in before.values())
    with_dropout = encoder(dropout=0.5)
    reader = FeatureReader(encoder_read(with_dropout, {}), channels=3, network=with_dropout)
    with_dropout.train()
    one, other = (reader(batch(torch.ones(1, 3, 32, 32))) for _ in range(2))
    assert all(torch.equal(maps, other[name]) for name, maps in one.items())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(CARDS["fedd"], tmp_path_factory.mktemp("data"), dimensions=2)


@pytest.fixture(scope="module")
def pretrained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "pretrained"
    done = command("train", "diffusion-pretrain", "--data", data, "--out", run, "--preset", "tiny")
    assert done.returncode == 0, done.stderr
    return run


def train(data: Path, out: Path, *words: str | Path) -> Any:
    return command("train", "fedd", "--data", data, "--out", out, "--preset", "tiny", "--seed", "0", *words)


@pytest.mark.parametrize("features", ["encoder", "random", "pyramid"])
def test_the_same_heads_learn_on_every_source_which_stays_as_it_is(
    data: Path, pretrained: Path, tmp_path: Path, features: str
) -> None:
    uses: list[str | Path] = [] if features == "pyramid" else ["--use", f"encoder={pretrained}"]
    done = train(data, tmp_path / "run", "--settings.features", features, *uses)
    assert done.returncode == 0, done.stderr
    model = load_model(tmp_path / "run")
    assert isinstance(model, Fedd)
    own = load_model(pretrained).state_dict()
    kept = {name.removeprefix("uses.encoder."): t for name, t in model.state_dict().items() if name.startswith("uses.")}
    if features == "pyramid":
        assert not kept
        assert model.reader.channels == (1, *[2] * (len(SCALES) - 1), 3)
    else:
        same = [torch.equal(tensor, own[name]) for name, tensor in kept.items() if tensor.ndim > 1]
        assert same
        assert all(same) if features == "encoder" else not any(same)
    assert not (tmp_path / "run" / "prepared").exists()
    answered = command("predict", tmp_path / "run", data, "--out", tmp_path / "masks")
    assert answered.returncode == 0, answered.stderr


def test_one_block_or_layer_needs_no_comma_and_the_units_are_those_of_the_encoder() -> None:
    settings = FeddSettings.preset("tiny", {"blocks": 2, "timesteps": 0, "layers": "block 2, timestep 0"})
    assert (settings.blocks, settings.timesteps, settings.layers) == ((2,), (0,), ("block 2, timestep 0",))
    other = Intensity(mean=1, std=1, low=0, high=2, minimum=0, maximum=2)
    model = fedd(of=traits(intensity=(other,) * 3))
    assert model.traits.intensity == model.uses["encoder"].traits.intensity


def test_random_features_are_those_of_the_same_network_with_other_weights() -> None:
    given = encoder()
    before = {name: tensor.clone() for name, tensor in given.state_dict().items()}
    model = fedd(uses={"encoder": given}, features="random")
    assert model.reader.names == fedd().reader.names
    changed = [not torch.equal(tensor, before[name]) for name, tensor in given.state_dict().items() if tensor.ndim > 1]
    assert all(changed)
    assert all(float(p.abs().max()) > 0 for p in given.parameters() if p.ndim > 1), "nothing is left at zero"


def test_a_head_whose_loss_no_longer_falls_is_left_as_it_is() -> None:
    model = fedd(patience=2, batch=1, pixels=10_000)
    (stage,) = model.stages()
    losses = [1.0, 0.9, 0.95, 0.91, 0.92, 0.1]
    for number, loss in enumerate(losses):
        if float(model.stalled[0]) > 2:
            break
        stage.stepped(Step(seed=0, number=number + 5), [{0: torch.tensor(loss), 1: torch.tensor(1.0 / (number + 1))}])  # type: ignore[misc]
    assert model.stalled.tolist() == [3, 0]
    early = fedd(patience=2, batch=1, pixels=1)
    early.look(Step(seed=0, number=5), [{0: torch.tensor(1.0)}])
    assert float(early.lowest[0]) > 1e9, "before four visits of all pixels nothing is counted"


def test_the_samples_are_the_heads_and_they_vote() -> None:
    model = fedd()
    options = model.segment_options(model.segment_with())
    assert (options.samples, options.fuse) == (2, "vote")
    with torch.no_grad():
        answer = model.segment(batch(torch.rand(1, 3, 32, 32)), Inference(seed=0, options=options))
    assert answer.samples is not None
    assert answer.samples.shape == (2, 1, 1, 32, 32)
    with pytest.raises(SettingsError, match="--samples 3: this fedd has 2 heads"):
        model.segment_options(model.segment_with(samples=3))


def test_overlapping_classes_have_a_channel_each() -> None:
    labels = Labels(names=("a", "b"), values=((1, 3), (2, 3)))
    model = fedd(of=traits(labels=labels))
    with torch.no_grad():
        answer = model.segment(batch(torch.rand(2, 3, 32, 32)), Inference(seed=0))
    assert answer.samples is not None
    assert answer.samples.shape == (2, 2, 2, 32, 32)
    assert answer.uncertainty["disagreement"].shape == (2, 1, 32, 32)


class Small(nn.Module):
    """A network of a user."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 8, 3, 2, 1)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(self.stem(x)).mean((2, 3)))
        return out


def nothing() -> int:
    return 3


OWN = f"{__name__}:Small"


def test_a_network_of_the_user_is_read_by_its_layers_and_saved_with_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grey = traits(("image",))
    model = fedd(uses={}, of=grey, features=OWN, layers=("stem", "body"))
    assert model.reader.names == ("layer stem", "layer body")
    assert model.reader.channels == (4, 8)
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    image = torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        one, other = (m.segment(batch(image), Inference(seed=0)).samples for m in (model, loaded))  # type: ignore[attr-defined]
    assert torch.equal(one, other)
    monkeypatch.setattr(factories, "_NAMED", set())  # as in another process
    with pytest.raises(SettingsError, match="not run only because the file of a model says so; announce"):
        load_model(tmp_path / "model")


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "no model": (lambda: fedd(uses={}), "fedd reads the features of a model: name its run with --use encoder=RUN"),
    "a model too many": (lambda: fedd(features="pyramid"), "reads no model; leave out --use encoder"),
    "a block": (lambda: fedd(blocks=(99,)), "--settings.blocks: found 99; the decoder of this diffusion-pretrain has"),
    "a timestep": (lambda: fedd(timesteps=(20,)), "--settings.timesteps: found 20; this diffusion-pretrain knows the"),
    "blocks of a pyramid": (lambda: fedd(uses={}, features="pyramid", blocks=(1,)), "has no blocks and timesteps"),
    "channels": (
        lambda: fedd(of=traits(("image",))),
        r"was trained on 2-D images with the channels red, green, blue; the data have image",
    ),
    "no source": (
        lambda: fedd(uses={}, features="best"),
        "expected encoder, random, pyramid, a folder of diffusers that is there, or MODULE:FACTORY",
    ),
    "no module": (lambda: fedd(uses={}, features="nowhere:f", layers=("a",)), r"cannot be made \(ModuleNotFoundError"),
    "no network": (lambda: fedd(uses={}, features=f"{__name__}:nothing", layers=("a",)), "it makes a int, expected"),
    "python": (lambda: fedd(uses={}, features="os:getcwd", layers=("a",)), "os is of Python itself"),
    "no layers": (lambda: fedd(uses={}, features=OWN), "name the layers of .*:Small to read; it has stem, body, head"),
    "a layer": (lambda: fedd(uses={}, features=OWN, layers=("tail",)), "found 'tail'; .*:Small has stem, body, head"),
    "no map": (lambda: fedd(uses={}, features=OWN, layers=("head",)), "'head' of .*:Small ends with no map"),
    "a feature": (lambda: fedd(layers=("x",)), "--settings.layers: found 'x'; diffusion-pretrain gives block"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_is_refused_in_a_sentence(what: str) -> None:
    make, message = WRONG[what]
    with pytest.raises(SettingsError, match=message):
        make()


def test_the_pyramid_holds_the_mean_of_each_block_of_pixels_and_its_place() -> None:
    image = torch.rand(1, 3, 64, 64)
    maps = pyramid(batch(image))
    torch.testing.assert_close(maps["colour, scale 8"][:, :3], F.avg_pool2d(image, 8))
    place = maps["place"][0]
    torch.testing.assert_close(place[0, :, 0], (2 * torch.arange(64) + 1) / 64 - 1)
    assert float(place[2].min()) < 0.05


def test_a_classifier_reads_one_block_at_the_first_timestep() -> None:
    of = traits(classified=40)
    settings = FeddClassifierSettings.preset("tiny").resolve(of)
    model = build(FeddClassifier, settings, of, uses={"encoder": encoder()}).eval()
    assert model.settings.timesteps == (0,)
    assert model.settings.blocks == (block_like(model.uses["encoder"].network, 6),)  # type: ignore[union-attr, arg-type]
    with torch.no_grad():
        answer = model.classify(batch(torch.rand(3, 3, 32, 32)), Inference(seed=0))
    torch.testing.assert_close(answer.probabilities.sum(1), torch.ones(3))


@pytest.mark.parametrize("latent", [False, True])
def test_a_folder_of_diffusers_is_read_block_by_block_and_saved_with_the_model(tmp_path: Path, latent: bool) -> None:
    place = folder(tmp_path / "theirs", latent=latent)
    model = fedd(uses={}, features=str(place), timesteps=(10, 40))
    assert model.reader.names == tuple(f"block {block}, timestep {time}" for time in (10, 40) for block in (0, 1))
    assert fedd(uses={}, features=str(place)).settings.timesteps == ((100,) if latent else (5,))
    images = torch.rand(2, 3, 18, 30)
    together, alone = model.reader(batch(images)), model.reader(batch(images[1:]))
    for name, maps in together.items():
        torch.testing.assert_close(maps[1:].float(), alone[name].float(), atol=1e-2, rtol=1e-2)  # half precision
    save_model(model, tmp_path / "model")
    with torch.no_grad():
        one, other = (
            m.segment(batch(images), Inference(seed=0)).samples  # type: ignore[attr-defined]
            for m in (model, load_model(tmp_path / "model"))
        )
    assert torch.equal(one, other)
    with pytest.raises(SettingsError, match="found 2; this U-Net has the up blocks 0 to 1"):
        fedd(uses={}, features=str(place), blocks=(2,))
    with pytest.raises(SettingsError, match="this model knows the timesteps 0 to"):
        fedd(uses={}, features=str(place), timesteps=(1000,))
    (place / "unet" / "config.json").write_text('{"_class_name": "CLIPModel"}')
    with pytest.raises(FileError, match="holds a CLIPModel; expected UNet2DModel or UNet2DConditionModel"):
        fedd(uses={}, features=str(place))
