"""What an archive job reads, and what it keeps."""

import json
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mtab.errors import DataError, MtabError
from mtab_serve.archive.parts import Job, Parts
from mtab_serve.archive.source import Source, open_source, read_group

from .test_predict import Clips


def rows(source: Source) -> list[dict[str, Any]]:
    return [row for chunk in source.chunks if chunk.rows is not None for row in chunk.rows.to_pylist()]


def test_a_csv_file_beside_its_clips(tmp_path: Path) -> None:
    text = "id,audio,text,start,end\na,x/a.wav,hello,,\nb,/b.wav,,1,2.5\nc,s3://bucket/c.wav,so,,\n"
    (tmp_path / "list.csv").write_text(text)
    source = open_source(str(tmp_path / "list.csv"), None, 2)
    assert (source.rows, [chunk.count for chunk in source.chunks]) == (3, [2, 1])
    assert [chunk.first for chunk in source.chunks] == [0, 2]
    first, second, third = rows(source)
    assert first == {
        **{"row": 0, "utterance": "a", "audio": f"{tmp_path}/x/a.wav", "text": "hello"},
        **{"start": None, "end": None, "problem": None},
    }
    assert (second["audio"], second["text"], second["start"], second["end"]) == ("/b.wav", None, 1.0, 2.5)
    assert (third["row"], third["audio"]) == (2, "s3://bucket/c.wav")


