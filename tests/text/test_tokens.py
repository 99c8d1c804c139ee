"""Token lists: their order, their special tokens, and what cannot be built."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from squall.text.tokens import (
    BLANK,
    NORMALIZATIONS,
    SENTENCE_END,
    SPACE,
    UNKNOWN,
    build_tokens,
    normalize_text,
    own_marks,
    piece_normalizer,
    train_sentencepiece,
)

TEXTS = [
    "GO TO SAN FRANCISCO",
    "STOP AT THE STATION",
    "GO ON TO THE OTHER STATION",
    "CALL FRANCIS AND STOP",
]


def _build(folder: Path, texts: list[str], units: str, size: int = 28) -> list[str]:
    return build_tokens(texts, folder, units=units, vocabulary_size=size)


def test_characters_come_by_frequency_and_then_by_name(tmp_path: Path) -> None:
    tokens = _build(tmp_path, ["BA AC", "", "A "], "char")
    assert tokens == [BLANK, UNKNOWN, "A", SPACE, "B", "C", SENTENCE_END]


def test_words_come_by_frequency_and_then_by_name(tmp_path: Path) -> None:
    tokens = _build(tmp_path, ["STOP GO", "GO ON"], "word")
    assert tokens == [BLANK, UNKNOWN, "GO", "ON", "STOP", SENTENCE_END]


@pytest.mark.parametrize(("units", "count"), [("phone48", 48), ("phone39", 39)])
def test_all_phones_are_there_whichever_occur(tmp_path: Path, units: str, count: int) -> None:
    tokens = _build(tmp_path, ["sil aa sil"], units)
    assert len(tokens) == count + 3
    assert tokens[:3] == [BLANK, UNKNOWN, "aa"]
    assert tokens[2:-1] == sorted(tokens[2:-1])
    assert _build(tmp_path, ["z"], units) == tokens


@pytest.mark.parametrize("units", ["char", "word", "bpe", "phone48"])
def test_the_line_of_a_token_is_its_id(tmp_path: Path, units: str) -> None:
    tokens = _build(tmp_path, TEXTS, units)
    assert (tmp_path / "tokens.txt").read_text(encoding="utf-8").split("\n") == [*tokens, ""]
    assert tokens[:2] == [BLANK, UNKNOWN]
    assert tokens[-1] == SENTENCE_END
    assert len(set(tokens)) == len(tokens)


@pytest.mark.parametrize("units", ["char", "word", "bpe"])
def test_the_same_text_gives_the_same_files(tmp_path: Path, units: str) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        _build(folder, TEXTS, units)
    one, two = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in folders)
    assert one == two
    assert one.keys() == {"tokens.txt"} | ({"bpe.model"} if units == "bpe" else set())


def test_a_transcript_that_spells_a_special_token_does_not_double_it(tmp_path: Path) -> None:
    tokens = _build(tmp_path, ["GO <unk> <blank> <sos/eos>"], "word")
    assert tokens == [BLANK, UNKNOWN, "GO", SENTENCE_END]


def test_letters_of_any_script_are_tokens(tmp_path: Path) -> None:
    assert _build(tmp_path, ["ÉTÉ ß"], "char")[2:-1] == ["É", SPACE, "T", "ß"]


def test_pieces_spell_every_transcript(tmp_path: Path) -> None:
    import sentencepiece

    tokens = _build(tmp_path, TEXTS, "bpe", size=28)
    assert len(tokens) == 28  # the model's <unk>, <s>, </s> make room for ESPnet's three
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "bpe.model"))
    for text in TEXTS:
        pieces = model.encode(text, out_type=str)
        assert set(pieces) <= set(tokens)
        assert model.decode(pieces) == text


@pytest.mark.parametrize("text", ["\uff11\uff12 ｶﾞ", "cafe\u0301", "½ ﬁ …", "①² ℃"])
def test_pieces_spell_a_transcript_as_it_is(tmp_path: Path, text: str) -> None:
    import sentencepiece

    _build(tmp_path, [text] * 3, "bpe", size=len(set(text.replace(" ", ""))) + 4)
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "bpe.model"))
    assert model.decode(model.encode(text)) == text
    assert piece_normalizer(tmp_path / "bpe.model")(text) == text


def test_verbatim_pieces_spell_every_space(tmp_path: Path) -> None:
    import sentencepiece

    texts = ["  go on  to\tthe next \n", "go on", " on\n\n"]
    train_sentencepiece(texts, tmp_path / "bpe.model", 12, verbatim=True)
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "bpe.model"))
    for text in (*texts, "  on to  go ?? on "):
        assert "".join(model.encode(text, out_type=str)).replace("\u2581", " ") == text


def test_pieces_are_trained_on_the_longest_transcript_too(tmp_path: Path) -> None:
    long = "GO ON " * 800 + "ÅÄÖ"
    assert len(long) > 4192
    tokens = _build(tmp_path, [*TEXTS, long], "bpe", size=30)
    assert {"Å", "Ä", "Ö"} <= set("".join(tokens))


@pytest.mark.parametrize(
    ("form", "expected"),
    [("identity", "e\u0301\uff11 ﬁ"), ("nfc", "é\uff11 ﬁ"), ("nfkc", "é1 fi")],
)
def test_the_form_of_a_text_is_the_one_asked_for(form: str, expected: str) -> None:
    assert form in NORMALIZATIONS
    assert normalize_text("e\u0301\uff11  ﬁ ", form) == expected


def test_single_spaces_stay_where_a_form_has_more() -> None:
    assert normalize_text("A \u00b4B", "nfkc") == "A \u0301B"  # the accent's form has a space


@pytest.mark.parametrize(
    ("text", "units", "marks"),
    [
        ("A ▁B", "bpe", ["▁"]),
        ("A\0 ▅", "bpe", ["\0", "▅"]),
        ("▁ <blank>", "char", []),
        ("GO <blank> <sos/eos>", "word", ["<blank>", "<sos/eos>"]),
        ("GO <unk> ▁", "word", []),
        ("GO <blank>", "bpe", []),
    ],
)
def test_marks_that_units_keep_for_themselves(text: str, units: str, marks: list[str]) -> None:
    assert own_marks(text, units=units) == marks


def test_more_pieces_than_the_text_can_give_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tokens\.vocabulary_size: 1000 pieces cannot .* 4 trans"):
        _build(tmp_path, TEXTS, "bpe", size=1000)
    assert not list(tmp_path.iterdir())


def test_fewer_pieces_than_letters_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tokens\.vocabulary_size: 8 pieces"):
        _build(tmp_path, TEXTS, "bpe", size=8)


@pytest.mark.parametrize("texts", [[], ["", "  "]])
def test_no_text_is_refused(tmp_path: Path, texts: list[str]) -> None:
    with pytest.raises(ValueError, match="every training transcript is empty"):
        _build(tmp_path, texts, "char")


def test_unknown_units_are_refused(tmp_path: Path) -> None:
    names = "char, bpe, word, phone48, phone39"
    with pytest.raises(ValueError, match=rf"tokens\.units: 'phone' is not one of {names}"):
        _build(tmp_path, TEXTS, "phone")


def test_without_sentencepiece_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ImportError, match=r"pip install 'squall\[asr\]'"):
        _build(tmp_path, TEXTS, "bpe")
