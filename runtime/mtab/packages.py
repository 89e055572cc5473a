"""What is installed, and what mtab and its extras need."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, requires, version

# Where a package's name is not its module's.
_PACKAGES = {"sklearn": "scikit-learn"}
_REQUIREMENT = re.compile(r"([\w.-]+)(?:.*?>=([\d.]+))?(?:.*extra == ['\"]([\w-]+)['\"])?")


@dataclass(frozen=True, slots=True)
class Requirement:
    """A package that mtab or one of its extras needs, from the version ``minimum`` on ("1.24"; None: any)."""

    package: str
    minimum: str | None
    extra: str | None


@dataclass(frozen=True, slots=True)
class Package:
    """An installed one, with its modules of the top level."""

    name: str
    version: str
    modules: frozenset[str]


def requirements(lines: Iterable[str]) -> list[Requirement]:
    """What the ``Requires-Dist`` lines of a package's metadata ask for."""
    matches = filter(None, map(_REQUIREMENT.match, lines))
    return [Requirement(*match.groups()) for match in matches]


def installed(prefix: str) -> list[Package]:
    """The installed packages whose names begin with ``prefix``, in the order of their names."""
    found: dict[str, Package] = {}
    for each in distributions():
        name = each.name.lower().replace("_", "-")
        if name.startswith(prefix):
            files = [path.parts for path in each.files or ()]
            modules = frozenset(parts[0] for parts in files if parts[1:] == ("__init__.py",))
            # The first on the path is the one that is imported.
            found.setdefault(name, Package(name, each.version, modules))
    return [found[name] for name in sorted(found)]


def installed_version(package: str) -> str | None:
    """The version of a package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def minimum_version(package: str, needs: Sequence[Requirement]) -> str | None:
    """The oldest version of ``package`` that is enough; None for any."""
    return next((need.minimum for need in needs if need.package == package), None)


def is_older(found: str, minimum: str | None) -> bool:
    """Whether the version ``found`` is below ``minimum`` (None: it never is)."""
    return minimum is not None and release_numbers(found) < release_numbers(minimum)


def release_numbers(release: str) -> tuple[int, ...]:
    """The leading numbers of a version: (1, 24, 1) of "1.24.1+cu130"."""
    match = re.match(r"\d+(\.\d+)*", release)
    return tuple(map(int, match[0].split("."))) if match else ()


def extras_of(module: str) -> tuple[str, ...]:
    """The extras of mtab that bring ``module``, the one with the fewest packages first, ``dev`` last."""
    package = _PACKAGES.get(module, module).replace("_", "-")
    needs = [need for need in requirements(requires("mtab") or ()) if need.extra is not None]
    sizes = Counter(need.extra for need in needs)
    found = {need.extra or "" for need in needs if need.package.replace("_", "-") == package}
    return tuple(sorted(found, key=lambda extra: (extra == "dev", sizes[extra], extra)))
