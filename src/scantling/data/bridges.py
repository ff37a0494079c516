"""A data set as MONAI and TorchIO have theirs, and with a transform of theirs in front of every method."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from scantling.core.case import Split

if TYPE_CHECKING:
    import torchio
    from monai.data.dataset import Dataset as MonaiDataset

    from scantling.data.dataset import Dataset

Transform = Callable[[Any], Any]


class Bridges:
    """The ways of a `Dataset` to other packages."""

    def to_monai(self, split: Split | None = None, transform: Transform | None = None) -> MonaiDataset:
        """The cases as a `monai.data.Dataset` of dictionaries; each is read when it is asked for.

        Args:
            split: "train", "validation" or "test"; None: all cases.
            transform: dictionary transforms, such as `monai.transforms.Compose`.

        Returns:
            For each case "image", a MetaTensor (C, *S) float32 of the values in its files; where it has them "label",
            a MetaTensor (1, *S) uint8 of class numbers (0 background, 1..K in the order of `labels.names`, 255 where
            nothing is known), or (K, *S) of 0, 1 and 255 where classes overlap, "label_2" and so on of further
            annotators, and "region", "scribbles" and "instances" (1, *S); the texts "id", "subject", "split", "unit"
            ("mm", or "pixel" where no file says how large a pixel is) and, where it is known, "image_class". Volumes
            with an affine have the axes right, anterior and superior, and it is that of the MetaTensor; of others it
            holds the spacing. Boxes and points are left out.

        Raises:
            DataError: the split has no case, or the masks hold values that make no classes.

        Example:
            >>> data = scantling.open_dataset("scans")
            >>> train = data.to_monai("train", RandFlipd(["image", "label"], prob=0.5))
            >>> loader = monai.data.DataLoader(train, batch_size=1)
        """
        from monai.data.dataset import Dataset as MonaiDataset

        from scantling.data.exchange import CaseItems, chosen

        dataset = cast("Dataset", self)
        return MonaiDataset(CaseItems(chosen(dataset, split), dataset.labels), transform)

    def to_torchio(self, split: Split | None = None, transform: Transform | None = None) -> torchio.SubjectsDataset:
        """The cases as a `torchio.SubjectsDataset`; the files of a subject are read when its images are.

        Args:
            split: "train", "validation" or "test"; None: all cases.
            transform: of TorchIO.

        Returns:
            For each case a `torchio.Subject` with what `to_monai` gives: a `ScalarImage` "image" and `LabelMap`s, of
            pictures (C, W, H, 1) as TorchIO has them; "id", "subject", "split" and "unit". Cases in memory are made
            at once.

        Raises:
            SettingsError: TorchIO is not installed: pip install 'scantling[torchio]'.
            DataError: the split has no case, or the masks hold values that make no classes.

        Example:
            >>> data = scantling.open_dataset("scans")
            >>> subjects = data.to_torchio("train", torchio.RandomFlip())
            >>> subjects[0]["image"].spacing
        """
        from scantling.data.exchange import chosen, subject_of, torchio_package

        package, dataset = torchio_package(), cast("Dataset", self)
        subjects = [subject_of(case, dataset.labels) for case in chosen(dataset, split)]
        return package.SubjectsDataset(subjects, transform=transform)

    def with_transform(self, transform: Transform) -> Dataset:
        """The same cases as a transform of MONAI or TorchIO makes them; it stands in front of every method.

        Whatever reads the cases (training, prediction, evaluation) sees what the transform gives, grid and all, and
        the hashes of a run are those of it: a run goes on with, and is compared on, the same transform alone. A model
        that was trained so has to be given images after the same transform. Images become float32.

        Args:
            transform: of dictionaries with the keys of `to_monai`, or a `torchio.Transform`. It is called for a whole
                case at a time and must not be random: augmentation belongs to the method.

        Raises:
            SettingsError: the transform is random.
            DataError: the masks hold values that make no classes.

        Example:
            >>> data = scantling.open_dataset("scans")
            >>> spaced = data.with_transform(Spacingd(["image", "label"], (1, 1, 1), mode=("bilinear", "nearest")))
            >>> scantling.train("unet", spaced, "runs/spaced", preset="quick")
        """
        from scantling.data.transformed import transformed

        return transformed(cast("Dataset", self), transform)
