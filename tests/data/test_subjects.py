"""Files whose names share the number of a subject are of one subject, and no split divides it."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_patients import picture

from scantling.core.errors import SettingsError
from scantling.data.dataset import join, open_dataset
from scantling.data.leakage import leaks
from scantling.data.subjects import shared_stems


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        ("pat00_slice3 pat00_slice4 pat01_slice3", "pat00 pat01"),
        ("case12_L case12_R case13_L case13_R", "case12 case13"),
        ("Image_01L Image_01R Image_02L Image_02R", "Image_01 Image_02"),
        ("10_left 10_right 13_left 13_right", "10 13"),
        ("ISIC_0012345_0 ISIC_0012345_1 ISIC_0012346_0 ISIC_0012346_1", "ISIC_0012345 ISIC_0012346"),
        ("SITE_A_01_1 SITE_A_01_2 SITE_A_02_1 SITE_A_02_2", "SITE_A_01 SITE_A_02"),
        ("TCGA_CS_4941_19960909_1 TCGA_CS_4941_19960909_2 TCGA_DU_5849_19950405_1 TCGA_DU_5849_19950405_2",
         "TCGA_CS_4941 TCGA_DU_5849"),
        ("BraTS20_Training_001_12 BraTS20_Training_001_13 BraTS20_Training_002_1 BraTS20_Training_002_2",
         "BraTS20_Training_001 BraTS20_Training_002"),
        ("site1_pat12_slice3 site1_pat12_slice4 site2_pat12_slice3 site2_pat12_slice4", "site1_pat12 site2_pat12"),
        ("slide3_1024_2048 slide3_2048_2048 slide4_1024_1024 slide4_1024_2048", "slide3 slide4"),
        ("p01s02 p01s03 p02s01 p02s02", "p01 p02"),
        ("TCGA-18-5592-DX1_0_0 TCGA-18-5592-DX1_0_250 TCGA-18-5592-DX1_250_0 TCGA-18-5592-DX1_250_250",
         "TCGA-18-5592-DX1"),
        ("im1_x0_y0 im1_x0_y1 im1_x1_y0 im1_x1_y1 im2_x0_y0 im2_x0_y1 im2_x1_y0", "im1 im2"),
        ("pat1_L_0_64 pat1_L_0_128 pat1_L_64_64 pat2_L_0_64 pat2_L_0_128 pat2_L_64_64", "pat1 pat2"),
        ("sub-01_ses-1 sub-01_ses-2 sub-02_ses-1", "sub-01 sub-02"),
        ("pat00_2021-03-15 pat00_2022-04-16 pat01_2021-03-15", "pat00 pat01"),
        ("pat00_L_slice3_512x512 pat00_R_slice3_512x512 pat01_L_slice1_512x512", "pat00 pat01"),
        ("pat7_slice1 pat7_slice2", "pat7"),
        ("cju0q7k3b5_1 cju0q7k3b5_2 cju1f9m2c8_1 cju1f9m2c8_2", "cju0q7k3b5 cju1f9m2c8"),
        ("\u60a3\u800501_1 \u60a3\u800501_2 \u60a3\u800502_1 \u60a3\u800502_2", "\u60a3\u800501 \u60a3\u800502"),
    ],
)  # fmt: skip
def test_a_second_number_or_a_side_after_the_own_number_shares_the_subject(names: str, stems: str) -> None:
    assert {*shared_stems(names.split())} == {*stems.split()}


@pytest.mark.parametrize(
    "names",
    [
        "train_66 train_67 testA_1 testA_2",  # GlaS: one number
        "21_training 22_training 01_test",  # DRIVE
        "01_dr 02_dr 01_h 01_g",  # HRF: other people of the same number
        "scan_2021_03_15 scan_2021_03_16 scan_20210317 scan_2021-03-18",  # dates
        "IMG_20210315_123456 IMG_20210315_123502 IMG_20210316_101010",  # dates and times
        "img_512x512_7 img_512x512_8 img_256x256_7 img_256x256_8",  # sizes
        "img_512_7 img_512_8 img_256_7 img_256_8",
        "isic_2016_001 isic_2016_002 isic_2017_001 isic_2017_002",  # years
        "class1_001 class1_002 class2_001 class2_002 grade3_001 grade3_002",  # groups
        "site_2_001 site_2_002 site_3_001 site_3_002",
        "BraTS20_Training_001 BraTS20_Training_002",  # the number of a challenge
        "busi2_001 busi2_002 busi2_003",  # one stem for all
        "t1_001 t1_002 t2_001 t2_002",  # MR sequences
        "benign_1 benign_2 malignant_1 malignant_2",
        "00ae65c1c6631ae6 00ae65c1c6631ae7 1b2c3d4e5f607182",  # codes
        "1.2.840.10008.5.1.4.1 1.2.840.10008.5.1.4.2 1.2.840.10008.5.1.5.1 1.2.840.10008.5.1.5.2",
    ],
)
def test_dates_sizes_groups_and_single_numbers_make_no_subject(names: str) -> None:
    assert shared_stems(names.split()) == {}


def slices(
    root: Path, *, patients: int = 6, each: int = 4, layout: str = "{kind}/pat{p:02d}_slice{s}{end}.png"
) -> Path:
    for p in range(patients):
        for s in range(each):
            for kind, end in (
                ("images", ""),
                ("masks", "_mask" if "{end}" in layout and "{kind}" not in layout else ""),
            ):
                picture(root / layout.format(kind=kind, p=p, s=s, end=end), 10 * p + s)
    return root


@pytest.mark.parametrize("layout", ["{kind}/pat{p:02d}_slice{s}{end}.png", "pat{p:02d}_slice{s}{end}.png"])
def test_slices_of_a_patient_stand_on_one_side_of_the_split(layout: str, tmp_path: Path) -> None:
    dataset = open_dataset(slices(tmp_path, layout=layout))
    assert {case.subject for case in dataset.cases} == {f"pat{p:02d}" for p in range(6)}
    assert len(dataset.cases) == 24
    sides = {case.subject: {other.split for other in dataset.cases if other.subject == case.subject}
             for case in dataset.cases}  # fmt: skip
    assert all(len(found) == 1 for found in sides.values())
    (remark,) = [remark.sentence for remark in dataset.remarks if remark.kind == "subjects"]
    assert "24 cases of 6 subjects" in remark
    assert "pat00: pat00_slice0, pat00_slice1" in remark
    assert "pat01: " in remark
    assert "--subjects file" in remark
    alone = open_dataset(tmp_path, subjects="file")
    assert len({case.subject for case in alone.cases}) == 24
    assert not [remark for remark in alone.remarks if remark.kind == "subjects"]


def test_another_word_for_subjects_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="expected name or file"):
        open_dataset(slices(tmp_path, patients=1), subjects="stem")  # type: ignore[arg-type]


def test_the_subjects_of_a_manifest_stay_and_a_warning_says_what_names_suggest(tmp_path: Path) -> None:
    slices(tmp_path)
    manifest = tmp_path / "scantling.toml"
    manifest.write_text('[[group]]\npattern = "images/{id}.png"\nmasks = "masks/{id}.png"\n', encoding="utf-8")
    dataset = open_dataset(tmp_path)
    assert len({case.subject for case in dataset.cases}) == 24
    (remark,) = [remark for remark in dataset.remarks if remark.kind == "subjects"]
    assert remark.level == "warning"
    assert "set 'subject'" in remark.sentence
    text = '[[group]]\npattern = "images/{subject}_{slice}.png"\nid = "{subject}_{slice}"\n'
    manifest.write_text(text + 'masks = "masks/{id}.png"\n', encoding="utf-8")
    assert not [remark for remark in open_dataset(tmp_path).remarks if remark.kind == "subjects"]


def test_splits_that_part_the_slices_of_a_patient_are_a_leak(tmp_path: Path) -> None:
    for s in range(4):
        for p in range(3):
            for kind in ("images", "masks"):
                picture(tmp_path / ("test" if s == 3 else "train") / kind / f"pat{p}_slice{s}.png", 10 * p + s)
    found = [finding for finding in leaks(open_dataset(tmp_path).cases) if finding.kind == "subject"]
    assert [finding.level for finding in found] == ["error"] * 3
    assert not list(leaks(open_dataset(tmp_path, subjects="file").cases))


def test_a_subject_known_by_name_is_the_same_in_joined_data(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, numbers in ((one, (1, 2)), (other, (3, 4))):
        for p in range(5):
            for s in numbers:
                picture(folder / "images" / f"pat{p}_slice{s}.png", 10 * p + s)
    joined = join([open_dataset(one), open_dataset(other)])
    for p in range(5):
        assert len({case.split for case in joined.cases if case.subject == f"pat{p}"}) == 1
        assert len([case for case in joined.cases if case.subject == f"pat{p}"]) == 4


def test_overlapping_tiles_of_a_slide_never_stand_on_both_sides_of_a_split(tmp_path: Path) -> None:
    for slide in range(6):
        for x in (0, 24, 40):
            for y in (0, 24, 40):
                for kind in ("images", "masks"):
                    picture(tmp_path / kind / f"TCGA-{slide}A-0{slide}_{x}_{y}.png", 100 * slide + x + y)
    dataset = open_dataset(tmp_path)
    splits: dict[str, set[str | None]] = {}
    for case in dataset.cases:
        splits.setdefault(case.id.rsplit("_", 2)[0], set()).add(case.split)
    assert len(splits) == 6
    assert all(len(found) == 1 for found in splits.values())
    assert {case.split for case in dataset.cases} == {"train", "test"}
    assert {case.subject for case in dataset.cases} == {*splits}
