"""`mtab-bench paper`: every row on every fold, resumed in any order, and figures that are what they say."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

import mtab_train.cross_validation
from mtab.config import from_dict, load_config
from mtab.data import Corpus
from mtab_bench.cli import main
from mtab_bench.paper.cited import CITED
from mtab_bench.paper.results import Paper
from mtab_bench.paper.rows import ROWS, SIZES, ModelRow, protocols
from mtab_bench.render.paper_pictures import charts
from mtab_bench.render.paper_tables import paper_tables
from mtab_train.config import PRESETS, Preset
from mtab_train.run import write_run
from mtab_train.start import Start, begin_run
from mtab_train.trainer import Trainer

MODELS = ("mul-tab", "without-tab", "without-mha", "mmer")


def patch_presets(patch: pytest.MonkeyPatch, start: Start) -> None:
    """A model that trains in a second, in place of all but TIM-Net."""
    for name, changes in (
        ("tiny", {}),
        ("mmer-tiny", {"ctc_weight": 0.1, "supcon_weight": 0.1}),
        ("compact", {"protocol": "fixed"}),
    ):
        patch.setitem(PRESETS, name, Preset(start.model, replace(start.train, **changes)))


@pytest.fixture(autouse=True)
def nano_presets(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_presets(monkeypatch, start)


def paper(root: Path, out: Path, *arguments: object) -> Result:
    common = ("--preset", "tiny", "--epochs", "1", "--folds", "speaker:2", "--out", out, *arguments)
    return CliRunner().invoke(
        main, [str(each) for each in ("paper", "--dataset", "manifest", "--data-dir", root, *common)]
    )


@pytest.fixture(scope="module")
def whole(
    tones: Corpus, start: Start, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Paper, Result]:
    """All rows, by both protocols."""
    out = tmp_path_factory.mktemp("paper") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch_presets(patch, start)
        done = paper(tones.root, out)
    assert done.exit_code == 0, done.output
    return out, load_config(Paper, out / "paper.json"), done


def test_every_row_is_there(whole: tuple[Path, Paper, Result]) -> None:
    _, found, _ = whole
    ran = [(each.row, each.protocol) for each in found.entries]
    for name in ROWS:
        if name not in found.left_out:
            expected = protocols(ROWS[name], "tiny", "both")
            assert {protocol for row, protocol in ran if row == name} == set(expected)
    assert "--init-from" in found.left_out["compact-pretrained"]
    others = {name: reason for name, reason in found.left_out.items() if name != "compact-pretrained"}
    assert all("opensmile" in reason for reason in others.values())
    assert {protocol for row, protocol in ran if row in MODELS} == {"honest", "paper"}
    assert {protocol for row, protocol in ran if row not in MODELS} == {"fixed"}
    assert all(each.complete and len(each.folds) == 2 for each in found.entries)


def test_rivals_are_as_large_as_mul_tab() -> None:
    row = ROWS["mmer"]
    assert isinstance(row, ModelRow)
    assert [row.named_preset(size) for size in SIZES] == ["mmer", "mmer-tiny", "mmer-tiny"]
    row = ROWS["without-tab"]
    assert isinstance(row, ModelRow)
    assert [row.named_preset(size) for size in SIZES] == list(SIZES)
    assert row.recipe("base", None).model.num_tab_layers == 0
    assert row.recipe("base", 7).train == replace(PRESETS["base"].train, epochs=7)


def test_what_shares_a_column(whole: tuple[Path, Paper, Result]) -> None:
    """One protocol, and with the statistics of test speakers or without."""
    _, found, _ = whole
    for group in found.groups:
        assert len({(each.protocol, each.test_speakers) for each in group}) == 1
    shown = [table.title for table in paper_tables(found) if table.title.startswith("Scores")]
    assert shown[:3] == [f"Scores, {name} protocol" for name in ("honest", "fixed", "paper")]
    assert len(shown) == len(set(shown)) == len(found.groups)
    for table in paper_tables(found):
        if table.title.startswith(("Scores", "Each fold")):
            for told in (
                "protocol",
                "folds speaker:2 (2)",
                "2 classes",
                "36 utterances",
                "seed 0",
                "corpus ",
            ):
                assert told in table.note, table.title


def test_every_table_and_chart_is_written(whole: tuple[Path, Paper, Result]) -> None:
    out, found, done = whole
    markdown, page = ((out / name).read_text(encoding="utf-8") for name in ("paper.md", "paper.html"))
    for table in paper_tables(found):
        assert f"## {table.title}" in markdown.replace("\\", "")
        assert table.title in page
        assert table.title in done.output
    names = {chart.name for chart in charts(found)}
    assert {path.stem for path in (out / "charts").iterdir()} == names
    for name in names:
        assert (out / "charts" / f"{name}.svg").read_text(encoding="utf-8").startswith("<?xml")
        assert (out / "charts" / f"{name}.png").stat().st_size > 1000
    for kind in ("classes", "classes-by-fold", "loss-", "accuracy-", "confusion-", "folds-", "ablation-"):
        assert any(name.startswith(kind) for name in names), kind
    shown = re.findall(r"!\[.*\]\((.*)\)", markdown)
    assert len(shown) == page.count("<svg") == len(names)
    assert all((out / each).is_file() for each in shown)
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)


def test_pooled_figures_are_scikit_learns(whole: tuple[Path, Paper, Result]) -> None:
    out, found, _ = whole
    for entry in found.entries:
        folder = out / "runs" / entry.row / f"{entry.protocol}-seed0"
        rows: list[dict[str, str]] = []
        wars = []
        for path in sorted(folder.glob("*/predictions.csv")):
            with path.open(newline="") as file:
                part = list(csv.DictReader(file))
            wars.append(
                accuracy_score(*zip(*((row["label"], row["predicted"]) for row in part), strict=True))
            )
            rows += part
        true, predicted = ([row[name] for row in rows] for name in ("label", "predicted"))
        figures = entry.pooled.figures
        assert entry.pooled.utterances == len(rows) == 36 - entry.problems
        assert figures.war == pytest.approx(accuracy_score(true, predicted))
        assert figures.uar == pytest.approx(recall_score(true, predicted, average="macro"))
        assert figures.weighted_f1 == pytest.approx(f1_score(true, predicted, average="weighted"))
        expected = confusion_matrix(true, predicted, labels=found.recipe.classes)
        assert entry.pooled.confusion_matrix == tuple(map(tuple, expected.tolist()))
        assert entry.mean.war == pytest.approx(sum(wars) / 2)
        assert entry.best.figures.war == pytest.approx(max(wars))
        low, high = entry.pooled.war_interval
        assert low <= figures.war <= high


def test_killed_and_resumed_is_the_same(
    tones: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ("--rows", "tfidf,without-tab,mul-tab", "--protocol", "honest")
    train_fold, trained = mtab_train.cross_validation.train_fold, []

    def killed(run: Any, corpus: Corpus, name: str, **machine: Any) -> None:
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append((run.folder.parent.name, name))
        train_fold(run, corpus, name, **machine)

    monkeypatch.setattr(mtab_train.cross_validation, "train_fold", killed)
    done = paper(tones.root, tmp_path / "killed", *rows)
    assert done.exit_code == 130, done.output
    assert "Interrupted; to go on: the same command" in done.output
    partial = load_config(Paper, tmp_path / "killed" / "paper.json")
    assert [each.row for each in partial.entries] == ["mul-tab"]
    monkeypatch.setattr(mtab_train.cross_validation, "train_fold", train_fold)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").rglob("results.json")}
    assert len(before) == 3
    assert paper(tones.root, tmp_path / "killed", *rows).exit_code == 0
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    # In another order, one row at a time.
    for name in ("tfidf", "mul-tab", "without-tab"):
        done = paper(tones.root, tmp_path / "never", "--rows", name, "--protocol", "honest")
        assert done.exit_code == 0, done.output
    one, other = (json.loads((tmp_path / name / "paper.json").read_text()) for name in ("killed", "never"))
    for each in (one, other):
        del each["recipe"]["created"]
    assert one == other


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_answer_is_in_one_table(whole: tuple[Path, Paper, Result]) -> None:
    out, found, _ = whole
    table = {row["utterance"]: row for row in read_table(out / "answers.csv")}
    names = {f"{each.row}/{each.protocol}-seed0" for each in found.entries}
    assert len(table) == 36
    for name in names:
        given = [row for path in (out / "runs" / name).glob("*/predictions.csv") for row in read_table(path)]
        assert {row["utterance"]: (row["label"], row["predicted"]) for row in given} == {
            utterance: (row["label"], row[name]) for utterance, row in table.items() if row[name]
        }
    assert set(next(iter(table.values()))) == {"utterance", "label"} | names


def test_a_fold_that_is_not_done_is_counted(whole: tuple[Path, Paper, Result], tmp_path: Path) -> None:
    out, _, _ = whole
    copy = shutil.copytree(out, tmp_path / "out")
    shutil.rmtree(next((copy / "runs" / "mul-tab" / "paper-seed0").glob("speakers-1*")))
    root = load_config(Paper, out / "paper.json")
    done = paper(_root(out), copy, "--rows", "tfidf")
    assert done.exit_code == 0, done.output
    found = load_config(Paper, copy / "paper.json")
    entry = next(each for each in found.entries if (each.row, each.protocol) == ("mul-tab", "paper"))
    assert not entry.complete
    assert entry.pooled.utterances == 18
    assert "1 of 2" in done.output
    note = "Mul-TAB, paper protocol, seed 0: 1 of 2 folds are done, its figures are of these alone"
    assert note in found.notes
    assert note not in root.notes
    column = [row["mul-tab/paper-seed0"] for row in read_table(copy / "answers.csv")]
    assert column.count("") == 18


def _root(out: Path) -> Path:
    """The corpus that a folder's runs are of."""
    about = next((out / "runs" / "mul-tab").glob("*/run.json"))
    return Path(json.loads(about.read_text())["data_dir"])


