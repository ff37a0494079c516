"""A dataset: cases with their splits, and what the values of their masks mean; opened, joined, fingerprinted."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from scantling.core.case import Address, Case, Labels, Split
from scantling.core.checks import check_choice
from scantling.core.errors import DataError
from scantling.core.paths import StrPath, path_of
from scantling.data.annotations.folder import annotated, annotated_by
from scantling.data.annotations.reading import annotations_in
from scantling.data.bids import bids
from scantling.data.bridges import Bridges
from scantling.data.contents import (
    MANIFESTS,
    STRATA,
    UNNAMED,
    Contents,
    Finding,
    count,
    safe_id,
    some,
    unique,
    with_safe_ids,
)
from scantling.data.corrections import absorbed, corrected, is_corrections, read_corrections
from scantling.data.described import contents_of
from scantling.data.formats.recognised import ANNOTATIONS
from scantling.data.globs import folders_of, loose_files, matches, names_of
from scantling.data.hashing import files_of, hash_of
from scantling.data.label_source import LabelSource
from scantling.data.layouts import paired
from scantling.data.loading import EVERYTHING
from scantling.data.memory import MemoryAddress
from scantling.data.nnunet import is_nnunet, nnunet
from scantling.data.open_case import CaseSequence
from scantling.data.partly_drawn import partly_drawn
from scantling.data.splits import SPLITS, assign, inherited, split_remarks, stored_split, together
from scantling.data.strata import with_strata
from scantling.data.subjects import Subjects, by_name, checked
from scantling.data.understood import layout_of


@dataclass(frozen=True, repr=False)
class Dataset(CaseSequence, Bridges):
    """Cases that belong together: a sequence of cases that can be read (`OpenCase`), and more.

    Attributes:
        name: for people, and for ids where datasets are joined.
        root: the folder that holds the files.
        cases: all of them, each with a split.
        label_source: where `labels` come from.
        parted: whether folders, a manifest or a stored file say who is for testing, and no hash had to.
        remarks: what was odd when the folder was opened; `check` repeats it.
        layout: what the folder was understood as, in a few words.
        regions: of each region the classes that it joins; where there are any, masks are scored by them in place of the
            classes.
    """

    name: str
    root: Path
    cases: tuple[Case, ...]
    label_source: LabelSource = field(default_factory=LabelSource)
    parted: bool = False
    remarks: tuple[Finding, ...] = ()
    layout: str = ""
    regions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def labels(self) -> Labels | None:
        """What the values of the masks mean: declared, or found in the masks on first use; None without masks."""
        return self.label_source.labels

    def with_instances(self, labels: Labels | None) -> Dataset:
        """The same, but instance maps that stand for masks (`labels.others`) are also the instances of their cases."""
        if labels is None or labels.others != "object" or self.label_source.parts:
            return self
        masks = [case.masks[0] if case.masks and case.threshold is None else None for case in self.cases]
        cases = (
            replace(case, instances=mask) if case.instances is None and isinstance(mask, Address) else case
            for case, mask in zip(self.cases, masks, strict=True)
        )
        return replace(self, cases=tuple(cases))

    def split(self, name: Split) -> tuple[Case, ...]:
        """The cases of one split.

        Raises:
            SettingsError: there is none of this name.
        """
        check_choice(name, SPLITS, argument="split")
        return tuple(case for case in self.cases if case.split == name)

    def unnamed(self) -> tuple[str, ...]:
        """Sentences on the cases that were left out because no file can be called after them."""
        return tuple(remark.sentence for remark in self.remarks if remark.kind == UNNAMED)

    def files(self) -> Iterator[Path]:
        """The path of every image, mask and other file of the cases."""
        addresses = (address for case in self.cases for _, address in case.addresses())
        return (
            path
            for address in addresses
            for path in (address.files if isinstance(address, MemoryAddress) else (address.path,))
        )


def open_dataset(
    path: StrPath | Dataset,
    *,
    manifest: StrPath | None = None,
    root: StrPath | None = None,
    subjects: Subjects = "name",
) -> Dataset:
    """Open a folder, a file, a manifest, or a pattern of files ("scans/*.png") or of folders ("site*") that are joined.

    A manifest that is named counts first; then `scantling.toml` or `scantling.json` in the folder; then nnU-Net's
    `dataset.json`; then BIDS; then images with files of annotations (`annotations.folder`); then paired folders
    (`images`, `masks`, `masks-2nd`, `fov`, `instances`, `labels.csv`, all of them also below `train`, `validation`,
    `test`), by these or other usual names; then a plain folder of images; then a folder for each patient. Of images
    and masks no file is read but where no name tells the mask of a patient.
    A `scantling-strata.csv` in the folder gives the cases of any of them their strata.

    Args:
        path: what to open; a data set that is open is returned as it is.
        manifest: describes the files below `path`.
        root: the folder that holds the files of the manifest, if it is neither `path` nor what the manifest says.
        subjects: "name" takes files for one subject whose names share its number (`data.subjects`), "file" each for
            one.

    Raises:
        SettingsError: `subjects` is neither, or `path` is no path.
        DataError: nothing is there, or it does not hold together.
        FileError: a manifest or table cannot be read.

    Example:
        >>> data = scantling.open_dataset("scans")
        >>> len(data), data[0].load().image.shape
    """
    if isinstance(path, Dataset):
        return path
    path = path_of(path, "path")
    if folders := folders_of(path):
        several = [open_dataset(one, manifest=manifest, root=root, subjects=subjects) for one in folders]
        return join(distinct(several))
    if not manifest and path.suffix in (".toml", ".json") and path.is_file() and not _annotates(path):
        manifest = path
    contents = with_safe_ids(_contents(path, Path(manifest) if manifest else None, Path(root) if root else None))
    layout = layout_of(contents)
    contents = by_name(contents) if checked(subjects) == "name" else contents
    whole = path.is_dir() or manifest is not None
    stored = stored_split(contents.root) if whole else None
    described, unknown = with_strata(contents.cases, contents.root / STRATA) if whole else (contents.cases, ())
    cases = assign(described, stored=stored)
    remarks = (*contents.remarks, *split_remarks(contents.cases, cases, stored), *unknown)
    parted = stored is not None or any(case.split is not None for case in contents.cases)
    source = _source(contents.labels, cases, contents.root)
    return Dataset(contents.name, contents.root, cases, source, parted, remarks, layout, contents.regions)


def _contents(path: Path, described: Path | None, root: Path | None) -> Contents:
    if described is not None:
        return contents_of(described, layout=_layout, root=root or (path if path.is_dir() else None))
    if path.is_dir() and is_corrections(path):
        return corrected(path, _corrected_data(path))
    if path.is_dir():
        inside = [path / name for name in MANIFESTS if (path / name).is_file()]
        if len(inside) > 1:
            raise DataError(f"{path}: holds {' and '.join(MANIFESTS)}; keep one, or name one with --manifest")
        if inside:
            return contents_of(inside[0], layout=_layout, root=root)
        return _layout(path)
    if path.is_file():
        return annotated_by(path) if _annotates(path) else loose_files([path], root=path.parent)
    if files := matches(path):
        return loose_files(files, root=Path(os.path.commonpath([file.parent for file in files])))
    raise DataError(f"{path}: there is no such file or folder; expected a folder of images, a file or a manifest")


def _corrected_data(folder: Path) -> tuple[Case, ...]:
    """The cases of the data set that the corrections in a folder are of, with their splits; none if it is gone."""
    file = read_corrections(folder)
    manifest, root = (Path(place) if place else None for place in (file.manifest, file.root))
    if not Path(file.data).exists():
        return ()
    data = open_dataset(file.data, manifest=manifest, root=root, subjects="file" if file.subjects == "file" else "name")
    return data.cases


def _layout(path: Path) -> Contents:
    return nnunet(path) if is_nnunet(path) else bids(path) or annotated(path) or paired(path)


def _annotates(path: Path) -> bool:
    return path.suffix.lower() in ANNOTATIONS and annotations_in(path) is not None


def _source(declared: Labels | None, cases: Sequence[Case], root: Path) -> LabelSource:
    """The masks that tell the labels: those for training and validation where the folder has them, else all."""
    if declared is not None:
        return LabelSource(declared)
    training = [case for case in cases if case.split in ("train", "validation")]
    marked = [case for case in training if case.masks] or cases
    plain = [mask for case in marked if case.threshold is None for mask in case.masks[:1] if isinstance(mask, Address)]
    if not plain and any(case.masks for case in cases):
        return LabelSource(Labels(names=("foreground",), values=((255,),)))
    above = (
        {mask.path.parent: None for mask in plain} | {mask.path.parent.parent: None for mask in plain} | {root: None}
    )
    folders = tuple(folder for folder in above if folder.is_relative_to(root))
    return LabelSource(masks=tuple(plain), folders=folders, drawn=partly_drawn(marked))


def distinct(datasets: Sequence[Dataset]) -> list[Dataset]:
    """The datasets, those of one name called after what their folders have otherwise than each other."""
    times = Counter(dataset.name for dataset in datasets)
    names = names_of([dataset.root.resolve() for dataset in datasets])
    return [
        replace(dataset, name=name) if times[dataset.name] > 1 and name else dataset
        for dataset, name in zip(datasets, names, strict=True)
    ]


def join(datasets: Sequence[Dataset]) -> Dataset:
    """One dataset from several. Ids that are used twice get the name of their dataset in front.

    Corrected masks stand in for those of the same images in other datasets (`corrections.absorbed`).
    A subject that is named in several datasets (`Case.named`) is the same person in all of them, and has the strictest
    split that it has in one (test before validation before training), which a remark tells. A subject that is called
    after its file is nobody else: where another dataset uses the same name, it gets the name of its dataset in front.
    Synthetic cases inherit the split of parents in any of the datasets. The labels are compared when they are first
    used.

    Raises:
        DataError: there is no dataset, two have the same name and the same ids, or a corrected mask has no image.
    """
    if not datasets:
        raise DataError("there is no dataset to join; pass at least one folder")
    if len(datasets) == 1:
        return datasets[0]
    taken = absorbed([dataset.cases for dataset in datasets], [dataset.name for dataset in datasets])
    datasets = [replace(dataset, cases=cases) for dataset, cases in zip(datasets, taken.cases, strict=True)]
    times = Counter(case.id for dataset in datasets for case in dataset.cases)
    named = Counter(subject for dataset in datasets for subject in _named(dataset))
    cases: list[Case] = []
    for dataset in datasets:
        own = _named(dataset)
        name = {case.id: f"{dataset.name}_{case.id}" if times[case.id] > 1 else case.id for case in dataset.cases}
        called = {id: f"{dataset.name}_{id}" if id in named else new for id, new in name.items()}
        for case in dataset.cases:
            parents = tuple(name.get(parent, parent) for parent in case.origin.parents)
            cases.append(
                replace(
                    case,
                    id=safe_id(name[case.id], dataset.root),
                    subject=case.subject if case.subject in own else called.get(case.subject, case.subject),
                    links={role: name.get(other, other) for role, other in case.links.items()},
                    origin=case.origin.model_copy(update={"parents": parents}),
                )
            )
    before = inherited(unique(cases, "the joined datasets"))
    joined = inherited(together(before, {subject for subject, times in named.items() if times > 1}))
    return Dataset(
        "+".join(dict.fromkeys(dataset.name for dataset in datasets)),
        Path(os.path.commonpath([dataset.root.resolve() for dataset in datasets])),
        joined,
        LabelSource(parts=tuple(dataset.label_source for dataset in datasets)),
        all(dataset.parted for dataset in datasets),
        (*(one for dataset in datasets for one in dataset.remarks), *taken.remarks, *_moved(before, joined)),
        ", ".join(dict.fromkeys(dataset.layout for dataset in datasets if dataset.layout)),
        datasets[0].regions if all(dataset.regions == datasets[0].regions for dataset in datasets) else {},
    )


def _named(dataset: Dataset) -> set[str]:
    """The subjects with a name of their own, not that of a case here or of a parent."""
    ids = {case.id for case in dataset.cases}
    return {
        case.subject
        for case in dataset.cases
        if case.named or not (case.subject in ids or case.subject in case.origin.parents)
    }


def _moved(before: Sequence[Case], after: Sequence[Case]) -> Iterator[Finding]:
    """A remark on cases whose subject is held out by another of the joined datasets."""
    for split in SPLITS:
        moved = [new for old, new in zip(before, after, strict=True) if new.split == split != old.split]
        if moved:
            subjects = dict.fromkeys(case.subject for case in moved)
            sentence = (
                f"{count(len(moved), 'case')} ({some(case.id for case in moved)}) of {count(len(subjects), 'subject')} "
                f"({some(subjects)}) went to {split}, because another of the joined datasets has the subject there"
            )
            yield Finding(
                level="warning", kind="joined subject", cases=tuple(case.id for case in moved), sentence=sentence
            )


def file_hashes(dataset: Dataset, *, reads: Collection[str] = EVERYTHING) -> dict[str, str]:
    """The SHA-256 of every file of every case, by its path below the root, and of every array in memory.

    Args:
        dataset: whose files.
        reads: which files, in the words of `load`.

    Raises:
        FileError: a file cannot be read.
    """
    root = dataset.root.resolve()
    addresses = [
        address
        for case in dataset.cases
        for role, address in case.addresses()
        if _is_read(role, reads) or not case.images  # a mask alone is there to be read
    ]
    in_memory = [address for address in addresses if isinstance(address, MemoryAddress)]
    held = {f"{address.path.name}#{address.member}": address.digest() for address in in_memory}
    on_disk = [address for address in addresses if not isinstance(address, MemoryAddress)]
    ordered = sorted({file.resolve() for address in on_disk for file in files_of(address)})
    with ThreadPoolExecutor(2) as threads:
        digests = list(threads.map(hash_of, ordered))
    return held | {
        path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix(): digest
        for path, digest in zip(ordered, digests, strict=True)
    }


def objects_in_tables(dataset: Dataset, *, reads: Collection[str] = EVERYTHING) -> dict[str, str]:
    """The boxes and points of every case, which lie in no file of their own, by case and field, for `fingerprint`."""
    return {
        f"{case.id} {name}": repr((getattr(case, name), case.box_classes if name == "boxes" else case.point_classes))
        for case in dataset.cases
        for name in ("boxes", "points")
        if name in reads and case.has(name)
    }


def fingerprint(hashes: Mapping[str, str]) -> str:
    """One SHA-256 for all files: of the sorted lines "path, hash" of `file_hashes`."""
    lines = "".join(f"{path}\0{digest}\n" for path, digest in sorted(hashes.items()))
    return hashlib.sha256(lines.encode(errors="surrogatepass")).hexdigest()  # a path need not be valid UTF-8


def _is_read(role: str, reads: Collection[str]) -> bool:
    """Whether the file of a role (`Case.addresses`) is among those that `load` reads."""
    kind, _, name = role.partition(" ")
    if kind == "known":
        return not {"mask", "masks"}.isdisjoint(reads)
    if kind == "mask":
        return "masks" in reads or ("mask" in reads and name.split()[0] == "1")
    return kind in reads
