"""The command `register`: moving images are warped onto fixed ones, one pair or one fixed image at a time.

The method sees both images on one grid: that of the fixed image, as its preprocessing resamples it. The moving image is
brought onto the fixed image's grid through the world where both files say where they lie (affines), else by its shape,
as if both showed the same region; by shape, too, where that makes the images clearly more alike. The displacement that
is answered is brought onto the grid of the fixed file. What is written is interpolated once, from the moving file.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scantling.contract.capabilities import Registrar
from scantling.contract.options import InferenceOptions, RegisterOptions
from scantling.contract.step import Inference
from scantling.core.case import Case, Labels, Sample
from scantling.core.errors import DataError, RunError, SettingsError
from scantling.core.machine import COMPUTE, Compute
from scantling.core.outputs import REGISTRATIONS
from scantling.core.paths import StrPath
from scantling.core.randomness import seed_of
from scantling.data.dataset import Dataset
from scantling.data.displacements import write_displacement
from scantling.data.files import write_map
from scantling.data.hashing import content_of
from scantling.data.loading import load
from scantling.data.opening import OPENING, Opening
from scantling.data.preprocessing import preprocess, restore_grid
from scantling.fusion import RULES, fuse
from scantling.inference.answering import decide
from scantling.inference.grid_differences import by_shape, grid_difference, resampled
from scantling.inference.listing import Listing
from scantling.inference.made_cases import unlabelled_value
from scantling.inference.models import given_options
from scantling.inference.one_model import batches_of
from scantling.inference.pairing import Pairing, name_of_pair, pairings
from scantling.inference.prediction import READS, select_cases
from scantling.inference.resampling import Start, brought_onto, resample_onto, through_world
from scantling.inference.runner import Job, Progress, check_shard, run_job
from scantling.inference.tiles import Tiler
from scantling.inference.writing import write_mask, written_ignore, written_values
from scantling.records.run_folder import identity_of, load_model
from scantling.warping import jacobian_determinant

MOVING_READS = ("image", "mask", "region")


def register(
    run: Path,
    fixed: StrPath | Dataset,
    moving: StrPath | Dataset | None = None,
    *,
    out: Path,
    pairs: str = "",
    atlases: Sequence[str] = (),
    fuse: str | None = None,
    jacobian: bool = False,
    split: str | None = None,
    options: Mapping[str, Any] | InferenceOptions | None = None,
    shard: tuple[int, int] = (1, 1),
    opening: Opening = OPENING,
    compute: Compute = COMPUTE,
    progress: Progress | None = None,
) -> Listing:
    """Warp moving images and their masks onto fixed ones with the model of `run`; see `pairings` for which.

    Writes into `out`: `images/` and `masks/` on the grids of the fixed images, `displacement/` (see
    `data.displacements`), `jacobian/` and `fused/` where they are wanted, and `registrations.json`.

    Args:
        moving: images, or a dataset; None takes them from `fixed`.
        pairs: a CSV file, "all", or "" for pairs by name or in turn.
        atlases: ids of images that are warped onto each other one.
        fuse: the rule of `fusion` that makes one mask of those of several atlases; None is the mean.
        jacobian: also write the Jacobian determinant.
        split: of the fixed images, and of the moving ones of the same data unless they are atlases: as in `predict`.
        options: of the model, by name (`contract.options`).
        shard: (i, n) does every n-th pair, or fixed image for atlases, the i-th of n jobs, counted from 1.

    Raises:
        ScantlingError: nothing can be started. Pairs that fail are listed, not raised.
    """
    check_shard(shard)
    check_fuse(fuse, atlases)
    given = given_options(options)
    method, wanted = open_registrar(run, given)
    resolved, device, data = method.register_options(wanted).model_dump(), compute.prepare(), opening.open(fixed)
    split, cases = select_cases(data, run, split)
    source = data if moving is None else replace(opening, manifest=None, root=None).open(moving)
    others = None if moving is None else sorted((each for each in source.cases if each.images), key=lambda c: c.id)
    items = pairings(cases, others, pairs=pairs, atlases=atlases, known=data.cases)
    check_masks(fuse, items)
    labels = labels_of(source, items, untrusted=opening.untrusted)
    header = {
        "run": str(run.resolve()),
        "method": method.card.name,
        "model": identity_of(run),
        "fixed": _place(fixed),
        "moving": None if moving is None else _place(moving),
        **opening.facts(),
        "split": split,
        "pairs": str(Path(pairs).absolute()) if pairs not in ("", "all") else pairs,
        "atlases": list(dict.fromkeys(atlases)),
        **meaning(labels),
        "requested": given,
        "options": {"jacobian": jacobian, "fuse": fuse or "mean", "precision": compute.precision, **resolved},
    }
    work = Worker(
        method, out, device=device, options=wanted, labels=labels, fuse=fuse or "mean", jacobian=jacobian,
        opening=opening, autocast=compute.autocast(device, training=False),
    )  # fmt: skip
    files = [*data.files(), *source.files(), *([Path(pairs)] if pairs not in ("", "all") else ())]
    job = Job(out=out, header=header, record=REGISTRATIONS, shard=shard)
    done = run_job(job, items, work, inputs=files, content=_content, progress=progress)
    done.left_out = tuple(dict.fromkeys((*data.unnamed(), *source.unnamed())))
    done.notes = (*resampled(done.cases), *by_shape(done.cases, asked=wanted.start))
    return done


def _place(images: StrPath | Dataset) -> str:
    return str((images.root if isinstance(images, Dataset) else Path(images)).absolute())


def check_masks(rule: str | None, items: Sequence[Pairing]) -> None:
    """Make sure that there is something to fuse where it is asked for.

    Raises:
        DataError: fewer than two atlases of an image have a mask.
    """
    for item in items if rule is not None else ():
        if sum(bool(case.masks) for case in item.moving) < 2:
            raise DataError(
                f"--fuse {rule}: fewer than two of the atlases of {item.id} have a mask; name two that have"
            )


def check_fuse(rule: str | None, atlases: Sequence[str]) -> None:
    """Make sure that there is something to fuse, by a known rule.

    Raises:
        SettingsError: there is not.
    """
    if rule is not None and len(set(atlases)) < 2:
        raise SettingsError(f"--fuse {rule}: makes one mask of those of several atlases; name two with --atlas")
    if rule not in (None, *RULES):
        raise SettingsError(f"--fuse {rule}: expected one of {', '.join(RULES)}")


def open_registrar(run: Path, given: Mapping[str, Any]) -> tuple[Registrar, RegisterOptions]:
    """The model of a run, and the options that were given.

    Raises:
        RunError: the run has no model, or one that cannot register.
        SettingsError: an option that it does not know or cannot do.
    """
    method = load_model(run)
    if not isinstance(method, Registrar) or "register" not in method.gives:
        raise RunError(f"{run}: {method.card.name} cannot register; it can {', '.join(method.gives)}")
    options = method.register_with.of(given)
    method.register_options(options)
    return method, options


def labels_of(source: Dataset, items: Sequence[Pairing], *, untrusted: bool) -> Labels | None:
    """What the values of the moving images' masks mean; None where none of them has a mask.

    Masks that were drawn in parts have a value for what is unknown.
    """
    moving = [case for item in items for case in item.moving if case.masks]
    if not moving:
        return None
    labels = source.label_source.find(untrusted=True).labels if untrusted else source.labels
    partly = any(
        part is not None
        for case in moving
        for part in (case.known, case.drawn_slices, case.drawn_objects, case.drawn_classes)
    )
    return labels.model_copy(update={"ignore": unlabelled_value(labels)}) if labels and partly else labels


def meaning(labels: Labels | None) -> dict[str, Any]:
    """What the record says of the values in the warped masks; no class where there are no masks."""
    return {
        "classes": list(labels.names) if labels else [],
        "values": written_values(labels) if labels else [],
        "exclusive": labels.exclusive if labels else True,
        "ignore": written_ignore(labels) if labels else None,
    }


@dataclass
class Worker:
    """Registers all moving images of an item and writes what comes of it."""

    method: Registrar
    out: Path
    device: torch.device
    options: RegisterOptions
    labels: Labels | None = None
    fuse: str = "mean"
    jacobian: bool = False
    opening: Opening = OPENING
    autocast: torch.dtype | None = None

    def __post_init__(self) -> None:
        self.method.to(self.device)
        memory = self.options.memory
        self.tiler = Tiler(memory=None if memory is None else int(memory * 2**30))

    def __call__(self, item: Pairing) -> dict[str, Any]:
        """Register an item; returns its entry in the list."""
        begun = time.monotonic()
        fixed = self._loaded(item.fixed, READS)
        files, masks, apart, starts = list[dict[str, Any]](), list[np.ndarray](), list[str](), list[Start]()
        for case in item.moving:
            moving = self._loaded(case, MOVING_READS if self.labels is not None and case.masks else READS)
            apart.append(grid_difference(fixed.geometry, moving.geometry))
            written, mask, start = self._warp(fixed, moving)
            files.append(written)
            starts.append(start)
            masks += [mask] if mask is not None else []
        fused = None
        if len(masks) > 1 and self.labels is not None:
            whole = fused_mask(masks, self.labels, rule=self.fuse)
            fused = self._mask("fused", item.fixed.id, whole, fixed)
        return {
            "id": item.id,
            "fixed": item.fixed.id,
            "moving": [case.id for case in item.moving],
            "files": files,
            "mask": fused,
            "resampled": apart,
            "starts": starts,
            "seconds": round(time.monotonic() - begun, 3),
        }

    def _warp(self, fixed: Sample, moving: Sample) -> tuple[dict[str, Any], np.ndarray | None, Start]:
        """Register one moving image and write it; its files, its warped mask, and how it was laid before."""
        id, geometry = name_of_pair(fixed.case, moving.case), fixed.geometry
        found = displacement_between(
            self.method, fixed, moving, device=self.device, tiler=self.tiler, options=self.options,
            autocast=self.autocast,
        )  # fmt: skip
        displacement = found.displacement
        image = resample_onto(moving.image.astype(np.float32), geometry, moving.geometry, displacement=displacement)
        paths = {"image": write_map(self.out / "images", id, image, geometry)}
        paths["displacement"] = write_displacement(self.out / "displacement", id, displacement, geometry)
        if self.jacobian:
            determinant = jacobian_determinant(torch.from_numpy(displacement)[None])[0].numpy()
            paths["jacobian"] = write_map(self.out / "jacobian", id, determinant, geometry)
        files: dict[str, Any] = {name: path.relative_to(self.out).as_posix() for name, path in paths.items()}
        files["uncertainty"] = {
            name: write_map(self.out / "uncertainty" / name, id, map_, geometry).relative_to(self.out).as_posix()
            for name, map_ in found.uncertainty.items()
        }
        if not moving.masks:
            return files, None, found.start
        mask = resample_onto(moving.masks[0], geometry, moving.geometry, displacement=displacement, linear=False)
        if fixed.outside is not None:
            mask[:, fixed.outside] = 0
        return files | {"mask": self._mask("masks", id, mask, fixed)}, mask, found.start

    def _mask(self, folder: str, id: str, mask: np.ndarray, fixed: Sample) -> str | list[str] | None:
        if self.labels is None:
            return None
        decided = mask[0] if self.labels.exclusive else mask
        names = write_mask(self.out / folder, id, decided, fixed.geometry, self.labels)
        return f"{folder}/{names}" if isinstance(names, str) else [f"{folder}/{name}" for name in names]

    def _loaded(self, case: Case, reads: Sequence[str]) -> Sample:
        opening, wanted = self.opening, self.method.traits.dimensions
        sample = load(
            case, labels=self.labels, channels=self.method.channels, reads=reads, limits=opening.limits,
            untrusted=opening.untrusted,
        )  # fmt: skip
        if (found := len(sample.geometry.shape)) != wanted:
            raise DataError(f"{case.id}: found {found} dimensions, expected {wanted} as in training")
        return sample


@dataclass(frozen=True, kw_only=True)
class Displaced:
    """How a moving image is warped onto a fixed one, on the grid of the fixed file.

    Attributes:
        displacement: (D, *S) float32 in pixels of the fixed file, through the world where both files have an affine.
        uncertainty: (1, *S) by name, where the method gives it.
        start: how the moving image was laid onto the fixed one before.
    """

    displacement: np.ndarray
    uncertainty: dict[str, np.ndarray]
    start: Start


def displacement_between(
    method: Registrar,
    fixed: Sample,
    moving: Sample,
    *,
    device: torch.device,
    tiler: Tiler,
    options: RegisterOptions,
    autocast: torch.dtype | None = None,
    slices_at_once: int = 8,
) -> Displaced:
    """The displacement (D, *S) float32 that warps `moving` onto `fixed`, in pixels of the fixed file.

    A method in 2-D moves the pixels of a volume within their slices.

    Raises:
        DataError: the method answers with values that are not finite.
    """
    recipe, traits = method.preprocessing, method.traits.only(method.channels)
    shape = fixed.geometry.shape
    slicing = recipe.dimensions == 2 and len(shape) == 3
    brought, start = brought_onto(moving, fixed, start=options.start)
    sides = [preprocess(sample, recipe, traits) for sample in (fixed, brought)]
    inference = Inference(
        seed=seed_of(options.seed, fixed.case.id, moving.case.id), stage="register", device=device, tile=tiler,
        options=method.register_options(options),
    )  # fmt: skip
    answers = []
    with torch.no_grad(), torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
        batches = zip(*(batches_of(side, slicing=slicing, many=slices_at_once) for side in sides), strict=True)
        for number, pair in enumerate(batches):
            one, other = (batch.to(device, method.dtype) for batch in pair)
            answer = method.register(one, other, replace(inference, number=number))
            if (shape_of := answer.displacement.shape) != (len(one.image), recipe.dimensions, *one.image.shape[2:]):
                raise ValueError(f"{method.card.name} answered with a displacement of shape {tuple(shape_of)}")
            answers.append(answer)
    vectors = torch.cat([answer.displacement.float().cpu() for answer in answers])
    if not bool(torch.isfinite(vectors).all()):
        raise DataError(f"{method.card.name} answered with a displacement that is not finite; train it again")

    def back(values: Tensor) -> np.ndarray:
        return restore_grid(values.movedim(0, 1) if slicing else values[0], fixed, recipe, traits).numpy()

    restored, whole = back(vectors), np.zeros((len(shape), *shape), np.float32)
    axes = [axis for axis in range(len(shape)) if not (slicing and axis == traits.slice_axis)]
    for place, axis in enumerate(axes):
        whole[axis] = restored[place] * (shape[axis] / vectors.shape[2 + place])
    if start == "shape":
        whole = through_world(whole, fixed.geometry, moving.geometry)
    names = answers[0].uncertainty
    maps = {name: back(torch.cat([each.uncertainty[name].float().cpu() for each in answers])) for name in names}
    return Displaced(displacement=whole, uncertainty=maps, start=start)


def fused_mask(masks: Sequence[np.ndarray], labels: Labels, *, rule: str) -> np.ndarray:
    """One mask from those of several atlases, all (1, *S) class numbers, or (K, *S) of 0 and 1 where classes overlap.

    What an atlas does not know (`IGNORE`) it takes for background.
    """
    numbers = range(1, len(labels.names) + 1)
    layers = [
        np.concatenate([mask == number for number in numbers]) if labels.exclusive else mask == 1 for mask in masks
    ]
    samples = torch.from_numpy(np.stack(layers)).float()[:, None]
    decided = decide(fuse(rule, samples, exclusive=labels.exclusive)[0].numpy(), exclusive=labels.exclusive)
    return decided[None] if labels.exclusive else decided


def _content(item: Pairing) -> str:
    parts = (content_of(case, reads=MOVING_READS) for case in item.moving)
    return f"{seed_of(content_of(item.fixed, reads=READS), *parts):016x}"
