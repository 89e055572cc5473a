"""A preset that is trained in a second."""

from pathlib import Path

import pytest

from mtab_train.config import PRESETS, Preset
from mtab_train.start import Start


@pytest.fixture
def nano_preset(start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`tiny` shrunk, so that a command takes a second."""
    monkeypatch.setitem(PRESETS, "tiny", Preset(start.model, start.train))
    monkeypatch.setenv("MTAB_CACHE", str(tmp_path / "cache"))
