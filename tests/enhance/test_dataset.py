"""From the mixture table to frames: mixtures made again, what they are made of, their masks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import tiny_enhancement
from squall.audio.features import extract
from squall.audio.frames import frame_count
from squall.audio.frontend import build_front_end
from squall.audio.mixing import Mixture, noise_span, read_mixtures
from squall.audio.reading import read_audio
from squall.corpora.manifest import read_manifest
from squall.engine.experiment import Experiment
from squall.enhance.dataset import (
    MixtureSource,
    by_condition,
    ideal_mask,
    write_frames,
    write_mixed,
)
from squall.enhance.frames import FrameSet
from squall.enhance.settings import EnhancementConfig, MaskConfig

Enhancement = Experiment[EnhancementConfig]
SPLITS = ("train", "dev", "test")


def _shared(experiment: Enhancement, stage: str) -> Path:
    (folder,) = (experiment.recipe_dir / "shared").glob(f"{stage}-*")
    return folder


def _source(experiment: Enhancement) -> MixtureSource:
    data = _shared(experiment, "data")
    utterances = {u.id: u for split in SPLITS for u in read_manifest(data / f"{split}.jsonl")}
    return MixtureSource(utterances, data / "noise")


def _mixtures(experiment: Enhancement, split: str) -> list[Mixture]:
    return read_mixtures(_shared(experiment, "mix") / f"mixtures.{split}.jsonl")


def _quiet(done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def noisy(scored: dict[str, Enhancement]) -> Enhancement:
    return scored["noisy"]


def test_test_mixtures_are_made_again_bit_for_bit(noisy: Enhancement) -> None:
    source = _source(noisy)
    mixtures = _mixtures(noisy, "test")
    assert len(mixtures) == 2 * 3 * 2
    for mixture in mixtures:
        assert mixture.gain is not None
        made = source.make(mixture)
        path = _shared(noisy, "mix") / "audio" / mixture.condition / f"{mixture.utterance}.wav"
        np.testing.assert_array_equal(made.noisy, read_audio(path).samples)
        np.testing.assert_array_equal(made.noisy, made.speech + made.noise)
        snr_db = 10 * np.log10(np.sum(made.speech**2.0) / np.sum(made.noise**2.0))
        assert snr_db == pytest.approx(mixture.snr_db, abs=0.01)


def test_noise_of_training_development_and_test_never_overlaps(noisy: Enhancement) -> None:
    taken: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for split in SPLITS:
        for m in _mixtures(noisy, split):
            if m.noise_part != "whole":
                assert m.noise_part == split
                span = (m.offset_samples, m.offset_samples + m.samples)
                taken.setdefault((m.noise, split), []).append(span)
    assert {noise for noise, _ in taken} == {"babble", "rain"}
    for noise in ("babble", "rain"):
        length = len(read_audio(_shared(noisy, "data") / "noise" / f"{noise}.wav").samples)
        for split in SPLITS:
            first, last = noise_span(length, split)  # type: ignore[arg-type]
            spans = taken[noise, split]
            assert first <= min(start for start, _ in spans)
            assert max(stop for _, stop in spans) <= last
        ends = [max(stop for _, stop in taken[noise, split]) for split in ("train", "dev")]
        starts = [min(start for start, _ in taken[noise, split]) for split in ("dev", "test")]
        assert ends[0] <= starts[0]
        assert ends[1] <= starts[1]


def test_unseen_noise_is_in_the_test_alone(noisy: Enhancement) -> None:
    noises = {split: {m.noise for m in _mixtures(noisy, split)} for split in SPLITS}
    assert noises == {
        "train": {"babble", "rain"},
        "dev": {"babble", "rain"},
        "test": {"babble", "rain", "drill"},
    }


def test_speakers_of_the_splits_and_the_babble_are_others(
    noisy: Enhancement, tiny_data: Path
) -> None:
    data = _shared(noisy, "data")
    speakers = {
        split: {u.speaker for u in read_manifest(data / f"{split}.jsonl")} for split in SPLITS
    }
    assert speakers["test"] == {"t1", "t2"}
    assert speakers["dev"] == {"d1", "d2"}
    assert len(speakers["train"]) == 4  # two of six talk in the babble
    assert speakers["train"] < set(tiny_enhancement.SPEAKERS["train"])


def test_another_seed_takes_other_noise(tiny_data: Path, tmp_path: Path) -> None:
    settings = {"noise__seen": ["rain"], "noise__unseen": [], "training__models": ["condition"]}

    def offsets(seed: int) -> dict[str, int]:
        config = tiny_enhancement.config(tmp_path, "noisy", seed=seed, **settings)
        place = tmp_path / str(seed)
        experiment, _ = tiny_enhancement.run(config, tiny_data, exp_dir=place, last=2)
        return {m.id: m.offset_samples for m in _mixtures(experiment, "train")}

    one, two = offsets(1), offsets(2)
    assert one.keys() == two.keys()
    assert all(one[name] != two[name] for name in one)


def test_conditions_and_their_mixtures_are_sorted(noisy: Enhancement) -> None:
    mixtures = _mixtures(noisy, "test")
    groups = by_condition(mixtures[::-1])
    assert list(groups) == sorted(
        f"{noise}/{snr}dB" for noise in ("babble", "drill", "rain") for snr in (-5, 5)
    )
    for condition, group in groups.items():
        assert {m.condition for m in group} == {condition}
        assert [m.id for m in group] == sorted(m.id for m in group)


def test_frames_are_features_of_the_mixture_and_masks_of_its_parts(noisy: Enhancement) -> None:
    source, config = _source(noisy), noisy.config
    front_end = build_front_end("gammatone")
    for condition, group in by_condition(_mixtures(noisy, "test")).items():
        frames = FrameSet.read(_shared(noisy, "features") / "test" / condition)
        assert list(frames.mixtures) == [m.id for m in group]
        assert list(frames.counts) == [frame_count(m.samples) for m in group]
        mixture, (_, rows) = group[0], next(frames.spans())
        mixed = source.make(mixture)
        features = extract(mixed.noisy, config.features.sets, level_over="active")
        np.testing.assert_array_equal(frames.features[rows], features)
        speech, noise = front_end.energies(mixed.speech), front_end.energies(mixed.noise)
        ratio = np.sqrt(speech / np.maximum(speech + noise, 1e-30))
        np.testing.assert_allclose(frames.masks[rows], ratio, atol=1e-4)


def test_the_binary_mask_is_cut_below_the_snr_of_the_mixture(noisy: Enhancement) -> None:
    front_end = build_front_end("stft")
    source = _source(noisy)
    shares = {}
    for snr_db in (-5, 5):
        (mixture, *_) = [m for m in _mixtures(noisy, "test") if m.condition == f"rain/{snr_db}dB"]
        mixed = source.make(mixture)
        mask = ideal_mask(mixed, mixture.snr_db, front_end, MaskConfig(name="ibm"))
        speech, noise = front_end.energies(mixed.speech), front_end.energies(mixed.noise)
        with np.errstate(divide="ignore"):
            local_db = 10 * np.log10(speech.astype(float) / noise)
        clear = np.abs(local_db - (snr_db - 5)) > 1e-3
        np.testing.assert_array_equal((mask == 1)[clear], (local_db > snr_db - 5)[clear])
        shares[snr_db] = mask.mean()
    assert 0.02 < shares[-5] < 0.98
    # The criterion moves with the SNR, so as much is kept; by a fixed one it would not be.
    assert abs(shares[5] - shares[-5]) < 0.1


def test_frames_have_the_binary_mask_at_the_snr_of_their_mixture(
    noisy: Enhancement, tmp_path: Path
) -> None:
    config = tiny_enhancement.config(tmp_path, "noisy", mask__name="ibm")
    source, front_end = _source(noisy), build_front_end("gammatone")
    mixtures = [m for m in _mixtures(noisy, "test") if m.noise == "rain"]
    write_frames(source, mixtures, tmp_path, config=config, workers=1, progress=_quiet)
    for mixture in mixtures:
        frames = FrameSet.read(tmp_path / mixture.condition)
        rows = dict(frames.spans())[mixture.id]
        mask = ideal_mask(source.make(mixture), mixture.snr_db, front_end, config.mask)
        np.testing.assert_array_equal(frames.masks[rows], mask)


@pytest.mark.slow
def test_several_processes_give_the_same_bits(
    noisy: Enhancement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=":")
    source = _source(noisy)
    mixtures = _mixtures(noisy, "train")
    assert len(mixtures) > 8  # more than one task
    write_frames(source, mixtures, tmp_path, config=noisy.config, workers=2, progress=_quiet)
    for condition in by_condition(mixtures):
        alone = FrameSet.read(_shared(noisy, "features") / "train" / condition)
        together = FrameSet.read(tmp_path / condition)
        assert list(alone.mixtures) == list(together.mixtures)
        np.testing.assert_array_equal(alone.features, together.features)
        np.testing.assert_array_equal(alone.masks, together.masks)


def test_progress_reaches_the_end_and_gains_are_found(noisy: Enhancement) -> None:
    table = _mixtures(noisy, "train")
    plan = [dataclasses.replace(m, noise_gain=None, gain=None) for m in table]
    told: list[tuple[int, int]] = []
    filled = write_mixed(
        _source(noisy), plan, audio_dir=None, workers=1, progress=lambda d, n: told.append((d, n))
    )
    assert filled == table
    assert told[-1] == (len(table), len(table))


def test_a_recording_that_changed_is_named(noisy: Enhancement) -> None:
    source, (mixture, *_) = _source(noisy), _mixtures(noisy, "test")
    louder = dataclasses.replace(mixture, noise_gain=2 * (mixture.noise_gain or 1))
    with pytest.raises(ValueError, match=rf"{mixture.id}.*changed since"):
        source.make(louder)
    longer = dataclasses.replace(mixture, samples=mixture.samples + 1)
    with pytest.raises(ValueError, match=rf"{mixture.id}.*{mixture.samples + 1} samples"):
        source.make(longer)