def test_rows_that_cannot_be_used_are_kept(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("audio,text,start\na.wav,a,\nb.wav,b\nc.wav,c,soon\n,,\nd.wav,d,\n")
    found = rows(open_source(str(tmp_path / "list.csv"), None, 100))
    assert [row["row"] for row in found] == [0, 1, 2, 3, 4]
    problems = [row["problem"] for row in found]
    assert problems[0] is problems[4] is None
    assert "2 cells, expected 3" in problems[1] or "3" in problems[1]
    assert "start 'soon', expected a number" in problems[2]
    assert "neither audio nor text" in problems[3]


def test_columns_of_other_names(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,said\na.wav,hello\n")
    (row,) = rows(open_source(str(tmp_path / "list.csv"), {"audio": "path", "text": "said"}, 10))
    assert (row["audio"], row["text"]) == (f"{tmp_path}/a.wav", "hello")
    with pytest.raises(DataError, match="no column 'audio', expected audio, text"):
        open_source(str(tmp_path / "list.csv"), None, 10)


def test_a_folder(tmp_path: Path) -> None:
    for name in ("b/c.wav", "a.FLAC", ".hidden.wav", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = rows(open_source(str(tmp_path), None, 10))
    assert [row["utterance"] for row in found] == ["a.FLAC", "b/c.wav"]
    assert [Path(row["audio"].removeprefix("file://")) for row in found] == [
        *(tmp_path / name for name in ("a.FLAC", "b/c.wav"))
    ]


def test_any_address_of_fsspec(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/calls/list.csv", "audio,text\na.wav,hello\n".encode("utf-8-sig"))
    (row,) = rows(open_source("memory://calls/list.csv", None, 10))
    assert row["audio"] == "memory://calls/a.wav"
    memory.pipe("/calls/clips/x.wav", b"")
    (row,) = rows(open_source("memory://calls/clips", None, 10))
    assert row["audio"] == "memory:///calls/clips/x.wav"


def test_parquet_with_addresses(tmp_path: Path) -> None:
    table = pa.table(
        {"audio": ["a.wav", None, "c.wav"], "text": ["x", None, None], "start": [None, None, 0.5]}
    )
    pq.write_table(table, tmp_path / "list.parquet", row_group_size=2)
    found = rows(open_source(str(tmp_path / "list.parquet"), None, 2))
    assert [Path(str(row["audio"]).removeprefix("file://")).name for row in found] == [
        "a.wav",
        "None",
        "c.wav",
    ]
    assert "neither audio nor text" in found[1]["problem"]
    assert found[2]["start"] == 0.5


@pytest.mark.parametrize("kind", ["bytes", "struct"])
def test_parquet_with_audio_is_read_where_it_is_answered(tmp_path: Path, clips: Clips, kind: str) -> None:
    contents = [path.read_bytes() for path, _ in clips[:5]]
    held = (
        contents
        if kind == "bytes"
        else [{"bytes": each, "path": f"{i}.wav"} for i, each in enumerate(contents)]
    )
    table = pa.table({"audio": held, "text": [text for _, text in clips[:5]]})
    pq.write_table(table, tmp_path / "clips.parquet", row_group_size=2)
    source = open_source(str(tmp_path / "clips.parquet"), None, 100)
    assert [(chunk.first, chunk.count, chunk.rows) for chunk in source.chunks] == [
        *((0, 2, None), (2, 2, None), (4, 1, None))
    ]
    found = [pair for chunk in source.chunks for pair in read_group(chunk, {})]
    assert [content for _, content in found] == contents
    assert [row["row"] for row, _ in found] == [0, 1, 2, 3, 4]
    assert found[1][0]["utterance"] == ("row1" if kind == "bytes" else "1.wav")


def test_a_broken_row_group_is_rows_with_a_problem(tmp_path: Path) -> None:
    for name, column in (("list", ["a.wav"] * 400), ("clips", [b"RIFF"] * 400)):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(
            pa.table({"audio": column, "text": [f"words {i}" for i in range(400)]}),
            path,
            row_group_size=200,
            compression="zstd",
            use_dictionary=False,
        )
        place = pq.ParquetFile(path).metadata.row_group(1).column(1).data_page_offset
        spoiled = bytearray(path.read_bytes())
        spoiled[place : place + 200] = bytes(200)
        path.write_bytes(spoiled)
        source = open_source(str(path), None, 1000)
        found = rows(source) or [row for chunk in source.chunks for row, _ in read_group(chunk, {})]
        assert [row["row"] for row in found] == list(range(400))
        assert all(row["problem"] is None for row in found[:200])
        for row in found[200:]:
            assert "row group 1 is unreadable" in row["problem"]
            assert "\n" not in row["problem"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.txt", b"", "expected a folder, a .csv or a .parquet file"),
        ("list.csv", b"audio,text\n", "no utterance, expected a row for each"),
        ("list.csv", b"audio,text\n\xff,a\n", "byte 11 is no UTF-8, expected a CSV file"),
        ("list.parquet", b"PAR1", "expected a Parquet file"),
    ],
)
def test_what_is_no_input(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        open_source(str(tmp_path / name), None, 10)
    assert str(tmp_path / name) in str(raised.value)


@pytest.mark.parametrize("name", ["none.csv", "none.parquet"])
def test_an_input_that_is_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"{name}: not found, expected a"):
        open_source(str(tmp_path / name), None, 10)
    with pytest.raises(MtabError, match=r"nowhere.*expected an address of fsspec"):
        open_source("nowhere://a.csv", None, 10)


# Parts

JOB = Job("b" * 64, "list.csv", "f" * 64, 3, 2, "auto", None, None, 600.0, 100_000)


def test_a_job_goes_on(tmp_path: Path) -> None:
    parts = Parts(str(tmp_path / "out"))
    assert parts.begin(JOB) == set()
    parts.write(1, pa.table({"row": [2]}))
    (tmp_path / "out" / ".part-000000.parquet.x.partial").write_bytes(b"half")
    assert Parts(str(tmp_path / "out")).begin(JOB) == {1}
    parts.write(0, pa.table({"row": [0, 1]}))
    assert pq.read_table(tmp_path / "out")["row"].to_pylist() == [0, 1, 2]


def test_another_job_is_refused(tmp_path: Path) -> None:
    Parts(str(tmp_path)).begin(JOB)
    values = json.loads((tmp_path / "_job.json").read_text())
    (tmp_path / "_job.json").write_text(json.dumps({**values, "fingerprint": "0"}))
    with pytest.raises(
        MtabError, match=r"_job.json: fingerprint is 0, expected f+ to continue; choose another"
    ):
        Parts(str(tmp_path)).begin(JOB)


def test_other_files_are_not_mixed_with(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("a")
    with pytest.raises(MtabError, match="holds other files, expected an empty folder"):
        Parts(str(tmp_path)).begin(JOB)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
