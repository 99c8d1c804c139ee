"""`squall score-speech`: pairs of files, tables, and what cannot be scored."""

from __future__ import annotations

import csv
import io
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from squall.audio.reading import Audio, read_audio
from squall.cli import main, score_speech

pytest.importorskip("pystoi")
pytest.importorskip("pesq")

METRICS = ["stoi", "pesq_nb", "pesq_wb", "si_sdr"]


def _speech(seconds: float, rate_hz: int = 16000, seed: int = 0) -> np.ndarray:
    samples = 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate_hz))
    return samples * (np.arange(len(samples)) % (0.6 * rate_hz) < 0.5 * rate_hz)


def _write(path: Path, samples: np.ndarray, rate_hz: int = 16000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "FLAC" if path.suffix.lower() == ".flac" else "WAV"
    soundfile.write(path, samples, rate_hz, subtype="PCM_16", format=kind)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three clean recordings, and noisy ones at 0, 10 and 20 dB under the same names."""
    clean, noisy = tmp_path / "clean", tmp_path / "noisy"
    random = np.random.default_rng(1)
    for number, name in enumerate(("a/one", "a/two", "b/one")):
        samples = _speech(1.0, seed=number)
        noise = random.standard_normal(len(samples)) * samples.std() * 10 ** (-number / 2)
        _write(clean / f"{name}.flac", samples)
        _write(noisy / f"{name}.WAV", samples + noise)
    return clean, noisy


def _score(folders: tuple[Path, Path], *options: str) -> int:
    command = ["score-speech", "--reference", str(folders[0]), "--estimate", str(folders[1])]
    return main([*command, "--jobs", "1", *options])


def _parts(out: str) -> tuple[list[dict[str, str]], list[list[str]]]:
    """Rows of the CSV, and the table's lines in columns."""
    rows, table = out.split("\n\n") if "\n\n" in out else ("", out)
    bare = [re.sub(r"(?<=\d)  \S.* is better$", "", line) for line in table.splitlines()]
    lines = [line.replace(" to ", " ").split() for line in bare]
    return list(csv.DictReader(io.StringIO(rows))), lines


def test_rows_and_means(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert _score(folders) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    rows, table = _parts(captured.out)
    assert list(rows[0]) == ["file", *METRICS, "lag_samples", "reason"]
    assert {row["lag_samples"] for row in rows} == {"0"}
    assert [row["file"] for row in rows] == ["a/one", "a/two", "b/one"]
    assert [round(float(row["si_sdr"]), -1) for row in rows] == [0, 10, 20]
    for metric, line in zip(METRICS, table[1:5], strict=True):
        values = [float(row[metric]) for row in rows]
        name, mean, low, high, files, undefined = line
        assert (name, files, undefined) == (metric, "3", "0")
        assert float(mean) == pytest.approx(sum(values) / 3, abs=2e-4)
        assert min(values) - 1e-4 <= float(low) <= float(mean) <= float(high)
        assert float(high) <= max(values) + 1e-4
    assert " ".join(table[5]) == (
        "interval: percentile bootstrap over files, 2000 resamples, seed 0"
    )


def test_a_csv_file_leaves_the_table_on_the_terminal(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert _score(folders) == 0
    whole = capsys.readouterr().out
    path = tmp_path / "new" / "scores.csv"
    assert _score(folders, "--csv", str(path)) == 0
    captured = capsys.readouterr()
    assert f"{path.read_text()}\n{captured.out}" == whole
    assert captured.err.splitlines()[-1] == "3 of 3: b/one"


def test_scores_are_chosen_by_name(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "new" / "scores.html"
    assert _score(folders, "--scores", "lsd, si_sdr,estoi", "--html", str(page)) == 0
    out = capsys.readouterr().out
    rows, table = _parts(out)
    assert list(rows[0]) == ["file", "estoi", "si_sdr", "lsd", "lag_samples", "reason"]
    assert [line[0] for line in table[1:4]] == ["estoi", "si_sdr", "lsd"]
    assert "  dB, lower is better\n" in out
    text = page.read_text()
    for shown in ("log-spectral distance", "a/two", rows[0]["lsd"], table[3][1], "2000 resamples"):
        assert shown in text


@pytest.mark.slow
def test_without_a_reference_there_are_scores_that_need_none(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("speechmos")
    assert main(["score-speech", "--estimate", str(folders[1]), "--jobs", "1"]) == 0
    rows, table = _parts(capsys.readouterr().out)
    names = ["dnsmos_ovrl", "dnsmos_sig", "dnsmos_bak", "dnsmos_p808"]
    assert list(rows[0]) == ["file", *names, "reason"]
    assert [line[0] for line in table[1:5]] == names
    assert all(1 <= float(row["dnsmos_ovrl"]) <= 5 for row in rows)
    one = folders[1] / "a" / "one.WAV"
    assert main(["score-speech", "--estimate", str(one), "--jobs", "1"]) == 0
    assert _parts(capsys.readouterr().out)[0][0]["dnsmos_sig"] == rows[0]["dnsmos_sig"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scores", "stoi,psq"], "there is no score 'psq'; there are stoi, estoi, pesq_nb"),
        (["--scores", ""], "there is no score ''"),
        (["--scores", "csig", "--alone"], "csig: needs clean speech to compare with"),
        (["--scores", "sdr", "--hide", "fast_bss_eval"], "sdr: needs fast_bss_eval: pip install"),
        (["--html", "ONE"], "ONE is one of the inputs: give another output"),
        (["--html", "NOISY/lonely.wav"], "lonely.wav is one of the inputs: give another output"),
        (["--csv", "NOISY/new", "--html", "NOISY/a/../new"], "new is to be written twice"),
        (["--csv", "NOISY"], "NOISY is a folder: give the name of a file"),
    ],
)
def test_wrong_choices_are_named(
    folders: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    one, noisy = str(folders[1] / "a" / "one.WAV"), str(folders[1])
    _write(folders[1] / "lonely.wav", _speech(1.0))
    options, message = (
        [text.replace("ONE", one).replace("NOISY", noisy) for text in o]
        for o in (options, [message])
    )
    if "--hide" in options:
        monkeypatch.setitem(sys.modules, options.pop(), None)
        options.remove("--hide")
    alone = "--alone" in options
    reference = [] if alone else ["--reference", str(folders[0])]
    rest = [option for option in options if option != "--alone"]
    assert main(["score-speech", *reference, "--estimate", str(folders[1]), *rest]) == 1
    assert message[0] in capsys.readouterr().err


@pytest.mark.slow
def test_more_processes_change_nothing(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _score(folders)
    alone = capsys.readouterr().out
    _score(folders, "--jobs", "2")
    assert capsys.readouterr().out == alone


def test_two_files(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    pair = (folders[0] / "a" / "two.flac", folders[1] / "a" / "two.WAV")
    assert _score(pair) == 0
    rows, table = _parts(capsys.readouterr().out)
    assert [row["file"] for row in rows] == [str(pair[1])]
    assert table[1][2:] == ["-", "1", "0"]
    assert " ".join(table[6]) == (
        "-: no interval, one file or none has this score: nothing tells its spread"
    )


def test_what_cannot_be_scored_is_named_and_the_others_are(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    clean, noisy = folders
    _write(clean / "lonely.wav", _speech(1.0))
    _write(noisy / "extra.wav", _speech(1.0))
    _write(clean / "long.wav", _speech(1.0))
    _write(noisy / "long.wav", _speech(1.2))
    _write(clean / "broken.wav", _speech(1.0))
    (noisy / "broken.wav").write_bytes(b"RIFF and nothing more")
    (noisy / "._a.wav").write_bytes(b"what macOS leaves behind")
    assert _score(folders, "--html", str(tmp_path / "scores.html")) == 1
    captured = capsys.readouterr()
    rows, table = _parts(captured.out)
    assert [row["file"] for row in rows] == ["a/one", "a/two", "b/one"]
    assert table[1][-2:] == ["3", "0"]
    lonely, extra, broken, long, last = captured.err.splitlines()
    assert lonely == f"{clean / 'lonely.wav'}: no file of this name in {noisy}"
    assert extra == f"{noisy / 'extra.wav'}: no file of this name in {clean}"
    assert broken.startswith(f"{noisy / 'broken.wav'}: ")
    assert long == (
        f"{noisy / 'long.wav'}: 1.200 s, but {clean / 'long.wav'} has 1.000 s: "
        "these are not aligned"
    )
    assert last == "4 file(s) could not be scored, see above"
    page = (tmp_path / "scores.html").read_text()
    for told in (lonely, extra, long):
        assert told in page


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (MemoryError(), "a/two: the memory is full"),
        (PermissionError(13, "Permission denied"), "[Errno 13] Permission denied"),
    ],
)
def test_whatever_goes_wrong_with_reading_a_pair_does_not_cost_the_others(
    folders: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    problem: str,
) -> None:
    def read(path: Path, **options: Any) -> Audio:
        if path.stem == "two":
            raise error
        return read_audio(path, **options)

    monkeypatch.setattr(score_speech, "read_audio", read)
    assert _score(folders) == 1
    captured = capsys.readouterr()
    assert [row["file"] for row in _parts(captured.out)[0]] == ["a/one", "b/one"]
    assert captured.err.splitlines()[0] == problem


def test_a_few_samples_more_are_cut_and_said(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = folders[1] / "a" / "two.WAV"
    samples, _ = soundfile.read(path)
    _score(folders)
    before = capsys.readouterr().out
    _write(path, np.concatenate([samples, np.zeros(159)]))
    assert _score(folders) == 0
    captured = capsys.readouterr()
    note = "estimate cut by 159 samples to the length of the other"
    assert captured.err == f"a/two: {note}\n"
    rows, _ = _parts(captured.out)
    assert rows[1]["reason"] == note
    assert captured.out.replace(note, "") == before
    _write(path, np.concatenate([samples, np.zeros(160)]))
    assert _score(folders) == 1
    assert "these are not aligned" in capsys.readouterr().err


def _shifted(samples: np.ndarray, by: int, *, keep_length: bool) -> np.ndarray:
    late = np.concatenate([np.zeros(max(0, by)), samples])[max(0, -by) :]
    return np.resize(late, len(samples)) if keep_length else late


@pytest.mark.slow
@pytest.mark.parametrize("keep_length", [False, True])
def test_a_delay_is_found_taken_out_and_said_once(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], keep_length: bool
) -> None:
    _score(folders)
    plain, _ = _parts(capsys.readouterr().out)
    lags = {"a/one": 100, "a/two": -77, "b/one": 320}
    for name, lag in lags.items():
        path = folders[1] / f"{name}.WAV"
        _write(path, _shifted(soundfile.read(path)[0], lag, keep_length=keep_length))
    assert _score(folders) == 0
    captured = capsys.readouterr()
    assert captured.err == (
        "3 of 3 estimates are late or early (lag_samples: -77 to 320): aligned with their "
        "references; --no-align scores them as they are\n"
    )
    rows, _ = _parts(captured.out)
    for row, expected in zip(rows, plain, strict=True):
        assert int(row["lag_samples"]) == lags[row["file"]]
        assert float(row["stoi"]) == pytest.approx(float(expected["stoi"]), abs=0.02)
        assert float(row["si_sdr"]) == pytest.approx(float(expected["si_sdr"]), abs=0.3)
        assert row["reason"] == ""


def test_a_delay_is_left_in_where_that_is_asked_for(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = folders[1] / "b" / "one.WAV"
    _write(path, _shifted(soundfile.read(path)[0], 100, keep_length=True))
    assert _score(folders, "--no-align") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    rows, _ = _parts(captured.out)
    assert [row["lag_samples"] for row in rows] == ["", "", ""]
    assert float(rows[2]["si_sdr"]) < -10


def test_an_offset_is_told_and_not_counted(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _score(folders)
    plain, _ = _parts(capsys.readouterr().out)
    path = folders[0] / "a" / "one.flac"
    _write(path, soundfile.read(path)[0] + 0.1)
    _score(folders)
    captured = capsys.readouterr()
    assert captured.err.startswith("a/one: reference has a constant offset of 0.1, ")
    rows, _ = _parts(captured.out)
    assert rows[0]["reason"].endswith("times its spread, not counted")
    for metric in METRICS:
        assert float(rows[0][metric]) == pytest.approx(float(plain[0][metric]), abs=0.002)


def test_other_sampling_rates_and_channels_are_converted_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = _speech(1.0, rate_hz=8000)
    _write(tmp_path / "clean.wav", samples, 8000)
    _write(tmp_path / "noisy.wav", np.stack([samples, samples], axis=1), 8000)
    assert _score((tmp_path / "clean.wav", tmp_path / "noisy.wav")) == 0
    captured = capsys.readouterr()
    rows, _ = _parts(captured.out)
    assert "reference resampled from 8000 Hz" in captured.err
    assert "estimate mixed down from 2 channels" in captured.err
    assert rows[0]["reason"].startswith("reference resampled from 8000 Hz; estimate mixed")
    assert float(rows[0]["si_sdr"]) > 60


def test_a_silent_file_counts_as_nan(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _write(folders[1] / "a" / "two.WAV", np.zeros(16000))
    assert _score(folders) == 0
    rows, table = _parts(capsys.readouterr().out)
    assert [rows[1][metric] for metric in METRICS] == [""] * 4
    assert rows[1]["reason"] == "stoi, pesq_nb, pesq_wb, si_sdr: the estimate is silent"
    assert all(line[-2:] == ["2", "1"] for line in table[1:5])
    assert all(math.isfinite(float(line[1])) for line in table[1:5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, n: (c, n.parent / "nowhere"), "nowhere: no such file or folder"),
        (lambda c, n: (c, n / "a" / "one.WAV"), "give two folders or two files"),
        (lambda c, n: (c / "empty", n), "empty: no audio in this folder"),
        (lambda c, n: (c / "twice", n), "two files of one name"),
        (lambda c, n: (c, n / "other"), "nothing could be scored, 4 problem(s) above"),
    ],
)
def test_wrong_folders_are_named(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], change, message: str
) -> None:
    clean, noisy = folders
    (clean / "empty").mkdir()
    _write(noisy / "other" / "c.wav", _speech(1.0))
    if "twice" in str(change(clean, noisy)[0]):
        _write(clean / "twice" / "x.wav", _speech(1.0))
        _write(clean / "twice" / "x.flac", _speech(1.0))
    assert _score(change(clean, noisy)) == 1
    captured = capsys.readouterr()
    assert message in captured.err.splitlines()[-1]
    assert captured.out == ""


def test_nothing_is_written_when_nothing_is_scored(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    _write(tmp_path / "short" / "a" / "one.wav", _speech(0.5))
    path = tmp_path / "scores.csv"
    assert _score((folders[0], tmp_path / "short"), "--csv", str(path)) == 1
    assert not path.exists()


def test_a_csv_does_not_replace_what_is_scored(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    audio = next(path for path in sorted(folders[1].rglob("*")) if path.is_file())
    before = audio.read_bytes()
    assert _score(folders, "--csv", str(audio)) == 1
    assert f"{audio} is one of the inputs: give another output" in capsys.readouterr().err
    assert audio.read_bytes() == before
