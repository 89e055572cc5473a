"""A server of the tones' bundle."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mtab import Model, load
from mtab.data import Corpus

from .servers import serving


@pytest.fixture(scope="session")
def model(tone_bundle: Path) -> Model:
    return load(tone_bundle, threads=1)


@pytest.fixture(scope="session")
def clips(tones: Corpus) -> list[tuple[Path, str]]:
    """Clips with their transcripts."""
    return [(Path(str(each.audio)), str(each.text)) for each in tones.utterances]


@pytest.fixture(scope="module")
def client(tone_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Asks a server of two bundles, which are the same."""
    log = tmp_path_factory.mktemp("server") / "log"
    with (
        serving(log, f"tones={tone_bundle}", f"again={tone_bundle}", "--threads", 1) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        yield client
