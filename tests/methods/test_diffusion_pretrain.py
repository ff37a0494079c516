"""Pre-training by diffusion: the network of guided-diffusion and its weights, shared noise, what it makes and shows."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from commands import command
from scantling.contract.method import build
from scantling.contract.step import Inference
from scantling.core.errors import FileError, SettingsError
from scantling.core.samples import Batch, Intensity, Traits
from scantling.diffusion.gaussian import GaussianProcess
from scantling.diffusion.schedules import betas
from scantling.methods.catalogue import CARDS
from scantling.methods.features.guided_weights import load_guided
from scantling.methods.features.image_diffusion import network_of
from scantling.methods.features.pretrain import DiffusionEncodeOptions, DiffusionPretrain
from scantling.methods.features.pretrain_settings import PretrainSettings
from scantling.methods.features.reader import shared_noise
from scantling.networks.denoiser import Denoiser
from scantling.records.run_folder import load_model
from scantling.testing.data import make_data


class Theirs(nn.Module):
    """A small U-Net by the description and the names of guided-diffusion: two levels, two blocks, up/down blocks."""

    def __init__(self, width: int, channels: int, head: int) -> None:
        super().__init__()
        code, w = 4 * width, width
        self.width, self.head = width, head
        self.time_embed = nn.Sequential(nn.Linear(w, code), nn.SiLU(), nn.Linear(code, code))

        def row(*layers: nn.Module) -> nn.ModuleList:
            return nn.ModuleList(layers)

        def res(inputs: int, outputs: int, change: str = "") -> Residual:
            return Residual(inputs, outputs, code, change)

        def att(width: int) -> Attention:
            return Attention(width, width // head)

        self.input_blocks = nn.ModuleList(
            [
                row(nn.Conv2d(channels, w, 3, padding=1)),
                row(res(w, w)),
                row(res(w, w)),
                row(res(w, w, "down")),
                row(res(w, 2 * w), att(2 * w)),
                row(res(2 * w, 2 * w), att(2 * w)),
            ]
        )
        self.middle_block = row(res(2 * w, 2 * w), att(2 * w), res(2 * w, 2 * w))
        self.output_blocks = nn.ModuleList(
            [
                row(res(4 * w, 2 * w), att(2 * w)),
                row(res(4 * w, 2 * w), att(2 * w)),
                row(res(3 * w, 2 * w), att(2 * w), res(2 * w, 2 * w, "up")),
                row(res(3 * w, w)),
                row(res(2 * w, w)),
                row(res(2 * w, w)),
            ]
        )
        self.out = nn.Sequential(nn.GroupNorm(32, w), nn.SiLU(), nn.Conv2d(w, 2 * channels, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor) -> tuple[Tensor, list[Tensor]]:
        half = self.width // 2
        angle = t[:, None].float() * torch.exp(-math.log(10000) * torch.arange(half) / half)
        code = self.time_embed(torch.cat([angle.cos(), angle.sin()], 1))

        def through(layers: Any, x: Tensor) -> Tensor:
            for layer in layers:
                x = layer(x, code) if isinstance(layer, Residual) else layer(x)
            return x

        skips, ends = [], []
        for layers in self.input_blocks:
            x = through(layers, x)
            skips.append(x)
        x = through(self.middle_block, x)
        for layers in self.output_blocks:
            x = through(layers, torch.cat([x, skips.pop()], 1))
            ends.append(x)
        return self.out(x), ends


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, code: int, change: str) -> None:
        super().__init__()
        self.change = change
        self.in_layers = nn.Sequential(nn.GroupNorm(32, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(code, 2 * outputs))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, outputs), nn.SiLU(), nn.Dropout(0.0), nn.Conv2d(outputs, outputs, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        ways: dict[str, Callable[[Tensor], Tensor]] = {
            "down": lambda x: F.avg_pool2d(x, 2),
            "up": lambda x: x.repeat_interleave(2, 2).repeat_interleave(2, 3),
        }
        way = ways.get(self.change, lambda x: x)
        h = self.in_layers[2](way(self.in_layers[:2](x)))
        scale, shift = self.emb_layers(code)[:, :, None, None].chunk(2, 1)
        h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        return self.skip_connection(way(x)) + h


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(32, width)
        self.qkv, self.proj_out = nn.Conv1d(width, 3 * width, 1), nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        three = self.qkv(self.norm(x.flatten(2))).reshape(b * self.heads, -1, h * w)  # head by head: q, k, v
        q, k, v = three.chunk(3, 1)
        weight = torch.einsum("bct,bcs->bts", q, k).div(math.sqrt(q.shape[1])).softmax(-1)
        seen = torch.einsum("bts,bcs->bct", weight, v).reshape(b, c, h * w)
        return x + self.proj_out(seen).reshape(x.shape)


def theirs() -> Theirs:
    torch.manual_seed(0)
    network = Theirs(64, 3, 32).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.05)
    return network


def ours(**changes: Any) -> Denoiser:
    settings = {"widths": (64, 128), "attention": (1,), "head_channels": 32, "resample": "block", "scale_shift": True}
    return Denoiser(3, 6, **{**settings, **changes}).eval()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_of_guided_diffusion_answer_as_their_network_does(tmp_path: Path, suffix: str) -> None:
    network, path = theirs(), tmp_path / f"model{suffix}"
    torch.save(network.state_dict(), path) if suffix == ".pt" else save_file(network.state_dict(), path)
    denoiser = ours()
    load_guided(denoiser, path)
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([7, 500])
    with torch.no_grad():
        answer, ends = network(x, t)
        code = denoiser.code_of(t)
        found = list(denoiser.decode(*denoiser.encode(x, code), code))
        torch.testing.assert_close(denoiser(x, t), answer, atol=2e-4, rtol=1e-4)
    for one, other in zip(found, ends, strict=True):
        torch.testing.assert_close(one, other, atol=2e-4, rtol=1e-4)


def test_weights_that_do_not_fit_or_would_run_code_are_refused_in_a_sentence(tmp_path: Path) -> None:
    state, path = theirs().state_dict(), tmp_path / "model.pt"
    torch.save(state, path)
    with pytest.raises(FileError, match=r"has input_blocks.0.0.weight of the shape \(64, 3, 3, 3\), where this"):
        load_guided(Denoiser(1, 6, widths=(64, 128), resample="block", scale_shift=True), path)
    with pytest.raises(FileError, match=r"has no input_blocks\.3\.0\.op\.weight"):
        load_guided(ours(resample="convolution"), path)
    torch.save({**state, "label_emb.weight": torch.zeros(9, 256)}, path)
    with pytest.raises(FileError, match=r"has label_emb\.weight, which this network has not"):
        load_guided(ours(), path)
    torch.save({"model": theirs()}, path)
    with pytest.raises(FileError, match="holds more than tensors, and nothing in it is run"):
        load_guided(ours(), path)
    path.write_bytes(b"nothing")
    with pytest.raises(FileError):
        load_guided(ours(), path)
    with pytest.raises(FileError, match="cannot be read"):
        load_guided(ours(), tmp_path / "nowhere.pt")


def test_the_network_of_the_paper_has_the_blocks_of_the_public_model() -> None:
    with torch.device("meta"):
        network = network_of(PretrainSettings().resolve(rgb()), channels=3)
    sides, channels = zip(*((256 // smaller, width) for smaller, width in network.decoded), strict=True)
    assert channels == (1024,) * 6 + (512,) * 6 + (256,) * 6
    assert sides == (8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64, 128, 128, 128, 256, 256, 256, 256)


def test_the_probabilities_of_all_grey_values_sum_to_one_in_the_bound() -> None:
    process = GaussianProcess(betas("linear", 1000))
    x0 = torch.linspace(-1, 1, 256, dtype=torch.float64).view(-1, 1, 1, 1)
    x_t, guess = torch.full_like(x0, 0.3), torch.full_like(x0, 0.28)
    log_variance = torch.full_like(x0, -8.0)
    bits = process.variational_bound(x0, x_t, 0, guess=guess, log_variance=log_variance, levels=256)
    # a value that the code counts as impossible has 1e-12
    assert float((2**-bits).sum()) == pytest.approx(1, abs=1e-9)


def rgb(side: int = 48) -> Traits:
    each = Intensity(mean=100, std=50, low=0, high=250, minimum=0, maximum=255)
    return Traits(
        dimensions=2, channels=("red", "green", "blue"), spacing=(1.0, 1.0), shape=(side, side),
        smallest=(side, side), intensity=(each,) * 3, unlabelled=9,
    )  # fmt: skip


def small(**changes: Any) -> DiffusionPretrain:
    traits, settings = rgb(), PretrainSettings.preset("tiny", changes)
    return build(DiffusionPretrain, settings.resolve(traits), traits, seed=1).eval()


def batch(image: Tensor) -> Batch:
    return Batch(torch.arange(len(image)), torch.arange(len(image)), {"image": image})


def read(method: DiffusionPretrain, image: Tensor, **options: Any) -> dict[str, Tensor]:
    with torch.no_grad():
        of = method.encode_with.of(options)
        return dict(method.encode(batch(image), Inference(seed=0, options=of)).features)


def test_features_are_the_same_for_an_image_whatever_stands_beside_it() -> None:
    method, images = small(), torch.rand(3, 3, 16, 16)
    together = read(method, images, blocks=(1, 3), timesteps=(0, 7))
    assert list(together) == [
        "block 1, timestep 0",
        "block 3, timestep 0",
        "block 1, timestep 7",
        "block 3, timestep 7",
    ]
    for row in range(3):
        for name, maps in read(method, images[row : row + 1], blocks=(1, 3), timesteps=(0, 7)).items():
            torch.testing.assert_close(maps[0], together[name][row], atol=1e-5, rtol=1e-5)
    twice = read(method, images[:1].expand(2, -1, -1, -1), blocks=(2,), timesteps=(19,))["block 2, timestep 19"]
    torch.testing.assert_close(twice[0], twice[1])  # one noise


def test_an_image_passes_the_encoder_once_a_timestep_and_the_decoder_no_further_than_it_is_read() -> None:
    method, passes = small(), {"encoder": 0, "decoder": 0}

    def counting(name: str) -> Callable[..., None]:
        def count(*_: object) -> None:
            passes[name] += 1

        return count

    method.network.stem.register_forward_hook(counting("encoder"))
    for step in method.network.up:
        step.register_forward_hook(counting("decoder"))
    read(method, torch.rand(1, 3, 16, 16), blocks=(0, 1), timesteps=(0, 7, 9))
    assert passes == {"encoder": 3, "decoder": 6}


def test_a_smaller_image_sees_a_part_of_the_noise_of_a_larger_one() -> None:
    inference = Inference(seed=0)
    large, little = torch.zeros(2, 3, 40, 64), torch.zeros(1, 3, 20, 30)
    torch.testing.assert_close(shared_noise(inference, large)[1:, :, :20, :30], shared_noise(inference, little))


def test_images_of_sides_that_the_levels_do_not_divide_have_maps_that_cover_them() -> None:
    maps = read(small(), torch.rand(1, 3, 15, 21), blocks=(0, 3))
    assert {name: tuple(one.shape[2:]) for name, one in maps.items()} == {
        "block 0, timestep 0": (8, 11),
        "block 3, timestep 0": (16, 22),
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blocks": (4,)}, "--settings.blocks: found 4; the decoder of this diffusion-pretrain has the blocks 0 to 3"),
        ({"timesteps": (20,)}, "--settings.timesteps: found 20; this diffusion-pretrain knows the timesteps 0 to 19"),
    ],
)
def test_blocks_and_timesteps_that_do_not_exist_are_refused(options: dict[str, Any], message: str) -> None:
    method = small()
    with pytest.raises(SettingsError, match=message):
        method.encode_options(DiffusionEncodeOptions.of(options))


def test_weights_of_a_file_are_kept_as_they_are_by_no_step(tmp_path: Path) -> None:
    data = make_data(CARDS["diffusion-pretrain"], tmp_path / "data", dimensions=2)
    torch.manual_seed(3)
    settings = PretrainSettings.preset("tiny", {"widths": (64, 128), "blocks": 2, "head_channels": 32})
    network = Theirs(64, 1, 32)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    changes = ["--settings.widths", "64,128", "--settings.blocks", "2", "--settings.head_channels", "32"]
    done = command(
        "train", "diffusion-pretrain", "--data", data, "--out", tmp_path / "run", "--preset", "tiny",
        "--settings.steps", "0", "--settings.weights", tmp_path / "model.pt", *changes,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    model = load_model(tmp_path / "run")
    assert isinstance(model, DiffusionPretrain)
    assert model.settings.widths == settings.widths
    torch.testing.assert_close(model.network.stem.weight, network.input_blocks[0][0].weight)
    assert (tmp_path / "run" / "samples" / "captions.json").is_file()
    refused = command(
        "train", "diffusion-pretrain", "--data", data, "--out", tmp_path / "none", "--preset", "tiny",
        "--settings.steps", "0",
    )  # fmt: skip
    assert refused.returncode == 2
    assert "name one with --settings.weights" in refused.stderr
