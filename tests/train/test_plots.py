"""The trainer's pictures: they are drawn, they say what the data say, and odd labels do not break them."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from PIL import Image

from mtab_train.plots import save_confusion_matrix, save_curves

HISTORY = [
    {
        "epoch": epoch,
        "train": {"loss": 1.4 / epoch, "war": 0.3 + epoch / 20},
        "validation": {"loss": 1.5 / epoch, "war": 0.3 + epoch / 25, "uar": 0.3 + epoch / 30},
    }
    for epoch in range(1, 6)
]


def words(svg: Path) -> list[str]:
    return [
        "".join(element.itertext()).strip()
        for element in ElementTree.parse(svg).iter("{http://www.w3.org/2000/svg}text")
    ]


def test_pictures_are_png_files(tmp_path: Path) -> None:
    save_curves(HISTORY, tmp_path / "new" / "curves.png", "tiny, session-1")
    save_confusion_matrix([[3, 1], [0, 4]], ["anger", "sadness"], tmp_path / "matrix.png", "tiny")
    for path in (tmp_path / "new" / "curves.png", tmp_path / "matrix.png"):
        with Image.open(path) as image:
            image.verify()
            assert image.format == "PNG"
            assert min(image.size) > 300
    assert sorted(path.name for path in tmp_path.iterdir()) == ["matrix.png", "new"]


def test_confusion_matrix_shows_counts_and_row_percentages(tmp_path: Path) -> None:
    save_confusion_matrix([[3, 1], [0, 0]], ["anger", "sadness"], tmp_path / "matrix.svg", "tiny, session-1")
    found = words(tmp_path / "matrix.svg")
    for expected in ("tiny, session-1", "predicted", "true", "3", "75%", "1", "25%", "–"):
        assert expected in found, f"{expected} is not in {found}"
    assert found.count("anger") == found.count("sadness") == 2
    # A class without an utterance has no percentage to show.
    assert "0%" not in found


def test_curves_name_what_the_history_has(tmp_path: Path) -> None:
    save_curves(HISTORY, tmp_path / "curves.svg", "run")
    found = words(tmp_path / "curves.svg")
    assert {"train", "validation", "train WAR", "validation WAR", "validation UAR", "epoch"} <= set(found)
    assert not any("test" in word for word in found)


def test_curves_without_validation_and_of_a_single_epoch(tmp_path: Path) -> None:
    rows = [{"epoch": 1, "train": {"loss": 1.0, "war": 0.5}, "validation": None}]
    save_curves(rows, tmp_path / "curves.svg", "run")
    found = words(tmp_path / "curves.svg")
    assert "train WAR" in found
    assert "validation" not in found


# A script that matplotlib's own font lacks is drawn by the reader's; the warning is about measuring it.
@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("label", ["$", r"$\frac{1", "a & <b>", "怒り", "x" * 30])
def test_any_label_is_text(tmp_path: Path, label: str) -> None:
    save_confusion_matrix([[1, 0], [0, 1]], [label, "neutral"], tmp_path / "matrix.svg", f"title {label}")
    assert label in words(tmp_path / "matrix.svg")


def test_a_failed_picture_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        save_confusion_matrix([[1]], ["a"], tmp_path / "matrix.nonsense", "run")
    assert not list(tmp_path.iterdir())


def test_neither_torch_nor_pyplot_is_imported() -> None:
    code = (
        "import sys, mtab_train.plots; print([m for m in ('torch', 'matplotlib.pyplot') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
