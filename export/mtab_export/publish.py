"""A bundle's manifest, written together with the model card that says the same."""

import dataclasses
from pathlib import Path

from mtab.bundle import CONFIG, MANIFEST, BundleConfig, Manifest, file_entry
from mtab.config import load_config, to_dict
from mtab.files import write_json, write_text
from mtab_export.card import CARD, model_card


def publish(folder: Path, manifest: Manifest) -> Manifest:
    """Write the manifest and the card of the bundle in ``folder``; the manifest as written, card included."""
    write_text(folder / CARD, model_card(manifest, load_config(BundleConfig, folder / CONFIG)))
    manifest = with_file(manifest, folder, CARD)
    write_json(folder / MANIFEST, to_dict(manifest))
    return manifest


def with_file(manifest: Manifest, folder: Path, name: str) -> Manifest:
    """The manifest with a file as it now is."""
    return dataclasses.replace(manifest, files=manifest.files | {name: file_entry(folder / name)})
