"""A picture of an answer and of what speaks for it. matplotlib comes with the extra ``plot``."""

import importlib.util
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mtab.audio import SAMPLE_RATE
from mtab.console import install_hint
from mtab.errors import MtabError
from mtab.files import atomic_file
from mtab.reasons import Explanation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg", ".pdf")

_BLUE, _ORANGE, _GREY, _INK = "#0072b2", "#c25400", "#9aa4ae", "#1b1f24"
_WIDTH = 9.0
_WORD = 0.21
"""Inches of a word."""
_MOST_WORDS = 60
"""Words that have a name each; of more every second one has, or every third."""
_LETTERS = 22
_COLUMNS = 1_200
"""Of the waveform, each from the lowest to the highest sample in it."""


def require_picture(path: Path) -> None:
    """Raise `MtabError` unless ``path`` has the suffix of a picture, and matplotlib is installed."""
    if path.suffix.lower() not in SUFFIXES:
        raise MtabError(f"{path}: ends in {path.suffix!r}, expected one of {', '.join(SUFFIXES)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise MtabError(install_hint("matplotlib", "drawing"))


def draw(explanation: Explanation, path: Path, name: str) -> None:
    """Draw the answer for the utterance ``name`` with its reasons, whole or not at all.

    Raises `MtabError` as `require_picture`.
    """
    require_picture(path)
    from matplotlib.figure import Figure

    samples, words = explanation.samples, explanation.words
    heat = explanation.speech_to_text is not None and bool(words)
    lost = any(word.occlusion is not None for word in words)
    wordy = [min(len(words), _MOST_WORDS) * _WORD + 0.9] if heat or lost else []
    heights = [1.9, *([1.2] if explanation.sounds else []), *wordy]
    figure = Figure(figsize=(_WIDTH, sum(heights) + 0.7), dpi=100, layout="constrained")
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights, width_ratios=(2.7, 1))
    figure.suptitle(_title(explanation, name), fontsize=11, parse_math=False)
    _probabilities(figure.add_subplot(grid[0, 1 if samples is not None else slice(None)]), explanation)
    if samples is not None:
        sound = figure.add_subplot(grid[0, 0])
        _sound(sound, explanation, samples)
        if explanation.sounds:
            _occlusion_of_sound(figure.add_subplot(grid[1, 0], sharex=sound), explanation)
        sound.set_xlim(0, len(samples) / SAMPLE_RATE)
    attended = figure.add_subplot(grid[-1, 0 if lost else slice(None)]) if heat else None
    if attended is not None:
        _heat(attended, explanation)
    if lost:
        bars = figure.add_subplot(grid[-1, 1 if heat else slice(None)], sharey=attended)
        _occlusion_of_words(bars, explanation, named=not heat)
    with atomic_file(path) as partial, warnings.catch_warnings():
        # A script that no font here has is drawn as boxes, without a word for each.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        quiet = logging.getLogger("matplotlib.font_manager")
        level = quiet.level
        quiet.setLevel(logging.ERROR)
        try:
            figure.savefig(partial)
        finally:
            quiet.setLevel(level)


def _title(explanation: Explanation, name: str) -> str:
    result = explanation.result
    parts = [f"{_short(Path(name).name, 40)}: {result.label} {result.score:.2f}"]
    parts += [f"{dimension} {value:.2f}" for dimension, value in (result.dimensions or {}).items()]
    if result.text_from is not None:
        parts.append(f"words by {_short(result.text_from, 30)}")
    return "  ·  ".join(parts)


def _probabilities(axes: "Axes", explanation: Explanation) -> None:
    found = explanation.result.probabilities
    colours = [_BLUE if label == explanation.result.label else _GREY for label in found]
    bars = axes.barh(range(len(found)), list(found.values()), color=colours)
    axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=8)
    axes.set_yticks(range(len(found)), [_short(label) for label in found], fontsize=8, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18)
    axes.set_xticks([0, 0.5, 1])
    axes.set_title("probability", fontsize=9, loc="left")
    _plain(axes)


