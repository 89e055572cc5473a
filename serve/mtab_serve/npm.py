"""Packages of npm, at one exact version each: fetched once, proven by their hash, opened for single files."""

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mtab.errors import MtabError
from mtab.files import atomic_file, cache_dir


@dataclass(frozen=True, slots=True)
class Package:
    """A package of npm at an exact version; ``integrity`` is npm's own: ``sha512-`` and a hash in base64."""

    name: str
    version: str
    integrity: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


def contents(package: Package, names: Sequence[str]) -> dict[str, bytes]:
    """Some of the package's files, by their names: from the user's cache, else from npm.

    Raises `MtabError` if it is not in the cache and cannot be fetched, and if what npm gives is not it.
    """
    path = cache_dir() / "npm" / f"{package.name.replace('/', '+')}-{package.version}.tgz"
    if not path.is_file() or _integrity(path) != package.integrity:
        _fetch(package, path)
    found: dict[str, bytes] = {}
    # As a stream: to go back in it is to unpack it again.
    with tarfile.open(path, "r|gz") as archive:
        for member in archive:
            name = member.name.removeprefix("package/")
            if name in names and (file := archive.extractfile(member)):
                found[name] = file.read()
    return found


def _fetch(package: Package, path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise MtabError(f"npm is not here, expected it to fetch {package}: it comes with Node.js")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", str(package), "--pack-destination", folder, "--ignore-scripts"]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        packed = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(packed) != 1:
            reason = " ".join(done.stderr.split())[:200] or f"exit code {done.returncode}"
            raise MtabError(f"npm cannot fetch {package} ({reason})")
        if (found := _integrity(packed[0])) != package.integrity:
            raise MtabError(f"npm's {package} has {found[:19]}…, expected {package.integrity[:19]}…")
        with atomic_file(path) as partial:
            shutil.copyfile(packed[0], partial)


def _integrity(path: Path) -> str:
    with path.open("rb") as file:
        return "sha512-" + base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