def test_predictions_that_are_not_a_folds(whole: tuple[Path, Paper, Result], tmp_path: Path) -> None:
    out, _, _ = whole
    copy = shutil.copytree(out, tmp_path / "out")
    path = next((copy / "runs" / "tfidf" / "fixed-seed0").glob("speakers-1*/predictions.csv"))
    text = path.read_text()
    for change, message in (
        (text + text.splitlines()[1] + "\n", "expected each test utterance of fold speakers-1-of-2 once"),
        (text.replace(",low\n", ",lower\n"), "expected an utterance, its label and one of high, low"),
        ("", "holds no answer, expected those of fold speakers-1-of-2"),
        (None, "not found, expected the answers of fold speakers-1-of-2; delete its folder"),
    ):
        if change is None:
            path.unlink()
        else:
            path.write_text(change)
        done = paper(_root(out), copy, "--rows", "tfidf")
        assert done.exit_code == 1
        assert done.stderr.splitlines()[-1].startswith(f"Error: {path}: ")
        assert message in done.stderr


def test_a_corpus_that_changed(make_tones: Any, tmp_path: Path) -> None:
    (tmp_path / "tones").mkdir()
    root = make_tones(tmp_path / "tones")
    assert paper(root, tmp_path / "out", "--rows", "tfidf").exit_code == 0
    folder = tmp_path / "out" / "runs" / "tfidf" / "fixed-seed0"
    about = next(folder.glob("speakers-2*/floor.json"))
    kept = about.read_text()
    about.write_text(kept.replace(json.loads(kept)["corpus_sha256"], "0" * 64))
    done = paper(root, tmp_path / "out", "--rows", "tfidf")
    assert done.exit_code == 1
    assert f"Error: {about}: is of corpus 000000000000…" in done.stderr
    assert "the corpus changed between folds" in done.stderr
    about.write_text(kept)
    manifest = root / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("it is high", "it was high"))
    done = paper(root, tmp_path / "out", "--rows", "tfidf")
    assert done.exit_code == 1
    assert "recipe.json: the corpus has changed since: found" in done.stderr
    assert done.stderr.count("\n") == 1


