"""WSJ's transcripts: every mark of the transcribers, removed or as Kaldi leaves it, and counted."""

from __future__ import annotations

import pytest

from squall.text.wsj_text import normalize_transcript

ESCAPES = "escapes (\\) removed"
NOISES = "noises dropped"
OVER_WORDS = "noises over words dropped"
PAUSES = "pauses (.) dropped"
STRESS = "stress (!) removed"
LENGTHENING = "lengthening (:) removed"
MISPRONOUNCED = "mispronunciation (*) removed"
TRUNCATION = "truncation (~) removed"
DELETION = "brackets of a verbal deletion (< >) removed"

# transcript, without noises and marks, as Kaldi has it, what is counted without noises and marks
TABLE = [
    ("The sale of the hotels", "THE SALE OF THE HOTELS", None, {}),
    ("  The   sale\tof ", "THE SALE OF", None, {}),
    ("", "", None, {}),
    (r"I\. B\. M\. isn\'t", "I. B. M. ISN'T", None, {ESCAPES: 4}),
    (r"a take\-over bid", "A TAKE-OVER BID", None, {ESCAPES: 1}),
    # Spoken punctuation, escaped and not.
    (r"however \,COMMA he", "HOWEVER ,COMMA HE", None, {ESCAPES: 1}),
    ("however ,COMMA he .PERIOD", "HOWEVER ,COMMA HE .PERIOD", None, {}),
    (r"\"DOUBLE\-QUOTE yes", '"DOUBLE-QUOTE YES', None, {ESCAPES: 2}),
    (r"note \:COLON", "NOTE :COLON", None, {ESCAPES: 1}),
    ("note :colon !Exclamation-Point", "NOTE :COLON !EXCLAMATION-POINT", None, {}),
    (r"note \!word \~TILDE", "NOTE !WORD ~TILDE", None, {ESCAPES: 2}),
    # Respelled.
    ("five %PERCENT", "FIVE PERCENT", None, {"%PERCENT written PERCENT": 1}),
    (
        r"two \.POINT one",
        "TWO POINT ONE",
        None,
        {ESCAPES: 1, ".POINT written POINT": 1},
    ),
    ("he --DASH she", "HE -DASH SHE", None, {"--DASH written -DASH": 1}),
    ("he -DASH she", "HE -DASH SHE", None, {}),
    ("%PERCENTS", "%PERCENTS", None, {}),
    # Noises.
    ("[loud_breath] And", "AND", "<NOISE> AND", {NOISES: 1}),
    ("And [misc_noise] so [uh]", "AND SO", "AND <NOISE> SO <NOISE>", {NOISES: 2}),
    ("business [<door_slam] is", "BUSINESS IS", None, {OVER_WORDS: 1}),
    ("business [door_slam>] is", "BUSINESS IS", None, {OVER_WORDS: 1}),
    ("[phone_ring/] it is [/phone_ring]", "IT IS", None, {OVER_WORDS: 2}),
    ("[bad_recording]", "", "<NOISE>", {NOISES: 1}),
    # Pauses and cut recordings.
    ("go . on", "GO ON", None, {PAUSES: 1}),
    ("~ go on ~", "GO ON", None, {TRUNCATION: 2}),
    ("~go on~", "GO ON", "~GO ON~", {TRUNCATION: 2}),
    ("~~ go", "GO", "~~ GO", {TRUNCATION: 2}),
    # What the speaker took back, said wrongly, stressed or drew out.
    ("<the> the", "THE THE", None, {DELETION: 2}),
    ("<it's> it is", "IT'S IT IS", None, {DELETION: 2}),
    ("<in the> in", "IN THE IN", "<IN THE> IN", {DELETION: 2}),
    (
        "<*Mr.*> the",
        "MR. THE",
        "<*MR.*> THE",
        {DELETION: 2, MISPRONOUNCED: 2},
    ),
    ("*Saatchi* said", "SAATCHI SAID", "*SAATCHI* SAID", {MISPRONOUNCED: 2}),
    ("re:structuring :", "RESTRUCTURING", "RE:STRUCTURING :", {LENGTHENING: 2}),
    ("!only to!day", "ONLY TODAY", "!ONLY TO!DAY", {STRESS: 2}),
    # The fragment of a word stays as it is.
    ("W(ED)- unwed", "W(ED)- UNWED", None, {}),
]


@pytest.mark.parametrize(("transcript", "bare", "kaldi", "counts"), TABLE)
def test_transcripts(transcript: str, bare: str, kaldi: str | None, counts: dict[str, int]) -> None:
    assert normalize_transcript(transcript) == (bare, counts)
    as_kaldi, _ = normalize_transcript(transcript, noise="keep", marks="keep")
    assert as_kaldi == (bare if kaldi is None else kaldi)


def test_noises_and_marks_are_kept_apart_and_counted_apart() -> None:
    spoken = "[cough] !no"
    assert normalize_transcript(spoken, noise="keep") == (
        "<NOISE> NO",
        {"noises written <NOISE>": 1, STRESS: 1},
    )
    assert normalize_transcript(spoken, marks="keep") == ("!NO", {NOISES: 1})
    assert normalize_transcript("<no> *no*", marks="keep") == ("NO *NO*", {DELETION: 2})


def test_a_noise_does_not_take_its_word_away() -> None:
    assert normalize_transcript("hot[door_slam] hand", noise="keep")[0] == "HOT <NOISE> HAND"


@pytest.mark.parametrize("options", [{"noise": "remove"}, {"marks": "drop"}, {"marks": True}])
def test_unknown_choices(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"(noise|marks) is .*: use (drop|remove) or keep"):
        normalize_transcript("no", **options)
