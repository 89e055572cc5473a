"""Writing a site: the graph that may stand in, npm's packages as they are, a folder whole or not at all."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mtab.bundle import open_bundle
from mtab.errors import BundleError, MtabError
from mtab.files import sha256
from mtab_export.cli import main
from mtab_serve.npm import Package, contents
from mtab_serve.self_test import refusal_under_node
from mtab_serve.site import ORT, write_site


def described(site: Path) -> dict[str, Any]:
    return json.loads((site / "site.json").read_text(encoding="utf-8"))


@pytest.fixture
def spoil(site: Path, tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], None]], Path]:
    """``spoil(change)``: a copy of the site with ``change`` made to what describes it."""

    def make(change: Callable[[dict[str, Any]], None]) -> Path:
        copy = shutil.copytree(site, tmp_path / "spoiled")
        values = described(copy)
        change(values)
        (copy / "site.json").write_text(json.dumps(values), encoding="utf-8")
        return copy

    return make


def test_by_the_command(packages: Path, rated_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    arguments = ["--target", "web", "--bundle", str(rated_bundle), "--out", str(out)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    loads = r"1\d\.\d MB to load, 2\d\.\d MB more if asked for"
    assert re.fullmatch(rf"{out}: model\.onnx \(fp32\); {loads}\n", done.output)
    done = CliRunner().invoke(main, [*arguments, "--overwrite"])
    assert done.exit_code == 0, done.output
    assert (out / "index.html").is_file()


def test_every_file_is_proven(site: Path) -> None:
    """The service worker names the description's hash, and that the hash and size of every other file."""
    values = described(site)
    listed = values["files"] | values["later"]
    there = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    assert there == {*listed, "site.json", "service-worker.js", "_headers"}
    for name, entry in listed.items():
        assert entry == {"sha256": sha256(site / name), "size": (site / name).stat().st_size}
    assert sha256(site / "site.json") in (site / "service-worker.js").read_text(encoding="utf-8")
    assert not set(values["files"]) & set(values["later"])
    assert "bundle/reasons.onnx" in values["later"]


