"""What a manifest may say, how its patterns are read, and that nothing outside its root is reached."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scantling.core.case import Address
from scantling.core.errors import DataError, FileError
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.integrity import check
from scantling.data.loading import load
from scantling.data.manifest import Manifest, read_manifest
from scantling.data.patterns import Pattern, compiled, filled

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "manifests"


def image(path: Path, value: int = 0, shape: tuple[int, int] = (6, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.full(shape, value, np.uint8)
    array[0, 0] = 1
    Image.fromarray(array).save(path)
    return path


def opened(root: Path, text: str) -> Dataset:
    (root / "scantling.toml").write_text(text, encoding="utf-8")
    return open_dataset(root)


def test_a_pattern_gives_ids_subjects_and_addresses(tmp_path: Path) -> None:
    for name in ("p1_a", "p1_b", "p2_a"):
        image(tmp_path / f"{name}.png")
        image(tmp_path / "labels" / f"{name}-truth.png")
    dataset = opened(
        tmp_path, '[[group]]\npattern = "{subject}_{frame}.png"\nmasks = "labels/{subject}_{frame}-truth.png"'
    )
    assert [(case.id, case.subject) for case in dataset.cases] == [("p1_a", "p1"), ("p1_b", "p1"), ("p2_a", "p2")]
    assert dataset.cases[2].images == {"image": Address(tmp_path / "p2_a.png")}
    assert dataset.cases[2].masks == (Address(tmp_path / "labels" / "p2_a-truth.png"),)


@pytest.mark.parametrize(
    ("text", "path", "fields"),
    [
        ("{subject}_{frame}.png", "a_b_c.png", {"subject": "a_b", "frame": "c"}),
        ("{patient}_{slice}.png", "SITE_A_01_2.png", {"patient": "SITE_A_01", "slice": "2"}),
        ("{site}-{patient}-{slice}.png", "a-b-c-d.png", {"site": "a-b", "patient": "c", "slice": "d"}),
        ("{subject}_*.png", "a_b_c.png", {"subject": "a"}),
    ],
)
def test_the_last_field_is_the_shortest_text_and_the_other_reading_is_said(
    text: str, path: str, fields: dict[str, str]
) -> None:
    pattern = Pattern(text, "m")
    assert pattern.fields(path) == fields
    assert pattern.fields(f"d/{path}") is None
    (remark,) = pattern.remarks()
    assert remark.level == "warning"
    assert all(f"{name} {value!r}" in remark.sentence for name, value in fields.items())
    _, other = pattern.ambiguous[path]
    assert other != fields
    assert all(f"{name} {value!r}" in remark.sentence for name, value in other.items())


def test_a_pattern_that_can_be_read_in_one_way_only_needs_no_remark() -> None:
    pattern = Pattern("{site}/{subject}_{frame}.png", "m")
    assert pattern.fields("A_1/p1_7.png") == {"site": "A_1", "subject": "p1", "frame": "7"}
    assert pattern.remarks() == []


def test_slices_of_an_ambiguous_pattern_are_of_their_patients(tmp_path: Path) -> None:
    for p in range(6):
        for s in range(3):
            image(tmp_path / f"images/SITE_A_{p:02d}_{s}.png", 10 * p + s)
    text = '[[group]]\npattern = "images/{patient}_{slice}.png"\nid = "{patient}_{slice}"\nsubject = "{patient}"\n'
    dataset = opened(tmp_path, text)
    assert {case.subject for case in dataset.cases} == {f"SITE_A_{p:02d}" for p in range(6)}
    assert "patient 'SITE_A_00', slice '0'" in " ".join(remark.sentence for remark in dataset.remarks)


def test_a_training_split_of_one_subject_is_a_warning(tmp_path: Path) -> None:
    for number in range(4):
        image(tmp_path / f"p_{number}.png", number)
    dataset = opened(tmp_path, '[[group]]\npattern = "{subject}_{slice}.png"\nid = "{subject}_{slice}"\n')
    found = [finding for finding in check(dataset).findings if finding.kind == "subjects"]
    assert [finding.level for finding in found] == ["warning"]
    assert "4 training cases" in found[0].sentence
    assert "one subject, p" in found[0].sentence


def test_a_field_that_stands_twice_must_match_the_same_text() -> None:
    pattern = compiled("{subject}/{subject}_*.png", "m")
    assert pattern.fullmatch("a/a_1.png")
    assert not pattern.fullmatch("a/b_1.png")


def test_letters_with_a_meaning_in_regular_expressions_are_themselves() -> None:
    assert not compiled("a.b+{id}.png", "m").fullmatch("aXbb1.png")
    assert compiled("a.b+{id}.png", "m").fullmatch("a.b+1.png")


def test_the_id_of_a_file_in_folders_is_its_path() -> None:
    assert filled("{a}-{b}", {"a": "1", "b": "2"}, "m") == "1-2"
    with pytest.raises(DataError, match=r"unknown field \{c\}.*\{a\}"):
        filled("{c}", {"a": "1"}, "m")


def test_ids_without_a_field_are_made_of_the_whole_path(tmp_path: Path) -> None:
    image(tmp_path / "site" / "p1" / "scan.png")
    assert [case.id for case in opened(tmp_path, '[[group]]\npattern = "{site}/{subject}/scan.png"').cases] == [
        "site_p1_scan"
    ]


def test_an_array_inside_an_archive_has_an_address(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", image=np.zeros((2, 4, 4), np.float32), label=np.zeros((2, 4, 4), np.uint8))
    dataset = opened(
        tmp_path,
        '[[group]]\npattern = "{id}.npz"\nimages = "{path}#image"\nmasks = ["{path}#label"]\nspacing = [8, 1.5, 1.5]',
    )
    case = dataset.cases[0]
    assert case.images["image"] == Address(tmp_path / "a.npz", "image")
    assert case.masks == (Address(tmp_path / "a.npz", "label"),)
    assert case.spacing == (8.0, 1.5, 1.5)


EVERYTHING = """
name = "all"
classes = { vessel = 1 }
ignore = 9

