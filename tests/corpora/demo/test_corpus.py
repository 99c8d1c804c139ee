"""The demo corpus: what is on disk, what comes back from it, and that a seed fixes every bit."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile

from squall.corpora.demo import corpus as demo
from squall.corpora.demo.corpus import SPLITS, prepare_demo, write_demo_corpus
from squall.corpora.demo.language import GRAMMAR, draw_sentence, vocabulary
from squall.corpora.demo.recording import VOICES
from squall.corpora.manifest import Utterance

pytest.importorskip("espeakng_loader")

TINY = {"train_per_voice": 2, "dev_per_voice": 2, "test_per_voice": 2}


def _bits(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "corpus"
    write_demo_corpus(folder, **TINY)
    return folder


@pytest.fixture(scope="module")
def splits(corpus: Path) -> dict[str, list[Utterance]]:
    return prepare_demo(corpus)


@pytest.fixture(scope="module")
def utterances(splits: dict[str, list[Utterance]]) -> list[Utterance]:
    return [u for split in SPLITS for u in splits[split]]


def test_every_sentence_has_five_to_eight_words_of_the_language() -> None:
    random = np.random.default_rng(0)
    words = set(vocabulary())
    for _ in range(500):
        sentence = draw_sentence(random).split()
        assert 5 <= len(sentence) <= 8
        assert words.issuperset(sentence)
    assert 55 <= len(words) <= 65
    assert all(w in GRAMMAR or w.isupper() for t in GRAMMAR.values() for a in t for w in a.split())


def test_voices_are_balanced_and_those_of_test_are_new() -> None:
    assert len({voice.label for voice in VOICES}) == 20
    assert sum(voice.label[0] == "F" for voice in VOICES) == 10
    variants = {
        split: {v.voice.partition("+")[2] for v in VOICES if v.split == split} for split in SPLITS
    }
    assert not variants["train"] & (variants["dev"] | variants["test"])
    assert not variants["dev"] & variants["test"]


@pytest.mark.slow
def test_layout(corpus: Path) -> None:
    stem = corpus / "TRAIN" / "DR1" / "MAAA0" / "S001"
    assert {p.suffix for p in stem.parent.glob("S001.*")} == {".WAV", ".TXT", ".WRD", ".PHN"}
    info = soundfile.info(stem.with_suffix(".WAV"))
    assert (info.format, info.subtype, info.samplerate, info.channels) == (
        "WAV",
        "PCM_16",
        16000,
        1,
    )
    start, end, text = stem.with_suffix(".TXT").read_text().split(None, 2)
    assert (int(start), int(end)) == (0, info.frames)
    assert text.strip().isupper()
    readme = (corpus / "README.TXT").read_text()
    assert "synthetic speech by eSpeak NG" in readme
    assert "seed        0" in readme
    assert not list(corpus.parent.glob(".*"))


@pytest.mark.slow
def test_splits(splits: dict[str, list[Utterance]]) -> None:
    assert {split: len(splits[split]) for split in SPLITS} == {"train": 28, "dev": 4, "test": 8}
    speakers = {split: {u.speaker for u in splits[split]} for split in SPLITS}
    assert not speakers["train"] & (speakers["dev"] | speakers["test"])
    texts = {split: {u.text for u in splits[split]} for split in SPLITS}
    assert not texts["train"] & (texts["dev"] | texts["test"])


@pytest.mark.slow
def test_ids_are_unique(utterances: list[Utterance]) -> None:
    assert len({u.id for u in utterances}) == len(utterances)


@pytest.mark.slow
def test_words_are_those_of_the_text(utterances: list[Utterance]) -> None:
    for utterance in utterances:
        assert [word.label for word in utterance.words] == utterance.text.split()
        for word, following in itertools.pairwise(utterance.words):
            assert word.start_s < word.end_s <= following.start_s


@pytest.mark.slow
def test_phones_cover_each_utterance(utterances: list[Utterance]) -> None:
    for utterance in utterances:
        phones = utterance.phones
        assert phones[0].label == phones[-1].label == "h#"
        assert phones[0].start_s == 0
        assert phones[-1].end_s == utterance.duration_s
        for phone, following in itertools.pairwise(phones):
            assert phone.start_s < phone.end_s == following.start_s


@pytest.mark.slow
def test_no_utterance_is_clipped_or_silent(utterances: list[Utterance]) -> None:
    for utterance in utterances:
        samples, _ = soundfile.read(utterance.audio_path)
        assert 1 < utterance.duration_s < 5
        assert 0.1 < np.abs(samples).max() <= 0.951
        assert -31 < 20 * np.log10(np.sqrt(np.mean(samples**2))) < -21


@pytest.mark.slow
def test_noise_lies_20_to_30_db_below_the_speech(utterances: list[Utterance]) -> None:
    for utterance in utterances:
        samples, _ = soundfile.read(utterance.audio_path)
        edges = [round(p.start_s * 16000) for p in utterance.phones[1:]]
        noise = np.mean(samples[: edges[0] - 160] ** 2)
        speech = np.mean(samples[edges[0] : edges[-1]] ** 2)
        # Slow waves of the pink noise make its level over a tenth of a second vary by some dB.
        assert 16 < 10 * np.log10(speech / noise) < 38


@pytest.mark.slow
def test_a_seed_fixes_every_bit(corpus: Path, tmp_path: Path) -> None:
    write_demo_corpus(tmp_path / "again", **TINY, jobs=2)
    assert _bits(tmp_path / "again") == _bits(corpus)
    few = {"train_per_voice": 1, "dev_per_voice": 1, "test_per_voice": 1}
    write_demo_corpus(tmp_path / "other", **few, seed=1)
    same = _bits(corpus).items() & _bits(tmp_path / "other").items()
    assert not [name for name, _ in same if name.endswith(".WAV")]


def test_an_existing_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(FileExistsError, match="mine"):
        write_demo_corpus(tmp_path / "mine")
    assert (tmp_path / "mine" / "file").exists()


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, calls = demo.write_recording, itertools.count()

    def failing(*args: object, **settings: object) -> str:
        if next(calls) == 3:
            raise OSError("disk full")
        return write(*args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(demo, "write_recording", failing)
    with pytest.raises(OSError, match="disk full"):
        write_demo_corpus(tmp_path / "corpus", **TINY)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_the_corpus(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no \.WAV file"):
        prepare_demo(tmp_path)
    folder = tmp_path / "TRAIN" / "DR1" / "FXYZ0"
    folder.mkdir(parents=True)
    (folder / "S001.WAV").touch()
    with pytest.raises(ValueError, match="'FXYZ0' is not a speaker of the demo corpus"):
        prepare_demo(tmp_path)
