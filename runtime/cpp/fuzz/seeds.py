"""Seeds for the fuzz targets, from small files of its own and, where there are any, the golden files.

``python fuzz/seeds.py OUT [GOLDEN]`` writes OUT/audio_fuzz/, OUT/tokenizer_fuzz/, OUT/bundle_fuzz/ and
OUT/abi_fuzz/, and OUT/TARGET.dict with the words of the JSON files. GOLDEN is what
tests/write_*_golden.py made. run.sh calls it.
"""

import hashlib
import json
import random
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

LARGEST = 20_000
"""Bytes; a larger seed slows every run."""
TEXTS = [
    "I never said that!",
    " a\tb  c\n",
    "caf\u00e9 \u4f60\u597d \U0001f469\u200d\U0001f469",
    "<s>x</s> [CLS]",
    "",
]
SOURCES = Path(__file__).resolve().parent.parent / "src"


def wav(samples: bytes, rate: int = 16000, channels: int = 1, bits: int = 16, form: int = 1) -> bytes:
    """A wav file of samples that are encoded already."""
    width = channels * bits // 8
    head = struct.pack("<HHIIHH", form, channels, rate, rate * width, width, bits)
    chunks = (
        b"fmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", len(samples)) + samples
    )
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def audio(golden: Path | None) -> Iterator[bytes]:
    """Clips, each with two bytes before it that choose the part."""
    noise = random.Random(0).randbytes(3200)
    clips = [
        wav(noise),
        wav(noise, 44100, 2),
        wav(noise, 8000, 1, 8),
        wav(noise, bits=32, form=3),
        b"",
        b"RIFF",
    ]
    if golden is not None:
        files = sorted(
            (golden / "audio" / "clips").iterdir(), key=lambda path: (path.stat().st_size, path.name)
        )
        clips += [path.read_bytes() for path in files if path.stat().st_size <= LARGEST]
    for i, clip in enumerate(clips):
        yield (b"\x00\x00", b"\x8c\xc8", b"\x90\xff")[i % 3] + clip


def tokenizers(golden: Path | None) -> Iterator[bytes]:
    """A tokenizer.json in one line, and a text."""
    vocabulary = {"<unk>": 0, "a": 1, "b": 2, "ab": 3, "##b": 4, "[CLS]": 5, "[SEP]": 6}
    bpe = {"type": "BPE", "vocab": vocabulary, "merges": [["a", "b"]], "unk_token": "<unk>"}
    pieces = {
        "type": "WordPiece",
        "vocab": vocabulary,
        "unk_token": "<unk>",
        "continuing_subword_prefix": "##",
    }
    small: list[object] = [
        {"version": "1.0", "model": bpe},
        {"version": "1.0", "model": pieces},
        {},
        [[[[]]]],
    ]
    lines = [json.dumps(each) for each in small]
    if golden is not None:
        for path in sorted((golden / "text").glob("*.json")):
            if path.name != "index.json" and path.stat().st_size <= LARGEST:
                lines.append(json.dumps(json.loads(path.read_text()), ensure_ascii=False))
    for i, line in enumerate(lines):
        yield f"{line}\n{TEXTS[i % len(TEXTS)]}".encode()


def field(number: int, content: bytes) -> bytes:
    """A field of a protobuf message that holds text or a message of less than 128 bytes."""
    return bytes([number % 16 << 3 | 2]) + bytes([len(content)]) + content


def graphs() -> Iterator[bytes]:
    """ONNX files in miniature: with weights elsewhere, and graphs within graphs."""
    entry = field(1, b"location") + field(2, b"model.onnx.data")
    graph = field(5, field(13, entry))
    yield b"\x08\x0a" + field(7, graph)
    nested = graph
    while len(nested) < 100:
        nested = field(1, field(5, field(6, nested)))
        yield b"\x08\x0a" + field(7, nested)


