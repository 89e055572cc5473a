"""What packages ask for, read as packaging reads it."""

import tomllib
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement as PublishedRequirement

from mtab.packages import requirements

ROOT = Path(__file__).parents[2]


def test_requirements_are_read_as_packaging_reads_them() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    own = [line for lines in extras.values() for line in lines]
    published = [*(requires("mtab") or ()), *own, "a-b[c]>=2.1; extra == 'd'", "a.b>1,>=1.4.2"]
    for line, found in zip(published, requirements(published), strict=True):
        expected = PublishedRequirement(line)
        assert found.package == expected.name
        minimum = [each.version for each in expected.specifier if each.operator == ">="]
        assert [found.minimum] == (minimum or [None])
        extra = str(expected.marker).split('"')[1] if expected.marker else None
        assert found.extra == extra
