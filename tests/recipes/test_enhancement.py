"""Enhancement recipes run all their stages on a tiny corpus, and end the same when killed."""

from __future__ import annotations

import csv
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

import tiny_enhancement
from commands import ENHANCEMENT, numbered, work_done
from killed_runs import PATIENCE_S, Moment, Run
from squall.files import read_json
from squall.report.records import Record, read_records

pytest.importorskip("matplotlib")

Squall = Callable[..., tuple[int, str, str]]

QUALITY = {"stoi", "pesq_nb", "pesq_wb", "si_sdr"}
TRAINING = {"train_seconds", "epochs", "dev_mse"}
MASK = {"irm": {"mse"}, "ibm": {"mse", "accuracy", "hit", "fa"}}
SEEN = {"babble/-5dB", "babble/5dB", "rain/-5dB", "rain/5dB"}
UNSEEN = {"drill/-5dB", "drill/5dB"}
SMALL_GRID = [{"name": name, "max_epochs": 2} for name in ("noisy", "oracle")] + [
    {"name": name, "max_epochs": 2, **tiny_enhancement.SMALL[name]} for name in ("dnn", "kernel")
]


def _places(data: Path) -> list[object]:
    return ["--corpus-dir", data / "corpus", "--noise-dir", data / "noise", "--workers", 1]


