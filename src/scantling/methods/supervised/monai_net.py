"""Networks that papers compare with, as MONAI makes them, under the plan and the training of `unet`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field

from scantling.core.errors import SettingsError
from scantling.core.samples import Traits
from scantling.methods.catalogue import CARDS
from scantling.methods.supervised.unet import UNetSegmenter
from scantling.methods.supervised.unet_settings import UNetSettings
from scantling.networks.monai_networks import MonaiNetwork, Name, monai_network


class MonaiNetSettings(UNetSettings):
    """Settings of `monai-net`: those of `unet`, and which network (ours where the papers' recipes differ).

    Attributes:
        network: attention-unet, unet++, unetr or swin-unetr.
        hidden: the width of the tokens of UNETR, or of the first level of Swin UNETR; None: 24 or 1.5 times the width
            of the plan's first level, with `paper` 768 and 48, as in their papers.
    """

    network: Name = "attention-unet"
    hidden: Annotated[int, Field(gt=0)] | None = None

    architecture: ClassVar[tuple[str, ...]] = (*UNetSettings.architecture, "network", "hidden")

    def resolve(self, traits: Traits) -> Self:
        """Plan what is None as for `unet`.

        Raises:
            SettingsError: as of `unet`, or an encoder of the user is named.
        """
        if self.encoder is not None:
            raise SettingsError("--settings.encoder: goes with unet; monai-net has networks of its own")
        found = super().resolve(traits)
        first = (found.widths or (found.width,))[0]
        width = {"unetr": 24 * first, "swin-unetr": 12 * max(1, round(first / 8))}.get(self.network)
        return found.model_copy(update={"hidden": self.hidden or width})


class MonaiNet(UNetSegmenter):
    """A network of MONAI, with the patches, the loss, the optimiser and the augmentation of `unet`.

    Attention U-Net (Oktay et al., 2018), U-Net++ (Zhou et al., 2018), UNETR (Hatamizadeh et al., WACV 2022) and Swin
    UNETR (Hatamizadeh et al., 2022), so that a difference from `unet` is the network's.
    """

    card = CARDS["monai-net"]
    Settings = MonaiNetSettings
    settings: MonaiNetSettings
    begins_with = ()

    network: MonaiNetwork  # type: ignore[assignment]

    def new_network(self, outputs: int) -> MonaiNetwork:  # type: ignore[override]
        """The network that the settings name."""
        of, seen = self.settings, self.settings.seen(self.traits)
        return monai_network(
            of.network, len(seen.channels), outputs, widths=of.widths or (of.width,), strides=of.strides or (),
            patch=of.patch or seen.shape, hidden=of.hidden or 12, norm=of.norm, dropout=of.dropout or 0.0,
        )  # fmt: skip
