"""`mtab-train cv` as it is typed, and the sums of its folds."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import mtab.progress
from mtab.config import to_dict
from mtab.data import Corpus
from mtab.provenance import Scores
from mtab_train.cross_validation import summarize
from mtab_train.cv_command import format_summary
from mtab_train.metrics import chance_of
from mtab_train.results import Results
from mtab_train.start import Start, begin_run

from .commands import corpus_of, run

pytestmark = pytest.mark.usefixtures("nano_preset")


def test_a_division_with_one_fold_is_no_cross_validation(tmp_path: Path, make_tones) -> None:
    manifest = make_tones(tmp_path) / "manifest.csv"
    header, *rows = manifest.read_text().splitlines()
    rows = [f"{row},{'test' if row.endswith(',0') else 'train'}" for row in rows]
    manifest.write_text("\n".join([f"{header},split", *rows]))
    refused = run("cv", "--dataset", "manifest", "--data-dir", tmp_path, "--out", tmp_path / "cv")
    assert refused.exit_code == 1
    assert "official is one fold, expected two or more; see mtab-train fit" in refused.stderr


def test_one_folds_run_is_no_cross_validation(tmp_path: Path, tones: Corpus, start: Start) -> None:
    out = tmp_path / "run"
    begin_run(out, start, tones, "speaker", "speaker-0")
    refused = run("cv", "--resume", out)
    assert refused.exit_code == 1
    assert "is one fold's run" in refused.stderr


def results_of(test: Scores, problems: int = 0) -> Results:
    return Results("honest", 1, 3, test, test, chance_of(test.confusion_matrix), problems, 0, {}, 1.0)


def test_many_folds_are_summed_up_and_all_kept() -> None:
    def result(hits: int) -> Results:
        share, matrix = hits / 20, ((hits, 20 - hits), (20 - hits, hits))
        return results_of(Scores(40, share, share, share, {}, matrix))

    nine = summarize({f"fold-{i}": result(10 + i) for i in range(9)})
    lines = format_summary(nine).splitlines()
    assert len(nine.folds) == 9
    assert len(lines) < 10
    assert any(line.startswith("worst, fold-0") for line in lines)
    assert any(line.startswith("best, fold-8") for line in lines)
    assert any(line.startswith("mean chance") and "0.500" in line for line in lines)
    assert "at chance: 4 of 9 folds" in lines
    eight = format_summary(summarize({f"fold-{i}": result(18) for i in range(8)}))
    assert all(f"fold-{i}" in eight for i in range(8))
    assert "at chance" not in eight


def test_cross_validation_resumes_and_sums_up(
    tmp_path: Path, tones: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtab_train import cross_validation

    out = tmp_path / "cv"
    begun = 0
    real = cross_validation.begin_run

    def stop_at_the_third(*arguments, **options):
        nonlocal begun
        begun += 1
        if begun == 3:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(cross_validation, "begin_run", stop_at_the_third)
        stopped = run("cv", *corpus_of(tones), "--folds", "speaker-pair", "--epochs", 1, "--out", out)
    assert stopped.exit_code == 130
    assert f"mtab-train cv --resume {out}" in stopped.stderr
    before = (out / "speakers-0+1" / "results.json").stat().st_mtime_ns

    monkeypatch.setattr(mtab.progress, "EVERY", 0.005)
    done = run("cv", "--resume", out)
    assert done.exit_code == 0, done.output
    assert "cross-validation 2/3 folds · training 0/1 epochs" in done.stderr
    assert (out / "speakers-0+1" / "results.json").stat().st_mtime_ns == before
    summary = json.loads((out / "summary.json").read_text())
    names = ["speakers-0+1", "speakers-2+3", "speakers-4+5"]
    assert [fold["fold"] for fold in summary["folds"]] == names
    wars = [json.loads((out / name / "results.json").read_text())["test"]["war"] for name in names]
    assert summary["mean"]["war"] == pytest.approx(np.mean(wars))
    assert summary["std"]["war"] == pytest.approx(np.std(wars, ddof=1))
    lines = done.output.splitlines()
    assert any(line.startswith("mean ") and f"{np.mean(wars):.3f}" in line for line in lines)


def test_the_summary_by_hand() -> None:
    def result(war: float, problems: int) -> Results:
        return results_of(Scores(10, war, war / 2, war / 4, {}, ((5, 1), (4, 0))), problems)

    found = summarize({"a": result(0.2, 3), "b": result(0.4, 3), "c": result(0.9, 4)})
    mean = to_dict(found.mean)
    assert mean.pop("ccc") is None
    assert mean == pytest.approx({"war": 0.5, "uar": 0.25, "weighted_f1": 0.125})
    assert found.std.war == pytest.approx(((0.09 + 0.01 + 0.16) / 2) ** 0.5)
    assert found.chance.war == 0.6
    assert found.best_fold == "c"
    assert found.problems == 4


@pytest.mark.slow
def test_folds_on_ray_come_to_the_same(tmp_path: Path, tones: Corpus) -> None:
    given = ("--folds", "speaker-pair", "--epochs", 1, "--threads", 1)
    alone, cluster = tmp_path / "alone", tmp_path / "cluster"
    for out, more in ((alone, ()), (cluster, ("--ray", "local"))):
        done = run("cv", *corpus_of(tones), *given, "--out", out, *more)
        assert done.exit_code == 0, done.output
    summaries = [json.loads((out / "summary.json").read_text()) for out in (alone, cluster)]
    assert summaries[0] == summaries[1]
    # A fold that is lost is trained again, and no other.
    kept, lost = sorted(path for path in cluster.iterdir() if path.is_dir())[:2]
    before = (kept / "results.json").stat().st_mtime_ns
    shutil.rmtree(lost)
    (cluster / "summary.json").unlink()
    done = run("cv", "--resume", cluster, "--threads", 1, "--ray", "local")
    assert done.exit_code == 0, done.output
    assert (kept / "results.json").stat().st_mtime_ns == before
    assert json.loads((cluster / "summary.json").read_text()) == summaries[0]


def test_a_cluster_that_is_not_there(tmp_path: Path, tones: Corpus) -> None:
    out = tmp_path / "cv"
    done = run(
        "cv", *corpus_of(tones), "--folds", "speaker-pair", "--epochs", 1, "--out", out, "--ray", "auto"
    )
    assert done.exit_code == 1
    assert "--ray auto: " in done.stderr
    assert done.stderr.splitlines()[-1].endswith("expected local, auto or a cluster's address")
