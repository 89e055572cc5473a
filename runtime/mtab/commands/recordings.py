"""The recordings that a command is given: files, and what folders hold."""

from collections.abc import Sequence
from pathlib import Path

import click

from mtab.errors import AudioError


def recordings(paths: Sequence[Path], skip: bool) -> tuple[Path, ...]:
    """Each file, and the audio files anywhere below each folder, sorted.

    A folder without one is an `AudioError` or, with ``skip``, a line on stderr.
    """
    from mtab.audio import AUDIO_SUFFIXES

    clips: list[Path] = []
    empty: list[str] = []
    for path in paths:
        if found := _files(path):
            clips += found
        else:
            empty.append(f"{path}: holds no clip, expected files that end in {', '.join(AUDIO_SUFFIXES)}")
    if empty and not (skip and clips):
        raise AudioError(empty[0])
    for message in empty:
        click.echo(message, err=True)
    return tuple(clips)


def _files(path: Path) -> list[Path]:
    """The audio files anywhere below a folder, sorted; a file itself."""
    from mtab.audio import AUDIO_SUFFIXES

    if not path.is_dir():
        return [path]
    return [
        file
        for file in sorted(path.rglob("*"))
        # Hidden files are not what was recorded: macOS puts one beside each on some disks.
        if file.suffix.lower() in AUDIO_SUFFIXES and not file.name.startswith(".") and file.is_file()
    ]
