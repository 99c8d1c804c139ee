"""Enhancement and scores of the test mixtures: which model, which mask, which numbers."""

from __future__ import annotations

import csv
import json
import statistics
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from squall.audio.frontend import build_front_end
from squall.audio.mixing import read_mixtures
from squall.audio.reading import read_audio
from squall.engine.experiment import Experiment
from squall.enhance.dataset import by_condition
from squall.enhance.enhancer import Enhancer
from squall.enhance.enhancing import enhance_condition, write_flac
from squall.enhance.evaluation import _channel_rows, read_training
from squall.enhance.frames import FrameSet
from squall.enhance.model import MaskModel
from squall.enhance.settings import EnhancementConfig
from squall.report.records import Record, read_records
from squall.scoring.masks import MaskError
from squall.scoring.speech_scores import SpeechScores
from squall.scoring.speech_signals import Score

Enhancement = Experiment[EnhancementConfig]
QUALITY = ("stoi", "pesq_nb", "pesq_wb", "si_sdr")


def _shared(experiment: Enhancement, stage: str) -> Path:
    (folder,) = (experiment.recipe_dir / "shared").glob(f"{stage}-*")
    return folder


def _rows(experiment: Enhancement) -> dict[str, list[dict[str, str]]]:
    rows = defaultdict(list)
    with (experiment.score_dir / "mixtures.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            rows[row["condition"]].append(row)
    return rows


def _records(experiment: Enhancement) -> dict[tuple[str, str], Record]:
    return {(r.condition, r.metric): r for r in read_records(experiment.result_path)}


@pytest.mark.parametrize("name", ["noisy", "oracle", "dnn", "kernel"])
def test_records_are_means_of_the_rows(scored: dict[str, Enhancement], name: str) -> None:
    rows, records = _rows(scored[name]), _records(scored[name])
    assert len(rows) == 6
    for condition, group in rows.items():
        assert len(group) == 2
        for metric in QUALITY:
            record = records[condition, metric]
            values = [float(row[metric]) for row in group]
            assert record.value == pytest.approx(statistics.fmean(values), rel=1e-4), metric
            assert record.n == 2
        if name in ("dnn", "kernel"):
            values = [float(row["mse"]) for row in group]
            frames = [(int(row["samples"]) - 320) // 160 + 1 for row in group]
            mean = float(np.average(values, weights=frames))
            assert records[condition, "mse"].value == pytest.approx(mean, rel=1e-4)
            assert records[condition, "mse"].n == sum(frames)
        else:
            assert (condition, "mse") not in records
            assert {row["mse"] for row in group} == {""}


def test_channels_add_up_to_the_error_of_the_condition(scored: dict[str, Enhancement]) -> None:
    records = _records(scored["dnn"])
    errors = defaultdict(list)
    with (scored["dnn"].score_dir / "channels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            errors[row["condition"]].append(float(row["mse"]))
    assert len(errors) == 6
    for condition, values in errors.items():
        assert len(values) == 64
        assert statistics.fmean(values) == pytest.approx(records[condition, "mse"].value, rel=1e-4)


def test_the_error_of_each_channel_is_correlated_with_stoi() -> None:
    random = np.random.default_rng(0)
    errors, stoi = random.uniform(size=(5, 3)), random.uniform(size=5)
    errors[:, 2] = 0.25  # the same in all mixtures

    def scored(count: int, metric: str = "stoi") -> dict[str, Any]:
        return {
            "rain/0dB": SimpleNamespace(
                errors=[MaskError(10 * one, 10) for one in errors[:count]],
                quality=[SpeechScores({metric: Score(value)}) for value in stoi[:count]],
            )
        }

    head, *rows = _channel_rows(scored(5))
    assert head == ["condition", "channel", "mse", "stoi_correlation"]
    for channel in (0, 1):
        expected = np.corrcoef(errors[:, channel], stoi)[0, 1]
        assert float(rows[channel][3]) == pytest.approx(expected, abs=1e-4)
    assert rows[2][3] == ""
    for few in (scored(2), scored(5, "lsd")):
        assert [row[3] for row in _channel_rows(few)][1:] == ["", "", ""]


def test_the_error_is_that_of_the_estimated_masks(scored: dict[str, Enhancement]) -> None:
    experiment = scored["kernel"]
    frames = FrameSet.read(_shared(experiment, "features") / "test" / "rain" / "5dB")
    masks = np.load(experiment.variant_dir("enhanced") / "rain" / "5dB" / "masks.npy")
    error = np.mean(np.square(masks.astype(float) - frames.masks))
    assert _records(experiment)["rain/5dB", "mse"].value == pytest.approx(error, rel=1e-5)


def test_the_mixture_as_it_is_and_the_ideal_mask_enclose_all(
    scored: dict[str, Enhancement],
) -> None:
    noisy, oracle = (_records(scored[name]) for name in ("noisy", "oracle"))
    for condition in _rows(scored["noisy"]):
        assert oracle[condition, "stoi"].value > noisy[condition, "stoi"].value + 0.02
        assert oracle[condition, "si_sdr"].value > noisy[condition, "si_sdr"].value + 3
        asked_db = float(condition.partition("/")[2].removesuffix("dB"))
        assert noisy[condition, "si_sdr"].value == pytest.approx(asked_db, abs=0.5)


@pytest.mark.parametrize("name", ["dnn", "kernel"])
def test_a_condition_is_enhanced_by_its_model_and_an_unseen_one_by_that_of_all(
    scored: dict[str, Enhancement], name: str
) -> None:
    experiment = scored[name]
    models = {"rain/-5dB": "rain/-5dB", "babble/5dB": "babble/5dB", "drill/5dB": "all"}
    for condition, model_name in models.items():
        frames = FrameSet.read(_shared(experiment, "features") / "test" / condition)
        masks = np.load(experiment.variant_dir("enhanced") / condition / "masks.npy")
        others = {}
        for candidate in ("rain/-5dB", "babble/5dB", "all"):
            model = MaskModel.load(experiment.directory / "train" / candidate)
            others[candidate] = np.concatenate(
                [model.estimate(np.asarray(frames.features[rows])) for _, rows in frames.spans()]
            )
        for candidate, estimate in others.items():
            assert np.allclose(estimate, masks, atol=1e-5) == (candidate == model_name)


def test_enhanced_audio_is_the_masked_mixture(scored: dict[str, Enhancement]) -> None:
    front_end = build_front_end("gammatone")
    for name in ("noisy", "oracle", "dnn"):
        folder = scored[name].variant_dir("enhanced") / "rain" / "5dB"
        frames = FrameSet.read(_shared(scored[name], "features") / "test" / "rain" / "5dB")
        for mixture, rows in frames.spans():
            utterance = mixture.removesuffix("_rain_5dB")
            path = _shared(scored[name], "mix") / "audio" / "rain" / "5dB" / f"{utterance}.wav"
            expected = read_audio(path).samples
            if name != "noisy":
                masks = np.load(folder / "masks.npy") if name == "dnn" else frames.masks
                expected = front_end.apply_mask(expected, np.asarray(masks[rows]))
            found = read_audio(folder / f"{utterance}.flac").samples
            np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["dnn", "kernel"])
def test_what_is_measured_is_what_the_command_enhance_gives(
    scored: dict[str, Enhancement], name: str
) -> None:
    """Up to the rounding of the level and half a step of 16 bits."""
    experiment = scored[name]
    for condition, model in (("rain/5dB", "rain/5dB"), ("drill/-5dB", "all")):
        enhancer = Enhancer.load(experiment.directory / "train" / model, experiment.config)
        audio = _shared(experiment, "mix") / "audio" / condition
        for path in sorted((experiment.variant_dir("enhanced") / condition).glob("*.flac")):
            enhanced = enhancer(read_audio(audio / f"{path.stem}.wav").samples)
            measured = read_audio(path).samples
            np.testing.assert_allclose(measured, enhanced, rtol=0, atol=0.51 / 2**15 + 1e-5)


def test_training_is_recorded_for_each_model(scored: dict[str, Enhancement]) -> None:
    for name in ("dnn", "kernel"):
        records = _records(scored[name])
        training = read_training(scored[name].directory / "train")
        assert training.keys() == {"babble/-5dB", "babble/5dB", "rain/-5dB", "rain/5dB", "all"}
        for model, record in training.items():
            errors = [epoch["dev_mse"] for epoch in record["history"]]
            assert records[model, "dev_mse"].value == min(errors)
            assert records[model, "epochs"].value == len(errors)
            assert records[model, "train_seconds"].value == record["seconds"]
            assert records[model, "train_seconds"].n == record["frames"]
            assert records[model, "train_frames"].value == record["frames"]
            size = MaskModel.load(scored[name].directory / "train" / model).estimator.size()
            assert {m: records[model, m].value for m in ("params", "centres") if m in size} == size
    assert read_training(scored["noisy"].directory / "train") == {}


@pytest.mark.parametrize("name", ["noisy", "dnn"])
def test_noises_that_were_not_trained_on_are_marked(
    scored: dict[str, Enhancement], name: str
) -> None:
    marked = {r.condition: r.value for r in _records(scored[name]).values() if r.metric == "unseen"}
    seen = dict.fromkeys(("babble/-5dB", "babble/5dB", "rain/-5dB", "rain/5dB"), 0.0)
    assert marked == seen | {"drill/-5dB": 1.0, "drill/5dB": 1.0}


def test_seconds_of_a_record_are_those_of_the_model_that_was_used(
    scored: dict[str, Enhancement],
) -> None:
    records = _records(scored["dnn"])
    for condition, model in (("rain/5dB", "rain/5dB"), ("drill/5dB", "all")):
        assert records[condition, "stoi"].seconds == records[model, "train_seconds"].value
    assert {r.seconds for r in _records(scored["oracle"]).values()} == {0.0}


def test_a_record_says_where_it_comes_from(scored: dict[str, Enhancement]) -> None:
    record = _records(scored["dnn"])["drill/5dB", "stoi"]
    assert (record.recipe, record.experiment, record.dataset) == ("toy", "tiny", "manifest")
    assert record.system.startswith("dnn-")
    assert (record.seed, record.unit) == (1, "")
    assert _records(scored["dnn"])["drill/5dB", "si_sdr"].unit == "dB"
    assert record.commit
    assert record.hardware


def test_a_mask_of_the_wrong_shape_is_refused(
    scored: dict[str, Enhancement], tmp_path: Path
) -> None:
    experiment = scored["oracle"]
    features = _shared(experiment, "features") / "test" / "rain" / "5dB"
    frames = FrameSet.read(features)
    narrow = np.asarray(frames.masks)[:, :63]
    FrameSet(frames.mixtures, frames.counts, np.asarray(frames.features), narrow).write(tmp_path)
    mix = _shared(experiment, "mix")
    with pytest.raises(ValueError, match=r"the mask has shape \(139, 63\).*needs \(139, 64\)"):
        enhance_condition(
            experiment.config,
            by_condition(read_mixtures(mix / "mixtures.test.jsonl"))["rain/5dB"],
            train_dir=experiment.directory / "train",
            frames_dir=tmp_path,
            audio_dir=mix / "audio" / "rain" / "5dB",
            output_dir=tmp_path / "out",
        )
    assert not (tmp_path / "out" / "times.json").exists()


def test_times_are_of_the_whole_condition(scored: dict[str, Enhancement]) -> None:
    times = json.loads(
        (scored["dnn"].variant_dir("enhanced") / "rain" / "5dB" / "times.json").read_text()
    )
    assert times["audio_s"] == pytest.approx(2.8)
    rtf = _records(scored["dnn"])["rain/5dB", "rtf"].value
    assert rtf == pytest.approx(times["seconds"] / times["audio_s"])


def test_loud_samples_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    samples = np.array([0.5, -2.0, 1.0], np.float32)
    write_flac(tmp_path / "loud.flac", samples)
    found, _ = soundfile.read(tmp_path / "loud.flac")
    np.testing.assert_allclose(found, samples * 0.495, atol=1e-4)
    write_flac(tmp_path / "quiet.flac", samples / 4)
    np.testing.assert_allclose(soundfile.read(tmp_path / "quiet.flac")[0], samples / 4, atol=1e-4)
