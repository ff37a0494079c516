"""The papers' ablation tables: each row can be built, is done once, and stands beside what was published."""

from __future__ import annotations

from pathlib import Path

import pytest

from scantling.methods.catalogue import CARDS, card_of, implementation_of
from scantling.testing.data import make_data
from scantling.testing.trainings import quickly
from script import script
from toys import TRAITS

ablations = script("benchmarks/ablations.py")


@pytest.mark.parametrize("name", sorted(ablations.TABLES))
def test_each_row_is_a_system_that_can_be_trained_and_the_whole_one_is_as_published(name: str) -> None:
    table, traits = ablations.TABLES[name], TRAITS.model_copy(update={"shape": (256, 256), "smallest": (256, 256)})
    assert table.whole.method == name
    assert not table.whole.settings
    for row in table.rows:
        if row.method:
            settings = implementation_of(card_of(row.method)).Settings
            for preset in ("quick", "paper"):
                resolved = settings.preset(preset, row.settings).resolve(traits)
                assert all(getattr(resolved, key) == value for key, value in row.settings.items())
        else:
            assert row.published != "–"


def test_a_table_is_made_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = make_data(CARDS["mb-diff"], tmp_path / "data", dimensions=2), tmp_path / "out"
    rows = tuple(row for row in ablations.TABLES["mb-diff"].rows if row.method == "mb-diff")
    monkeypatch.setitem(ablations.TABLES, "mb-diff", ablations.Table("MB-Diff, figure 3", "mean IoU", rows))
    words = ["--data", str(data), "--out", str(out), "--tables", "mb-diff", "--preset", "tiny", "--steps", "2"]
    with quickly():
        assert ablations.main(words) == 0, capsys.readouterr().err
    first = capsys.readouterr().out
    assert "| no evolution, no fusion | .831 | 0." in first
    assert len(list(out.glob("*/run"))) == 2, "one run answers with one sample and with several"
    last = first.rstrip().splitlines()[-1]
    assert last.startswith("| MB-Diff | .871 | 0.")
    assert last.endswith("|  |"), "the whole system differs in nothing from itself"

    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(ablations, "train", never)
    assert ablations.main(words) == 0
    assert capsys.readouterr().out == first
    assert ablations.main([*words[:5], "none", *words[6:]]) == 1
    assert "--tables: found 'none'; there are berdiff" in capsys.readouterr().err
