"""The first stage of the multimodal GAN: structure maps and organ masks from noise, by an adversarial autoencoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.contract.method import Method
from scantling.contract.stage import Game, Player, Prepared, Stage, Visit, frozen
from scantling.contract.step import Draws, Step
from scantling.core.errors import DataError
from scantling.core.samples import Batch
from scantling.core.streams import Stream
from scantling.diffusion.chain import exact
from scantling.losses.adversarial import fooling_loss
from scantling.methods.generation.label_placing import filled
from scantling.methods.generation.multimodal_settings import MultimodalGanSettings
from scantling.networks.structure_codes import CodeDecoder, CodeEncoder
from scantling.networks.unet import UNet
from scantling.networks.vgg import VGGJudge
from scantling.phantoms.structure import organ_background, plane_of, rule_named, structure_map

BETAS = (0.5, 0.999)
LOOKED_AT = 32
"""Training images that are looked at before the first step, for an organ on a dark ground."""
DRAWN = 64
"""Structures that are drawn to find where they are cut."""
EDGE = 0.001
"""Images whose background is a smaller share than this are all organ."""


class StructureStage(Method):
    r"""Draws a structure s and the background m of its organ from a code z of normal numbers.

    With f = μ + σz of an encoder E(s), a decoder G, discriminators D_z and D_s and a network G_m, and mean squares:

    =====  ====================================================
    (6)    G_m: \|m - G_m(s)\|²
    (7)    E, G: \|s - G(f)\|² + \|G_m(s) · G(f)\|²
    (8)    D_z: \|D_z(z) - 1\|² + \|D_z(f)\|²
    (9)    E: \|D_z(f) - 1\|²
    (10)   D_s: \|D_s(s) - 1\|² + \|D_s(G(z))\|²
    (11)   G: \|D_s(G(z)) - 1\|² + \|G_m(G(z)) · G(z)\|²
    =====  ====================================================

    m is 1 on the background, so that the products forbid strokes outside the organ. There is no divergence: D_z takes
    its place. G_m learns from (6) alone. The authors' code adds an absolute error to (7), and to (9) that the codes of
    a structure have a mean of 0 and a deviation of 1.
    """

    settings: MultimodalGanSettings
    cut: Tensor

    def build_structures(self) -> None:
        """Make the networks of this stage."""
        of = self.settings
        coder = {"size": of.shape, "code": of.code**2, "width": of.coder, "stages": of.coder_stages}
        self.encoder = CodeEncoder(2, **coder)  # type: ignore[arg-type]
        self.sketcher = CodeDecoder(1, **coder)  # type: ignore[arg-type]
        self.organ_net = UNet(1, 1, widths=[of.organ_width * 2**n for n in range(4)], norm="instance", narrow=True)
        self.codes_judge = VGGJudge(1, width=of.judge, stages=min(3, max(1, of.code.bit_length() - 2)), norm=False)
        self.structures_judge = VGGJudge(1, width=of.judge, stages=of.judge_stages)
        self.register_buffer("cut", torch.tensor(0.5))

    def structures_stage(self, steps: int) -> Stage:
        """Five players on structures that a rule has drawn of each training image."""
        of = self.settings
        networks = {
            "encoder": self.encoder,
            "sketcher": self.sketcher,
            "organ": self.organ_net,
            "codes judge": self.codes_judge,
            "structures judge": self.structures_judge,
        }
        return Stage(
            name="structures",
            players=tuple(Player(name=n, modules=(net,), rate=of.rate, betas=BETAS) for n, net in networks.items()),
            streams=(
                self.structures_stream(of.batch),
                Stream(name="looked at", reads=("image",), batch=of.batch, partial=True),
            ),
            steps=steps,
            objectives=self.learn_structures,
            prepare=self.look_for_organs,
            prepares=(Prepared(name="rules", kind="probabilities", make=self.by_rule, parts=("structure", "organ")),),
            draws=lambda step: ("structures",),
        )

    def structures_stream(self, batch: int) -> Stream:
        """Structures and organs, and the masks of lesions, which are erased from them; of one image class, if said."""
        of, named = self.settings, self.settings.structures_of is not None
        reads = ("structure", "organ", "image", *(("image_class",) if named else ()))
        wants, without = ((of.lesions,) if of.lesions else ()), tuple[str, ...]()
        if named:
            without = tuple(f"class:{name}" for name in self.traits.image_classes if name != of.structures_of)
        return Stream(name="structures", reads=reads, wants=wants, without=without, batch=batch, partial=True)

    def look_for_organs(self, visit: Visit, step: Step) -> Mapping[str, Tensor]:
        """Make sure that some images show an organ on a dark ground.

        Raises:
            DataError: none of the first does.
        """
        del step
        if self.settings.organ:
            shares = [
                float(self.by_rule_of(batch)["organ"].float().mean())
                for batch in islice(self._with_images(visit("looked at")), LOOKED_AT)
            ]
            dark = [share for share in shares if share > EDGE]
            if shares and not dark:
                raise DataError(
                    f"multimodal-gan: no organ stands out from a dark ground in {len(shares)} training images: their "
                    "background is never dark; take another --settings.source or --settings.rule, or say "
                    "--settings.organ false, which takes the whole image for the organ"
                )
            if dark and min(dark) > 1 - EDGE:
                raise DataError(
                    f"multimodal-gan: {len(dark)} training images are background alone, so that nothing can be drawn; "
                    "expected images with an organ brighter than its ground; take another --settings.source or "
                    "--settings.rule"
                )
        return {}

    def by_rule(self, batch: Batch, step: Step) -> Mapping[str, Tensor]:
        """The structure and the background of the organ of one case, (1, 1, H, W) each."""
        del step
        return self.by_rule_of(batch)

    def by_rule_of(self, batch: Batch) -> dict[str, Tensor]:
        """The same; see `phantoms.structure`."""
        of, rule = self.settings, rule_named(self.settings.rule)
        image, there = batch.image[0].cpu().numpy(), batch.present["image"][0].cpu().numpy()
        place = None if of.source is None else self.traits.channels.index(of.source)
        if place is not None and not there[place]:
            place = None  # a case without that channel is drawn from those that it has
        plane = plane_of(image[there] if place is None and there.any() else image, place)
        strokes = structure_map(plane, rule)
        outside = organ_background(plane, rule)
        found = {"structure": strokes, "organ": outside if of.organ else outside & False}
        return {
            name: torch.from_numpy(mask)[None, None].to(batch.image.device, batch.image.dtype)
            for name, mask in found.items()
        }

    def learn_structures(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """Equations (6) to (11), in their order."""
        s, m = self.real_structures(batch["structures"])  # (B, 1, H, W) of 0 and 1
        yield "organ", self._weighted({"organ": F.mse_loss(exact(self.outside_of(s)), m)})  # (6)
        with frozen(self.organ_net):
            outside = exact(self.outside_of(s))
        again = exact(self.sketcher(self.code_of(s, step, "first")))
        terms = {"again": F.mse_loss(again, s), "again, absolute": F.l1_loss(again, s)}
        strays = (outside * again).square().mean()
        yield ("encoder", "sketcher"), {**self._weighted(terms), "strays": strays}  # (7)
        z = step.randn("z", like=s.new_empty(len(s), self.settings.code**2))
        code = self.code_of(s, step, "second")
        real, made = self._on_code(z), self._on_code(code.detach())
        terms = {"codes, real": (real - 1).square().mean(), "codes, made": made.square().mean()}
        yield "codes judge", self._weighted(terms)  # (8)
        with frozen(self.codes_judge):
            fooled = fooling_loss(self._on_code(code), kind="least-squares")
        moments = (code.mean(1).square() + (code.std(1) - 1).square()).mean()
        yield "encoder", self._weighted({"codes fooled": fooled, "moments": moments})  # (9)
        drawn = exact(self.sketcher(z))
        real, made = (exact(self.structures_judge(x)[0]) for x in (s, drawn.detach()))
        terms = {"structures, real": (real - 1).square().mean(), "structures, made": made.square().mean()}
        yield "structures judge", self._weighted(terms)  # (10)
        with frozen(self.structures_judge, self.organ_net):
            fooled = fooling_loss(exact(self.structures_judge(drawn)[0]), kind="least-squares")
            strays = (exact(self.outside_of(drawn)) * drawn).square().mean()
        yield "sketcher", {**self._weighted({"structures fooled": fooled}), "strays": strays}  # (11)

    def real_structures(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """s and m (B, 1, H, W) of training images, nothing drawn where there is a lesion."""
        s, m = (batch.fields[name].round() for name in ("structure", "organ"))
        if self.settings.lesions in batch.fields:
            s = s * ~self.lesions_of(batch).any(1, keepdim=True)
        return s, m

    def lesions_of(self, batch: Batch) -> Tensor:
        """(B, K, H, W) bool of the masks of a batch, or of the insides of its boxes, one layer for each class."""
        classes = len(self.traits.classes)
        if self.settings.with_boxes:
            counts, numbers = batch.counts["boxes"].tolist(), batch.classes["boxes"]
            size = tuple(batch.image.shape[2:])
            rows = [
                filled(batch.boxes[row, :n], numbers[row, :n], classes=classes, size=size)
                for row, n in enumerate(counts)
            ]
            return torch.stack(rows).to(batch.image.device)
        mask = batch.mask
        if mask.shape[1] == classes > 1:
            return mask == 1
        return mask == torch.arange(1, classes + 1, device=mask.device).view(1, -1, 1, 1)

    def code_of(self, s: Tensor, step: Step, purpose: str) -> Tensor:
        """f = μ + exp(½ log σ²) · z, (B, code) of structures (B, 1, H, W)."""
        mean, log_variance = self.encoder(torch.cat([s, 1 - s], 1))
        return exact(mean) + (exact(log_variance) / 2).exp() * step.randn(f"{purpose} code", like=exact(mean))

    def outside_of(self, s: Tensor) -> Tensor:
        """G_m(s): where the organ is not, (B, 1, H, W) in [0, 1]."""
        return torch.sigmoid(self.organ_net(s))

    @torch.no_grad()
    def drawn_structures(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Fresh s and m (B, 1, H, W) of 0 and 1 from codes (B, code)."""
        s = (exact(self.sketcher(z)) > self.cut).to(z.dtype)
        return s, (exact(self.outside_of(s)) > 0.5).to(z.dtype)

    @torch.no_grad()
    def find_cut(self, batches: Iterable[Batch], draws: Draws) -> None:
        """Cut what G_s draws where it has as many strokes as the rule has drawn, over all training images; ours."""
        shares = [float(self.real_structures(batch)[0].mean()) for batch in batches]
        z = draws.randn("cut", like=self.cut.new_empty(DRAWN, self.settings.code**2))
        values = torch.cat([exact(self.sketcher(part)).flatten() for part in z.split(8)]).double().cpu()
        share = sum(shares) / max(len(shares), 1)
        place = min(max(round((1 - share) * len(values)), 1), len(values))
        self.cut.fill_(float(values.kthvalue(place).values))

    def _weighted(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        weights = {name: self.settings.weight(name) for name in terms}
        return {name: weights[name] * term for name, term in terms.items() if weights[name]}

    def _on_code(self, code: Tensor) -> Tensor:
        """The scores of D_z, which sees a code as a square."""
        side = self.settings.code
        return exact(self.codes_judge(code.view(-1, 1, side, side))[0])

    @staticmethod
    def _with_images(batches: Iterable[Batch]) -> Iterator[Batch]:
        """Those with a channel at least."""
        return (batch for batch in batches if batch.present["image"].any())
