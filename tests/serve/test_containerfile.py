"""The container of the server: built where there is a builder, linted and read in any case."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from dockerfile_parse import DockerfileParser

from mtab.cli import main

ROOT = Path(__file__).parents[2]
CONTAINERFILE = ROOT / "Containerfile"


@pytest.fixture(scope="module")
def steps() -> list[tuple[str, str]]:
    """Its instructions with what follows them, in order."""
    with CONTAINERFILE.open("rb") as file:
        found = DockerfileParser(fileobj=file).structure
    return [(each["instruction"], each["value"]) for each in found if each["instruction"] != "COMMENT"]


def values(steps: list[tuple[str, str]], instruction: str) -> list[str]:
    return [value for name, value in steps if name == instruction]


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, CONTAINERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_bases_are_pinned_and_slim(steps: list[tuple[str, str]]) -> None:
    bases = [value.split()[0] for value in values(steps, "FROM")]
    assert len(bases) == 2
    for base in bases:
        assert re.fullmatch(r"docker\.io/library/python:3\.\d+-slim-[a-z]+", base)


def test_the_server_is_no_root(steps: list[tuple[str, str]]) -> None:
    last = max(i for i, (name, _) in enumerate(steps) if name == "FROM")
    users = values(steps[last:], "USER")
    assert users
    assert all(0 not in map(int, user.split(":")) for user in users)


def test_nothing_is_fetched_but_packages(steps: list[tuple[str, str]]) -> None:
    assert not values(steps, "ADD")
    assert not any(re.search("curl|wget|://", command) for command in values(steps, "RUN"))


def test_what_is_copied_is_there_and_not_ignored(steps: list[tuple[str, str]]) -> None:
    kept = {line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line[0] == "!"}
    sources = {
        source
        for value in values(steps, "COPY")
        if not value.startswith("--from")
        for source in value.split()[:-1]
    }
    assert sources == kept
    assert all((ROOT / source).exists() for source in sources)
    # All that the distribution is built from.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {package.partition("/")[0] for package in packages} <= sources


def test_it_installs_extras_that_exist(steps: list[tuple[str, str]]) -> None:
    (found,) = re.findall(r'"\.\[([\w,]+)\]"', " ".join(values(steps, "RUN")))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(found.split(",")) <= set(extras)


def test_it_asks_the_server_whether_it_lives(steps: list[tuple[str, str]]) -> None:
    """The command fails where nobody answers; it is Python, for there is no curl in the base."""
    (check,) = values(steps, "HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    assert command[0] == "python"
    assert "/healthz" in command[-1]
    done = subprocess.run([sys.executable, *command[1:]], capture_output=True, check=False, timeout=60)
    assert done.returncode == 1


def test_it_starts_the_command_as_it_is(steps: list[tuple[str, str]]) -> None:
    (entry,), (arguments,) = (values(steps, name) for name in ("ENTRYPOINT", "CMD"))
    command = [*json.loads(entry), *json.loads(arguments)]
    assert command[:3] == ["mtab", "serve", "/bundle"]
    serve = main.get_command(click.Context(main), "serve")
    assert serve is not None
    known = {option for parameter in serve.params for option in parameter.opts}
    assert {each for each in command if each.startswith("--")} <= known


def runs(builder: str) -> bool:
    if shutil.which(builder) is None:
        return False
    # Without its daemon docker's "info" may still exit with 0.
    done = subprocess.run([builder, "info"], capture_output=True, text=True, check=False)
    return done.returncode == 0 and "Cannot connect" not in done.stdout + done.stderr


@pytest.mark.slow
def test_it_builds() -> None:
    builder = next(filter(runs, ("podman", "docker")), None)
    if builder is None:
        pytest.skip("no builder of containers is running here (podman, docker)")
    command = [builder, "build", "--file", CONTAINERFILE, "--tag", "mtab-serve:test", ROOT]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stderr[-2000:]
    shown = [builder, "run", "--rm", "--read-only", "--tmpfs", "/tmp", "mtab-serve:test", "--help"]
    done = subprocess.run(shown, capture_output=True, text=True, check=False, timeout=120)
    assert "Usage: mtab serve" in done.stdout
