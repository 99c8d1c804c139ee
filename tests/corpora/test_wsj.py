"""WSJ: a tiny tree of its discs gives an exact manifest, and each damaged one a clear message."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_wsj
from macos import litter
from squall.corpora import wsj
from squall.corpora.manifest import Utterance
from squall.corpora.preparation import prepare_corpus
from squall.corpora.settings import CorpusConfig
from squall.corpora.validation import validate
from squall.corpora.wsj import prepare_wsj
from squall.corpora.wsj_discs import find_disc_files
from tiny_wsj import ROWS, Row, disc_file

TEXTS = {
    "01ic0202": 'THE "DOUBLE-QUOTE SALE',
    "01ic0201": "GO ON",
    "401c0202": "I. B. M. ROSE",
    "46cc0201": "HE RESISTED THE",
    "4k0c0301": "SAATCHI OFFICIALS SAID",
    "440c0401": "TWO POINT ONE",
}
BY_ID = {row.id: row for row in ROWS}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tiny_wsj.write_wsj(tmp_path / "corpus")
    return tmp_path / "corpus"


def _utterance(row: Row, path: Path, text: str | None = None) -> Utterance:
    seconds = len(row.samples) / 16000
    text = TEXTS[row.id] if text is None else text
    return Utterance(row.id, str(path), 0.0, seconds, 16000, row.id[:3], text)


def _expected(tree: Path) -> dict[str, list[Utterance]]:
    def of(identifier: str) -> Utterance:
        row = BY_ID[identifier]
        return _utterance(row, disc_file(tree, f"{row.disc}/{row.place}.wv1"))

    return {
        "train": [of("01ic0201"), of("01ic0202"), of("401c0202"), of("46cc0201")],
        "dev": [of("4k0c0301")],
        "test": [of("440c0401")],
    }


def _summary(splits: dict[str, list[Utterance]]) -> dict[str, list[tuple[str, str, float]]]:
    return {name: [(u.id, u.text, u.duration_s) for u in us] for name, us in splits.items()}


def test_a_tree_gives_its_manifest(tree: Path) -> None:
    splits = prepare_wsj([tree / "WSJ0", tree / "WSJ1"])
    assert list(splits) == ["train", "dev", "test"]
    assert splits == _expected(tree)
    assert validate(splits) == []


def test_the_folder_above_each_disc_apart_and_one_twice(tree: Path) -> None:
    assert prepare_wsj([tree]) == _expected(tree)
    assert prepare_wsj(sorted(tree.glob("*/*"))) == _expected(tree)
    assert prepare_wsj([tree, tree / "WSJ0", tree]) == _expected(tree)
    config = CorpusConfig(name="wsj")
    assert prepare_corpus(config, tree) == _expected(tree)
    assert prepare_corpus(config, [tree / "WSJ1", tree / "WSJ0"]) == _expected(tree)


def test_a_folder_of_links_to_discs_even_with_a_loop(tree: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    for disc in tree.glob("*/*"):
        (links / disc.name).symlink_to(disc)
    (links / "13-1.1" / "back").symlink_to(links)
    splits = prepare_wsj([links])
    files = find_disc_files([links, links / "13-1.1"])
    assert {len(found) for found in files.audio.values()} == {1}
    assert _summary(splits) == _summary(_expected(tree))
    assert validate(splits) == []


def test_files_of_macos_are_no_part_of_the_discs(tree: Path) -> None:
    litter(tree)
    assert prepare_wsj([tree]) == _expected(tree)


def test_an_index_that_is_not_utf8_is_named(tree: Path) -> None:
    path = disc_file(tree, "13-34.1/wsj1/doc/indices/h1_p0.ndx")
    path.write_bytes(b"; caf\xe9\n" + path.read_bytes())
    with pytest.raises(ValueError, match=r"h1_p0\.ndx:1: not UTF-8 \(byte 0xe9\)"):
        prepare_wsj([tree])


def test_discs_merged_into_one_folder(tree: Path, tmp_path: Path) -> None:
    tiny_wsj.merge_discs(tree, tmp_path / "merged")
    splits = prepare_wsj([tmp_path / "merged" / "wsj0", tmp_path / "merged" / "wsj1"])
    assert _summary(splits) == _summary(_expected(tree))
    assert validate(splits) == []


@pytest.mark.parametrize("disc", ["", "WSJ1/13-16.1"])
def test_names_in_upper_case(tree: Path, disc: str) -> None:
    tiny_wsj.turn_upper_case(tree / disc)
    splits = prepare_wsj([tree])
    assert _summary(splits) == _summary(_expected(tree))
    assert splits["dev"][0].audio_path.endswith("13-16.1/WSJ1/SI_DT_20/4K0/4K0C0301.WV1")


def test_disc_folders_with_underscores(tree: Path) -> None:
    for disc in list((tree / "WSJ1").iterdir()):
        disc.rename(disc.with_name(disc.name.replace("-", "_")))
    assert _summary(prepare_wsj([tree])) == _summary(_expected(tree))


def test_words_other_than_the_usual_form_of_an_index(tree: Path) -> None:
    path = disc_file(tree, "13-34.1/wsj1/doc/indices/h1_p0.ndx")
    path.write_text("; one\n\n13_16_1: /wsj1/si_dt_20/4k0/4k0c0301.WV1  \r\n")
    assert prepare_wsj([tree]) == _expected(tree)


@pytest.mark.parametrize("disc", ["13-1.1", "13-99.1"])
def test_a_file_is_taken_from_its_own_disc(tree: Path, disc: str) -> None:
    row = BY_ID["4k0c0301"]
    tiny_wsj.write_audio(disc_file(tree, f"{disc}/{row.place}.wv1"), row.samples[:1700])
    other = disc_file(tree, f"{disc}/wsj1/doc/indices/h1_p0.ndx")
    other.parent.mkdir(parents=True)
    other.write_text("of another release\n")
    assert prepare_wsj([tree]) == _expected(tree)


def test_a_folder_that_cannot_be_read(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refuse(folder: str) -> Any:
        if str(folder).endswith("4k0"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match=r"Permission denied: .*si_dt_20/4k0'"):
        prepare_wsj([tree])


def test_speaker_401_is_listed_on_two_discs_and_read_once(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index = disc_file(tree, "11-13.1/wsj0/doc/indices/train/tr_s_wv1.ndx")
    assert index.read_text().count("401c0202") == 2
    with caplog.at_level(logging.INFO, logger="squall"):
        splits = prepare_wsj([tree])
    assert [u.id for u in splits["train"]].count("401c0202") == 1
    assert f"{index}: 1 line(s) of wsj0/si_tr_s/401/ on disc 11-2.1 left out" in caplog.text


@pytest.mark.parametrize("suffix", [".flac", ".wav", ".wv1.wav", ".WAV"])
def test_a_copy_beside_a_recording_is_read(tree: Path, suffix: str) -> None:
    row = BY_ID["46cc0201"]
    copy = disc_file(tree, f"{row.disc}/{row.place}{suffix}")
    tiny_wsj.write_audio(copy, row.samples)
    for _ in range(2):
        splits = prepare_wsj([tree])
        assert splits["train"][3] == _utterance(row, copy)
        assert validate(splits) == []
        copy.with_name(f"{row.id}.wv1").unlink(missing_ok=True)  # and where it is alone


def test_the_second_microphone_is_not_read(tree: Path) -> None:
    row = BY_ID["46cc0201"]
    path = disc_file(tree, f"{row.disc}/{row.place}.wv1")
    path.rename(path.with_suffix(".wv2"))
    with pytest.raises(FileNotFoundError, match=r"disc 13-1\.1: 1 of 1 recordings"):
        prepare_wsj([tree])


def test_shorten_is_known_by_its_header(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = BY_ID["440c0401"]
    path = disc_file(tree, f"{row.disc}/{row.place}.wv1")
    header = (
        "NIST_1A\n   1024\nsample_count -i 2000\nsample_rate -i 16000\nchannel_count -i 1\n"
        "sample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n"
    )
    path.write_bytes(header.encode().ljust(1024) + b"ajkg" + bytes(100))
    monkeypatch.setenv("PATH", str(tree))
    splits = prepare_wsj([tree])
    assert splits == _expected(tree)
    (problem,) = validate(splits)
    assert (problem.split, problem.utterance) == ("test", "440c0401")
    assert "compressed with shorten" in problem.message


def test_noises_and_marks_on_request(tree: Path) -> None:
    config = CorpusConfig(name="wsj", options={"noise": "keep", "marks": "keep"})
    texts = {u.id: u.text for us in prepare_corpus(config, tree).values() for u in us}
    assert texts == {
        **TEXTS,
        "01ic0201": "<NOISE> GO ON",
        "401c0202": "I. B. M. !ROSE",
        "46cc0201": "HE RE:SISTED THE",
        "4k0c0301": "*SAATCHI* OFFICIALS SAID",
    }


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"noise": "sil"}, "noise is 'sil': use drop or keep"),
        ({"marks": False}, "marks is False: use remove or keep"),
        ({"fold": 1}, "'wsj' has the options noise, marks, found fold"),
    ],
)
def test_bad_options(tree: Path, options: dict[str, Any], reason: str) -> None:
    tiny_wsj.lose_disc(tree, "13-34.1")  # the options are looked at first
    with pytest.raises(ValueError, match=reason):
        prepare_corpus(CorpusConfig(name="wsj", options=options), tree)


def test_every_dropped_mark_is_in_the_log(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="squall"):
        prepare_wsj([tree])
    (line,) = [r.message for r in caplog.records if r.message.startswith("marks in")]
    assert line == (
        "marks in the transcripts: .POINT written POINT: 1, "
        "brackets of a verbal deletion (< >) removed: 2, escapes (\\) removed: 6, "
        "lengthening (:) removed: 1, mispronunciation (*) removed: 2, noises dropped: 1, "
        "pauses (.) dropped: 1, stress (!) removed: 1, truncation (~) removed: 1"
    )


def test_other_sizes_than_the_corpus_has_are_told(
    tree: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_wsj([tree])
    assert [(r.levelname, r.getMessage()[:45]) for r in caplog.records] == [
        ("WARNING", "train has 4 utterances, the whole corpus has "),
        ("WARNING", "dev has 1 utterances, the whole corpus has 50"),
        ("WARNING", "test has 1 utterances, the whole corpus has 3"),
    ]
    monkeypatch.setattr(wsj, "UTTERANCES", {"train": 4, "dev": 1, "test": 1})
    monkeypatch.setattr(wsj, "WORDS", {"dev": 3, "test": 4})
    caplog.clear()
    prepare_wsj([tree], noise="keep")
    (record,) = caplog.records
    assert record.getMessage().startswith("test has 3 words, the whole corpus has 4: results do")


def test_noises_are_not_counted_as_words(
    tree: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wsj, "UTTERANCES", {"train": 4, "dev": 1, "test": 1})
    monkeypatch.setattr(wsj, "WORDS", {"train": 12, "dev": 3, "test": 3})
    prepare_wsj([tree], noise="keep")
    assert caplog.records == []


def test_a_missing_folder(tree: Path) -> None:
    with pytest.raises(FileNotFoundError, match="WSJ2: there is no such folder"):
        prepare_wsj([tree / "WSJ0", tree / "WSJ2"])


def test_a_folder_without_wsj_lists_what_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        prepare_wsj([tmp_path])
    assert str(caught.value).splitlines() == [
        f"{tmp_path}: this is not all of WSJ; found no folders of discs. Missing:",
        "  disc 11-13.1: the index wsj0/doc/indices/train/tr_s_wv1.ndx, which lists the train "
        "utterances",
        "  disc 13-34.1: the index wsj1/doc/indices/si_tr_s.ndx, which lists the train utterances",
        "  disc 13-34.1: the index wsj1/doc/indices/h1_p0.ndx, which lists the dev utterances",
        "  disc 11-13.1: the index wsj0/doc/indices/test/nvp/si_et_20.ndx, which lists the test "
        "utterances",
        "Give the folders that hold all discs of WSJ0 (11-...) and WSJ1 (13-...) with "
        "--corpus-dir, and copy what is not there from the discs",
    ]


def test_everything_that_is_missing_is_listed_at_once(tree: Path) -> None:
    for disc in ("11-14.1", "11-3.1", "13-1.1"):
        tiny_wsj.lose_disc(tree, disc)
    tiny_wsj.lose_line(tree, BY_ID["4k0c0301"])
    disc_file(tree, "11-1.1/wsj0/si_tr_s/01i/01ic0202.wv1").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        prepare_wsj([tree / "WSJ0", tree / "WSJ1"])
    assert str(caught.value).splitlines()[:-1] == [
        f"{tree}/WSJ0, {tree}/WSJ1: this is not all of WSJ; found 11-1.1, 11-4.1, "
        "11-10.1, 11-13.1, 13-16.1, 13-34.1. Missing:",
        "  disc 11-1.1: 1 of 2 recordings: wsj0/si_tr_s/01i/01ic0202.wv1",
        "  disc 11-3.1 (there is no folder of it): 1 of 1 recordings: "
        "wsj0/si_tr_s/401/401c0202.wv1",
        "  disc 11-14.1 (there is no folder of it): 1 of 1 recordings: "
        "wsj0/si_et_20/440/440c0401.wv1",
        "  disc 13-1.1 (there is no folder of it): 1 of 1 recordings: "
        "wsj1/si_tr_s/46c/46cc0201.wv1",
        "  the transcripts of 1 utterance(s) of wsj0/si_et_20: 440c0401 (in 440c0400.dot); they "
        "lie beside the recordings, on disc 11-14.1",
        "  the transcripts of 1 utterance(s) of wsj1/si_dt_20: 4k0c0301 (in 4k0c0300.dot); they "
        "lie in wsj1/trans/wsj1, on disc 13-34.1",
    ]


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    samples = np.ones(1600, dtype=np.int16)
    rows = [
        Row("train", "13-2.1", "wsj1/si_tr_s", f"46dc02{number:02d}", "Yes", samples)
        for number in range(1, 9)
    ]
    tiny_wsj.write_wsj(tmp_path, [*ROWS, *rows])
    tiny_wsj.lose_disc(tmp_path, "13-2.1")
    with pytest.raises(FileNotFoundError, match=r"8 of 8 recordings: .*46dc0205\.wv1 and 3 more"):
        prepare_wsj([tmp_path])


def test_a_missing_index(tree: Path) -> None:
    disc_file(tree, "13-34.1/wsj1/doc/indices/h1_p0.ndx").unlink()
    with pytest.raises(FileNotFoundError, match=r"disc 13-34\.1: the index wsj1/.*/h1_p0\.ndx"):
        prepare_wsj([tree])


@pytest.mark.parametrize(
    "line",
    ["13_16_1 wsj1/si_dt_20/4k0/4k0c0301.wv1", "13_16_1:wsj1/si_dt_20/4k0/4k0c0301.wv2", "4k0c"],
)
def test_a_line_of_an_index_in_another_form(tree: Path, line: str) -> None:
    path = disc_file(tree, "13-34.1/wsj1/doc/indices/h1_p0.ndx")
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(ValueError, match=rf"h1_p0\.ndx:4: expected a line like .*'{line}'"):
        prepare_wsj([tree])


@pytest.mark.parametrize("line", ["What was said", "What was said (4k0)", "(4k0c0302) said"])
def test_a_line_of_a_transcript_in_another_form(tree: Path, line: str) -> None:
    path = disc_file(tree, "13-34.1/wsj1/trans/wsj1/si_dt_20/4k0/4k0c0300.dot")
    path.write_text(f"{path.read_text()}\n{line}\n")
    with pytest.raises(ValueError, match=r"4k0c0300\.dot:3: expected `WORDS \(id\)`, found "):
        prepare_wsj([tree])


def test_a_transcript_that_is_not_text(tree: Path) -> None:
    path = disc_file(tree, "13-34.1/wsj1/trans/wsj1/si_dt_20/4k0/4k0c0300.dot")
    path.write_bytes(b"\xff\xfe\x00 (4k0c0301)\n")
    with pytest.raises(ValueError, match=r"4k0c0300\.dot:1: not UTF-8 \(byte 0xff\)"):
        prepare_wsj([tree])


def test_two_lines_of_one_utterance(tree: Path) -> None:
    path = disc_file(tree, "13-34.1/wsj1/trans/wsj1/si_dt_20/4k0/4k0c0300.dot")
    same = path.read_text()
    path.write_text(same + same)
    assert prepare_wsj([tree]) == _expected(tree)
    path.write_text(f"{same}Others said (4K0C0301)\n")
    with pytest.raises(ValueError, match=r"dot:2: 4K0C0301 has other words than at .*\.dot:1;"):
        prepare_wsj([tree])


def test_copies_of_a_transcript_that_disagree(tree: Path) -> None:
    path = disc_file(tree, "11-10.1/wsj0/transcrp/dots/si_tr_s/01i/01ic0200.dot")
    path.write_text(path.read_text().replace("Go", "Went"))
    with pytest.raises(ValueError, match=r"11-4\.1.*01ic0201 has other words than at .*11-10\.1"):
        prepare_wsj([tree])


def test_a_transcript_of_another_set_is_not_taken_for_a_copy(tree: Path) -> None:
    path = disc_file(tree, "11-14.1/wsj0/si_et_05/440/440c0400.dot")
    path.parent.mkdir(parents=True)
    path.write_text("Of the other test (440c0401)\n")
    assert prepare_wsj([tree]) == _expected(tree)


def test_a_transcript_in_another_place_is_found(tree: Path) -> None:
    path = disc_file(tree, "13-34.1/wsj1/trans/wsj1/si_dt_20/4k0/4k0c0300.dot")
    path.rename(disc_file(tree, "13-34.1/wsj1/trans/4k0c0300.dot"))
    assert prepare_wsj([tree]) == _expected(tree)


def test_cut_audio_is_left_to_validation(tree: Path) -> None:
    path = tiny_wsj.cut_audio(tree, BY_ID["4k0c0301"])
    splits = prepare_wsj([tree])
    assert splits["dev"][0].duration_s == 0
    (problem,) = validate(splits)
    assert (problem.split, problem.utterance) == ("dev", "4k0c0301")
    assert str(path) in problem.message
    assert "truncated" in problem.message


def test_an_utterance_of_noise_alone_is_left_to_validation(tree: Path) -> None:
    path = disc_file(tree, "13-34.1/wsj1/trans/wsj1/si_dt_20/4k0/4k0c0300.dot")
    path.write_text("[bad_recording] (4k0c0301)\n")
    (problem,) = validate(prepare_wsj([tree]))
    assert str(problem) == "dev/4k0c0301: its text is empty"
    assert validate(prepare_wsj([tree], noise="keep")) == []


def test_an_utterance_listed_twice_is_left_to_validation(tree: Path) -> None:
    tiny_wsj.list_too(tree, "train", BY_ID["46cc0201"])
    problems = validate(prepare_wsj([tree]))
    assert [str(problem) for problem in problems] == ["train/46cc0201: its id occurs 2 times"]


def test_a_speaker_of_two_splits_is_left_to_validation(tree: Path) -> None:
    row = Row("train", "13-1.1", "wsj1/si_tr_s", "440c0201", "Yes", BY_ID["440c0401"].samples)
    tiny_wsj.write_wsj(tree, [*ROWS, row])
    problems = validate(prepare_wsj([tree]))
    assert [str(problem) for problem in problems] == ["train/440c0201: speaker 440 is in test too"]


def test_the_demo_corpus_on_discs(demo_corpus: Path, tmp_path: Path) -> None:
    rows = tiny_wsj.rows_of_demo(demo_corpus)
    tiny_wsj.write_wsj(tmp_path, rows)
    splits = prepare_wsj([tmp_path])
    assert {split: len(us) for split, us in splits.items()} == {"train": 14, "dev": 4, "test": 4}
    assert len({u.speaker for us in splits.values() for u in us}) == 20
    assert {u.id: u.text for us in splits.values() for u in us} == {r.id: r.words for r in rows}
    assert validate(splits) == []
