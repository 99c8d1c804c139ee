"""TIMIT: both layouts give their splits, in any spelling of the names, and broken ones an error."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from macos import litter
from squall.corpora.manifest import Interval, Utterance
from squall.corpora.preparation import prepare_corpus
from squall.corpora.settings import CorpusConfig
from squall.corpora.timit import CORE_TEST_SPEAKERS, DEV_SPEAKERS, TRAIN_SPEAKERS, prepare_timit
from squall.corpora.validation import validate
from squall.text.phones import fold_phones

TRAIN = ("FCJF0", "MDAC0")
OTHERS = ("FASW0", "MBJK0")  # of the complete test set, in neither dev nor core test
SAMPLE = ("dr1-fvmh0", "dr1-mcpm0", "dr2-faem0", "dr2-marc0", "dr3-falk0")

Spell = Callable[[str], str]


def _write(
    folder: Path, sentence: str, *, spell: Spell = str.upper, audio: tuple[str, ...] = (".WAV",)
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / spell(sentence)
    audio = tuple(spell(suffix) if suffix == ".WAV" else suffix for suffix in audio)
    for suffix in audio:
        form = "WAV" if suffix.endswith(".wav") and suffix != ".wav" else "NIST"
        samples = np.random.default_rng(0).integers(-900, 900, 1700 if form == "WAV" else 1600)
        path = stem.with_name(stem.name + suffix)
        soundfile.write(path, samples.astype(np.int16), 16000, format=form)
    texts = {
        ".txt": "0 1600 Don't \"test-run\": it, '  Bob!\n",
        ".wrd": "160 800 don't\n800 1440 test-run\n",
        ".phn": "0 160 h#\n160 1440 q\n1440 1601 h#\n",
    }
    for suffix, text in texts.items():
        stem.with_name(stem.name + spell(suffix)).write_text(text)


def _write_whole(
    top: Path, *, spell: Spell = str.upper, sentences: tuple[str, ...] = ("SI1",), **options: Any
) -> None:
    halves = {"train": TRAIN, "test": (*DEV_SPEAKERS, *CORE_TEST_SPEAKERS, *OTHERS)}
    for half, speakers in halves.items():
        for number, speaker in enumerate(speakers):
            folder = top / spell(half) / spell(f"dr{number % 8 + 1}") / spell(speaker)
            for sentence in sentences:
                _write(folder, sentence, spell=spell, **options)
    (top / spell("readme.doc")).write_text("TIMIT\n")


def _write_sample(folder: Path, names: tuple[str, ...] = SAMPLE) -> Path:
    for name in names:
        for sentence in ("sa1", "si5", "sx3"):
            _write(folder / name, sentence, spell=str.lower, audio=(".wav",))
    (folder / "sentences").mkdir()
    return folder


def _speakers(splits: dict[str, list[Utterance]]) -> dict[str, list[str]]:
    return {split: sorted({u.speaker for u in us}) for split, us in splits.items()}


def _ids(utterances: list[Utterance]) -> list[str]:
    return [u.id for u in utterances]


def test_the_lists_of_speakers() -> None:
    assert len(set(DEV_SPEAKERS)) == len(DEV_SPEAKERS) == 50
    assert len(set(CORE_TEST_SPEAKERS)) == len(CORE_TEST_SPEAKERS) == 24
    assert not set(DEV_SPEAKERS) & set(CORE_TEST_SPEAKERS)
    assert [sum(s.startswith("M") for s in CORE_TEST_SPEAKERS[k : k + 3]) for k in (0, 9)] == [2, 2]
    assert sum(s.startswith("F") for s in CORE_TEST_SPEAKERS) == 8
    assert TRAIN_SPEAKERS == 462


@pytest.mark.slow
@pytest.mark.parametrize("spell", [str.upper, str.lower], ids=["upper", "lower"])
@pytest.mark.parametrize("above", ["", "..", "../.."])
def test_the_whole_corpus(tmp_path: Path, spell: Spell, above: str) -> None:
    top = tmp_path / "LDC93S1" / "TIMIT"
    _write_whole(top, spell=spell)
    splits = prepare_timit((top / above).resolve())
    assert list(splits) == ["train", "dev", "test"]
    assert _speakers(splits) == {
        "train": sorted(TRAIN),
        "dev": sorted(DEV_SPEAKERS),
        "test": sorted(CORE_TEST_SPEAKERS),
    }
    first = splits["train"][0]
    assert (first.id, first.speaker, first.duration_s) == ("FCJF0_SI1", "FCJF0", 0.1)
    assert first.audio_path == str(top / spell("TRAIN/DR1/FCJF0/SI1.WAV"))
    assert validate(splits) == []


def test_a_sentence_as_it_is_read(tmp_path: Path) -> None:
    splits = prepare_timit(_write_sample(tmp_path / "timit"), test_speakers=1, dev_speakers=1)
    utterance = splits["test"][0]
    assert utterance == Utterance(
        id="FVMH0_SI5",
        audio_path=str(tmp_path / "timit" / "dr1-fvmh0" / "si5.wav"),
        start_s=0.0,
        duration_s=0.1,
        sample_rate_hz=16000,
        speaker="FVMH0",
        text="DON'T TEST RUN IT BOB",
        phones=(Interval("h#", 0, 0.01), Interval("q", 0.01, 0.09), Interval("h#", 0.09, 0.1)),
        words=(Interval("don't", 0.01, 0.05), Interval("test-run", 0.05, 0.09)),
    )
    assert validate(splits) == []


def test_sa_sentences_are_left_out_unless_wanted(tmp_path: Path) -> None:
    folder = _write_sample(tmp_path / "timit")
    for sa, sentences in ((False, {"SI5", "SX3"}), (True, {"SA1", "SI5", "SX3"})):
        splits = prepare_timit(folder, test_speakers=1, dev_speakers=1, sa=sa)
        assert {u.id.split("_")[1] for us in splits.values() for u in us} == sentences
        assert [len(us) for us in splits.values()] == [3 * len(sentences), *[len(sentences)] * 2]


def test_sa_sentences_of_the_whole_corpus(tmp_path: Path) -> None:
    _write_whole(tmp_path, sentences=("SA2", "SX9"))
    assert _ids(prepare_timit(tmp_path)["train"]) == ["FCJF0_SX9", "MDAC0_SX9"]
    assert len(prepare_timit(tmp_path, sa=True)["test"]) == 48


def test_copies_beside_the_recordings_are_not_read(tmp_path: Path) -> None:
    _write_whole(tmp_path, audio=(".WAV", ".WAV.wav"))
    (utterance, _) = prepare_timit(tmp_path)["train"]
    assert (Path(utterance.audio_path).name, utterance.duration_s) == ("SI1.WAV", 0.1)


def test_copies_instead_of_the_recordings_are_read(tmp_path: Path) -> None:
    _write_whole(tmp_path, audio=(".WAV.wav",))
    splits = prepare_timit(tmp_path)
    (utterance, _) = splits["train"]
    assert Path(utterance.audio_path).name == "SI1.WAV.wav"
    assert (utterance.id, utterance.duration_s) == ("FCJF0_SI1", 1700 / 16000)
    assert utterance.text == "DON'T TEST RUN IT BOB"
    assert utterance.phones[-1] == Interval("h#", 0.09, 1601 / 16000)
    assert validate(splits) == []


def test_labels_beyond_a_copy(tmp_path: Path) -> None:
    _write_whole(tmp_path, audio=(".WAV.wav",))
    path = next(tmp_path.rglob("FCJF0/SI1.PHN"))
    path.write_text("0 1500 h#\n1500 2000 q\n")
    assert prepare_timit(tmp_path)["train"][0].phones[-1] == Interval("q", 0.09375, 0.10625)
    path.write_text("0 1500 h#\n1500 3400 q\n")
    with pytest.raises(ValueError, match=r"SI1\.PHN:2: 'q' ends at 0\.212 s, .* 0\.106 s"):
        prepare_timit(tmp_path)


def test_a_broken_copy_is_left_to_validation(tmp_path: Path) -> None:
    _write_whole(tmp_path, audio=(".WAV.wav",))
    next(tmp_path.rglob("FCJF0/SI1.WAV.wav")).write_bytes(b"RIFF")
    splits = prepare_timit(tmp_path)
    assert splits["train"][0].duration_s == 0
    assert [problem.utterance for problem in validate(splits)] == ["FCJF0_SI1"]


def test_files_of_macos_are_no_part_of_the_corpus(tmp_path: Path) -> None:
    whole, sample = tmp_path / "whole" / "TIMIT", tmp_path / "sample"
    _write_whole(whole)
    _write_sample(sample)
    options = {"test_speakers": 1, "dev_speakers": 1}
    before = prepare_timit(whole), prepare_timit(sample, **options)  # type: ignore[arg-type]
    litter(whole.parent)
    litter(sample)
    assert (prepare_timit(whole), prepare_timit(sample, **options)) == before  # type: ignore[arg-type]
    assert prepare_timit(whole.parent) == before[0]


def test_missing_speakers_are_named(tmp_path: Path) -> None:
    _write_whole(tmp_path)
    for speaker, split, count in (("MDAB0", "test", 24), ("FADG0", "dev", 50)):
        folder = next(tmp_path.rglob(speaker))
        folder.rename(tmp_path / speaker)
        reason = f"1 of the {count} speakers of the {split} set are missing: {speaker}"
        with pytest.raises(FileNotFoundError, match=reason):
            prepare_timit(tmp_path)
        (tmp_path / speaker).rename(folder)


def test_too_few_training_speakers_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _write_whole(tmp_path)
    with caplog.at_level(logging.WARNING):
        prepare_timit(tmp_path)
    assert "has 2 training speakers, TIMIT has 462" in caplog.text


def test_folds_of_the_sample(tmp_path: Path) -> None:
    folder = _write_sample(tmp_path / "timit")
    folds = [
        _speakers(prepare_timit(folder, test_speakers=2, dev_speakers=1, fold=fold))
        for fold in range(3)
    ]
    assert folds == [
        {"train": ["FALK0", "MARC0"], "dev": ["FAEM0"], "test": ["FVMH0", "MCPM0"]},
        {"train": ["FVMH0", "MCPM0"], "dev": ["FALK0"], "test": ["FAEM0", "MARC0"]},
        {"train": ["FAEM0", "MARC0", "MCPM0"], "dev": ["FVMH0"], "test": ["FALK0"]},
    ]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"fold": 3, "test_speakers": 2, "dev_speakers": 1}, "fold is 3: 5 speakers, 2 .* 0 to 2"),
        ({"fold": -1, "test_speakers": 2, "dev_speakers": 1}, "fold is -1"),
        ({}, "cannot take 4 test and 2 development speakers of 5"),
        ({"test_speakers": 4, "dev_speakers": 1}, "cannot take 4 test and 1"),
        ({"test_speakers": 0, "dev_speakers": 1}, "cannot take 0 test"),
        ({"test_speakers": 1, "dev_speakers": 0}, "cannot take 1 test and 0"),
        ({"fold": "1"}, "fold is '1': a whole number"),
        ({"sa": "no"}, "sa is 'no': use true or false"),
        ({"voices": 1}, "'timit' has the options test_speakers, .* found voices"),
    ],
)
def test_bad_options(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    folder = _write_sample(tmp_path / "timit")
    good = CorpusConfig(name="timit", options={"test_speakers": 2, "dev_speakers": 1})
    assert len(prepare_corpus(good, folder)["test"]) == 4
    with pytest.raises(ValueError, match=reason):
        prepare_corpus(CorpusConfig(name="timit", options=options), folder)


@pytest.mark.parametrize("option", [{"fold": 1}, {"test_speakers": 6}, {"dev_speakers": 4}])
def test_the_whole_corpus_has_no_folds(tmp_path: Path, option: dict[str, int]) -> None:
    _write_whole(tmp_path)
    with pytest.raises(ValueError, match="the whole corpus, which has fixed sets: leave them out"):
        prepare_timit(tmp_path, **option)  # type: ignore[arg-type]


def test_a_folder_that_is_no_timit(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no TIMIT here: neither folders TRAIN and TEST"):
        prepare_timit(tmp_path)
    with pytest.raises(FileNotFoundError, match="absent: there is no such folder"):
        prepare_timit(tmp_path / "absent")


def test_names_that_are_not_timits(tmp_path: Path) -> None:
    _write_whole(tmp_path)
    speaker = next(tmp_path.rglob("FCJF0"))
    speaker.rename(speaker.with_name("Alice"))
    with pytest.raises(ValueError, match="'ALICE' is not a speaker of TIMIT"):
        prepare_timit(tmp_path)
    speaker.with_name("Alice").rename(speaker)
    (speaker / "SI1.WAV").rename(speaker / "HELLO.WAV")
    with pytest.raises(ValueError, match=r"HELLO\.WAV: not a sentence of TIMIT"):
        prepare_timit(tmp_path)


def test_a_speaker_in_two_regions(tmp_path: Path) -> None:
    _write_whole(tmp_path)
    speaker = next(tmp_path.rglob("FCJF0"))
    _write(tmp_path / "TRAIN" / "DR8" / "fcjf0", "SI2")
    with pytest.raises(ValueError, match=f"DR8/fcjf0: speaker FCJF0 is in {speaker} too"):
        prepare_timit(tmp_path)


def test_a_speaker_in_both_halves_is_left_to_validation(tmp_path: Path) -> None:
    _write_whole(tmp_path)
    _write(tmp_path / "TRAIN" / "DR1" / "MDAB0", "SI2")
    problems = validate(prepare_timit(tmp_path))
    assert [str(problem) for problem in problems] == [
        "train/MDAB0_SI2: speaker MDAB0 is in test too"
    ]


def test_a_speaker_twice_in_the_sample_is_left_to_validation(tmp_path: Path) -> None:
    folder = _write_sample(tmp_path / "timit", ("dr1-fvmh0", "dr2-fvmh0", "dr3-falk0", "dr4-maeb0"))
    splits = prepare_timit(folder, test_speakers=2, dev_speakers=1)
    problems = {str(problem) for problem in validate(splits)}
    assert problems == {
        "test/FVMH0_SI5: its id occurs 2 times",
        "test/FVMH0_SX3: its id occurs 2 times",
    }


@pytest.mark.parametrize("kind", ["txt", "wrd", "phn"])
def test_a_recording_without_its_text(tmp_path: Path, kind: str) -> None:
    folder = _write_sample(tmp_path / "timit")
    (folder / "dr2-faem0" / f"sx3.{kind}").unlink()
    with pytest.raises(FileNotFoundError, match=rf"sx3\.wav: there is no \.{kind.upper()} file"):
        prepare_timit(folder, test_speakers=1, dev_speakers=1)


@pytest.mark.corpus
@pytest.mark.parametrize("fold", range(4))
def test_the_real_sample(real_data: Path, fold: int) -> None:
    splits = prepare_timit(real_data / "timit-nltk", fold=fold)
    assert {name: len(us) for name, us in splits.items()} == {"train": 80, "dev": 16, "test": 32}
    assert {name: len(s) for name, s in _speakers(splits).items()} == {
        "train": 10,
        "dev": 2,
        "test": 4,
    }
    for speakers in _speakers(splits).values():
        assert sum(s.startswith("F") for s in speakers) == len(speakers) / 2
    texts = {u.id: u.text for us in splits.values() for u in us}
    assert texts["FVMH0_SI1466"].startswith("IN SIMPLER TERMS IT AMOUNTS TO POINTING")
    assert not {c for text in texts.values() for c in text} - set("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")
    assert validate(splits, read=False) == []


@pytest.mark.slow
@pytest.mark.corpus
def test_the_real_sample_over_all_folds(real_data: Path) -> None:
    folds = [prepare_timit(real_data / "timit-nltk", fold=fold) for fold in range(4)]
    tested = [u.id for splits in folds for u in splits["test"]]
    assert len(tested) == len(set(tested)) == 16 * 8
    with_sa = prepare_timit(real_data / "timit-nltk", sa=True)
    assert sum(len(us) for us in with_sa.values()) == 160


@pytest.mark.corpus
def test_the_real_corpus(real_data: Path) -> None:
    """LDC93S1 in its usual sets; the phones of the core test set are those that others count."""
    folder = real_data / "timit"
    if not folder.is_dir():
        pytest.skip(f"LDC93S1 is not at {folder}")
    splits = prepare_timit(folder)
    assert [len(us) for us in splits.values()] == [3696, 400, 192]
    speakers = _speakers(splits)
    assert [len(names) for names in speakers.values()] == [462, 50, 24]
    assert speakers["dev"] == sorted(DEV_SPEAKERS)
    assert speakers["test"] == sorted(CORE_TEST_SPEAKERS)
    labels = [phone.label for u in splits["test"] for phone in u.phones]
    assert len(fold_phones(labels, classes=39)) == 7215
    assert validate(splits) == []
