"""Transcripts: both forms of a line give the same texts, and what is neither is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squall.scoring.transcripts import read_transcripts

words = st.text(st.characters(categories=("L", "N"), include_characters="'-"), min_size=1)
tables = st.dictionaries(words, st.lists(words | st.just("(noise)"), max_size=4), min_size=1)


def _write(folder: Path, text: str, name: str = "texts") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


@settings(max_examples=80, deadline=None)
@given(table=tables, separator=st.sampled_from([" ", "\t"]), end=st.sampled_from(["\n", "\r\n"]))
def test_both_forms_give_the_same_texts(
    tmp_path_factory: pytest.TempPathFactory,
    table: dict[str, list[str]],
    separator: str,
    end: str,
) -> None:
    folder = tmp_path_factory.mktemp("texts")
    said = {identifier: " ".join(text) for identifier, text in table.items()}
    trn = "".join(f"{text}{separator}({id}){end}" for id, text in said.items())
    assert read_transcripts(_write(folder, trn)) == (said, True)
    # A last line that is no noise, so that it is no matter how many of the others are.
    plain = {**said, "the last": "no noise"}
    lines = "".join(f"{id.replace(' ', '_')}{separator}{t}{end}" for id, t in plain.items())
    expected = {id.replace(" ", "_"): text for id, text in plain.items()}
    assert read_transcripts(_write(folder, lines)) == (expected, False)


@pytest.mark.parametrize(
    ("text", "trn"),
    [
        ("(u1)\n(u2)\n", True),  # nothing was recognised
        (";; made by hand\nA B (s1-u1)\n", True),
        ("A (noise) (u1)\nB (noise) (u2)\n", True),
        ("u1 A (noise)\nu2 B (noise)\nu3 C\n", False),
        ("u1 A (noise)\nu2 B (noise)\n", False),
        ("u1 1 2 3 4\nu2 5 6 7 8\n", False),
        ("u1\n", False),
        ("", False),
    ],
)
def test_the_form_is_told_by_the_last_token_of_every_line(
    tmp_path: Path, text: str, trn: bool
) -> None:
    assert read_transcripts(_write(tmp_path, text))[1] == trn


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a", "A (u1)\nB\nC (u3)\n", ":2: this line does not end in `(id)`"),
        ("a.trn", "u1 A\nu2 B\n", ".trn:1: this line does not end in `(id)`"),
        ("a", "A (u1)\nB (u2)\nC (u1)\n", ":3: utterance u1 occurs twice"),
        ("a", "GO { ON / OFF } (u1)\n", ":1: alternatives `{ a / b }` are not read"),
        ("a", "f 1 0.00 0.31 GO 0.9\nf 1 0.31 0.2 ON 0.8\n", "this is ctm, whose lines have"),
        ("a", "f 1 anna 0.00 2.50 <o,f0> GO ON\n", "this is stm, whose lines have times"),
        ("a.CTM", "f 1 0 1 GO\n", "this is ctm"),
        ("a.stm", ";; nothing\n", "this is stm"),
    ],
)
def test_what_is_neither_form_is_named_with_its_line(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    path = _write(tmp_path, text, name)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_transcripts(path)
    assert str(caught.value).startswith(str(path))
