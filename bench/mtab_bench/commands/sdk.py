"""``mtab-bench sdk``."""

import dataclasses
import json
from pathlib import Path

import click

from mtab.console import Command

_BUILD = Path("build/cpp/release")


@click.command("sdk", cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--build",
    type=click.Path(path_type=Path),
    default=_BUILD,
    show_default=True,
    help="Folder that libmtab and mtab-cli were built in.",
)
@click.option(
    "--onnxruntime",
    type=click.Path(path_type=Path),
    help="ONNX Runtime's shared library.  [default: that of Python's onnxruntime]",
)
@click.option(
    "--checkpoint", type=click.Path(path_type=Path), help="Run folder, to start PyTorch from it too."
)
@click.option("--precision", default="fp32", show_default=True, help="Precision of the bundle's graph.")
@click.option(
    "--requests", type=click.IntRange(min=1), default=100, show_default=True, help="Requests to time."
)
@click.option(
    "--starts", type=click.IntRange(min=1), default=5, show_default=True, help="Processes to start."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def sdk_command(
    bundle: Path,
    build: Path,
    onnxruntime: Path | None,
    checkpoint: Path | None,
    precision: str,
    requests: int,
    starts: int,
    as_json: bool,
) -> None:
    """Measure the C++ SDK beside the Python runtime and PyTorch.

    Requests are wav files of about 4 s, each of another length, with a transcript; the overhead is the
    share of a request's time that is not ONNX Runtime's. Starts are new processes with warm caches.

    \b
    Example:
      make cpp && mtab-bench sdk runs/full/bundle --checkpoint runs/full
    """
    import onnxruntime as installed

    from mtab_bench.sections.sdk import measure_sdk

    if onnxruntime is None:
        libraries = sorted((Path(installed.__file__).parent / "capi").glob("libonnxruntime.so.*"))
        if not libraries:
            raise click.UsageError("this onnxruntime has no shared library; give --onnxruntime")
        onnxruntime = libraries[0]
    found = measure_sdk(
        bundle,
        build / "libmtab.so",
        build / "mtab-cli",
        onnxruntime,
        checkpoint,
        precision,  # pyright: ignore[reportArgumentType]
        requests,
        starts,
    )
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found), indent=2))
        return
    click.echo(f"largest difference of a probability: {found.largest_difference:.1e}")
    click.echo("request of 4 s   median ms  ONNX Runtime ms  overhead")
    for name, each in found.requests.items():
        click.echo(
            f"{name:15}  {1e3 * each.request:9.2f}  {1e3 * each.onnxruntime:15.2f}  {each.overhead:8.2%}"
        )
    click.echo("new process      seconds  MB at most")
    for name, start in found.starts.items():
        click.echo(f"{name:15}  {start.seconds:7.2f}  {start.bytes / 1e6:10.0f}")
    if found.warning:
        click.echo(found.warning, err=True)
