"""Writes src/tables.hpp: what the Python runtime declares once and the C++ one needs too.

``python tools/write_tables.py`` writes it, with ``--check`` it only says whether it is up to date.
"""

import dataclasses
import json
import sys
import types
import typing
from pathlib import Path
from typing import Any, Literal, Union

from mtab import __version__, batching, limits, memory, provenance
from mtab.audio import samples
from mtab.bundle import FORMAT_VERSION, BundleConfig, Manifest
from mtab.engines.onnxruntime import PROVIDERS
from mtab.engines.opening import AUTO
from mtab.graphs import FUSED
from mtab.preprocess import PreprocessorConfig
from mtab.results import UNKNOWN

TABLES = Path(__file__).parents[1] / "src" / "tables.hpp"
ROOTS = (Manifest, BundleConfig, PreprocessorConfig)

HEAD = """\
// Written by tools/write_tables.py from the Python runtime: change it there.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mtab_core::tables {
"""


def main() -> int:
    written = TABLES.read_text(encoding="utf-8") if TABLES.is_file() else ""
    if "--check" in sys.argv[1:]:
        if written != tables():
            print(f"{TABLES}: out of date, run python {Path(__file__).name}", file=sys.stderr)
            return 1
        return 0
    TABLES.write_text(tables(), encoding="utf-8")
    return 0


def tables() -> str:
    """The header as it should be."""
    numbers = {
        "std::int64_t kFormatVersion": FORMAT_VERSION,
        "double kMaxSeconds": limits.MAX_SECONDS,
        "std::size_t kMaxCharacters": limits.MAX_CHARACTERS,
        "std::size_t kBatchSize": limits.BATCH_SIZE,
        "double kBatchSeconds": limits.BATCH_SECONDS,
        "double kTokenSeconds": batching._TOKEN_SECONDS,
        "double kCallSeconds": batching._CALL_SECONDS,
        "double kFrameSamples": float(memory.FRAME_SAMPLES),
        "double kNumberBytes": float(memory._NUMBER),
        "double kLiveNumbers": float(memory._LIVE),
        "int kSampleRate": samples.SAMPLE_RATE,
    }
    lines = [f"inline constexpr {name} = {value};" for name, value in numbers.items()]
    lines += [
        f'inline constexpr char kVersion[] = "{__version__}";',
        f'inline constexpr char kUnknown[] = "{UNKNOWN}";',
        f"inline constexpr double kTemperatures[] = {{{', '.join(map(str, provenance.TEMPERATURES))}}};",
        "// The precisions that `auto` takes, the first that there is.",
        f"inline constexpr const char* kPrecisions[] = {{{', '.join(map(json.dumps, AUTO))}}};",
        "// The execution provider of each kind of device, by engine.",
        _raw("kProviders", PROVIDERS),
        "// What the whole model's graph takes and answers.",
        _raw("kFused", {"inputs": _tensors(FUSED.inputs), "outputs": _tensors(FUSED.outputs)}),
        "// The fields of the JSON files of a bundle, by class.",
        _raw("kSchema", _schema()),
    ]
    return HEAD + "\n" + "\n".join(lines) + "\n\n}  // namespace mtab_core::tables\n"


def _raw(name: str, value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"))
    # Within what every compiler takes for one literal.
    parts = [text[start : start + 100] for start in range(0, len(text), 100)]
    return f"inline constexpr char {name}[] =\n" + "\n".join(f'    R"({part})"' for part in parts) + ";"


def _tensors(tensors: Any) -> list[dict[str, Any]]:
    return [
        {"name": each.name, "dtype": each.dtype, "axes": each.axes, "modality": each.modality}
        for each in tensors
    ]


def _schema() -> dict[str, Any]:
    found: dict[str, Any] = {}
    waiting: list[Any] = list(ROOTS)
    while waiting:
        cls = waiting.pop()
        if cls.__name__ in found:
            continue
        hints = typing.get_type_hints(cls)
        found[cls.__name__] = [
            {
                "name": field.name,
                "required": field.default is dataclasses.MISSING
                and field.default_factory is dataclasses.MISSING,
                "type": _type(hints[field.name], waiting),
            }
            for field in dataclasses.fields(cls)
        ]
    return dict(sorted(found.items()))


def _type(kind: Any, waiting: list[Any]) -> dict[str, Any]:
    """A type as `mtab.config` takes it apart; ``expected`` is what its errors call it."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    expected = getattr(kind, "__name__", None) or str(kind)
    if kind is Any:
        return {"kind": "any"}
    if dataclasses.is_dataclass(kind):
        waiting.append(kind)
        return {"kind": "object", "expected": expected}
    if origin in (Union, types.UnionType):
        (of,) = [argument for argument in arguments if argument is not type(None)]
        return {"kind": "optional", "of": _type(of, waiting)}
    if origin is Literal:
        return {"kind": "literal", "values": arguments}
    if origin is tuple and arguments[1:] == (Ellipsis,):
        return {"kind": "list", "of": _type(arguments[0], waiting), "expected": expected}
    if origin is tuple:
        return {"kind": "items", "of": [_type(each, waiting) for each in arguments], "expected": expected}
    if origin is dict:
        return {"kind": "dict", "of": _type(arguments[1], waiting), "expected": expected}
    return {"kind": expected, "expected": expected}


if __name__ == "__main__":
    sys.exit(main())