def _rows_agree(experiment: Path, records: dict[tuple[str, str], Record]) -> None:
    """The records of quality are the means of the table of mixtures."""
    rows = defaultdict(list)
    with (experiment / "score" / "default" / "mixtures.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            rows[row["condition"]].append(row)
    assert rows.keys() == SEEN | UNSEEN
    for condition, group in rows.items():
        for metric in QUALITY:
            mean = statistics.fmean(float(row[metric]) for row in group)
            assert records[condition, metric].value == pytest.approx(mean, rel=1e-4)


def _check_results(tmp_path: Path, recipe: str, mask: str) -> None:
    of_system: dict[str, dict[tuple[str, str], Record]] = defaultdict(dict)
    for record in read_records(tmp_path / "results" / "results.json"):
        of_system[record.system][record.condition, record.metric] = record
    kinds = {system.partition("-")[0]: records for system, records in of_system.items()}
    assert kinds.keys() == {"noisy", "oracle", "dnn", "kernel"}
    for kind, records in kinds.items():
        expected = QUALITY | (MASK[mask] if kind in ("dnn", "kernel") else set())
        for condition in SEEN | UNSEEN:
            measured = {metric for c, metric in records if c == condition}
            assert expected <= measured, (kind, condition)
        if kind in ("dnn", "kernel"):
            for model in SEEN | {"all"}:
                assert {metric for c, metric in records if c == model} >= TRAINING
    for settings in (tmp_path / "exp" / recipe).glob("*/config.yaml"):
        name = yaml.safe_load(settings.read_text())["estimator"]["name"]
        _rows_agree(settings.parent, kinds[name])

    table = (tmp_path / "results" / "RESULTS.md").read_text()
    for title in (
        "Kernel machines against networks",
        "## STOI",
        "## PESQ, wide band",
        "squall run",
    ):
        assert title in table
    page = (tmp_path / "exp" / recipe / "report.html").read_text()
    assert "<svg" in page
    assert 'src="data:audio/flac;base64,' in page
    references = re.findall(r'(?:src|href)="([^"]{1,40})', page)
    assert references
    # What is not in the page itself lies beside it: nothing is fetched from anywhere.
    assert not any(re.match(r"(?!data:)\w+:|/", reference) for reference in references)


@pytest.mark.slow
def test_all_stages_run_with_ratio_masks_and_run_again_skips(
    squall: Squall, tiny_data: Path, tmp_path: Path
) -> None:
    arguments = [
        *_places(tiny_data), "--preset", "sample",
        "--grid", "estimator.name=noisy,oracle,dnn,kernel",
    ]  # fmt: skip
    settings = {**tiny_enhancement.SETTINGS, "estimator": {"name": "kernel", "max_epochs": 2}}
    code, out, err = squall("enhance_timit", *arguments, settings=settings)
    assert code == 0, err
    assert sorted({*work_done(out)}) == numbered(ENHANCEMENT)
    _check_results(tmp_path, "enhance_timit", "irm")
    before = (tmp_path / "results" / "results.json").read_text()

    code, out, err = squall("enhance_timit", *arguments, settings=settings)
    assert code == 0, err
    assert {*work_done(out)} == {"0 check"}
    assert (tmp_path / "results" / "results.json").read_text() == before


@pytest.mark.slow
def test_all_stages_run_with_binary_masks_of_another_front_end(
    squall: Squall, tiny_data: Path, tmp_path: Path
) -> None:
    arguments = [*_places(tiny_data), "--preset", "sample"]
    changes = {"frontend": {"name": "stft"}, "grid": {"estimator": SMALL_GRID}}
    settings = {**tiny_enhancement.SETTINGS, **changes}
    code, _, err = squall("enhance_hint", *arguments, settings=settings)
    assert code == 0, err
    _check_results(tmp_path, "enhance_hint", "ibm")
    (channels,) = {
        len({row["channel"] for row in csv.DictReader(path.open(newline=""))})
        for path in (tmp_path / "exp" / "enhance_hint").glob("*/score/default/channels.csv")
    } - {0}
    assert channels == 161


@pytest.mark.slow
def test_one_model_of_many_conditions_has_centres_apart_from_its_frames(
    squall: Squall, tiny_data: Path, tmp_path: Path
) -> None:
    settings = {
        **tiny_enhancement.SETTINGS,
        "training": {"models": ["all"], "max_frames": 500, "max_dev_frames": 100},
        "mixture": {"snrs_db": [-5, 5], "per_utterance": 3},
        "grid": {"estimator": [*SMALL_GRID[:3], {**SMALL_GRID[3], "centres": 60}]},
    }
    arguments = [*_places(tiny_data), "--preset", "many"]
    code, _, err = squall("enhance_timit", *arguments, settings=settings)
    assert code == 0, err
    records = read_records(tmp_path / "results" / "results.json")
    assert {r.condition for r in records if r.metric == "train_seconds"} == {"all"}
    assert {r.condition for r in records if r.metric == "mse"} == SEEN | UNSEEN
    trained = (tmp_path / "exp" / "enhance_timit").glob("*/train/all/training.json")
    histories = [read_json(path)["history"] for path in trained]
    (kernel,) = (epochs for epochs in histories if "centres" in epochs[0])
    assert [epoch["epoch"] for epoch in kernel] == [0, 1, 2][: len(kernel)]
    assert {epoch["centres"] for epoch in kernel} == {60}
    passes = {r.value for r in records if r.metric == "epochs" and r.system.startswith("kernel")}
    assert passes == {len(kernel) - 1}
    assert "unseen noises" in (tmp_path / "results" / "RESULTS.md").read_text()


@pytest.mark.slow
def test_the_demo_runs_on_the_spoken_corpus(
    squall: Squall, demo_corpus: Path, tmp_path: Path
) -> None:
    small = {
        "utterances": {"train": 4, "dev": 2, "test": 2, "max_s": 1.4},
        "noise": {"seen": ["babble", "ssn"], "made_s": 14, "talkers": 2},
        "training": {"models": ["all"], "max_frames": 200, "max_dev_frames": 100},
        "grid": {"estimator": SMALL_GRID[2:]},
    }
    arguments = ("enhance_demo", "--corpus-dir", demo_corpus)
    code, _, err = squall(*arguments, settings=small, processes=True)
    assert code == 0, err
    records = read_records(tmp_path / "results" / "results.json")
    assert {r.condition for r in records if r.metric == "stoi"} == {"babble/0dB", "ssn/0dB"}
    assert {r.dataset for r in records} == {"demo"}


@pytest.mark.parametrize(
    ("recipe", "lacking"),
    [("enhance_demo", ""), ("enhance_hint", ""), ("enhance_timit", "no noise engine")],
)
def test_a_dry_run_names_the_experiments_and_makes_nothing(
    squall: Squall, tiny_data: Path, tmp_path: Path, recipe: str, lacking: str
) -> None:
    code, out, err = squall(recipe, *_places(tiny_data), "--dry-run")
    assert code == bool(lacking), err
    assert lacking in err
    assert out.count("5 train") >= 4
    assert not list(tmp_path.iterdir())


def test_an_error_names_what_is_wrong_and_stops_at_once(squall: Squall, tiny_data: Path) -> None:
    arguments = [*_places(tiny_data), "--preset", "sample"]
    for setting, message in (
        ("noise={seen: [hail]}", "no noise hail; there are drill, rain"),
        ("estimator={name: kernel, gama: 1}", "the kernel machine has no 'gama'"),
    ):
        grid = ("--set", "grid={}", "--set", setting)
        code, out, err = squall(
            "enhance_timit", *arguments, *grid, settings=tiny_enhancement.SETTINGS
        )
        assert code == 1
        assert message in err
        assert "1 prepare" not in out


MOMENTS = {
    # The command alone: the experiment and its processes notice.
    "features": Moment(
        lambda run: run.writes("features-*/train/*/*/frames.json"), None, whole_group=False
    ),
    "train": Moment(lambda run: run.writes("train/*/*/checkpoint-*.pt"), "5-train"),
    "score": Moment(lambda run: run.said("7 score: "), "7-score"),
}


@pytest.fixture
def start(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Run]]:
    """Start the tiny recipe of a folder of its own, with a network of many epochs."""
    settings = tiny_enhancement.config(tmp_path / "conf", estimator__max_epochs=12)
    plain = settings.model_dump(mode="json")
    (tmp_path / "conf" / "toy" / "tiny.yaml").write_text(yaml.safe_dump(plain))
    monkeypatch.setenv("SQUALL_ROOT", str(tmp_path))
    places = ("--corpus-dir", str(tiny_data / "corpus"), "--noise-dir", str(tiny_data / "noise"))
    runs: list[Run] = []

    def start(name: str) -> Run:
        exp_dir = tmp_path / name / "exp"
        exp_dir.parent.mkdir(exist_ok=True)
        runs.append(Run("toy", exp_dir, *places, "--workers", "2"))
        return runs[-1]

    yield start
    for run in runs:
        run.end()


