"""Environments in which mtab is installed with some extras alone."""

import os
import subprocess
import tomllib
import venv
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def needs(extras: Iterable[str]) -> list[Requirement]:
    """What pip would be asked for: mtab's own dependencies and those of the extras, and of theirs."""
    found = [Requirement(line) for line in PROJECT["dependencies"]]
    for extra in extras:
        for line in EXTRAS[extra]:
            requirement = Requirement(line)
            found += needs(requirement.extras) if requirement.name == "mtab" else [requirement]
    return found


def closure(requirements: Iterable[Requirement]) -> set[str]:
    """The installed packages that the requirements bring, directly or not."""
    todo, seen = [(each.name, frozenset(each.extras)) for each in requirements], set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            lines = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # the environment lacks it then as this one does
        for requirement in map(Requirement, lines):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in (*extras, "")):
                todo.append((requirement.name, frozenset(requirement.extras)))
    return {name for name, _ in seen}


def metadata() -> str:
    """mtab's own, as its wheel has it."""
    lines = [f"Metadata-Version: 2.1\nName: mtab\nVersion: {PROJECT['version']}"]
    lines += [f"Requires-Dist: {each}" for each in needs(())]
    for extra in EXTRAS:
        own = needs([extra])[len(PROJECT["dependencies"]) :]
        names = {str(each): f"Requires-Dist: {each} ; extra == '{extra}'" for each in own}
        lines += [f"Provides-Extra: {extra}", *(line for key, line in names.items() if "mtab" not in key)]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The Python of an environment that has what some extras bring, and nothing else: links to it."""
    made: dict[tuple[str, ...], Path] = {}

    def make(*extras: str) -> Path:
        if extras not in made:
            folder = tmp_path_factory.mktemp("-".join(("env", *extras)))
            venv.create(folder, with_pip=False, symlinks=True)
            (site,) = folder.glob("lib/python*/site-packages")
            for name in closure(needs(extras)):
                try:
                    found = distribution(name)
                except PackageNotFoundError:
                    continue
                for top in {path.parts[0] for path in found.files or ()} - {"..", "__pycache__"}:
                    if not (site / top).exists():
                        (site / top).symlink_to(Path(str(found.locate_file(top))).resolve())
            own = site / f"mtab-{PROJECT['version']}.dist-info"
            own.mkdir()
            (own / "METADATA").write_text(metadata())
            registered = PROJECT["entry-points"]["mtab"]
            (own / "entry_points.txt").write_text(
                "\n".join(["[mtab]", *(f"{name} = {value}" for name, value in registered.items())])
            )
            rooms = ("runtime", "train", "serve", "export", "bench")
            (site / "mtab.pth").write_text("\n".join(str(ROOT / room) for room in rooms))
            made[extras] = folder / "bin" / "python"
        return made[extras]

    return make


@pytest.fixture(scope="session")
def call(
    environment: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a command of one of the four programs in an environment, with a cache of its own.

    What `mtab tune` chose with the engines of one environment is not what the others, or other tests, have.
    """

    def run(extras: tuple[str, ...], program: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
        module = program.replace("-", "_") + ".cli"
        command = [environment(*extras), "-m", module, *map(str, arguments)]
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        variables["MTAB_CACHE"] = str(tmp_path_factory.mktemp("cache"))
        return subprocess.run(command, capture_output=True, text=True, check=False, env=variables)

    return run


@pytest.fixture(scope="session")
def declared() -> Callable[[str], list[Requirement]]:
    """What the distribution's own list says that an extra brings."""
    return lambda extra: needs([extra])
