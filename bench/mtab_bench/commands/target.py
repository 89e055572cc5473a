"""Which bundle a command measures, and the report that its sections go to."""

import json
from dataclasses import dataclass
from pathlib import Path

import click

from mtab.bundle import MANIFEST, Bundle, open_bundle
from mtab.config import to_dict
from mtab.errors import BundleError
from mtab_bench.render.text import to_text
from mtab_bench.report import BundleRecord, bundle_name
from mtab_bench.report_folder import add_section, check_section, written
from mtab_bench.sections.section import Section


@dataclass(frozen=True, slots=True)
class Target:
    """A bundle that is measured, and the report that its sections go to."""

    bundle: Bundle
    record: BundleRecord
    folder: Path
    overwrite: bool

    @classmethod
    def open(cls, bundle: Path | None, out: Path | None, overwrite: bool, *names: str) -> "Target":
        """Open the bundle (None: the newest), and check that the sections ``names`` may be added.

        For before the minutes of measuring. Raises `MtabError` as `open_bundle` and `check_section`.
        """
        bundle = bundle or newest_bundle()
        folder = out or Path("reports") / bundle_name(bundle)
        opened = open_bundle(bundle)
        record = BundleRecord.of(opened)
        for name in names:
            check_section(folder, record, name, overwrite)
        return cls(opened, record, folder, overwrite)

    def add(self, section: Section, as_json: bool = False) -> None:
        """Write a section into the report, and print it, as text or JSON.

        Raises `KeyboardInterrupt`, once it is written, if Ctrl-C ended its measuring.
        """
        report = add_section(self.folder, section, self.record, self.overwrite)
        click.echo(json.dumps(to_dict(section), indent=2) if as_json else to_text(report, section.name))
        click.echo(f"\n{written(self.folder)}", err=as_json)
        if section.interrupted:
            click.echo("The section holds what was complete when it was interrupted.", err=True)
            raise KeyboardInterrupt


def newest_bundle(root: Path = Path("runs")) -> Path:
    """The bundle below ``root`` that was written last. Raises `BundleError` if there is none."""
    manifests = list(root.glob(f"**/bundle/{MANIFEST}"))
    if not manifests:
        raise BundleError(f"{root}: no bundle in it, expected one made by mtab-export; give --bundle")
    return max(manifests, key=lambda path: path.stat().st_mtime).parent
