"""What goes wrong with a server and an archive job."""

import mtab.ray
from cases import Case, Place
from mtab.errors import ConfigError, DataError, MtabError
from mtab_serve.archive.parts import Job, Parts


def serve(place: Place, *options: object) -> list[object]:
    return ["mtab", "serve", place.bundle, *options]


def archive(place: Place, *options: object) -> list[object]:
    return ["mtab", "predict", place.bundle, "--ray", "local", *options]


def manifest(place: Place, name: str, content: str | bytes) -> list[object]:
    return archive(place, "--manifest", place.file(name, content), "--out", place.folder / "out")


def another_job(place: Place) -> list[object]:
    job = Job("0" * 64, "other.csv", "0" * 64, 1, 1, "auto", None, None, 600.0, 100_000)
    Parts(str(place.folder / "out")).begin(job)
    return manifest(place, "list.csv", "audio,text\na.wav,hello\n")


CASES = (
    Case(
        "An address that others reach, without a token",
        lambda place: serve(place, "--host", "0.0.0.0"),
        None,
        "--host 0.0.0.0 is open to others, expected --token-file or MTAB_TOKEN for it",
        2,
    ),
    Case(
        "A file of no token",
        lambda place: serve(place, "--token-file", place.file("token", "two words\n")),
        MtabError,
        "<FILE>: holds no token, expected printable ASCII without a space",
    ),
    Case(
        "Two bundles of one name",
        lambda place: ["mtab", "serve", place.bundle, place.bundle],
        ConfigError,
        "bundles named 'bundle', 'bundle', expected NAME=BUNDLE with a name for each",
    ),
    Case(
        "An archive that is no table and no folder",
        lambda place: manifest(place, "list.txt", ""),
        DataError,
        "<FILE>: expected a folder, a .csv or a .parquet file",
    ),
    Case(
        "An archive that is not there",
        lambda place: archive(place, "--manifest", place.folder / "no.csv", "--out", place.folder / "out"),
        DataError,
        "<FILE>: not found, expected a CSV file",
    ),
    Case(
        "A Parquet file that is none",
        lambda place: manifest(place, "list.parquet", b"PAR1"),
        DataError,
        "<FILE>: <REASON>, expected a Parquet file",
    ),
    Case(
        "An archive without a row",
        lambda place: manifest(place, "list.csv", "audio,text\n"),
        DataError,
        "<FILE>: no utterance, expected a row for each",
    ),
    Case(
        "An address of no file system known",
        lambda place: archive(place, "--manifest", "calls://list.csv", "--out", place.folder / "out"),
        MtabError,
        "calls://list.csv: <REASON>, expected an address of fsspec",
    ),
    Case(
        "An output that holds another job",
        another_job,
        MtabError,
        "<OUT>/_job.json: bundle is <HASH>, expected <HASH> to continue; choose another folder",
    ),
    Case(
        "An output that holds other files",
        lambda place: archive(
            place, "--manifest", place.file("list.csv", "text\nhello\n"), "--out", place.folder
        ),
        MtabError,
        "<OUT>: holds other files, expected an empty folder or a job's",
    ),
    Case(
        "`--ray` without `--manifest`",
        lambda place: archive(place, "--out", place.folder),
        None,
        "--ray needs --manifest, and none of AUDIO, --text and --text-file",
        2,
    ),
    Case(
        "An unknown argument of `mtab.ray:app`",
        lambda place: mtab.ray.app({"bundle": str(place.bundle), "replicas": 3}) and None,
        ConfigError,
        "mtab.ray:app: unknown field 'replicas'; known: <NAMES>",
        None,
    ),
)
