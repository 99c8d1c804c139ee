"""Large inputs: time and memory grow with the size, and no faster.

Each is run in a process of its own, at two sizes; the exponent is that of the computing time.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tiny_report import write_experiment

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(3600)]

Outcome = Callable[[str, object], None]

_TOLD = "import resource as _r\n"
_TELL = """
_u = _r.getrusage(_r.RUSAGE_SELF)
import json as _j, sys as _s
print(_j.dumps([_u.ru_utime + _u.ru_stime, _u.ru_maxrss / 1024]), file=_s.stderr)
"""


def _measure(code: str, *arguments: object) -> tuple[float, float]:
    """Computing time in seconds and peak memory in MB of a process that runs a program."""
    done = subprocess.run(
        [sys.executable, "-c", _TOLD + code + _TELL, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seconds, megabytes = json.loads(done.stderr.strip().rpartition("\n")[2])
    return seconds, megabytes


def _exponent(code: str, small: Path, large: Path, factor: float, *, empty: Path) -> str:
    """The exponents of time and memory from one size to another, above those of nothing."""
    base_s, base_mb = _measure(code, empty)
    (small_s, small_mb), (large_s, large_mb) = (_measure(code, path) for path in (small, large))
    of_time = math.log((large_s - base_s) / max(small_s - base_s, 0.05)) / math.log(factor)
    of_memory = math.log((large_mb - base_mb) / max(small_mb - base_mb, 5.0)) / math.log(factor)
    told = f"time {of_time:.2f}, memory {of_memory:.2f}; {large_s:.0f} s and {large_mb:.0f} MB"
    assert of_time <= 1.1, told
    assert of_memory <= 1.1, told
    return told


def _write_manifest(folder: Path, count: int) -> Path:
    """A corpus of as many utterances as asked for, of one recording cut into pieces."""
    folder.mkdir(parents=True)
    seconds = 20
    soundfile.write(
        folder / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(16000 * seconds), 16000
    )
    splits = {"train": count, "dev": max(2, count // 50), "test": max(2, count // 50)}
    for split, of_split in splits.items():
        with (folder / f"{split}.jsonl").open("w") as file:
            for number in range(of_split):
                record = {
                    "id": f"s{number % 977:03d}_{split}_{number:07d}",
                    "audio_path": "a.wav",
                    "start_s": round(number % 1800 / 100, 2),
                    "duration_s": 1.5,
                    "sample_rate_hz": 16000,
                    "speaker": f"s{number % 977:03d}",
                    "text": f"WORD{number % 997} OF MANY{number % 13}",
                    "phones": [],
                }
                file.write(json.dumps(record) + "\n")
    return folder


_PREPARE = """
import sys
from pathlib import Path
from squall.engine.experiment import RunOptions, repository_root
from squall.engine.runner import Cell, run_cell
from squall.engine.tasks import load_config
corpus = Path(sys.argv[1])
path = repository_root() / "conf" / "demo" / "conformer.yaml"
settings = {"corpus.name": "manifest", "grid": {}, "tokens": {"units": "char"}}
options = RunOptions(str(corpus / "exp"), str(corpus), workers=1)
run_cell(Cell(load_config(path, settings), options, first=1, last=2))
"""


@pytest.mark.fault(
    "Load", "manifests of 20,000 and 200,000 utterances, stages 1 and 2",
    "time and memory linear: exponent at most 1.1",
)  # fmt: skip
def test_manifests_are_prepared_in_linear_time(tmp_path: Path, record_property: Outcome) -> None:
    pytest.importorskip("espnet2")
    paths = [_write_manifest(tmp_path / str(n), n) for n in (10, 20_000, 200_000)]
    told = _exponent(_PREPARE, paths[1], paths[2], 10, empty=paths[0])
    record_property("outcome", told)


_SCORE = """
import sys
from squall.cli import main
files = ["--reference", f"{sys.argv[1]}/ref.txt", "--hypothesis", f"{sys.argv[1]}/hyp.txt"]
assert main(["score", *files]) == 0
"""


def _write_texts(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    words = np.array([f"word{number}" for number in range(200)])
    for name in ("ref", "hyp"):
        with (folder / f"{name}.txt").open("w") as file:
            for number in range(count):
                file.write(f"u{number:07d} {' '.join(words[random.integers(0, 200, 5)])}\n")
    return folder


@pytest.mark.fault(
    "Load", "`squall score` on a million lines",
    "time and memory linear: exponent at most 1.1",
)  # fmt: skip
def test_a_million_lines_are_scored_in_linear_time(
    tmp_path: Path, record_property: Outcome
) -> None:
    paths = [_write_texts(tmp_path / str(n), n) for n in (10, 100_000, 1_000_000)]
    record_property("outcome", _exponent(_SCORE, paths[1], paths[2], 10, empty=paths[0]))


_SCORE_SPEECH = """
import sys
from squall.cli import main
folder = sys.argv[1]
folders = ["--reference", f"{folder}/clean", "--estimate", f"{folder}/estimate"]
assert main(["score-speech", *folders, "--scores", "si_sdr,seg_snr"]) == 0
"""


def _write_speech(folder: Path, count: int) -> Path:
    random = np.random.default_rng(0)
    for name in ("clean", "estimate"):
        (folder / name).mkdir(parents=True)
    speech = 0.1 * random.standard_normal(8000)
    noisy = speech + 0.01 * random.standard_normal(8000)
    for number in range(count):
        soundfile.write(folder / "clean" / f"u{number:05d}.wav", speech, 16000)
        soundfile.write(folder / "estimate" / f"u{number:05d}.wav", noisy, 16000)
    return folder


@pytest.mark.fault(
    "Load", "`squall score-speech` on 5,000 files", "time and memory linear: exponent at most 1.1"
)
def test_five_thousand_files_are_scored_in_linear_time(
    tmp_path: Path, record_property: Outcome
) -> None:
    paths = [_write_speech(tmp_path / str(n), n) for n in (5, 500, 5000)]
    record_property("outcome", _exponent(_SCORE_SPEECH, paths[1], paths[2], 10, empty=paths[0]))


_REPORT = """
import sys
from pathlib import Path
from squall.asr.report.sections import collect
from squall.engine.tasks import open_variants
folder = Path(sys.argv[1])
paths = sorted((folder / "exp" / "toy").glob("small-*"))
found = [one for path in paths for one in open_variants(path)]
report = collect(found)
report.write_html(folder / "report.html")
report.write_results(folder, title="Results")
"""


@pytest.mark.fault(
    "Load", "500 experiments in one report", "less than 60 s and 1 GB; the page stays usable"
)
def test_five_hundred_experiments_are_one_report(tmp_path: Path, record_property: Outcome) -> None:
    pytest.importorskip("espnet2")
    pytest.importorskip("matplotlib")
    for name in ("ce", "squentropy", "square", "rescaled_square", "ccql"):
        for seed in range(1, 101):
            write_experiment(tmp_path, loss={"name": name}, seed=seed)
    seconds, megabytes = _measure(_REPORT, tmp_path)
    size = (tmp_path / "report.html").stat().st_size / 1e6
    record_property("outcome", f"{seconds:.0f} s, {megabytes:.0f} MB, a page of {size:.1f} MB")
    assert (tmp_path / "RESULTS.md").read_text().count("| small | ccql | ") >= 100
    assert megabytes < 1000
    assert seconds < 60
    assert size < 20
