"""The utterances that are chosen, the talkers set apart, and the noises as files."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

import tiny_enhancement
from squall.audio.noise import read_noise
from squall.audio.reading import AudioError
from squall.corpora.manifest import Utterance, read_manifest
from squall.enhance.corpus import (
    choose_talkers,
    choose_utterances,
    cut_utterance,
    read_samples,
    write_noises,
    write_wav,
)
from squall.enhance.settings import NoiseConfig


def _utterances(counts: list[int]) -> list[Utterance]:
    """As many utterances of each speaker as said, speakers mixed up."""
    made = [
        Utterance(f"u{speaker}-{number}", "a.wav", 0.0, 2.0, 16000, f"s{speaker}", "GO")
        for speaker, count in enumerate(counts)
        for number in range(count)
    ]
    np.random.default_rng(0).shuffle(made)  # type: ignore[arg-type]
    return made


@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    wanted=st.one_of(st.none(), st.integers(1, 30)),
)
def test_speakers_take_turns(counts: list[int], wanted: int | None) -> None:
    given_ = _utterances(counts)
    chosen = choose_utterances(given_, wanted)
    assert [u.id for u in chosen] == sorted({u.id for u in chosen})
    assert len(chosen) == min(len(given_), wanted or len(given_))
    each = Counter(u.speaker for u in chosen)
    most = max(each.values())
    for speaker, count in enumerate(counts):
        assert each[f"s{speaker}"] >= min(count, most - 1)
    for utterance in chosen:  # the first of a speaker come first
        number = int(utterance.id.partition("-")[2])
        assert number < each[utterance.speaker]


def test_the_choice_does_not_depend_on_the_order_given() -> None:
    utterances = _utterances([3, 2, 4])
    assert choose_utterances(utterances, 5) == choose_utterances(utterances[::-1], 5)


def test_a_cut_shortens_only_what_is_longer() -> None:
    (utterance,) = _utterances([1])
    assert cut_utterance(utterance, None) is utterance
    assert cut_utterance(utterance, 2.0) is utterance
    assert cut_utterance(utterance, 1.5) == replace(utterance, duration_s=1.5)


def test_a_cut_utterance_is_the_start_of_the_whole(tiny_data: Path) -> None:
    for utterance in read_manifest(tiny_data / "corpus" / "train.jsonl"):
        whole, cut = read_samples(utterance), read_samples(cut_utterance(utterance, 1.0))
        assert len(cut) == 16000
        # Resampling sees the end of the cut, so the last samples may differ.
        np.testing.assert_allclose(cut[:15000], whole[:15000], atol=1e-4)


def test_talkers_are_speakers_of_their_own() -> None:
    utterances = _utterances([2, 3, 1, 2])
    left, talking = choose_talkers(utterances, 2, seed=1)
    assert len({u.speaker for u in talking}) == 2
    assert not {u.speaker for u in talking} & {u.speaker for u in left}
    assert sorted(u.id for u in left + talking) == sorted(u.id for u in utterances)


def test_the_seed_decides_who_talks() -> None:
    utterances = _utterances([1] * 12)

    def speakers(seed: int) -> set[str]:
        return {u.speaker for u in choose_talkers(utterances, 4, seed)[1]}

    assert speakers(1) == speakers(1)
    assert len({tuple(sorted(speakers(seed))) for seed in range(5)}) > 1
    assert choose_talkers(utterances[::-1], 4, 1)[1] != []
    assert {u.speaker for u in choose_talkers(utterances[::-1], 4, 1)[1]} == speakers(1)


def test_no_talkers_leave_all(tiny_data: Path) -> None:
    utterances = _utterances([2, 1])
    assert choose_talkers(utterances, 0, seed=0) == (utterances, [])


@pytest.mark.parametrize("talkers", [3, 4])
def test_too_few_speakers_say_what_to_lower(talkers: int) -> None:
    message = rf"noise.talkers is {talkers}, but there are 3 training speakers.*Lower"
    with pytest.raises(ValueError, match=message):
        choose_talkers(_utterances([1, 1, 1]), talkers, seed=0)


def test_samples_come_at_16_khz_whatever_the_file_has(tiny_data: Path) -> None:
    utterances = read_manifest(tiny_data / "corpus" / "train.jsonl")
    rates = {u.sample_rate_hz for u in utterances}
    assert rates == {16000, 22050}
    for utterance in utterances:
        samples = read_samples(utterance)
        assert samples.dtype == np.float32
        assert abs(len(samples) - utterance.duration_s * 16000) <= 1


def _noises(tiny_data: Path, directory: Path, **settings: object) -> dict[str, int]:
    training = read_manifest(tiny_data / "corpus" / "train.jsonl")
    chosen = NoiseConfig.model_validate({"made_s": 3.0, "talkers": 2, **settings})
    left, talking = choose_talkers(training, 2, seed=1)
    return write_noises(
        directory,
        chosen,
        recordings=[tiny_data / "noise"],
        training=left,
        talkers=talking,
        seed=1,
    )


def test_noises_are_files_of_one_form(tiny_data: Path, tmp_path: Path) -> None:
    lengths = _noises(tiny_data, tmp_path, seen=["babble", "ssn", "rain"], unseen=["drill"])
    assert lengths.keys() == {"babble", "ssn", "rain", "drill"}
    assert {path.stem for path in tmp_path.glob("*.wav")} == lengths.keys()
    for name, length in lengths.items():
        info = soundfile.info(str(tmp_path / f"{name}.wav"))
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "FLOAT")
        assert info.frames == length
    assert lengths["babble"] == lengths["ssn"] == 3 * 16000
    assert lengths["rain"] == 14 * 16000
    assert abs(lengths["drill"] - 14 * 16000) <= 1  # was 44.1 kHz


def test_noises_are_the_same_bits_again(tiny_data: Path, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        _noises(tiny_data, tmp_path / folder, seen=["babble", "ssn"])
    for name in ("babble", "ssn"):
        one, two = (read_noise(tmp_path / folder / f"{name}.wav") for folder in ("one", "two"))
        np.testing.assert_array_equal(one, two)


def test_only_noises_that_are_named_are_made(tiny_data: Path, tmp_path: Path) -> None:
    assert _noises(tiny_data, tmp_path, seen=["rain"]).keys() == {"rain"}
    assert not (tmp_path / "babble.wav").exists()


def test_a_missing_noise_is_named_with_those_there_are(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no noise hail; there are drill, rain"):
        _noises(tiny_data, tmp_path, seen=["hail"])


def test_recordings_need_a_folder(tmp_path: Path) -> None:
    settings = NoiseConfig(seen=("rain",))
    places = {"recordings": None, "training": [], "talkers": [], "seed": 0}
    with pytest.raises(ValueError, match=r"the noises rain are recordings: .*--noise-dir"):
        write_noises(tmp_path, settings, **places)  # type: ignore[arg-type]


@pytest.fixture
def bad_noise(tmp_path: Path) -> Path:
    folder = tmp_path / "bad"
    folder.mkdir()
    samples = np.random.default_rng(0).uniform(-0.1, 0.1, 32000).astype(np.float32)
    samples[123] = np.nan
    soundfile.write(folder / "holes.wav", samples, 16000, subtype="FLOAT")
    soundfile.write(folder / "nothing.wav", np.zeros(32000), 16000)
    return folder


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("holes", r"holes\.wav: .* not a finite number"),
        ("nothing", r"nothing\.wav is silent"),
    ],
)
def test_a_bad_recording_is_named(bad_noise: Path, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        write_noises(
            tmp_path / "out",
            NoiseConfig(seen=(name,)),
            recordings=[bad_noise],
            training=[],
            talkers=[],
            seed=0,
        )


def test_speech_with_a_hole_is_named(bad_noise: Path) -> None:
    utterance = Utterance("u1", str(bad_noise / "holes.wav"), 0.0, 2.0, 16000, "s", "GO")
    with pytest.raises(AudioError, match=r"holes\.wav: .* not a finite number"):
        read_samples(utterance)


def test_floats_keep_every_bit(tmp_path: Path) -> None:
    samples = tiny_enhancement.speech(0.2, seed=0) * np.float32(1e-3)
    write_wav(tmp_path / "a.wav", samples)
    found, rate_hz = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert rate_hz == 16000
    np.testing.assert_array_equal(found, samples)
