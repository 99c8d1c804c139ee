"""The eSpeak NG binding: times, labels, and the same bits whatever was said before."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest

from squall.corpora.demo.espeak import SILENCE, EspeakError, Speaker, Speech, speak

pytest.importorskip("espeakng_loader")

TEXT = "TURN THE RED LAMP ON IN THE KITCHEN"


@pytest.fixture(scope="module")
def speech() -> Speech:
    return speak(TEXT)


def test_samples(speech: Speech) -> None:
    assert speech.sample_rate_hz == 22050
    assert speech.samples.dtype == np.float32
    assert 1.5 < len(speech.samples) / 22050 < 3
    assert 0.1 < np.abs(speech.samples).max() <= 1
    assert speech.engine_version.startswith("1.")


def test_words_are_those_of_the_text(speech: Speech) -> None:
    assert [word.label for word in speech.words] == TEXT.split()


@pytest.mark.parametrize("voice", ["en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029"])
def test_word_pairs_that_the_engine_joins_stay_apart(voice: str) -> None:
    text = "IN THE END OF THE DAY ON THE WAY TO THE MAN AT THE GATE"
    assert [word.label for word in speak(text, Speaker(voice)).words] == text.split()


def test_phones_cover_the_utterance(speech: Speech) -> None:
    assert speech.phones[0].start_s == 0
    assert speech.phones[-1].end_s == len(speech.samples) / speech.sample_rate_hz
    for phone, following in itertools.pairwise(speech.phones):
        assert phone.start_s < phone.end_s == following.start_s
        assert not phone.label == following.label == SILENCE


def test_phones_of_a_word(speech: Speech) -> None:
    lamp = speech.words[3]
    inside = [p.label for p in speech.phones if lamp.start_s <= p.start_s < lamp.end_s]
    assert inside == ["l", "a", "m", "p"]


def test_phones_are_where_the_sound_is() -> None:
    # The hiss of S is the loudest part of the utterance above 4 kHz.
    speech = speak("A SEE")
    (hiss,) = (p for p in speech.phones if p.label == "s")
    spectrum = np.fft.rfft(speech.samples)
    spectrum[: int(4000 / 22050 * len(speech.samples))] = 0
    high = np.fft.irfft(spectrum, len(speech.samples)) ** 2
    start, end = (round(t * 22050) for t in (hiss.start_s, hiss.end_s))
    assert high[start:end].sum() > 0.8 * high.sum()


@pytest.mark.slow
def test_a_sentence_is_the_same_whatever_was_said_before() -> None:
    jobs = [
        (text, Speaker(voice, rate_wpm, pitch))
        for text in ("CALL ALICE", "SEVEN NINE FIVE")
        for voice, rate_wpm, pitch in [("en-us", 160, 50), ("en-gb+f2", 140, 30)]
    ]
    first = [speak(*job).samples for job in jobs]
    again = [speak(*job).samples for job in reversed(jobs)][::-1]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_settings_do_what_they_say() -> None:
    slow, fast = (speak("CALL ALICE", Speaker(rate_wpm=rate)) for rate in (120, 240))
    assert len(slow.samples) > 1.4 * len(fast.samples)
    sounds = [speak("CALL ALICE", Speaker(v)).samples for v in ("en-us", "en-us+f3", "en-gb")]
    assert len({sound.tobytes() for sound in sounds}) == 3


def test_numbers_sentences_and_accents_keep_their_spelling() -> None:
    words = speak("CAFÉ NOIR, PLEASE. AND 23 CARS").words
    assert [word.label for word in words] == ["CAFÉ", "NOIR", "PLEASE", "AND", "23", "CARS"]
    for word, following in itertools.pairwise(words):
        assert word.start_s < word.end_s <= following.start_s


def test_what_cannot_be_said() -> None:
    for text in ("", "  ", "A\0B"):
        with pytest.raises(ValueError, match="nothing to say"):
            speak(text)
    with pytest.raises(EspeakError, match="no voice 'xx-nowhere'"):
        speak("A", Speaker("xx-nowhere"))
    with pytest.raises(EspeakError, match=r"no variant 'm99' of a voice; there are .*m1, m2"):
        speak("A", Speaker("en-us+m99"))


@pytest.mark.parametrize(("name", "value"), [("rate_wpm", 79), ("pitch", 100), ("pitch_range", -1)])
def test_settings_out_of_range(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        Speaker(**{name: value})


def test_without_the_engine_there_is_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(EspeakError, match="pip install espeakng-loader"):
        speak("A")