def _numbers(exp_dir: Path) -> dict[tuple[str, str], float]:
    (path,) = exp_dir.glob("toy/*/result.json")
    measured = ("rtf", "train_seconds")
    return {
        (r.condition, r.metric): r.value for r in read_records(path) if r.metric not in measured
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [("features", "train"), pytest.param(tuple(MOMENTS), marks=pytest.mark.nightly)],
    ids=["two kills", "all kills"],
)
def test_a_recipe_killed_in_any_stage_ends_with_the_same_result(
    start: Callable[[str], Run], names: tuple[str, ...]
) -> None:
    """Nightly in the scoring too, which writes its files whole or not at all as all stages do."""
    whole = start("whole")
    for moment in map(MOMENTS.__getitem__, names):
        run = start("killed")
        run.wait_until(moment.reached)
        run.kill(whole_group=moment.whole_group)
        if moment.unfinished:
            assert not run.writes(f"{moment.unfinished}.json")
    killed = start("killed")
    for run in (killed, whole):
        assert run.process.wait(PATIENCE_S) == 0, run.output.read_text()
    assert killed.said("2 mix: done before, skipped")
    assert killed.said("5 train: done before, skipped") == ("score" in names)
    assert _numbers(killed.exp_dir) == _numbers(whole.exp_dir)
    for name in ("score/default/mixtures.csv", "score/default/channels.csv"):
        one, two = (next(run.exp_dir.glob(f"toy/*/{name}")) for run in (killed, whole))
        assert one.read_text() == two.read_text()
    for path in whole.exp_dir.glob("toy/*/enhanced/default/*/*/masks.npy"):
        other = killed.exp_dir / path.relative_to(whole.exp_dir)
        np.testing.assert_array_equal(np.load(other), np.load(path))
    epochs = [v for (_, metric), v in _numbers(whole.exp_dir).items() if metric == "epochs"]
    assert len(epochs) == 5
    assert max(epochs) > 5