def test_another_recipe_in_the_same_folder(tones: Corpus, tmp_path: Path) -> None:
    assert paper(tones.root, tmp_path / "out", "--rows", "tfidf").exit_code == 0
    done = paper(tones.root, tmp_path / "out", "--rows", "tfidf", "--epochs", "3")
    assert done.exit_code == 1
    path = tmp_path / "out" / "recipe.json"
    assert done.stderr == f"Error: {path}: was begun with epochs 1, found 3; choose another --out\n"


def test_rows_that_need_a_transcript_are_left_out_by_name(make_tones: Any, tmp_path: Path) -> None:
    (tmp_path / "tones").mkdir()
    root = make_tones(tmp_path / "tones")
    rows = [line.split(",") for line in (root / "manifest.csv").read_text().splitlines()]
    kept = [",".join((row[0], "text" if not i else "", *row[2:])) for i, row in enumerate(rows)]
    (root / "manifest.csv").write_text("\n".join(kept) + "\n")
    done = paper(root, tmp_path / "out", "--rows", "mul-tab,tfidf,egemaps-svm")
    assert done.exit_code == 0, done.output
    for name in ("mul-tab", "tfidf"):
        assert f"Left out: {name} needs a transcript for each utterance" in done.stderr
    found = load_config(Paper, tmp_path / "out" / "paper.json")
    assert {"mul-tab", "tfidf"} <= found.left_out.keys()
    assert "Rows left out" in (tmp_path / "out" / "paper.md").read_text()