def manifests() -> list[dict[str, object]]:
    """What bundle_fuzz.cpp makes whole: @N stands for a file's size and #N for its hash."""
    names = ["config.json", "preprocessor_config.json", "tokenizer.json", "model.onnx"]
    plain: dict[str, object] = {
        "format_version": 2,
        "created": "",
        "checkpoint": {"sha256": "", "temperature": 1.0},
        "files": {name: {"sha256": f"#{i}", "size": f"@{i}"} for i, name in enumerate(names)},
        "graphs": [],
        "training": {"title": "", "synthetic": True, "preset": "", "protocol": "honest", "seed": 0},
        "versions": {},
    }
    return [plain, {**plain, "machine": {"a": [1, None, {"b": 1e300}]}}, {**plain, "format_version": 3}]


def bundles(golden: Path | None) -> Iterator[bytes]:
    """A byte that chooses the file and whether it is checked, and the file."""
    config = {
        "id2label": {"0": "anger", "1": "sadness"},
        "modalities": ["text"],
        "supported_modalities": [["text"]],
        "embedding_size": 4,
        "hidden_sizes": {"text": 2},
        "model_type": "mul-tab",
    }
    preprocessor = {
        "do_normalize": False,
        "min_samples": 400,
        "max_tokens": 5,
        "modalities": ["text", "audio"],
    }
    contents = [
        (0, json.dumps(config)),
        (1, json.dumps(preprocessor)),
        (1, '{"padding_value": 0.5}'),
        (0, "[" * 5000),
    ]
    contents += [(4, re.sub(r'"(@\d)"', r"\1", json.dumps(each))) for each in manifests()]
    contents += [
        (4, '{"a": ' * 3000),
        (4, '{"training": "' + "\u00e9" * 20 + '"}'),
        (5, '{"config.json": ["", [1]]}'),
    ]
    if golden is not None:
        for folder in sorted((golden / "model" / "broken").iterdir()):
            for number, name in ((4, "manifest.json"), (0, "config.json"), (1, "preprocessor_config.json")):
                if (folder / name).is_file():
                    contents.append((number, standing(folder, (folder / name).read_text(errors="replace"))))
    for checked in (0, 16, 48):
        yield from (bytes([number | checked]) + content.encode() for number, content in contents)
    yield from (b"\x03" + graph for graph in graphs())


def standing(folder: Path, manifest: str) -> str:
    """A manifest with marks in place of the sizes and hashes of the files that bundle_fuzz.cpp writes."""
    names = ["config.json", "preprocessor_config.json", "tokenizer.json", "model.onnx"]
    for i, name in enumerate(names):
        entry = rf'("{re.escape(name)}": {{"sha256": ")[0-9a-f]{{64}}(", "size": )\d+'
        manifest = re.sub(entry, rf"\g<1>#{i}\g<2>@{i}", manifest)
    return manifest


def programs() -> Iterator[bytes]:
    """Calls of the C interface: bytes at random, which is as good as any."""
    for i in range(200):
        yield random.Random(i).randbytes(16 << i % 6)


def bundle_words() -> set[str]:
    """The names in the bundle's JSON files."""
    schema = "".join(re.findall(r'R"\((.*?)\)"', (SOURCES / "tables.hpp").read_text()))
    return set(re.findall(r'"name":"(\w+)"', schema)) | {"fused", "fp32", "audio", "text", "0", "1"}


def tokenizer_words() -> set[str]:
    """The names in a tokenizer.json: every word that the reader looks for."""
    return {
        word
        for path in (SOURCES / "text").glob("*.cpp")
        for word in re.findall(r'"([A-Za-z_]+)"', path.read_text())
    }


def write_words(path: Path, names: set[str]) -> None:
    path.write_text("".join(f'"\\"{name}\\""\n' for name in sorted(names)))


def main() -> None:
    out = Path(sys.argv[1])
    golden = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    seeds = {
        "audio_fuzz": audio(golden),
        "tokenizer_fuzz": tokenizers(golden),
        "bundle_fuzz": bundles(golden),
        "abi_fuzz": programs(),
    }
    for target, contents in seeds.items():
        folder = out / target
        folder.mkdir(parents=True, exist_ok=True)
        for content in contents:
            (folder / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)
    write_words(out / "bundle_fuzz.dict", bundle_words())
    write_words(out / "tokenizer_fuzz.dict", tokenizer_words())


if __name__ == "__main__":
    main()
