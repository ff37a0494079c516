"""Ways to other packages: data sets of what a program holds, networks for ONNX, data for nnU-Net, objects."""

from __future__ import annotations

from typing import Any, Literal

from scantling.api.calls import public
from scantling.core.errors import SettingsError
from scantling.core.outputs import RUN
from scantling.core.paths import StrPath, path_of
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.items import dataset_from as from_items

dataset_from = public(from_items)


@public
def export(
    source: StrPath | Dataset,
    out: StrPath,
    *,
    to: Literal["onnx", "nnunet", "qupath", "coco"] = "onnx",
    number: int | None = None,
    name: str | None = None,
) -> dict[str, Any]:
    """Write a network, a data set or predicted objects for other programs, as `scantling export` does.

    Args:
        source: for "onnx" a run; for "nnunet" a data set or its folder, or a run: its data as it saw them; for
            "qupath" and "coco" a folder that `predict` wrote.
        out: for "onnx", "qupath" and "coco" a folder of its own; for "nnunet" where folders of nnU-Net lie.
        to: "onnx" writes `model.onnx`, float32 images (B, C, *S) to probabilities (B, K, *S) of the foreground classes,
            and `export.json`, which says what comes before it (grid, units) and after it (temperature, thresholds), and
            by how much it differed from the original on onnxruntime, 1e-4 at most; "nnunet" is version 2; "qupath" is
            `ID.geojson` for each picture, "coco" one `objects.json`.
        number, name: of the data set of nnU-Net.

    Returns:
        What was written: of all but "nnunet" the contents of `export.json`.

    Raises:
        SettingsError: ONNX is not installed (pip install 'scantling[onnx]'), `out` holds something else, or `to`
            is none of these.
        RunError: there is no model, there are no predictions, or its answer is not one pass through one network.
        DataError: the data set has no labelled training case.

    Example:
        >>> facts = scantling.export("runs/unet", "unet-onnx")
        >>> session = onnxruntime.InferenceSession("unet-onnx/model.onnx")
        >>> probabilities = session.run(None, {"image": image})[0]
    """
    if to in ("qupath", "coco"):
        from scantling.evaluation.exported_objects import export_objects

        if isinstance(source, Dataset) or number is not None or name is not None:
            raise SettingsError(f"--to {to}: writes predicted objects; name a folder, without a number or a name")
        folder = path_of(source, "source", expected="a folder that predict wrote")
        return export_objects(folder, path_of(out, "out"), form="coco" if to == "coco" else "qupath")
    if to == "onnx":
        from scantling.inference.exporting import export_onnx

        if isinstance(source, Dataset) or number is not None or name is not None:
            raise SettingsError("--to onnx: writes the network of a run; name a run, without a number or a name")
        return export_onnx(path_of(source, "source", expected="a run"), path_of(out, "out"))
    if to != "nnunet":
        raise SettingsError(f"--to {to}: expected onnx, nnunet, qupath or coco")
    from scantling.data.nnunet_export import export_nnunet
    from scantling.records.run_data import dataset_of

    if not isinstance(source, Dataset):
        path = path_of(source, "source", expected="a data set, its folder or a run")
        source = dataset_of(path) if (path / RUN).is_file() else open_dataset(path)
    return export_nnunet(source, path_of(out, "out"), number=number, name=name).facts()