def test_rows_of_one_modality(tones: Corpus, tmp_path: Path) -> None:
    """What looks at the other is left out by name; what looks at both looks at one."""
    rows = ("--rows", "without-mha,tfidf,compact-pretrained")
    done = paper(tones.root, tmp_path / "out", *rows, "--modalities", "audio", "--protocol", "honest")
    assert done.exit_code == 0, done.output
    assert "Left out: tfidf does not look at audio alone" in done.stderr
    assert "Left out: compact-pretrained needs a run to start from, see --init-from" in done.stderr
    found = load_config(Paper, tmp_path / "out" / "paper.json")
    assert [each.row for each in found.entries] == ["without-mha"]
    assert "; audio; preset tiny" in (tmp_path / "out" / "paper.md").read_text()
    (config,) = {path.read_text() for path in tmp_path.glob("out/runs/*/*/*/config.json")}
    assert json.loads(config)["text_config"] is None
    other = paper(tones.root, tmp_path / "out", "--rows", "tfidf", "--modalities", "text")
    assert "was begun with modalities audio, found text" in other.stderr
    text = paper(tones.root, tmp_path / "text", "--rows", "mmer,tim-net", "--modalities", "text")
    assert "Left out: mmer needs audio, from which it learns to spell" in text.stderr
    assert "Left out: tim-net does not look at text alone" in text.stderr


def test_a_row_that_starts_from_a_run(start: Start, tones: Corpus, tmp_path: Path) -> None:
    start = replace(start, preset="compact")
    first = begin_run(tmp_path / "first", start, tones, "speaker:2", "speakers-1-of-2")
    Trainer(first, tones, "cpu").fit()
    write_run(replace(first, model=replace(first.model, classifier_heads="corpus")))
    rows = ("--rows", "compact-pretrained", "--init-from", first.folder)
    done = paper(tones.root, tmp_path / "out", *rows)
    assert done.exit_code == 0, done.output
    (entry,) = load_config(Paper, tmp_path / "out" / "paper.json").entries
    assert (entry.row, entry.protocol, entry.fold_count) == ("compact-pretrained", "fixed", 2)
    for path in tmp_path.glob("out/runs/*/*/*/run.json"):
        assert json.loads(path.read_text())["init_from"] == str(first.folder)
        # Whatever heads it was trained with, the row has one.
        assert json.loads(path.with_name("config.json").read_text())["classifier_heads"] == "joint"
    heard = paper(tones.root, tmp_path / "heard", *rows, "--modalities", "audio")
    assert (
        f"Error: {first.folder}: is of compact with audio+text, expected compact with audio" in heard.stderr
    )
    again = paper(tones.root, tmp_path / "out", "--rows", "compact-pretrained", "--init-from", tmp_path)
    assert again.exit_code == 1
    assert f"was begun from {first.folder}, found --init-from {tmp_path}" in again.stderr


