"""The image stages of the multimodal GAN: a painter of modalities, its judge, a translator and lesion recognisers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.contract.stage import Game, frozen
from scantling.contract.step import Draws, Step, Total
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch
from scantling.diffusion.chain import exact
from scantling.methods.generation.structure_stage import StructureStage
from scantling.networks.modality_unet import ModalityUNet
from scantling.networks.unet import UNet
from scantling.networks.vgg import ClassHead, VGGJudge, VGGTrunk

NOISE = (0.5, 0.6)
"""Between these the noise in the organ is drawn (equation 12)."""


def fused(s: Tensor, m: Tensor, noise: Tensor) -> Tensor:
    """s' = s + z'(1 - m)(1 - s), equation 12: strokes 1, the organ grey, what is outside 0; all (B, 1, H, W).

    Args:
        noise: uniform in [0, 1), brought into [.5, .6].
    """
    low, high = NOISE
    return s + (low + (high - low) * noise) * (1 - m) * (1 - s)


class ModalityGames(StructureStage):
    r"""Paints x_i = G([s', l], i) of each modality i, after a structure and a label of lesions.

    D gives scores d and, where there are several modalities, logits c. T translates a modality into another, L_i
    finds the lesion in modality i; both learn on real images first and then stay as they are. With mean squares, and
    sums over i,

    =====  =========================================================================================
    (13)   D: \|d(x_i) - 1\|² + \|d(G_i)\|² + [c(x_i) is i]
    (14)   G: \|d(G_i) - 1\|² + [c(G_i) is i]
    (15)   G: \|l - L_i(G_i)\|²
    (16)   G: Σ_{i ≠ j} \|G_i - T(G_j, i)\|²
    (18)   G alone, before: \|x_i - G_i\|² + \|m · (x_i - G_i)\|² on the structure of the case of x_i
    (19)   T: \|x_i - T(T(x_i, j), i)\|²; (20) and (21) are (13) and (14) of T
    (22)   L_i: \|l - L_i(x_i)\|²
    =====  =========================================================================================

    But for (18) and (22) no term holds two modalities of one patient, or a modality and the label, beside each other:
    each is a sum over images, so that patients may have disjoint modalities, and need not be registered. (18) takes the
    structure, and (22) the label, to lie on every modality of its case. The thesis draws the structure of x_i from x_i;
    here it is one for all modalities, as in what is made: of its own structure the painter could read the modality, and
    would not heed the planes. Of a missing channel there is no term.
    """

    @property
    def modalities(self) -> int:
        """How many are painted."""
        return self.settings.number(self.traits)

    @property
    def width(self) -> int:
        """The channels of a modality."""
        return len(self.traits.channels) // self.modalities

    @property
    def planes(self) -> int:
        """The planes of a label: of the classes of lesions or of images."""
        of = self.settings
        return len(self.traits.classes) if of.lesions else len(self.traits.image_classes) if of.with_classes else 0

    def build_images(self) -> None:
        """Make the networks of these stages."""
        of, count = self.settings, self.modalities
        widths = [of.width * 2**level for level in range(4)]  # three halvings: planes at an eighth
        classes = 0 if count == 1 else count if of.class_loss == "softmax" else 1
        self.painter = ModalityUNet(1 + self.planes, self.width, modalities=count, widths=widths)
        self.judge = VGGJudge(self.width, width=of.judge, stages=of.judge_stages, classes=classes)
        if of.registration:
            self.translator = ModalityUNet(self.width, self.width, modalities=count, widths=widths)
            self.translations_judge = VGGJudge(self.width, width=of.judge, stages=of.judge_stages, classes=classes)
        if of.lesion_loss:
            self.recognisers = nn.ModuleList(self._recogniser() for _ in range(count))

    def _recogniser(self) -> nn.Module:
        of = self.settings
        if of.with_classes:
            trunk = VGGTrunk(self.width, width=of.judge, stages=of.judge_stages)
            return nn.Sequential(trunk, ClassHead(trunk.widths[-1], self.planes))
        widths = [of.organ_width * 2**level for level in range(4)]
        return UNet(self.width, self.planes, widths=widths, norm="instance", narrow=True)

    def each(self, images: Tensor) -> Tensor:
        """(B, modalities, width, H, W) of images (B, C, H, W)."""
        return images.unflatten(1, (self.modalities, self.width))

    def there(self, batch: Batch) -> Tensor:
        """(B, modalities), 1 where a case has a modality."""
        return batch.present["image"].unflatten(1, (self.modalities, self.width)).all(2).to(batch.image.dtype)

    def paint(self, told: Tensor) -> Tensor:
        """All modalities (B, modalities, width, H, W) of what the painter is told (B, 1 + planes, H, W)."""
        count = self.modalities
        number = torch.arange(count, device=told.device).repeat(len(told))
        return exact(self.painter(told, number)).unflatten(0, (-1, count))

    def told(self, s: Tensor, m: Tensor, label: Tensor, draws: Draws) -> Tensor:
        """[s', l], (B, 1 + planes, H, W); nothing is drawn under a lesion."""
        of = self.settings
        noise = draws.rand("noise", like=s)
        if not of.structures:
            return torch.cat([noise, label], 1)
        if of.lesions:
            s = s * (1 - label.amax(1, keepdim=True))
        return torch.cat([fused(s, m, noise) if of.noise else s, label], 1)

    @abstractmethod
    def fresh(self, batch: Mapping[str, Batch], step: Step) -> Tensor:
        """What the painter is told in a step of the last stage, (B, 1 + planes, H, W)."""

    def learn_helpers(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """Equations (19) to (21) of the translator, (22) of the recognisers."""
        of = self.settings
        if of.lesion_loss:
            yield from self._recognising(batch["labelled"], step)
        if of.registration:
            yield from self._translating(batch["images"], step)

    def learn_painting(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """Equation (18): real images of their own structures and labels."""
        of, images = self.settings, batch["structures"]
        s, m = self.real_structures(images)
        there, x = self.there(images), self.each(images.image)
        total = yield Total(there.sum())
        painted = self.paint(self.told(s, m, self.real_label(images), step))
        error = (painted - x).square()
        terms = {"painting": error, "painting, outside": of.outside * m[:, None] * error}
        yield (
            "painter",
            {
                name: of.weight(name) * self.modalities * step.mean((term.mean((2, 3, 4)) * there).sum(), total)
                for name, term in terms.items()
            },
        )

    def learn_images(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """Equations (13) to (17), on fresh structures."""
        of, images = self.settings, batch["images"]
        there, x = self.there(images), self.each(images.image)
        total = yield Total(there.sum())
        told = self.fresh(batch, step)
        painted = self.paint(told)  # (B, modalities, width, H, W)
        count = self.modalities
        number = torch.arange(count, device=x.device).repeat(len(x))
        with frozen(self.judge):
            scores, logits = (exact(each) for each in self.judge(painted.flatten(0, 1)))
            terms = {"fooled": of.weight("fooled") * count * (scores - 1).square().mean()}
            if count > 1:
                terms["class"] = of.weight("class") * count * self._telling(logits, number).mean()
        if of.lesion_loss:
            with frozen(self.recognisers):
                terms["lesion"] = of.weight("lesion") * self._unfound(painted, told[:, 1:])
        if of.registration:
            with frozen(self.translator):
                terms["registration"] = of.weight("registration") * self._unregistered(painted, step)
        yield "painter", terms
        fake = painted.detach().flatten(0, 1)
        yield "judge", self._judged(self.judge, x, there, fake, number, step, total)

    def _judged(
        self,
        judge: nn.Module,
        x: Tensor,
        there: Tensor,
        fake: Tensor,
        number: Tensor,
        step: Step,
        total: Tensor,
        *,
        known: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """(13): real images where they are, made ones, and how modalities are told from each other.

        Args:
            x, there: real images (B, modalities, width, H, W), and which there are.
            fake, number: made images (N, width, H, W) without gradient, and the modality of each.
            known: (N,) 1 where a made image counts; None: all do.
        """
        of, count = self.settings, self.modalities
        real = torch.arange(count, device=x.device).repeat(len(x))
        scores, logits = (exact(each) for each in judge(x.flatten(0, 1)))

        def over(values: Tensor) -> Tensor:
            return count * step.mean((values * there.flatten()).sum(), total)

        def over_made(values: Tensor) -> Tensor:
            if known is None:
                return count * values.mean()
            return count * step.mean((values * known).sum(), total) * len(there.flatten()) / len(known)

        made, made_logits = (exact(each) for each in judge(fake))
        terms = {
            "real": of.weight("real") * over((scores - 1).square().mean((1, 2, 3))),
            "made": of.weight("made") * over_made(made.square().mean((1, 2, 3))),
        }
        if count > 1:
            terms["class"] = of.weight("class") * over(self._telling(logits, real))
            if of.class_on_made:
                terms["class of made"] = of.weight("class") * over_made(self._telling(made_logits, number))
        return terms

    def _telling(self, logits: Tensor, number: Tensor) -> Tensor:
        """How wrong the modality of each image is told, (N,)."""
        if self.settings.class_loss == "regression":
            return (logits[:, 0] - number).square()
        return F.cross_entropy(logits, number, reduction="none")

    def _pairs(self, step: Step) -> Iterator[int]:
        """By how many places the modalities are moved to give each another one."""
        count = self.modalities
        if self.settings.pairs == "all":
            yield from range(1, count)
        else:
            yield 1 + int(torch.rand((), generator=step.generator("pairs")) * (count - 1))

    def _unregistered(self, painted: Tensor, step: Step) -> Tensor:
        """Equation (16), of all pairs or of drawn ones with the same mean."""
        count, shifts = self.modalities, list(self._pairs(step))
        terms = []
        for shift in shifts:
            other = painted.roll(shift, 1)  # of modality i that of i - shift
            again = exact(self.translator(other.flatten(0, 1), self._numbers(painted))).view_as(painted)
            terms.append(count * (painted - again).square().mean())
        return torch.stack(terms).mean() * (count - 1)

    def _numbers(self, images: Tensor, shift: int = 0) -> Tensor:
        number = (torch.arange(self.modalities, device=images.device) + shift) % self.modalities
        return number.repeat(len(images))

    def _translating(self, images: Batch, step: Step) -> Game:
        of, count = self.settings, self.modalities
        there, x = self.there(images), self.each(images.image)
        total = yield Total(there.sum())
        shifts, known = list(self._pairs(step)), there.flatten()

        def over(values: Tensor) -> Tensor:
            return count * step.mean((values.flatten(1).mean(1) * known).sum(), total)

        others, cycles, fooled, telling = [], [], [], []
        for shift in shifts:
            number = self._numbers(x, shift)
            other = exact(self.translator(x.flatten(0, 1), number))
            again = exact(self.translator(other, self._numbers(x)))
            with frozen(self.translations_judge):
                scores, logits = (exact(each) for each in self.translations_judge(other))
            cycles.append(over((x.flatten(0, 1) - again).square()))
            fooled.append(over((scores - 1).square()))
            telling.append(over(self._telling(logits, number)[:, None]))
            others.append(other.detach())
        yield (
            "translator",
            {
                "cycle": of.weight("cycle") * torch.stack(cycles).mean() * (self.modalities - 1),
                "fooled": of.weight("fooled") * torch.stack(fooled).mean(),
                "class": of.weight("class") * torch.stack(telling).mean(),
            },
        )
        # a translation of an image that is not there is none: it weighs as little as its origin
        number = torch.cat([self._numbers(x, shift) for shift in shifts])
        terms = self._judged(
            self.translations_judge, x, there, torch.cat(others), number, step, total, known=known.repeat(len(shifts))
        )
        yield "judge of translations", terms

    def _recognising(self, labelled: Batch, step: Step) -> Game:
        """(22): squares of what the recognisers say where the label is known, or the entropy of image classes."""
        there, x = self.there(labelled), self.each(labelled.image)
        if self.settings.with_classes:
            there = there * (labelled.image_class >= 0).to(there.dtype)[:, None]
        total = yield Total(there.sum())
        errors = self._errors(x, self.real_label(labelled), self._known(labelled))  # (B, modalities)
        yield "recognisers", {"lesion": self.modalities * step.mean((errors * there).sum(), total)}

    def _unfound(self, painted: Tensor, label: Tensor) -> Tensor:
        """Equation (15)."""
        return self.modalities * self._errors(painted, label, None).mean()

    def _errors(self, images: Tensor, label: Tensor, known: Tensor | None) -> Tensor:
        """How far recognisers are from labels (B, planes, H, W), of each image (B, modalities)."""
        found = []
        for number, recogniser in enumerate(self.recognisers):
            if self.settings.with_classes:
                logits = exact(recogniser(images[:, number]))
                found.append(F.cross_entropy(logits, label[:, :, 0, 0].argmax(1), reduction="none"))
                continue
            square = (torch.sigmoid(exact(recogniser(images[:, number]))) - label).square()
            if self.settings.weights == "code":
                low, high = self.settings.weight("background"), self.settings.weight("foreground")
                square = square * (low + (high - low) * label)
            found.append((square if known is None else square * known).mean((1, 2, 3)))
        return torch.stack(found, 1)

    def _known(self, batch: Batch) -> Tensor | None:
        """(B, 1 or K, H, W), 1 where the mask says something."""
        return (batch.mask != IGNORE).to(batch.image.dtype) if self.settings.with_masks else None

    def real_label(self, batch: Batch) -> Tensor:
        """The label (B, planes, H, W) of training images; empty where a case has none."""
        of, image = self.settings, batch.image
        if of.lesions:
            return self.lesions_of(batch).to(image.dtype)
        if of.with_classes:
            return self.class_planes(batch.image_class, image)
        return image.new_zeros((len(image), 0, *image.shape[2:]))

    def class_planes(self, classes: Tensor, like: Tensor) -> Tensor:
        """(B, image classes, H, W): one plane of each is 1, none where the class is -1."""
        hot = (classes[:, None] == torch.arange(self.planes, device=like.device)).to(like.dtype)
        return hot[:, :, None, None].expand(-1, -1, *like.shape[2:])
