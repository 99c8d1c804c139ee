"""Mask error and STOI: of one system over mixtures, of two on the same mixtures."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from squall.enhance.report.agreement import agreement_section
from squall.report.records import Record
from squall.report.report import Run

Rows = dict[tuple[str, str], tuple[float, float]]


def _run(tmp_path: Path, system: str, rows: Rows, *, seed: int = 1) -> Run:
    record = Record("toy", "small", "manifest", system, "hum/0dB", seed, "stoi", 0.5, "", 2, "c",
                    "run", "h", 1.0)  # fmt: skip
    score_dir = tmp_path / f"{system}-{seed}"
    score_dir.mkdir()
    lines = ["condition,utterance,speaker,stoi,mse\n"]
    for (condition, utterance), (mse, stoi) in rows.items():
        error = "" if np.isnan(mse) else repr(float(mse))
        lines.append(f"{condition},{utterance},s,{float(stoi)!r},{error}\n")
    (score_dir / "mixtures.csv").write_text("".join(lines))
    return Run(tmp_path, "small", score_dir, system, seed, (record,), (), {})


def _shown(*runs: Run) -> dict[str, tuple[str, str]]:
    cells = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", agreement_section(runs).body)[3:]
    return {cells[i]: (cells[i + 1], cells[i + 2]) for i in range(0, len(cells), 3)}


def _voices(seed: int) -> tuple[Rows, Rows]:
    """Two systems: STOI is the voice's, but for what the second's mask is better."""
    rng = np.random.default_rng(seed)
    first: Rows = {}
    second: Rows = {}
    for condition, error in (("hum/0dB", 0.1), ("hum/5dB", 0.02)):
        for number in range(200):
            voice, mask = rng.uniform(0.5, 0.9), error * rng.uniform(0.9, 1.1)
            gained = rng.uniform(0, 0.01)
            place = (condition, f"u{number}")
            first[place] = (mask, voice)
            second[place] = (mask - gained, voice + gained)
    return first, second


def test_systems_on_the_same_mixture_agree_where_mixtures_do_not(tmp_path: Path) -> None:
    first, second = _voices(0)
    network, kernel = _run(tmp_path, "dnn", first), _run(tmp_path, "kernel-1", second)
    shown = _shown(network, kernel)
    assert abs(float(shown[network.label][1])) < 0.2
    assert shown[f"{kernel.label} less {network.label}"] == ("400", "-1.00")


def test_an_easier_condition_is_no_correlation(tmp_path: Path) -> None:
    """Over all mixtures the two go together here, as the SNR decides both."""
    rng = np.random.default_rng(1)
    rows = {
        (condition, f"u{n}"): (error + rng.uniform(0, 0.01), stoi + rng.uniform(0, 0.05))
        for condition, error, stoi in (("hum/0dB", 0.1, 0.5), ("hum/5dB", 0.02, 0.9))
        for n in range(200)
    }
    assert np.corrcoef(np.array([*rows.values()]).T)[0, 1] < -0.9
    (cells,) = _shown(_run(tmp_path, "dnn", rows)).values()
    assert abs(float(cells[1])) < 0.2


def test_only_baselines_of_the_same_experiment_and_seed_are_taken_away(tmp_path: Path) -> None:
    first, second = _voices(2)
    kernel, other_seed = _run(tmp_path, "kernel-1", second), _run(tmp_path, "dnn", first, seed=2)
    elsewhere = _run(tmp_path, "dnn", first)
    elsewhere = replace(elsewhere, records=(replace(elsewhere.records[0], experiment="large"),))
    assert not [row for row in _shown(kernel, other_seed, elsewhere) if " less " in row]


@pytest.mark.parametrize("system", ["noisy", "oracle"])
def test_what_has_no_mask_error_has_no_row(tmp_path: Path, system: str) -> None:
    first, second = _voices(3)
    without = {place: (float("nan"), stoi) for place, (_, stoi) in first.items()}
    shown = _shown(_run(tmp_path, system, without), _run(tmp_path, "kernel-1", second))
    assert len(shown) == 1
    assert agreement_section([]).body == ""


def test_two_mixtures_or_equal_ones_have_no_correlation(tmp_path: Path) -> None:
    few: Rows = {("hum/0dB", f"u{n}"): (0.1 * n, 0.5 + 0.1 * n) for n in range(2)}
    equal: Rows = {("hum/0dB", f"u{n}"): (0.1, 0.5 + 0.1 * n) for n in range(9)}
    shown = _shown(_run(tmp_path, "dnn", few), _run(tmp_path, "kernel-1", equal))
    assert {cells[1] for cells in shown.values()} == {""}
