"""Tables are read as spreadsheets write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_patients import picture

from scantling.data.dataset import open_dataset
from scantling.data.tables import read_table


@pytest.mark.parametrize(
    "text",
    [
        "id;class\r\na;1\r\nb;2\r\n;\r\n;\r\n",  # rows that were emptied
        "id;class;;\r\na;1;;\r\nb;2;;\r\n",  # columns that were emptied
        "sep=;\r\nid;class\r\na;1\r\nb;2\r\n",
        "sep=|\nid|class\na|1\nb|2",
        '"id";"class"\r\n"a";"1"\r\n"b";" 2 "\r\n',
        "id\tclass\r\na\t1\r\n\r\nb\t2",
        "id,class\ra,1\rb,2\r",
    ],
)
def test_what_a_spreadsheet_adds_is_no_cell(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_table(tmp_path / "t.csv") == (("id", "class"), [{"id": "a", "class": "1"}, {"id": "b", "class": "2"}])


@pytest.mark.parametrize("column", ["image", "Image", "filename", "FileName", "file_name", "image_id", "ID", "stem"])
@pytest.mark.parametrize("name", ["c{}", "c{}.png", "images/c{}.PNG"])
def test_the_column_of_the_image_and_its_suffix_may_be_as_people_write_them(
    column: str, name: str, tmp_path: Path
) -> None:
    for number in range(2):
        picture(tmp_path / "images" / f"c{number}.png", number)
    lines = [f"{column};benign;malignant", f"{name.format(0)};1,0;0,0", f"{name.format(1)};0,0;1,0"]
    (tmp_path / "labels.csv").write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    assert [case.image_class for case in open_dataset(tmp_path).cases] == ["benign", "malignant"]
