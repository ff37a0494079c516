"""What frozen networks say of images, for heads that learn on it: read once, kept in half precision, pixel by pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from scantling.contract.capabilities import Encoder
from scantling.contract.stage import Prepared, frozen
from scantling.contract.step import Inference, Step
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch
from scantling.methods.features.sliding import Read, sliding
from scantling.networks.denoiser import Denoiser
from scantling.networks.encoded_unet import maps_at

PROBED = 64
"""The side of the image from which the number of channels is told."""
LARGEST = 65504.0
"""The greatest number in half precision."""


class FeatureReader:
    """Reads the features of images: the same for an image whenever it is read, and whatever stands beside it.

    The network is in evaluation mode and without gradients, whatever is done to the method that holds it. Maps stay at
    their own size, in half precision: training reads them at single pixels (`Stream.pixels`), an answer brings them to
    the size of the image.

    Args:
        read: see `Read`.
        channels: of the images.
        network: what must not be trained; None where there is no network.

    Attributes:
        names: of the maps, in the order in which `stacked` puts them together.
        channels: of each map.
        smaller: how many times smaller than the image each map is, along its rows.

    Raises:
        SettingsError: see `read`.
    """

    def __init__(self, read: Read, *, channels: int, network: nn.Module | None = None) -> None:
        self._read, self._network = read, network
        parameter = next(iter(network.parameters()), None) if network is not None else None
        like = torch.zeros(1) if parameter is None else parameter
        image = torch.zeros((1, channels, PROBED, PROBED), device=like.device, dtype=like.dtype)
        none = torch.zeros(1, dtype=torch.int64, device=like.device)
        maps = self(Batch(none, none, {"image": image}))
        self.names = tuple(maps)
        self.channels = tuple(one.shape[1] for one in maps.values())
        self.smaller = tuple(PROBED / one.shape[2] for one in maps.values())

    @property
    def width(self) -> int:
        """Numbers of a pixel, of all maps together."""
        return sum(self.channels)

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """The maps (B, F, *s) of a batch of images in half precision, by name."""
        return {name: one.clamp(-LARGEST, LARGEST).half() for name, one in self.maps(batch).items()}

    def maps(self, batch: Batch, *, learning: bool = False, through: bool = False) -> dict[str, Tensor]:
        """The same as the network gives them; with gradients and in its own mode where it is `learning` itself.

        Args:
            through: gradients flow through the frozen network, to what conditions it.
        """
        if learning:
            return dict(self._read(batch))
        if through:
            with frozen(*([] if self._network is None else [self._network])):
                return dict(self._read(batch))
        with frozen(*([] if self._network is None else [self._network])), torch.no_grad():
            return {name: one.detach() for name, one in self._read(batch).items()}

    def in_tiles(self, side: int) -> None:
        """Read images that are larger than `side` in squares (`sliding`)."""
        self._read = sliding(self._read, side)

    def prepared(self, *, reads: Sequence[str]) -> Prepared:
        """The maps as fields that a stage prepares, of the cases that have the fields `reads`."""

        def make(batch: Batch, step: Step) -> Mapping[str, Tensor]:
            del step
            return self(batch)

        return Prepared(name="features", kind="image", make=make, reads=tuple(reads), parts=self.names)

    def stacked(self, fields: Mapping[str, Tensor]) -> Tensor:
        """(B, width, P) of the prepared fields of pixels."""
        return torch.cat([fields[name] for name in self.names], 1)


def shared_noise(inference: Inference, like: Tensor) -> Tensor:
    """Standard normal numbers (B, C, H, W), the same for all images, a function of the seed alone.

    A smaller image has a part of what a larger one has, up to the next power of two of their sides.
    """
    height, width = like.shape[2:]
    side = max(64, 1 << (max(height, width) - 1).bit_length())
    canvas = torch.randn((1, like.shape[1], side, side), generator=inference.generator("shared noise"))
    return canvas[:, :, :height, :width].to(like.device, like.dtype).expand_as(like)


def nothing(batch: Batch) -> Mapping[str, Tensor]:
    """No map."""
    del batch
    return {}


def encoder_read(encoder: Encoder, options: Mapping[str, Any], *, layers: Sequence[str] = ()) -> Read:
    """What an encoder says of images, with one noise for all of them where it has any.

    Args:
        options: of its own `encode_with`.
        layers: the names of the features to read; all that it gives if empty.

    Raises:
        SettingsError: the encoder has no such option, or cannot do it; when it is read, that it has no such layer.
    """
    resolved = encoder.encode_options(encoder.encode_with.of(options))
    inference = Inference(seed=0, stage="features", options=resolved)

    def read(batch: Batch) -> Mapping[str, Tensor]:
        found = encoder.encode(batch, inference).features
        if not found:
            raise SettingsError("the encoder gives no features of an image; name another one")
        if missing := [name for name in layers if name not in found]:
            raise SettingsError(
                f"--settings.layers: found {missing[0]!r}; {encoder.card.name} gives {', '.join(found) or 'nothing'}"
            )
        return {name: found[name] for name in layers} if layers else found

    return read


def network_read(network: nn.Module, layers: Sequence[str], *, name: str) -> Read:
    """What modules of a network end with, by their names, as a forward hook sees it.

    The network takes colour images, scaled as those of ImageNet; grey ones are given three times.

    Raises:
        SettingsError: no layer is named or the network has no such module; when it is read, that the network does not
            take such images, or that a module ends with something else than a map.
    """
    modules = dict(network.named_modules())
    known = ", ".join(child for child, _ in network.named_children())
    if not layers:
        raise SettingsError(f"--settings.layers: name the layers of {name} to read; it has {known}")
    if missing := [layer for layer in layers if layer not in modules]:
        raise SettingsError(f"--settings.layers: found {missing[0]!r}; {name} has {known}")

    def read(batch: Batch) -> Mapping[str, Tensor]:
        image = batch.image
        if image.shape[1] not in (1, 3):
            raise SettingsError(
                f"--settings.features {name}: images of {image.shape[1]} channels; expected colour images, or grey ones"
            )
        image = (image.expand(-1, 3, -1, -1) + 1) / 2
        mean, deviation = (image.new_tensor(values).view(3, 1, 1) for values in IMAGENET)
        try:
            found = maps_at(network, layers, (image - mean) / deviation)
        except (RuntimeError, TypeError, ValueError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise SettingsError(
                f"--settings.features {name}: it does not take an image (B, 3, H, W): {first}"
            ) from None
        for layer in layers:
            if not isinstance(found.get(layer), Tensor) or found[layer].ndim != 4:
                raise SettingsError(f"--settings.layers: {layer!r} of {name} ends with no map (B, F, H, W)")
        return {f"layer {layer}": found[layer] for layer in layers}

    return read


IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of the colours of ImageNet, which networks trained on it take for granted."""


def block_like(network: Denoiser, block: int) -> int:
    """The block of a decoder that stands where `block` of the 18 of the public 256² network stands.

    It is of the same level below the image, the deepest one where there are fewer levels, and as far on its way.
    """
    depth, place = divmod(block, 3)
    level = min(5 - depth, len(network.widths) - 1)
    return (len(network.widths) - 1 - level) * (network.blocks + 1) + round(place / 2 * network.blocks)


@torch.no_grad()
def redraw(network: nn.Module) -> None:
    """Draw all weights anew, those of layers that start at zero too, since these would let their input pass."""
    for module in network.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
