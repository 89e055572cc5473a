"""How `mtab serve` is called, and what it says of what it cannot serve."""

import socket
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mtab.cli import main
from mtab_serve.connections import listen
from mtab_serve.settings import TOKEN

from .servers import MTAB


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN, raising=False)


def serve(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["serve", *map(str, arguments)])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_others_need_a_token(host: str) -> None:
    done = serve("bundle", "--host", host)
    assert done.exit_code == 2
    assert f"--host {host} is open to others, expected --token-file or MTAB_TOKEN for it" in done.output


@pytest.mark.parametrize("token", ["", " ", "a b", "é", "a\nb"])
def test_a_token_that_is_none(tmp_path: Path, token: str) -> None:
    (tmp_path / "token").write_text(token, encoding="utf-8")
    done = serve("bundle", "--token-file", tmp_path / "token")
    assert done.exit_code == 1
    expected = "token: holds no token, expected printable ASCII without a space"
    assert done.output == f"Error: {tmp_path}/{expected}\n"


def test_a_token_file_that_is_missing(tmp_path: Path) -> None:
    done = serve("bundle", "--token-file", tmp_path / "token")
    assert (done.exit_code, done.output) == (1, f"Error: {tmp_path / 'token'}: No such file or directory\n")


@pytest.mark.parametrize(
    ("bundles", "names"),
    [(("a/bundle", "b/bundle"), "'bundle', 'bundle'"), (("x=a", "x=b"), "'x', 'x'"), (("=a",), "''")],
)
def test_names_that_are_not_apart(bundles: tuple[str, ...], names: str) -> None:
    done = serve(*bundles)
    expected = f"bundles named {names}, expected NAME=BUNDLE with a name for each"
    assert (done.exit_code, done.output) == (1, f"Error: {expected}\n")


def test_no_bundle(tmp_path: Path) -> None:
    done = serve(tmp_path / "bundle")
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: {tmp_path / 'bundle'}")
    assert len(done.output.splitlines()) == 1


def test_an_address_that_is_taken(tone_bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = serve(tone_bundle, "--port", port)
    assert done.exit_code == 1
    expected = f"127.0.0.1:{port}: Address already in use, expected an address of this machine that is free"
    assert done.output == f"Error: {expected}\n"


def test_a_device_that_is_not_there(tone_bundle: Path) -> None:
    """The workers find out, and say why in one line."""
    command = [str(MTAB), "serve", str(tone_bundle), "--port", "0", "--device", "cuda:7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    first, *_, last = done.stderr.splitlines()
    assert "cuda" in first
    assert last == "Error: no worker could begin, expected one that opens the bundles; see above"
    assert "Traceback" not in done.stderr


def test_small_answers_are_not_held_back() -> None:
    """By Nagle's algorithm an answer in two parts waits for the client's delayed acknowledgement."""
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert client
