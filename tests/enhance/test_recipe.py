"""What of an enhancement recipe is done again when something changes, and what stops it."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import tiny_enhancement
from squall.audio.reading import AudioError
from squall.corpora.manifest import read_manifest
from squall.corpora.validation import ValidationError
from squall.engine.experiment import Experiment
from squall.engine.stages import StageError
from squall.enhance.corpus import choose_talkers
from squall.enhance.frames import FrameSet
from squall.enhance.peers.peer import Enhance, PeerError
from squall.enhance.peers.registry import PEERS
from squall.enhance.places import EnhancementPlaces
from squall.enhance.report.sections import collect
from squall.enhance.settings import EnhancementConfig
from squall.report.comparison import is_comparison
from squall.report.records import Record, read_records

Enhancement = Experiment[EnhancementConfig]
EVERY_TIME = ["0 check"]
FIRST = ["0 check", "1 prepare", "2 mix", "3 features"]


@pytest.fixture
def own_data(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy of the tiny data that may be changed."""
    shutil.copytree(tiny_data, tmp_path / "data")
    for split, utterances in tiny_enhancement.read_splits(tmp_path / "data" / "corpus").items():
        assert all(str(tmp_path) in u.audio_path for u in utterances), split
    return tmp_path / "data"


Run = Callable[..., tuple[Enhancement, list[str]]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run stages of the tiny recipe on some data, by default with a small network."""

    def run(
        data: Path, estimator: str = "dnn", *, last: int = 7, **settings: Any
    ) -> tuple[Enhancement, list[str]]:
        names = ("first", "force", "lines", "skip_bad", "noise_dir", "corpus_dir")
        options = {key: settings.pop(key) for key in names if key in settings}
        config = tiny_enhancement.config(tmp_path, estimator, **settings)
        return tiny_enhancement.run(config, data, exp_dir=tmp_path / "exp", last=last, **options)

    return run


@pytest.mark.slow
def test_a_variant_enhances_and_scores_again_without_training(run: Run, tiny_data: Path) -> None:
    plain, done = run(tiny_data)
    assert done == [*FIRST, "4 tune", "5 train", "6 enhance", "7 score"]
    model = plain.directory / "train" / "all" / "weights.pt"
    before = model.stat().st_mtime_ns
    variant, done = run(tiny_data, apply__floor=0.3)
    assert done == ["0 check", "6 enhance", "7 score"]
    assert variant.directory == plain.directory
    assert model.stat().st_mtime_ns == before
    assert variant.result_path == plain.directory / "result.floor=0.3.json"
    one, two = (read_records(e.result_path) for e in (plain, variant))
    assert {r.experiment for r in one} == {"tiny"}
    assert {r.experiment for r in two} == {"tiny floor=0.3"}
    scores = [{(r.condition, r.metric): r.value for r in each} for each in (one, two)]
    assert scores[0]["rain/5dB", "mse"] == scores[1]["rain/5dB", "mse"]
    assert scores[0]["rain/5dB", "si_sdr"] != scores[1]["rain/5dB", "si_sdr"]
    _, done = run(tiny_data, apply__binarise=True)
    assert done == ["0 check", "6 enhance", "7 score"]
    assert run(tiny_data)[1] == EVERY_TIME


@pytest.mark.slow
def test_other_scores_are_computed_without_enhancing_again(run: Run, tiny_data: Path) -> None:
    plain, _ = run(tiny_data, "noisy")
    before = {(r.condition, r.metric): r.value for r in read_records(plain.result_path)}
    wanted = ["lsd", "stoi", "seg_snr"]
    other, done = run(tiny_data, "noisy", scores=wanted)
    assert done == ["0 check", "7 score"]
    assert other.result_path == plain.result_path
    found = {(r.condition, r.metric): r for r in read_records(other.result_path)}
    assert {metric for _, metric in found} == {"stoi", "seg_snr", "lsd", "unseen"}
    assert found["rain/5dB", "stoi"].value == before["rain/5dB", "stoi"]
    assert found["rain/5dB", "lsd"].unit == "dB"
    assert found["rain/5dB", "lsd"].number < found["rain/-5dB", "lsd"].number
    rows = (other.score_dir / "mixtures.csv").read_text().splitlines()
    assert rows[0].startswith("condition,utterance,speaker,samples,stoi,seg_snr,lsd,mse")
    assert {row.split(",")[2] for row in rows[1:]} == {"t1", "t2"}


def test_a_missing_package_stops_the_check(
    run: Run, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "speechmos", None)
    with pytest.raises(StageError, match=r"dnsmos_sig: needs speechmos: pip install .squall\[mos"):
        run(tiny_data, "noisy", scores=["dnsmos_sig"])


@pytest.mark.slow
def test_estimators_share_everything_before_the_tuning(run: Run, tiny_data: Path) -> None:
    assert run(tiny_data, "noisy", last=5)[1] == [*FIRST, "4 tune", "5 train"]
    assert run(tiny_data, "kernel", last=5)[1] == ["0 check", "4 tune", "5 train"]


@pytest.mark.slow
def test_masks_share_the_mixtures(run: Run, tiny_data: Path) -> None:
    one, _ = run(tiny_data, "noisy", last=3)
    two, done = run(tiny_data, "noisy", last=3, mask__name="ibm", frontend__name="stft")
    assert done == ["0 check", "3 features"]
    assert EnhancementPlaces(one).mix == EnhancementPlaces(two).mix


@pytest.mark.slow
def test_more_epochs_train_on_and_score_again(run: Run, tiny_data: Path) -> None:
    only_all = {"training__models": ["all"]}
    short, _ = run(tiny_data, **only_all)
    path = short.directory / "train" / "all" / "training.json"
    before = json.loads(path.read_text())["history"]
    longer, done = run(tiny_data, estimator__max_epochs=4, **only_all)
    assert done == ["0 check", "5 train", "6 enhance", "7 score"]
    assert longer.directory == short.directory
    after = json.loads(path.read_text())["history"]
    assert len(after) == 4
    assert [e["dev_mse"] for e in after[:2]] == [e["dev_mse"] for e in before]
    epochs = [r.value for r in read_records(longer.result_path) if r.metric == "epochs"]
    assert epochs == [4.0]


@pytest.mark.slow
def test_a_forced_training_begins_anew(run: Run, tiny_data: Path) -> None:
    experiment, _ = run(tiny_data, last=5, training__models=["all"])
    model = experiment.directory / "train" / "all" / "weights.pt"
    before, time_ns = model.read_bytes(), model.stat().st_mtime_ns
    _, done = run(tiny_data, first=5, last=5, force=True, training__models=["all"])
    assert done == ["5 train"]
    assert model.stat().st_mtime_ns != time_ns
    assert model.read_bytes() == before


@pytest.mark.slow
def test_other_speech_is_mixed_and_trained_on_anew(run: Run, own_data: Path) -> None:
    """Also where training had begun: its checkpoint is of frames that are no more."""
    only_all = {"training__models": ["all"]}
    run(own_data, **only_all)
    for path in (own_data / "corpus" / "audio").glob("s*.wav"):
        samples, rate_hz = soundfile.read(path, dtype="float32")
        soundfile.write(path, samples[::-1] * 0.9, rate_hz, subtype="PCM_24")
    _, done = run(own_data, **only_all)
    assert done == [*FIRST, "4 tune", "5 train", "6 enhance", "7 score"]


@pytest.mark.slow
@pytest.mark.slow
def test_other_speech_of_the_same_energy_is_mixed_and_trained_on_anew(
    run: Run, own_data: Path
) -> None:
    _, done = run(own_data, "oracle", last=5)
    assert done == [*FIRST, "4 tune", "5 train"]
    utterance = tiny_enhancement.read_splits(own_data / "corpus")["dev"][0]
    samples, rate_hz = soundfile.read(utterance.audio_path, dtype="float32")
    subtype = soundfile.info(utterance.audio_path).subtype
    soundfile.write(utterance.audio_path, -samples, rate_hz, subtype=subtype)
    _, done = run(own_data, "oracle", last=5)
    assert done == [*FIRST, "4 tune", "5 train"]


@pytest.mark.slow
def test_tuning_decides_what_is_trained(run: Run, tiny_data: Path) -> None:
    candidates = [{"hidden_units": 3}, {"hidden_units": 5}]
    experiment, _ = run(
        tiny_data, last=5, estimator__candidates=candidates, training__models=["all"]
    )
    tuning = json.loads((experiment.directory / "tune" / "tuning.json").read_text())
    saved = json.loads((experiment.directory / "train" / "all" / "estimator.json").read_text())
    assert [one["parameters"] for one in tuning["candidates"]] == candidates
    assert saved["parameters"]["hidden_units"] == tuning["chosen"]["hidden_units"]


@pytest.mark.parametrize(
    ("estimator", "settings", "message"),
    [
        ("dnn", {"estimator__hiden_units": 3}, "'hiden_units'"),
        ("kernel", {"estimator__gama": 3}, "the kernel machine has no 'gama'"),
        ("dnn", {"estimator__candidates": [{"dropout": 0.1}, {"dropout": 1}]}, "dropout is 1"),
    ],
)
def test_a_wrong_parameter_stops_the_check(
    run: Run, tiny_data: Path, tmp_path: Path, estimator: str, settings: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(tiny_data, estimator, **settings)
    assert not (tmp_path / "exp" / "toy" / "shared").exists()


def test_a_missing_corpus_stops_the_check(run: Run, tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"absent does not exist: .*--corpus-dir"):
        run(tiny_data, corpus_dir=str(tmp_path / "absent"))


def test_missing_noises_stop_the_check(run: Run, tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no noise hail; there are drill, rain"):
        run(tiny_data, noise__seen=["hail"])
    with pytest.raises(StageError, match=r"the noises rain, drill are recordings: .*--noise-dir"):
        run(tiny_data, noise_dir=None)
    with pytest.raises(FileNotFoundError, match="no such folder of noise"):
        run(tiny_data, noise_dir=str(tmp_path / "absent"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty: no recording in it"):
        run(tiny_data, noise_dir=str(tmp_path / "empty"))


def test_too_few_speakers_for_the_babble_stop_the_preparation(run: Run, tiny_data: Path) -> None:
    with pytest.raises(ValueError, match=r"noise.talkers is 6, but there are 6 training speakers"):
        run(tiny_data, noise__talkers=6)


@pytest.mark.slow
def test_made_noises_need_no_folder(run: Run, tiny_data: Path) -> None:
    made = {"noise__seen": ["babble", "ssn"], "noise__unseen": [], "noise_dir": None}
    _, done = run(tiny_data, "noisy", last=3, **made)
    assert done == FIRST


def test_a_noise_that_is_too_short_is_named_with_the_utterance(run: Run, own_data: Path) -> None:
    path = own_data / "noise" / "rain.wav"
    samples, rate_hz = soundfile.read(path)
    soundfile.write(path, samples[: 3 * rate_hz], rate_hz)
    message = r"noise rain: its part '\w+' has [\d.]+ s, utterance \w+ has 1\.\d+ s\. Leave out"
    with pytest.raises(ValueError, match=message):
        run(own_data, "noisy", noise__seen=["rain"])


@pytest.mark.slow
def test_an_offset_of_the_recordings_is_told_and_changes_nothing(
    run: Run, own_data: Path, tiny_data: Path
) -> None:
    for path in [*(own_data / "corpus").rglob("*.wav"), *(own_data / "noise").iterdir()]:
        samples, rate_hz = soundfile.read(path, dtype="float32")
        soundfile.write(path, samples + 0.3, rate_hz, subtype="FLOAT")
    settings = {"noise__seen": ["babble", "ssn"], "noise__unseen": ["rain"]}

    def read(experiment: Enhancement) -> list[np.ndarray]:
        frames = FrameSet.read(EnhancementPlaces(experiment).features / "test/rain/5dB")
        # Of the one that is at 16 kHz: resampling makes a jump of an offset at either end.
        (rows,) = [rows for name, rows in frames.spans() if name.startswith("t1")]
        return [np.array(frames.features[rows]), np.array(frames.masks[rows])]

    plain = read(run(tiny_data, last=3, **settings)[0])
    experiment, done = run(own_data, last=3, **settings)
    assert done == FIRST
    for array, expected in zip(read(experiment), plain, strict=True):
        np.testing.assert_allclose(array, expected, atol=1e-3)
    said = (experiment.log_dir / "2-mix.log").read_text()
    assert said.count(" has a constant offset of 0.3, ") == 8
    clean = EnhancementPlaces(experiment).clean
    assert all(abs(soundfile.read(path)[0].mean()) < 1e-6 for path in clean.iterdir())


def test_an_offset_is_kept_where_the_settings_have_no_word_of_it(run: Run, own_data: Path) -> None:
    path = own_data / "corpus" / "audio" / "t1_0.wav"
    samples, rate_hz = soundfile.read(path, dtype="float32")
    soundfile.write(path, samples + 0.3, rate_hz, subtype="FLOAT")
    experiment, said = run(
        own_data, last=2, lines=True, remove_mean=False, noise__seen=["rain"], noise__unseen=[]
    )
    clean = soundfile.read(EnhancementPlaces(experiment).clean / "t1_0.wav")[0]
    assert clean.mean() == pytest.approx(0.3, abs=0.01)
    (told,) = [line for line in said if "constant offset" in line]
    assert told.startswith("2 mix: 1 with a constant offset (see the log); the first: t1_0 has a c")
    assert told.endswith(" times its spread, kept (remove_mean=false)")


def test_a_stretch_without_noise_is_named(run: Run, own_data: Path) -> None:
    path = own_data / "noise" / "rain.wav"
    samples, rate_hz = soundfile.read(path)
    samples[len(samples) // 2 :] = 0
    soundfile.write(path, samples, rate_hz)
    with pytest.raises(ValueError, match=r"mixture \w+_rain_-?5dB \(rain from .*noise is silent"):
        run(own_data, "noisy", noise__seen=["rain"])


def test_silent_noise_is_named(run: Run, own_data: Path) -> None:
    soundfile.write(own_data / "noise" / "drill.wav", np.zeros(160000), 16000)
    with pytest.raises(AudioError, match=r"drill\.wav is silent"):
        run(own_data, "noisy")


def _spoil(path: Path, what: str) -> None:
    samples, rate_hz = soundfile.read(path, dtype="float32")
    if what == "silent":
        samples[:] = 0
    else:
        samples[100] = np.nan
    soundfile.write(path, samples, rate_hz, subtype="FLOAT")


def _speaker(data: Path, *, talks: bool) -> str:
    """A training speaker who talks in the babble of the tiny recipe, or one who does not."""
    utterances = read_manifest(data / "corpus" / "train.jsonl")
    left, talking = choose_talkers(utterances, 2, seed=1)
    return (talking if talks else left)[0].speaker


@pytest.mark.slow
@pytest.mark.parametrize("what", ["silent", "nan"])
@pytest.mark.parametrize("talks", [True, False], ids=["talker", "trained"])
def test_bad_speech_is_named_and_left_out_when_asked_for(
    run: Run, own_data: Path, what: str, talks: bool
) -> None:
    name = f"{_speaker(own_data, talks=talks)}_0"
    _spoil(own_data / "corpus" / "audio" / f"{name}.wav", what)
    with pytest.raises((ValidationError, AudioError), match=rf"{name}\.wav"):
        run(own_data, "noisy", last=2)
    experiment, _ = run(own_data, "noisy", last=2, skip_bad=True)
    (data,) = (experiment.recipe_dir / "shared").glob("data-*")
    assert name in (data / "left_out.tsv").read_text()
    assert name not in {u.id for u in read_manifest(data / "train.jsonl")}


def test_a_test_speaker_is_not_trained_on_or_heard_in_the_babble(run: Run, own_data: Path) -> None:
    splits = tiny_enhancement.read_splits(own_data / "corpus")
    for talks in (True, False):
        speaker = _speaker(own_data, talks=talks)
        shared = [u for u in splits["train"] if u.speaker == speaker]
        moved = {**splits, "test": [*splits["test"], shared[0]]}
        moved["train"] = [u for u in splits["train"] if u != shared[0]]
        tiny_enhancement.write_splits(own_data / "corpus", moved)
        with pytest.raises(ValidationError, match=rf"speaker {speaker} is in test too"):
            run(own_data, "noisy", last=1, utterances__train=None, utterances__test=None)


def test_an_empty_split_is_named(run: Run, own_data: Path) -> None:
    (own_data / "corpus" / "dev.jsonl").write_text("")
    with pytest.raises(StageError, match=r"the dev split of .* is empty"):
        run(own_data, "noisy", last=1)


def test_a_later_stage_needs_the_earlier_ones(run: Run, tiny_data: Path) -> None:
    with pytest.raises(StageError, match="run the earlier stages first"):
        run(tiny_data, first=5)


INSTALL = "not installed: pip install pyrnnoise==0.4.5"


def _values(experiment: Enhancement, metric: str) -> dict[str, Record]:
    return {r.condition: r for r in read_records(experiment.result_path) if r.metric == metric}


def _mixture_rows(experiment: Enhancement) -> list[dict[str, str]]:
    with (experiment.score_dir / "mixtures.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _hide(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("squall.enhance.peers.peer.find_version", lambda distribution: None)


@pytest.mark.slow
def test_an_off_the_shelf_enhancer_is_run_and_scored(run: Run, tiny_data: Path) -> None:
    experiment, done = run(tiny_data, "logmmse")
    assert done == [*FIRST, "4 tune", "5 train", "6 enhance", "7 score"]
    assert experiment.config.system == "logmmse"
    noisy, _ = run(tiny_data, "noisy")
    ours, theirs = (_values(one, "si_sdr") for one in (experiment, noisy))
    assert {record.n for record in ours.values()} == {2}
    assert ours["drill/-5dB"].number != theirs["drill/-5dB"].number
    assert all(0 < record.number < 5 for record in _values(experiment, "rtf").values())
    assert not _values(noisy, "rtf")
    assert run(tiny_data, "logmmse")[1] == EVERY_TIME


@pytest.mark.slow
def test_one_that_is_not_installed_is_a_row_that_says_how_to(
    run: Run, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    with monkeypatch.context() as patch:
        _hide(patch)
        experiment, told = run(tiny_data, "rnnoise", lines=True)
        assert any(line.startswith("0 check: ") and INSTALL in line for line in told)
        assert any("rnnoise gives nothing for 12 of 12 mixtures" in line for line in told)
        for metric in ("stoi", "pesq_nb", "pesq_wb", "si_sdr", "rtf"):
            found = _values(experiment, metric)
            assert len(found) == 6
            assert {(r.value, r.reason, r.n) for r in found.values()} == {(None, INSTALL, 0)}
        assert all(INSTALL in row["reason"] for row in _mixture_rows(experiment))
        assert run(tiny_data, "rnnoise")[1] == EVERY_TIME
        noisy, _ = run(tiny_data, "noisy")
        report = collect([experiment, noisy])
        stoi = next(table for table in report.tables if table.title == "STOI")
        assert list(stoi.head) == ["condition", "noisy", "rnnoise"]
        assert {row[2] for row in stoi.rows[:-1]} == {"undefined"}
        assert INSTALL in stoi.note
        collect([experiment]).write_html(tmp_path / "page.html")
        assert "not installed" in (tmp_path / "page.html").read_text()
    if PEERS["rnnoise"].missing:
        pytest.skip(PEERS["rnnoise"].missing)
    installed, done = run(tiny_data, "rnnoise")
    assert done == ["0 check", "6 enhance", "7 score"]
    assert installed.directory == experiment.directory
    assert all(r.n == 2 and not r.reason for r in _values(installed, "si_sdr").values())


@pytest.mark.slow
def test_one_that_fails_on_a_file_scores_the_others(
    run: Run, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def open_peer(name: str) -> Enhance:
        opened.append(name)
        if len(opened) == 2:
            raise PeerError("it fell over")
        return lambda samples: samples

    monkeypatch.setattr("squall.enhance.enhancing.open_peer", open_peer)
    experiment, told = run(tiny_data, "logmmse", lines=True)
    assert any("logmmse gives nothing for 1 of 12 mixtures" in line for line in told)
    (row,) = [row for row in _mixture_rows(experiment) if row["reason"]]
    assert row["reason"] == "stoi, pesq_nb, pesq_wb, si_sdr: it fell over"
    assert {row[metric] for metric in ("stoi", "pesq_nb", "pesq_wb", "si_sdr")} == {"nan"}
    counts = {c: record.n for c, record in _values(experiment, "si_sdr").items()}
    assert counts.pop(row["condition"]) == 1
    assert set(counts.values()) == {2}
    rtf = _values(experiment, "rtf")[row["condition"]]
    assert rtf.n == 1
    # A failure that has passed is scored, though nothing else has changed.
    assert run(tiny_data, "logmmse", first=6, last=6, force=True)[1] == ["6 enhance"]
    assert run(tiny_data, "logmmse")[1] == ["0 check", "7 score"]
    assert not any(row["reason"] for row in _mixture_rows(experiment))


@pytest.mark.slow
def test_one_that_is_not_installed_leaves_the_comparison_of_the_others(
    run: Run, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [run(tiny_data, name)[0] for name in ("noisy", "oracle")]
    alone = collect(others)
    _hide(monkeypatch)
    absent, _ = run(tiny_data, "rnnoise")
    together = collect([*others, absent])
    compared = [[r for r in one.records if is_comparison(r)] for one in (alone, together)]
    assert compared[0]
    assert compared[1] == compared[0]
