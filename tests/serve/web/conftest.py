"""Sites of small bundles, written with npm's packages from the user's own cache."""

import shutil
from pathlib import Path

import pytest

from mtab.bundle import open_bundle
from mtab.errors import MtabError
from mtab.files import cache_dir
from mtab_serve.npm import contents
from mtab_serve.site import ORT, TOKENIZERS, write_site

# Before the tests get a cache of their own: the packages are fetched once, and not for each run.
USER_PACKAGES = cache_dir() / "npm"


@pytest.fixture(scope="session")
def packages() -> Path:
    """Where the cache holds npm's packages; skipped where they are not there and cannot be fetched."""
    if shutil.which("node") is None:
        pytest.skip("needs Node.js")
    here = cache_dir() / "npm"
    if not here.exists():
        USER_PACKAGES.mkdir(parents=True, exist_ok=True)
        here.parent.mkdir(parents=True, exist_ok=True)
        here.symlink_to(USER_PACKAGES)
    for package in (ORT, TOKENIZERS):
        try:
            contents(package, ())
        except MtabError as error:
            pytest.skip(str(error))
    return here


@pytest.fixture(scope="session")
def site(packages: Path, rated_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of a model of speech and text that rates valence and arousal."""
    folder = tmp_path_factory.mktemp("sites") / "rated"
    list(write_site(open_bundle(rated_bundle), folder))
    return folder
