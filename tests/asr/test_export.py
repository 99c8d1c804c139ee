"""Manifests as ESPnet reads them: what is referred to, what is converted, what is to be written."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from squall.asr.bridge.running import espnet_tokenizer
from squall.asr.export import (
    export_split,
    export_texts,
    folded_phones,
    reference_texts,
    target_texts,
)
from squall.asr.settings import TokensConfig
from squall.audio.reading import AudioError
from squall.corpora.manifest import Interval, Utterance, read_utterance
from squall.text.phones import PHONES
from squall.text.tokens import NORMALIZATIONS, build_tokens

MakeUtterance = Callable[..., Utterance]


def _columns(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines)


def _export(tmp_path: Path, *utterances: Utterance) -> tuple[int, dict[str, str]]:
    converted = export_split(utterances, tmp_path / "data" / "train")
    return converted, _columns(tmp_path / "data" / "train" / "wav.scp")


def test_all_files_are_sorted_by_utterance(tmp_path: Path, make_utterance: MakeUtterance) -> None:
    ids = ["b", "a_2", "B", "a-1", "é"]
    utterances = [make_utterance(id, speaker=f"s{id}", text=f"SAY {id}") for id in ids]
    export_split(utterances, tmp_path)
    export_texts(target_texts(utterances, units="char"), tmp_path / "text")
    for name in ("wav.scp", "text", "utt2spk"):
        assert list(_columns(tmp_path / name)) == ["B", "a-1", "a_2", "b", "é"]
    assert _columns(tmp_path / "text")["b"] == "SAY b"
    assert _columns(tmp_path / "utt2spk")["b"] == "sb"


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".WAV"])
def test_a_whole_mono_file_at_the_right_rate_is_referred_to(
    tmp_path: Path, make_utterance: MakeUtterance, suffix: str
) -> None:
    utterance = make_utterance("u", suffix=suffix)
    converted, scp = _export(tmp_path, utterance)
    assert (converted, scp) == (0, {"u": utterance.audio_path})
    assert not (tmp_path / "data" / "train" / "audio").exists()


def _stereo(path: Path, rate_hz: int, count: int) -> Utterance:
    left = np.linspace(-0.5, 0.5, count)
    soundfile.write(path, np.stack([left, -left], axis=1), rate_hz)
    return Utterance("u", str(path), 0.0, count / rate_hz, rate_hz, "spk1", "GO")


def _pcm(path: Path, count: int) -> Utterance:
    samples = np.arange(count, dtype=np.int16)
    if path.suffix == ".raw":
        path.write_bytes(samples.astype(">i2").tobytes())
    else:
        soundfile.write(path, samples, 16000, format="NIST", subtype="PCM_16")
    return Utterance("u", str(path), 0.0, count / 16000, 16000, "spk1", "GO")


def _converted(tmp_path: Path, utterance: Utterance) -> np.ndarray:
    """In units of a 16-bit integer."""
    converted, scp = _export(tmp_path, utterance)
    assert converted == 1
    assert Path(scp["u"]).parent == tmp_path / "data" / "train" / "audio"
    info = soundfile.info(scp["u"])
    assert (info.samplerate, info.channels) == (16000, 1)
    assert (info.format, info.subtype) in (("FLAC", "PCM_16"), ("WAV", "FLOAT"))
    samples, _ = soundfile.read(scp["u"], dtype="float32")
    return samples * 32768  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("rate_hz", "count", "expected"),
    [(44100, 44100, 16000), (44100, 22050, 8000), (8000, 1000, 2000), (48000, 4800, 1600)],
)
def test_another_rate_is_resampled_to_the_same_length_in_time(
    tmp_path: Path, rate_hz: int, count: int, expected: int
) -> None:
    samples = _converted(tmp_path, _stereo(tmp_path / "u.wav", rate_hz, count))
    assert len(samples) == expected


def test_channels_are_averaged(tmp_path: Path) -> None:
    samples = _converted(tmp_path, _stereo(tmp_path / "u.wav", 16000, 800))
    assert len(samples) == 800
    assert np.abs(samples).max() <= 1


@pytest.mark.parametrize("name", ["u.sph", "u.WAV", "u.wav", "u.raw"])
def test_sphere_by_any_name_and_raw_keep_every_sample(tmp_path: Path, name: str) -> None:
    samples = _converted(tmp_path, _pcm(tmp_path / name, 1234))
    np.testing.assert_array_equal(samples, np.arange(1234))


def test_compressed_sphere_named_wav_is_not_referred_to(tmp_path: Path) -> None:
    """TIMIT as it is sold; libsndfile, and so ESPnet, cannot read it."""
    header = (
        "NIST_1A\n   1024\nsample_count -i 1600\nsample_rate -i 16000\nchannel_count -i 1\n"
        "sample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n"
    )
    path = tmp_path / "u.wav"
    path.write_bytes(header.encode().ljust(1024) + b"ajkg")
    utterance = Utterance("u", str(path), 0.0, 0.1, 16000, "spk1", "GO")
    with pytest.raises(AudioError, match=r"u\.wav: (compressed with shorten|ffmpeg cannot)"):
        _export(tmp_path, utterance)


@pytest.mark.parametrize(("start_s", "duration_s"), [(0.025, 0.05), (0.0, 0.05), (0.05, 0.05)])
def test_a_stretch_of_a_file_is_cut_out(tmp_path: Path, start_s: float, duration_s: float) -> None:
    path = tmp_path / "u.flac"
    soundfile.write(path, np.arange(1600, dtype=np.int16), 16000)
    utterance = Utterance("u", str(path), start_s, duration_s, 16000, "spk1", "GO")
    first = round(start_s * 16000)
    np.testing.assert_array_equal(_converted(tmp_path, utterance), np.arange(first, first + 800))


NOISE = np.random.default_rng(0).uniform(-1, 1, 3200)
STEREO = NOISE.reshape(-1, 2)


@pytest.mark.parametrize(
    ("samples", "rate_hz", "form", "is_converted"),
    [
        (20_000 * NOISE, 16000, {"format": "WAV", "subtype": "FLOAT"}, False),
        (20_000 * NOISE, 44100, {"format": "WAV", "subtype": "FLOAT"}, True),
        (1.5 * STEREO, 16000, {"format": "WAV", "subtype": "FLOAT"}, True),
        (1e-6 * NOISE, 16000, {"format": "WAV", "subtype": "DOUBLE"}, False),
        (1e-5 * NOISE, 16000, {"format": "FLAC", "subtype": "PCM_24"}, False),
        (1e-5 * NOISE, 48000, {"format": "FLAC", "subtype": "PCM_24"}, True),
        (1e-5 * STEREO, 16000, {"format": "WAV", "subtype": "PCM_24"}, True),
        (NOISE, 16000, {"format": "NIST", "subtype": "PCM_16"}, True),
        (NOISE, 22050, {"format": "WAV", "subtype": "PCM_16"}, True),
        (NOISE, 16000, {"format": "WAV", "subtype": "GSM610"}, True),
        (NOISE, 16000, {"format": "WAV", "subtype": "MS_ADPCM"}, True),
        (NOISE, 16000, {"format": "OGG", "subtype": "VORBIS"}, True),
        (NOISE, 16000, {"format": "MP3"}, True),
    ],
)
def test_training_hears_the_samples_that_decoding_hears(
    tmp_path: Path, samples: np.ndarray, rate_hz: int, form: dict[str, str], is_converted: bool
) -> None:
    path = tmp_path / "u.audio"
    soundfile.write(path, samples, rate_hz, **form)
    frames = soundfile.info(path).frames
    for first, count in ((0, frames), (frames // 3, frames // 2)):
        utterance = Utterance("u", str(path), first / rate_hz, count / rate_hz, rate_hz, "s", "GO")
        converted, scp = _export(tmp_path / str(first), utterance)
        assert converted == (is_converted or first > 0)
        # As ESPnet reads it.
        heard, heard_hz = soundfile.read(scp["u"], dtype="float32")
        expected = read_utterance(utterance, sample_rate_hz=16000).samples
        assert heard_hz == 16000
        np.testing.assert_array_equal(heard, expected)


def test_a_wav_that_does_not_state_its_length_is_not_referred_to(tmp_path: Path) -> None:
    path = tmp_path / "u.wav"
    soundfile.write(path, NOISE, 16000, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    data[data.index(b"data") + 4 : data.index(b"data") + 8] = bytes(4)
    path.write_bytes(data)
    utterance = Utterance("u", str(path), 0.0, 0.2, 16000, "s", "GO")
    assert len(_converted(tmp_path, utterance)) == 3200


@pytest.mark.fault(
    "Environment",
    "audio whose path has spaces, given to ESPnet",
    "it is read",
)
def test_espnet_reads_paths_with_spaces(tmp_path: Path, make_utterance: MakeUtterance) -> None:
    reading = pytest.importorskip("espnet2.fileio.read_text")
    folder = tmp_path / "my data"
    lies = make_utterance("lies")
    (folder / "my  audio").mkdir(parents=True)
    moved = Path(lies.audio_path).rename(folder / "my  audio" / "lies.wav")
    cut = make_utterance("cut", seconds=0.2)
    utterances = [replace(lies, audio_path=str(moved)), replace(cut, duration_s=0.1)]
    assert export_split(utterances, folder / "train") == 1
    scp = reading.read_2columns_text(folder / "train" / "wav.scp")
    assert scp == {"cut": str(folder / "train" / "audio" / "cut.flac"), "lies": str(moved)}
    assert all(Path(path).is_file() for path in scp.values())


def test_progress_counts_every_utterance(tmp_path: Path, make_utterance: MakeUtterance) -> None:
    told: list[tuple[int, int]] = []
    utterances = [make_utterance(id) for id in "ab"]
    export_split(
        utterances, tmp_path / "data", progress=lambda done, total: told.append((done, total))
    )
    assert told == [(1, 2), (2, 2)]


def test_a_file_that_cannot_be_read_leaves_the_lists_as_they_were(
    tmp_path: Path, make_utterance: MakeUtterance
) -> None:
    good = make_utterance("good")
    _export(tmp_path, good)
    broken = replace(good, id="broken", audio_path=str(tmp_path / "broken.wav"))
    with pytest.raises(AudioError, match=r"broken\.wav: no such file"):
        _export(tmp_path, good, broken)
    assert list(_columns(tmp_path / "data" / "train" / "wav.scp")) == ["good"]


def _spoken(id: str, labels: str) -> Utterance:
    phones = tuple(
        Interval(label, 0.1 * n, 0.1 * n + 0.1) for n, label in enumerate(labels.split())
    )
    return Utterance(id, f"{id}.wav", 0.0, 1.0, 16000, "spk1", "A", phones=phones)


SPOKEN = (_spoken("u2", "h# q ix dcl d h#"), _spoken("u1", "pau ax-h epi"))


@pytest.mark.parametrize(
    ("units", "texts"),
    [
        ("phone48", {"u1": "sil ax epi", "u2": "sil ix vcl d sil"}),
        ("phone39", {"u1": "sil ah sil", "u2": "sil ih sil d sil"}),
        ("char", {"u1": "A", "u2": "A"}),
        ("word", {"u1": "A", "u2": "A"}),
        ("bpe", {"u1": "A", "u2": "A"}),
    ],
)
def test_what_is_to_be_written_depends_on_the_units(units: str, texts: dict[str, str]) -> None:
    found = target_texts(SPOKEN, units=units)
    assert found == texts
    assert list(found) == ["u1", "u2"]


TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Zs", "Zl", "Zp", "Cc"], exclude_characters="▁▅"),
    min_size=1,
    max_size=5,
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    words=st.lists(TEXT, min_size=1, max_size=6),
    phones=st.lists(st.sampled_from(sorted(set(PHONES) - {"q"})), min_size=1, max_size=6),
    units=st.sampled_from(["char", "word", "bpe", "phone48", "phone39"]),
    normalization=st.sampled_from(NORMALIZATIONS),
)
def test_what_is_learnt_is_what_is_written_and_scored(
    words: list[str], phones: list[str], units: str, normalization: str
) -> None:
    """A recogniser that finds every token writes the reference, whatever the units."""
    pytest.importorskip("espnet2")
    utterance = replace(_spoken("u1", " ".join(phones)), text=" ".join(words))
    written = target_texts([utterance], units=units, normalization=normalization)
    text = written["u1"]
    with tempfile.TemporaryDirectory() as name:
        size = len(set(text) - {" "}) + 4
        tokens = build_tokens([text] * 3, Path(name), units=units, vocabulary_size=size)
        kind = TokensConfig.model_validate({"units": units}).espnet_type
        tokenizer = espnet_tokenizer(kind, Path(name) / "bpe.model" if units == "bpe" else None)
        pieces = tokenizer.text2tokens(text)
        assert set(pieces) <= set(tokens)
        assert " ".join(tokenizer.tokens2text(pieces).split()) == text
    assert reference_texts([utterance], units=units, normalization=normalization) == written


@pytest.mark.parametrize(
    ("units", "text", "mark"), [("bpe", "A ▁B", "'▁'"), ("word", "GO <blank>", "'<blank>'")]
)
def test_a_transcript_that_cannot_be_written_is_named(units: str, text: str, mark: str) -> None:
    with pytest.raises(ValueError, match=f"u1: its text has {mark}, which tokens.units={units}"):
        reference_texts([replace(SPOKEN[1], text=text)], units=units)


def test_a_corpus_without_phones_cannot_be_written_in_phones() -> None:
    utterances = [*SPOKEN, _spoken("u4", ""), _spoken("u3", "")]
    with pytest.raises(
        ValueError, match=r"2 of 4 utterances have no phones, the first is u3: set "
    ):
        target_texts(utterances, units="phone48")


def test_a_label_that_is_not_timits_is_named_with_its_utterance() -> None:
    with pytest.raises(ValueError, match="u3: 'spn' is not a phone of TIMIT"):
        target_texts([*SPOKEN, _spoken("u3", "h# spn h#")], units="phone39")


def test_glottal_stops_alone_can_be_scored_and_not_learnt() -> None:
    utterances = [*SPOKEN, _spoken("u3", "q q")]
    assert folded_phones(utterances, classes=39)["u3"] == []
    with pytest.raises(ValueError, match="nothing of the phones of u3"):
        target_texts(utterances, units="phone39")
