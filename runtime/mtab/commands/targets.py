"""Where ``mtab timeline`` writes: to standard output, into files of their own, or into folders."""

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from mtab.errors import MtabError
from mtab.timeline.building import TimelineBuilder
from mtab.timeline.formats import FORMATS, SUFFIXES, format_of, to_table, write_timeline
from mtab.timeline.timeline import Timeline

INCOMPLETE = ".incomplete"
"""What stands before the suffix in a folder, for what an interruption left: it is done again."""


class Targets:
    """The files of each recording, checked before the first is opened.

    ``out`` are files, of the format of their suffix, and folders, which get a file of ``style`` of each
    recording (None: JSON); without any, ``style`` is printed (None: a table). ``html`` is a page's file or
    folder. Raises `click.UsageError` for what does not fit the number of recordings, or each other, and
    `MtabError` for a suffix that is no format.
    """

    def __init__(
        self,
        clips: Sequence[Path],
        style: str | None,
        out: Sequence[Path],
        html: Path | None,
        overwrite: bool,
    ) -> None:
        self._many = len(clips) > 1
        self._style = style or ("json" if out else "table")
        self._files = [path for path in out if not _is_folder(path)]
        self._folders = [path for path in out if _is_folder(path)]
        self._html, self._overwrite = html, overwrite
        self._prints = not out and html is None
        if self._style == "table" and self._folders:
            raise click.UsageError("a folder for --out needs a --format other than table")
        if self._many and (self._files or (html is not None and not _is_folder(html))):
            raise click.UsageError(f"{len(clips)} recordings, expected a folder for --out and --html")
        if self._many and self._prints and self._style != "table":
            raise click.UsageError(f"{len(clips)} recordings, expected a folder for --out")
        if style is not None and not self._folders and not self._prints:
            raise click.UsageError(
                f"--format {style} is for a folder or the output, expected none beside files"
            )
        if html is not None and html.suffix.lower() not in ("", ".html", ".htm") and not html.is_dir():
            raise click.UsageError(f"{html} ends in {html.suffix!r}, expected .html or a folder")
        if html is not None and (pipes := [clip for clip in clips if clip.exists() and not clip.is_file()]):
            raise click.UsageError(f"{pipes[0]} can be read once, expected a file for --html")
        for path in self._files:
            format_of(path)
        stems = [clip.stem for clip in clips]
        if self._many and len(set(stems)) < len(stems) and not self._prints:
            twice = next(stem for stem in stems if stems.count(stem) > 1)
            both = " and ".join(str(clip) for clip in clips if clip.stem == twice)
            raise click.UsageError(f"two recordings are called {twice!r} ({both}), expected different names")

    def done(self, clip: Path) -> bool:
        """Whether folders have all of a recording's files."""
        paths = [*self._in_folders(clip), *self._page_in_folder(clip)]
        return bool(paths) and not self._overwrite and all(path.is_file() for path in paths)

    def require_apart(self, clip: Path, given: Sequence[Path | None]) -> None:
        """Raise `click.UsageError` if a file that was ``given`` would be written over."""
        pages = self._page_in_folder(clip) or ([] if self._html is None else [self._html])
        there = [each for each in given if each is not None and each.exists()]
        for path in [*self._files, *self._in_folders(clip), *pages]:
            if path.exists() and any(path.samefile(each) for each in there):
                raise click.UsageError(f"{path} is read and would be written, expected another file")

    def require_speakers(self, builder: TimelineBuilder) -> None:
        """Raise `MtabError` if RTTM is to be written of segments that have no speakers."""
        wanted = [format_of(path) for path in self._files]
        if self._folders or self._prints:
            wanted.append(self._style)
        if "rttm" in wanted and not builder.has_speakers:
            expected = "one of each in RTTM; give segments with speakers"
            raise MtabError(f"{builder.name}: segments without speakers, expected {expected}")

    def write(self, clip: Path, timeline: Timeline, write_page: Callable[[Path], None]) -> None:
        """Write all of a recording's files, or print it; ``write_page`` writes a page to a path.

        In a folder, what is incomplete has another name. Raises `MtabError`, once all others are written, for
        a format that cannot hold the timeline.
        """
        folder = [self._name(timeline, path) for path in self._in_folders(clip)]
        refused: list[MtabError] = []
        for path in [*self._files, *folder]:
            try:
                write_timeline(timeline, path)
            except MtabError as error:
                refused.append(error)
        pages = [self._name(timeline, path) for path in self._page_in_folder(clip)]
        if self._html is not None and not pages:
            pages = [self._html]
        for path in pages:
            write_page(path)
        if self._prints:
            printed = (FORMATS | {"table": to_table})[self._style](timeline)
            click.echo(f"{clip}\n{printed}" if self._many else printed, nl=self._many)
        if refused:
            raise refused[0]
        if timeline.complete:
            for path in [*self._in_folders(clip), *self._page_in_folder(clip)]:
                _incomplete(path).unlink(missing_ok=True)

    def _in_folders(self, clip: Path) -> list[Path]:
        suffix = SUFFIXES.get(self._style, f".{self._style}")
        return [folder / f"{clip.stem}{suffix}" for folder in self._folders]

    def _page_in_folder(self, clip: Path) -> list[Path]:
        return [self._html / f"{clip.stem}.html"] if self._html is not None and _is_folder(self._html) else []

    def _name(self, timeline: Timeline, path: Path) -> Path:
        return path if timeline.complete else _incomplete(path)


def _incomplete(path: Path) -> Path:
    return path.with_name(f"{path.stem}{INCOMPLETE}{path.suffix}")


def _is_folder(path: Path) -> bool:
    return path.is_dir() or not path.suffix