[split]
test = ["b"]

[[group]]
pattern = "front/{letter}.png"
id = "{letter}"
images = { one = "{path}", two = "back/{letter}.png" }
masks = ["m1/{letter}.png", "m2/{letter}.png"]
region = "r/{letter}.png"
instances = "i/{letter}.png"
scribbles = "s/{letter}.png"
class = "kind-{letter}"
links = { background = "back-{letter}" }
pool = "front"

[[group]]
pattern = "back/{letter}.png"
id = "back-{letter}"
subject = "{letter}"
pool = "back"
"""


def test_everything_a_case_may_have_can_be_said(tmp_path: Path) -> None:
    for folder in ("front", "back", "m1", "m2", "r", "i", "s"):
        image(tmp_path / folder / "a.png")
    image(tmp_path / "front" / "b.png")
    image(tmp_path / "back" / "b.png")
    dataset = opened(tmp_path, EVERYTHING)
    assert dataset.name == "all"
    assert dataset.labels is not None
    assert (dataset.labels.names, dataset.labels.values, dataset.labels.ignore) == (("vessel",), ((1,),), 9)
    a, b = dataset.cases[:2]
    assert list(a.images) == ["one", "two"]
    assert len(a.masks) == 2
    for what in ("region", "instances", "scribbles", "image_class", "link:background", "pool:front"):
        assert a.has(what), what
    assert a.image_class == "kind-a"
    # b has only its images; nothing else need be there for every case
    assert (b.masks, b.region, b.scribbles) == ((), None, None)
    # the subject b is for testing, and so is its linked background
    assert {case.id: case.split for case in dataset.cases} == {
        "a": "train", "b": "test", "back-a": "train", "back-b": "test",
    }  # fmt: skip


def test_masks_of_overlapping_classes_lie_in_a_file_each(tmp_path: Path) -> None:
    for name in ("a", "a-core", "a-whole"):
        image(tmp_path / f"{name}.png")
    dataset = opened(
        tmp_path, '[[case]]\nid = "a"\nimages = "a.png"\nmasks = [{ whole = "a-whole.png", core = "a-core.png" }]'
    )
    assert dataset.labels is not None
    assert dataset.labels.names == ("whole", "core")
    assert not dataset.labels.exclusive


def test_json_and_toml_say_the_same(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    said = {"name": "x", "classes": {"v": [1, 2]}, "case": [{"id": "a", "images": "a.png", "class": "k"}]}
    (tmp_path / "m.json").write_text(json.dumps(said))
    (tmp_path / "m.toml").write_text(
        'name = "x"\nclasses = { v = [1, 2] }\n[[case]]\nid = "a"\nimages = "a.png"\nclass = "k"'
    )
    assert read_manifest(tmp_path / "m.json") == read_manifest(tmp_path / "m.toml")
    assert open_dataset(tmp_path / "m.json").cases == open_dataset(tmp_path, manifest=tmp_path / "m.toml").cases


def test_a_manifest_survives_json(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(EVERYTHING)
    manifest = read_manifest(tmp_path / "m.toml")
    assert Manifest.model_validate_json(manifest.model_dump_json(by_alias=True)) == manifest


def test_the_root_is_said_by_the_call_or_the_manifest_or_is_its_folder(tmp_path: Path) -> None:
    image(tmp_path / "data" / "a.png")
    (tmp_path / "described").mkdir()
    manifest = tmp_path / "described" / "m.toml"
    manifest.write_text('root = "../data"\n[[group]]\npattern = "{id}.png"')
    assert [case.id for case in open_dataset(manifest).cases] == ["a"]
    manifest.write_text('[[group]]\npattern = "{id}.png"')
    assert [case.id for case in open_dataset(tmp_path / "data", manifest=manifest).cases] == ["a"]
    assert [case.id for case in open_dataset(manifest, root=tmp_path / "data").cases] == ["a"]
    with pytest.raises(FileError, match="matches no file"):
        open_dataset(manifest)


@pytest.mark.parametrize("path", ["../outside.png", "/etc/hostname", "sub/../../outside.png", "sub\\\\..\\\\x.png"])
def test_paths_that_leave_the_root_are_refused(tmp_path: Path, path: str) -> None:
    image(tmp_path / "outside.png")
    root = tmp_path / "root"
    image(root / "sub" / "a.png")
    with pytest.raises(DataError, match="no path below the root"):
        opened(root, f'[[case]]\nid = "a"\nimages = "{path}"')


def test_links_that_leave_the_root_are_refused_and_others_are_not(tmp_path: Path) -> None:
    image(tmp_path / "outside.png")
    root = tmp_path / "root"
    image(root / "sub" / "a.png")
    (root / "inside.png").symlink_to(root / "sub" / "a.png")
    (root / "escape.png").symlink_to(tmp_path / "outside.png")
    assert opened(root, '[[case]]\nid = "a"\nimages = "inside.png"').cases
    with pytest.raises(DataError, match=r"escape\.png.*symbolic link that leaves"):
        opened(root, '[[case]]\nid = "a"\nimages = "escape.png"')
    with pytest.raises(DataError, match="symbolic link that leaves"):
        opened(root, '[[group]]\npattern = "{id}.png"')


WRONG = {
    'nmae = "x"': "unknown key 'nmae'; expected one of",
    '[[group]]\npattrn = "{id}.png"': "'pattrn'|'pattern' is missing in group 1",
    '[[group]]\npattern = "{id}.png"\nmask = "x"': "unknown key 'mask' in group 1; expected one of",
    '[[group]]\npattern = "{id.png"': "braces",
    '[[group]]\npattern = "{1a}.png"': "is no field",
    '[[group]]\npattern = "{id}.tif"': "group 1, key 'pattern'.*matches no file",
    '[[group]]\npattern = "{id}.png"\nmasks = "{path}/x.png"': "key 'masks': no case of the group has such a file",
    '[[group]]\npattern = "{id}.png"\nimages = "{id}.tif"': "key 'images': there is no 'a.tif'",
    '[[group]]\npattern = "{id}.png"\nimages = "{stem}.tif"': "unknown field {stem}",
    '[[group]]\npattern = "{id}.png"\nid = "one/{id}"': "cannot be the name of a file",
    '[[group]]\npattern = "{id}.png"\nid = "one"': "two cases have the id 'one'",
    '[[group]]\npattern = "{id}.png"\nsplit = "tset"': "key 'split': found 'tset'",
    '[[group]]\npattern = "{id}.png"\nspacing = [1, 0]': "key 'spacing' in group 1",
    '[[group]]\npattern = "{id}.png"\nlinks = { after = "c" }': "links to 'c' as 'after'",
    '[split]\ntest = ["z"]\n[[group]]\npattern = "{id}.png"': "there is no subject 'z'",
    '[split]\ntest = ["a"]\ntrain = ["a"]\n[[group]]\npattern = "{id}.png"': "'a' is in test and in train",
    '[split]\ntset = ["a"]\n[[group]]\npattern = "{id}.png"': "tset",
    'ignore = 3\n[[group]]\npattern = "{id}.png"': "'ignore', 'background' or 'others' without 'classes'",
    'ignore = 1\nclasses = { v = 1 }\n[[group]]\npattern = "{id}.png"': "the value 1 is both 'ignore'",
    'classes = { v = 0 }\n[[group]]\npattern = "{id}.png"': "the value 0, which is both background and a class",
    'classes = { v = 1, w = [] }\n[[group]]\npattern = "{id}.png"': "some classes have values and some have none",
    '[[case]]\nid = "a"\nimages = "missing.png"': "there is no 'missing.png'",
    '[[case]]\nimages = "a.png"': "cannot be the name of a file",
    "name = ": "is no TOML",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_told_with_file_key_and_mend(tmp_path: Path, text: str) -> None:
    image(tmp_path / "a.png")
    image(tmp_path / "b.png")
    with pytest.raises((DataError, FileError), match=WRONG[text]) as told:
        opened(tmp_path, text)
    assert str(tmp_path / "scantling.toml") in str(told.value)
    assert "\n" not in str(told.value)


def test_two_manifests_in_one_folder_are_refused(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    (tmp_path / "scantling.json").write_text("{}")
    with pytest.raises(DataError, match="keep one"):
        opened(tmp_path, '[[group]]\npattern = "{id}.png"')


def test_files_in_no_case_are_noted_and_documentation_is_not(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    image(tmp_path / "spare.png")
    for name in ("README.md", "SOURCE.md", "LICENSE", "License_CC.txt", ".hidden"):
        (tmp_path / name).write_text("x")
    remarks = opened(tmp_path, '[[group]]\npattern = "a{rest}png"\nid = "a"').remarks
    unused = [remark.sentence for remark in remarks if remark.kind == "unused files"]
    assert len(unused) == 1
    assert "spare.png" in unused[0]
    assert "1 file " in unused[0]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_examples_describe_the_sample_data(path: Path, shared_data: Path) -> None:
    dataset = open_dataset(path, root=shared_data / path.stem)
    assert dataset.name == path.stem
    assert dataset.cases
    assert not [remark for remark in dataset.remarks if remark.level == "error"]


OBJECTS = """classes = { cyst = [1], tumour = [2] }
[[case]]
id = "a"
images = "a.png"
boxes = [[[1, 3], [2, 5]], [[0, 6], [0, 8]]]
points = [[2.5, 4.0]]
image_class = "malignant"
box_classes = ["tumour", "cyst"]
point_classes = ["cyst"]
"""


def test_boxes_and_points_have_classes_that_are_read_with_them(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    dataset = opened(tmp_path, OBJECTS)
    case = dataset.cases[0]
    assert case.image_class == "malignant"
    assert case.box_classes == ("tumour", "cyst")
    sample = load(case, labels=dataset.labels, reads=("image", "boxes", "points"))
    assert sample.boxes is not None
    assert sample.boxes.tolist() == [[[1, 3], [2, 5]], [[0, 6], [0, 8]]]
    assert {name: numbers.tolist() for name, numbers in sample.classes.items()} == {"boxes": [1, 0], "points": [0]}
    assert load(case, labels=dataset.labels, reads=("image",)).points is None


def test_the_class_of_an_image_is_still_read_under_its_old_key(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    assert opened(tmp_path, OBJECTS.replace("image_class", "class")).cases[0].image_class == "malignant"


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ('["tumour", "cyst"]', '["tumour"]', "found 1 box_classes for 2; expected one for each box"),
        ('point_classes = ["cyst"]', 'point_classes = ["lesion"]', "is of 'lesion', which is no class"),
    ],
)
def test_classes_of_objects_that_do_not_fit_are_a_sentence(
    tmp_path: Path, before: str, after: str, sentence: str
) -> None:
    image(tmp_path / "a.png")
    with pytest.raises(FileError, match=sentence):
        opened(tmp_path, OBJECTS.replace(before, after))


def test_of_one_class_no_object_needs_to_say_so_and_of_several_each(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    bare = OBJECTS.replace('box_classes = ["tumour", "cyst"]\n', "")
    one = opened(tmp_path, bare.replace(", tumour = [2]", ""))
    assert load(one.cases[0], labels=one.labels, reads=("image", "boxes")).classes["boxes"].tolist() == [0, 0]
    several = opened(tmp_path, bare)
    with pytest.raises(DataError, match="found 2 boxes with the classes none; expected one of cyst"):
        load(several.cases[0], labels=several.labels, reads=("image", "boxes"))
    assert any("box_classes" in finding.sentence for finding in check(several).findings)
