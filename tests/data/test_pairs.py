"""Masks are found by their names, in any capitals and Unicode form; what nearly pairs is shown; and what was
understood is said first."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from PIL import Image
from test_patients import names, picture

from scantling.core.errors import DataError
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.integrity import check
from scantling.data.naming import IMAGE_FOLDERS, MASK_FOLDERS, SPLITS
from scantling.data.pairs import nearest_misses
from scantling.data.understood import understood
from scantling.evaluation.predictions import files_by_id

FORMS = (
    "{}_mask", "{}_masks", "{}_seg", "{}_segmentation", "{}-label", "{}_labels", "{}_manual1", "{}_gt", "mask{}",
    "mask_{}", "seg-{}", "{}_annotation", "{}.mask", "{} mask", "{}_groundtruth", "{}mask", "{}_manual_seg",
    "{}_seg_mask",
)  # fmt: skip
NFC, NFD = (unicodedata.normalize(form, "Łódź_Müller") for form in ("NFC", "NFD"))


def warnings(dataset: Dataset) -> str:
    return "\n".join(remark.sentence for remark in dataset.remarks if remark.level == "warning")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("capitals", [str, str.upper, str.title])
@pytest.mark.parametrize("apart", [False, True])
def test_every_usual_name_of_a_mask_pairs(form: str, capitals: type[str], apart: bool, tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / ("images" if apart else "") / f"x{number}.png", number)
        called = capitals(form.replace("{}", "@")).replace("@", f"x{number}")
        picture(tmp_path / ("masks" if apart else "") / f"{called}.png", 9 + number)
    dataset = open_dataset(tmp_path)
    assert [case.id for case in dataset.cases] == ["x0", "x1", "x2"]
    assert all(len(case.masks) == 1 for case in dataset.cases)
    assert warnings(dataset) == ""
    assert understood(dataset.cases, dataset.layout).startswith("3 images with masks in the layout ")
    assert understood(dataset.cases, dataset.layout).endswith("; 0 without")


@pytest.mark.parametrize("images", IMAGE_FOLDERS)
def test_folders_pair_by_every_name_with_splits_in_either_order(images: str, tmp_path: Path) -> None:
    """Each name meets both orders, and the names `x` and `y`, which pair with no others, as well."""
    masks = [name for name in MASK_FOLDERS if (name == "y") == (images == "x")]
    orders = ("{split}/{kind}", "{kind}/{split}")
    for turn, name in enumerate(masks, start=IMAGE_FOLDERS.index(images)):
        for order in orders if len(masks) == 1 else (orders[turn % 2],):
            root = tmp_path / name / order.replace("/", " ").replace("{", "").replace("}", "")
            for number, split in enumerate(SPLITS):
                for kind in (images, name):
                    picture(root / order.format(split=split, kind=kind) / f"c{number}.png", number)
            found = {case.id: case for case in open_dataset(root).cases}
            assert {id: case.split for id, case in found.items()} == {
                f"c{number}": meant for number, meant in enumerate(SPLITS.values())
            }
            assert all(len(case.masks) == 1 and case.images for case in found.values())


def test_the_report_of_check_begins_with_what_was_understood(tmp_path: Path) -> None:
    for number in range(8):
        picture(tmp_path / f"x{number}.png", number)
        mask = Image.new("L", (8, 8))
        mask.paste(255, (2, 2, 5, 5))
        mask.save(tmp_path / f"x{number}_mask.png")
    report = check(open_dataset(tmp_path))
    assert report.understood == "8 images with masks in the layout name + _mask; 0 without"
    assert report.text().splitlines()[0].endswith(report.understood)
    assert report.facts()["understood"] == report.understood


@pytest.mark.parametrize(
    ("folder", "understood_as"),
    [("images", "folders images and masks"), ("train/images", "folders images and masks, by train, test")],
)
def test_what_was_understood_names_the_folders(folder: str, understood_as: str, tmp_path: Path) -> None:
    for split in ("train", "test"):
        for kind in ("images", "masks"):
            picture(tmp_path / folder.replace("train", split).replace("images", kind) / f"c_{split}.png")
    assert open_dataset(tmp_path).layout == understood_as


def test_names_that_nearly_pair_are_shown_with_what_differs(tmp_path: Path) -> None:
    for number in range(5):
        picture(tmp_path / "images" / f"patient{number}.png", number)
        picture(tmp_path / "masks" / f"Patient{number}.png", number)
    picture(tmp_path / "masks" / "patient4_annot.png")
    with pytest.raises(DataError, match=r"'patient0' and 'Patient0' \(they differ in capitals only\)") as caught:
        open_dataset(tmp_path)
    assert str(caught.value).count(" and 'Patient") == 3
    (tmp_path / "masks" / "Patient0.png").rename(tmp_path / "masks" / "patient0.png")
    assert "'patient1' and 'Patient1'" in warnings(open_dataset(tmp_path))


def test_the_difference_of_names_is_said_in_words() -> None:
    said = nearest_misses(["case_01_annot", "kase_02", "cas_03"], ["case_01", "case_02", "case_03", "else"])
    assert "'case_01' and 'case_01_annot' ('_annot' is added)" in said
    assert "'case_02' and 'kase_02' ('k' instead of 'c')" in said
    assert "'case_03' and 'cas_03' ('e' is missing)" in said
    assert nearest_misses(["zzzz"], ["case_01"]) == ""


def test_an_unknown_ending_of_half_of_the_names_is_said(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / f"x{number}.png", number)
        picture(tmp_path / f"x{number}_overlay.png", 9 + number)
    assert "'_overlay' more (x0_overlay, x1_overlay" in warnings(open_dataset(tmp_path))


def test_a_mask_without_its_image_is_no_image(tmp_path: Path) -> None:
    for name in ("x0", "x0_mask", "x1", "x2_mask"):
        picture(tmp_path / f"{name}.png", len(name))
    dataset = open_dataset(tmp_path)
    assert [case.id for case in dataset.cases] == ["x0", "x1"]
    assert "x2_mask.png is called like a mask, without an image" in warnings(dataset)


def unlike(tmp_path: Path) -> None:
    """Skips where the file system takes both forms for one name."""
    (tmp_path / NFC).touch()
    if (tmp_path / NFD).exists():
        pytest.skip("this file system takes both Unicode forms for one name")
    (tmp_path / NFC).unlink()


@pytest.mark.parametrize("layout", ["folders", "beside", "patients", "split below", "nnunet", "manifest", "listed"])
@pytest.mark.parametrize(("one", "other"), [(NFC, NFD), (NFD, NFC)])
def test_names_in_any_unicode_form_pair(layout: str, one: str, other: str, tmp_path: Path) -> None:
    unlike(tmp_path)
    image, mask = {
        "folders": (f"images/{one}.png", f"masks/{other}.png"),
        "beside": (f"{one}.png", f"{other}_mask.png"),
        "patients": (f"{one}1/image.png", f"{one}1/{other}_mask.png"),
        "split below": (f"images/{one}1/a.png", f"masks/{other}1/a.png"),
        "nnunet": (f"imagesTr/{one}_0000.png", f"labelsTr/{other}.png"),
        "manifest": (f"a/{one}.png", f"b/{other}.png"),
        "listed": (f"a/{one}.png", f"b/{one}.png"),
    }[layout]
    picture(tmp_path / image)
    picture(tmp_path / mask)
    if layout == "nnunet":
        text = '{"channel_names": {"0": "x"}, "labels": {"background": 0, "a": 1}, "file_ending": ".png"}'
        (tmp_path / "dataset.json").write_text(text)
    if layout == "manifest":
        text = '[[group]]\npattern = "a/{subject}.png"\nmasks = "b/{subject}.png"\n'
        (tmp_path / "scantling.toml").write_text(text, encoding="utf-8")
    if layout == "listed":
        text = f'[[case]]\nid = "c"\nimages = "a/{other}.png"\nmasks = "b/{other}.png"\nsubject = "{NFD}"\n'
        (tmp_path / "scantling.toml").write_text(f'{text}[split]\ntest = ["{NFC}"]\n', encoding="utf-8")
    (case,) = open_dataset(tmp_path).cases
    assert names(case) == ({next(iter(case.images)): Path(image).name}, [Path(mask).name])
    assert unicodedata.is_normalized("NFC", case.id + case.subject)


def test_tables_and_predictions_pair_in_any_unicode_form(tmp_path: Path) -> None:
    unlike(tmp_path)
    picture(tmp_path / "data" / "images" / f"{NFD}.png")
    table = tmp_path / "data" / "labels.csv"
    table.write_text(f"image;class\n{NFC}.png;benign\n", encoding="utf-8-sig")
    (tmp_path / "data" / "scantling-strata.csv").write_text(f"id,site\n{NFD},A\n", encoding="utf-8")
    (case,) = open_dataset(tmp_path / "data").cases
    assert (case.image_class, case.strata) == ("benign", {"site": "A"})
    picture(tmp_path / "masks" / f"{NFD}_seg.png")
    assert set(files_by_id(tmp_path / "masks", {case.id})) == {case.id}


def test_names_that_differ_in_capitals_only_are_said(tmp_path: Path) -> None:
    for name in ("Case1", "case1", "case2"):
        picture(tmp_path / "images" / f"{name}.png", len(name))
    if len(list((tmp_path / "images").iterdir())) < 3:
        pytest.skip("this file system takes both for one name")
    assert "differ in capitals only (Case1, case1)" in warnings(open_dataset(tmp_path))


@pytest.mark.parametrize(("stem", "mask"), [("scan1", "maskscan1"), ("s1", "masks1"), ("egg1", "segegg1")])
def test_a_word_for_masks_may_be_glued_to_a_name_that_begins_like_its_end(stem: str, mask: str, tmp_path: Path) -> None:
    picture(tmp_path / f"{stem}.png")
    picture(tmp_path / f"{mask}.png", 1)
    (case,) = open_dataset(tmp_path).cases
    assert names(case) == ({"image": f"{stem}.png"}, [f"{mask}.png"])


@pytest.mark.parametrize(("image", "mask"), [("img{}", "mask{}"), ("{}_image", "{}_mask"), ("image_{}", "label_{}")])
def test_names_with_a_word_for_images_pair_in_one_folder(image: str, mask: str, tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / f"{image.format(number)}.png", number)
        picture(tmp_path / f"{mask.format(number)}.png", 9 + number)
    assert [names(case)[1] for case in open_dataset(tmp_path).cases] == [[f"{mask.format(n)}.png"] for n in range(3)]


def test_a_numbered_mask_counts_where_it_is_the_only_one(tmp_path: Path) -> None:
    for name in ("a", "a_mask_0", "b", "b_mask", "b_mask_1", "c", "c_mask_0", "c_mask_1"):
        picture(tmp_path / f"{name}.png", hash(name) % 99)
    found = {case.id: names(case)[1] for case in open_dataset(tmp_path).cases}
    assert found == {"a": ["a_mask_0.png"], "b": ["b_mask.png"], "c": []}


def test_an_ome_tiff_is_called_after_what_stands_before_its_suffix(tmp_path: Path) -> None:
    for number, suffix in enumerate((".ome.tif", ".OME.TIFF")):
        picture(tmp_path / "images" / f"a{number}.png").rename(tmp_path / "images" / f"a{number}{suffix}")
        picture(tmp_path / "masks" / f"a{number}.png")
    assert [(case.id, len(case.masks)) for case in open_dataset(tmp_path).cases] == [("a0", 1), ("a1", 1)]