def test_nothing_comes_from_elsewhere(site: Path) -> None:
    """No address in what is ours, no script or style in the markup, nothing unfilled."""
    for path in site.iterdir():
        if path.suffix in (".html", ".css", ".mjs", ".js"):
            text = path.read_text(encoding="utf-8")
            assert "//" not in re.sub(r"(?m)(^|\s)//.*$", "", text), path
            assert not re.search(r"\$[A-Z]{3,}", text), path
    page = (site / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\son\w+=|\sstyle=|<script(?! type=\"module\" src=)", page)
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', page)
    assert policy
    assert "unsafe-inline" not in policy[1]
    assert f"Content-Security-Policy: {policy[1]}\n" in (site / "_headers").read_text(encoding="utf-8")


def test_licences_are_with_it(site: Path) -> None:
    text = (site / "licenses.txt").read_text(encoding="utf-8")
    for part in ("ONNX Runtime Web 1.30.0", "Copyright (c) Microsoft", "tokenizers.js 0.2.0"):
        assert part in text
    assert "Apache License\n" in (site / "vendor" / "LICENSE").read_text(encoding="utf-8")


def test_the_model_answers_under_node(site: Path) -> None:
    assert refusal_under_node(site) is None


def test_other_answers_are_refused(spoil: Callable[..., Path]) -> None:
    def change(values: dict[str, Any]) -> None:
        values["self_test"]["utterances"][0]["probabilities"][1] -= 0.25

    reason = "its answers to the stored inputs differ by 2.5e-1, expected at most 1e-5"
    assert refusal_under_node(spoil(change)) == reason


def test_other_dimensions_are_refused(spoil: Callable[..., Path]) -> None:
    def change(values: dict[str, Any]) -> None:
        values["self_test"]["utterances"][0]["dimensions"][0] += 0.5 * values["dimensions"][0]["std"]

    reason = "its answers to the stored inputs differ by 5.0e-1 standard deviations, expected at most 1e-4"
    assert refusal_under_node(spoil(change)) == reason


def test_an_answer_that_is_no_number_is_refused(spoil: Callable[..., Path]) -> None:
    def change(values: dict[str, Any]) -> None:
        values["self_test"]["utterances"][0]["probabilities"][1] = "none"

    reason = refusal_under_node(spoil(change))
    assert reason is not None
    assert "differ by NaN" in reason


def test_other_tokens_are_refused(spoil: Callable[..., Path]) -> None:
    def change(values: dict[str, Any]) -> None:
        values["self_test"]["texts"][0]["ids"][1] += 1

    reason = 'it reads the words of "I never said that!" as other tokens than the runtime'
    assert refusal_under_node(spoil(change)) == reason


def test_other_tokens_of_a_text_of_several_lines_are_refused(spoil: Callable[..., Path]) -> None:
    """U+2028 and U+0085, which end a line for Python and none for JSON."""

    def change(values: dict[str, Any]) -> None:
        text = next(each for each in values["self_test"]["texts"] if "\u2028" in each["text"])
        text["ids"][1] += 1

    reason = refusal_under_node(spoil(change))
    assert reason is not None
    assert reason.endswith("as other tokens than the runtime")


def test_a_graph_that_cannot_be_run_is_refused(spoil: Callable[..., Path]) -> None:
    site = spoil(lambda values: values.update(labels=[]))
    (site / "bundle" / "model.onnx").write_bytes(b"no graph")
    reason = refusal_under_node(site)
    assert reason is not None
    assert reason.startswith("cannot be run: ")
    assert "\n" not in reason


@pytest.fixture(scope="module")
def lowered(rated_run: Path, packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle in fp32 and int8."""
    folder = tmp_path_factory.mktemp("lowered") / "bundle"
    done = CliRunner().invoke(main, ["--checkpoint", str(rated_run), "--out", str(folder), "--int8"])
    assert done.exit_code == 0, done.output
    return folder


def test_the_smallest_graph_that_may(lowered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """int8 is the smaller: it is taken, unless what it answers is refused; and so is what is named."""
    bundle = open_bundle(lowered)
    sizes = {graph.file: bundle.size(graph.file) for graph in bundle.manifest.graphs}
    assert sizes["model_int8.onnx"] < sizes["model.onnx"]
    (said,) = write_site(bundle, tmp_path / "int8", "int8")
    assert "model_int8.onnx (int8)" in said
    assert described(tmp_path / "int8")["self_test"]["tolerance"] == 2e-3
    # Its attention comes from the other graph's weights, which only who asks for it loads.
    assert "bundle/model.onnx.data" in described(tmp_path / "int8")["later"]

    def refuse_int8(site: Path) -> str | None:
        return "it is int8" if "int8" in described(site)["graph"]["file"] else refusal_under_node(site)

    monkeypatch.setattr("mtab_serve.site.refusal_under_node", refuse_int8)
    refused, said = write_site(bundle, tmp_path / "fp32")
    assert refused == "model_int8.onnx: left out: it is int8"
    assert "model.onnx (fp32)" in said
    assert {path.name for path in (tmp_path / "fp32" / "bundle").iterdir()} == {
        "model.onnx", "model.onnx.data", "reasons.onnx", "tokenizer.json",
    }  # fmt: skip
    with pytest.raises(BundleError, match="expected one that answers in WebAssembly as in the runtime"):
        list(write_site(bundle, tmp_path / "none", "int8"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fp32", "int8"]


def test_a_precision_that_is_not_there(rated_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"holds fp32, expected the whole model in int8$"):
        list(write_site(open_bundle(rated_bundle), tmp_path / "site", "int8"))


def test_what_is_there_is_kept(rated_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(MtabError, match="exists already; choose another folder or give --overwrite"):
        list(write_site(open_bundle(rated_bundle), tmp_path))
    with pytest.raises(MtabError, match=r"holds no site\.json, expected an earlier site to replace$"):
        list(write_site(open_bundle(rated_bundle), tmp_path, overwrite=True))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache without npm's packages, and no program to fetch them with."""
    monkeypatch.setenv("MTAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "cache"


def test_without_npm(rated_bundle: Path, tmp_path: Path, alone: Path) -> None:
    with pytest.raises(MtabError) as caught:
        list(write_site(open_bundle(rated_bundle), tmp_path / "site"))
    expected = "npm is not here, expected it to fetch onnxruntime-web@1.30.0: it comes with Node.js"
    assert str(caught.value) == expected
    assert not (tmp_path / "site").exists()


def test_without_node(
    packages: Path, rated_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MtabError, match=r"node is not here, expected Node\.js 20 or newer"):
        list(write_site(open_bundle(rated_bundle), tmp_path / "site"))
    assert not (tmp_path / "site").exists()


def write_npm(folder: Path, script: str) -> None:
    """An ``npm`` of ours."""
    path = folder / "npm"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_npm_fails(tmp_path: Path, alone: Path) -> None:
    write_npm(tmp_path, "echo 'npm error: no\nnetwork' >&2; exit 1")
    reason = r"npm cannot fetch onnxruntime-web@1\.30\.0 \(npm error: no network\)$"
    with pytest.raises(MtabError, match=reason):
        contents(ORT, ())


def test_npm_gives_another_package(tmp_path: Path, alone: Path) -> None:
    write_npm(tmp_path, 'echo something > "$4/a.tgz"')
    another = r"npm's a@1 has sha512-.*…, expected sha512-other…$"
    with pytest.raises(MtabError, match=another):
        contents(Package("a", "1", "sha512-other"), ())
    assert not list(alone.rglob("*.tgz"))


def test_a_spoiled_package_in_the_cache_is_not_used(packages: Path, alone: Path) -> None:
    name = "onnxruntime-web-1.30.0.tgz"
    (alone / "npm").mkdir(parents=True)
    (alone / "npm" / name).write_bytes((packages / name).read_bytes()[:-1] + b"x")
    with pytest.raises(MtabError, match="npm is not here"):
        contents(ORT, ())
    shutil.copy(packages / name, alone / "npm" / name)
    assert b'"name": "onnxruntime-web"' in contents(ORT, ["package.json"])["package.json"]