def _sound(axes: "Axes", explanation: Explanation, samples: np.ndarray) -> None:
    edges = np.linspace(0, len(samples), min(_COLUMNS, len(samples)) + 1).astype(int)[:-1]
    times = edges / SAMPLE_RATE
    low, high = np.minimum.reduceat(samples, edges), np.maximum.reduceat(samples, edges)
    most = max(float(np.abs(samples).max()), 1e-6)
    axes.fill_between(times, low / most, high / most, color=_GREY, linewidth=0.3)
    axes.set_yticks([])
    axes.set_ylim(-1.05, 1.05)
    title = "waveform"
    if explanation.tab_attention is not None and explanation.times is not None:
        other = axes.twinx()
        other.plot(explanation.times, explanation.tab_attention, color=_BLUE, linewidth=1.2)
        other.tick_params(colors=_BLUE, labelsize=7)
        for side in ("top", "left", "bottom"):
            other.spines[side].set_visible(False)
        title += ", and attention of the temporal-aware block (blue)"
    axes.set_title(title, fontsize=9, loc="left")
    _plain(axes)


def _occlusion_of_sound(axes: "Axes", explanation: Explanation) -> None:
    lost = np.array([sound.occlusion for sound in explanation.sounds])
    starts = [sound.start for sound in explanation.sounds]
    widths = [sound.end - sound.start for sound in explanation.sounds]
    axes.bar(starts, lost, widths, align="edge", color=_signs(lost), edgecolor="white", linewidth=0.5)
    axes.axhline(0, color=_INK, linewidth=0.6)
    axes.set_xlabel("seconds", fontsize=8)
    axes.set_title("what the answer loses where this is silent", fontsize=9, loc="left")
    _plain(axes)


def _heat(axes: "Axes", explanation: Explanation) -> None:
    assert explanation.speech_to_text is not None
    assert explanation.times is not None
    shares, times = explanation.speech_to_text.T, explanation.times
    half = (times[1] - times[0]) / 2 if len(times) > 1 else 0.01
    extent = (float(times[0] - half), float(times[-1] + half), len(shares) - 0.5, -0.5)
    axes.imshow(shares, aspect="auto", extent=extent, cmap="Blues", interpolation="nearest", vmin=0)
    _names(axes, explanation)
    axes.set_xlabel("seconds", fontsize=8)
    axes.set_title("attention of the speech to each word", fontsize=9, loc="left")
    _plain(axes)


def _occlusion_of_words(axes: "Axes", explanation: Explanation, named: bool) -> None:
    lost = np.array([word.occlusion or 0.0 for word in explanation.words])
    axes.barh(range(len(lost)), lost, color=_signs(lost))
    axes.axvline(0, color=_INK, linewidth=0.6)
    if named:
        _names(axes, explanation)
        axes.set_ylim(len(lost) - 0.5, -0.5)
    else:
        axes.tick_params(labelleft=False)
    axes.margins(x=0.1)
    axes.locator_params(axis="x", nbins=4)
    axes.set_title("what it loses without", fontsize=9, loc="left")
    _plain(axes)


def _names(axes: "Axes", explanation: Explanation) -> None:
    step = -(-len(explanation.words) // _MOST_WORDS)
    places = range(0, len(explanation.words), step)
    names = [_short(explanation.words[i].text) for i in places]
    axes.set_yticks(list(places), names, fontsize=8, parse_math=False)


def _signs(lost: np.ndarray) -> list[str]:
    """Orange for what speaks for the answer, blue for what speaks against it."""
    return [_ORANGE if value >= 0 else _BLUE for value in lost]


def _short(text: str, most: int = _LETTERS) -> str:
    # Line breaks and the like would be drawn as such.
    text = "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _plain(axes: Any) -> None:
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