def test_a_dry_run_says_what_it_costs_and_writes_nothing(tones: Corpus, tmp_path: Path) -> None:
    done = paper(tones.root, tmp_path / "out", "--rows", "mul-tab,tfidf", "--dry-run", "--seeds", "2")
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "out").exists()
    lines = [line for line in done.stdout.splitlines() if " protocol, seed " in line]
    # Both protocols with both seeds, and a floor that has no chance in it.
    assert len(lines) == 5
    assert all(float(line.split()[-2]) > 0 for line in lines if line.startswith("Mul-TAB"))


def test_a_corpus_with_its_own_division_is_one_fold(make_tones: Any, tmp_path: Path) -> None:
    (tmp_path / "tones").mkdir()
    root = make_tones(tmp_path / "tones")
    header, *rows = (root / "manifest.csv").read_text().splitlines()
    # Speakers 4 and 5 are for the test.
    lines = [f"{row},{'test' if row[0] in '45' else 'train'}" for row in rows]
    (root / "manifest.csv").write_text("\n".join((f"{header},split", *lines)) + "\n")
    done = paper(
        root, tmp_path / "out", "--rows", "mul-tab,tfidf", "--folds", "official", "--protocol", "honest"
    )
    assert done.exit_code == 0, done.output
    found = load_config(Paper, tmp_path / "out" / "paper.json")
    assert [(each.row, each.fold_count, each.std) for each in found.entries] == [
        ("mul-tab", 1, None),
        ("tfidf", 1, None),
    ]
    assert all(each.pooled.utterances == 12 for each in found.entries)
    assert all(each.mean == each.pooled.figures for each in found.entries)


def test_no_such_row(tones: Corpus, tmp_path: Path) -> None:
    done = paper(tones.root, tmp_path / "out", "--rows", "mul-tab,mmer-2")
    assert done.exit_code == 2
    assert "'mmer-2' is no row, expected some of mul-tab, " in done.stderr


def test_only_like_is_compared_with_the_papers_figures(whole: tuple[Path, Paper, Result]) -> None:
    """Corpus, folds, classes and protocol must be the paper's, and the speech of people."""
    _, found, _ = whole
    cited = CITED["iemocap"]
    recipe = replace(found.recipe, dataset="iemocap", folds=cited.folds, classes=cited.classes)
    entry = next(each for each in found.entries if (each.row, each.protocol) == ("mul-tab", "paper"))
    like = replace(found, recipe=recipe)
    assert like.comparable(entry)
    assert like.cited_row(entry) is not None
    assert not like.comparable(replace(entry, protocol="honest"))
    assert not like.comparable(replace(entry, fold_count=5))
    for change in (
        {"synthetic": True},
        {"folds": "speaker"},
        {"classes": cited.classes[:3]},
        {"dataset": "emodb"},
    ):
        other = replace(found, recipe=replace(recipe, **change))
        assert not other.comparable(entry)
    assert found.cited is None


def test_the_papers_own_means() -> None:
    """As the design says: 78.76, 78.72 and 78.56 %."""
    means = {row.row: row.mean_war for row in CITED["iemocap"].rows}
    assert {name: round(100 * (mean or 0), 2) for name, mean in means.items()} == {
        "mul-tab": 78.76,
        "without-tab": 78.72,
        "without-mha": 78.56,
    }


def test_the_file_is_the_dataclass(whole: tuple[Path, Paper, Result]) -> None:
    out, found, _ = whole
    assert from_dict(Paper, json.loads((out / "paper.json").read_text()), "paper.json") == found
