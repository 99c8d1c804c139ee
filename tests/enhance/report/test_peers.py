"""PEERS.md, from records written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from squall.enhance.peers.registry import PEERS
from squall.enhance.report.peers import peer_pages
from squall.enhance.report.tables import ENHANCEMENT
from squall.report.records import Record
from squall.report.tables import write_results
from squall.scoring.metrics import declared


def _record(metric: str, system: str, value: float | None, **changes: Any) -> Record:
    plain = {
        "recipe": "toy", "experiment": "small", "dataset": "manifest", "condition": "babble/0dB",
        "seed": 1, "n": 4, "commit": "c", "command": "squall run", "hardware": "h", "seconds": 1.0,
        "unit": declared(metric).unit,
    }  # fmt: skip
    return Record(**{**plain, "metric": metric, "system": system, "value": value, **changes})


def _tables(*records: Record) -> dict[str, list[list[str]]]:
    """The rows of each table by its title, without its head."""
    found = {}
    for part in peer_pages(records)["PEERS.md"].split("\n## ")[1:]:
        lines = [line[2:-2].split(" | ") for line in part.splitlines() if line.startswith("|")]
        found[part.partition("\n")[0]] = lines[:1] + lines[2:]
    return found


def test_without_enhancers_off_the_shelf_there_is_no_page(tmp_path: Path) -> None:
    records = [_record("stoi", system, 0.7) for system in ("noisy", "dnn", "kernel-4", "oracle")]
    assert peer_pages(records) == {}
    write_results(tmp_path, records, title="Results", layout=ENHANCEMENT)
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "RESULTS.md"}


def test_the_page_is_made_from_the_results_alone(tmp_path: Path) -> None:
    records = [_record("stoi", "noisy", 0.7), _record("stoi", "rnnoise", 0.8)]
    write_results(tmp_path, records, title="Results", layout=ENHANCEMENT)
    page = tmp_path / "PEERS.md"
    first = page.read_text(encoding="utf-8")
    page.unlink()
    write_results(tmp_path, [], title="Results", layout=ENHANCEMENT)
    assert page.read_text(encoding="utf-8") == first
    assert first.startswith("# Enhancers off the shelf beside those of the toy recipe\n\nMade from")
    assert "hundreds of hours" in first


def test_scores_are_means_over_noises_of_a_kind_at_an_snr() -> None:
    records = [
        _record("unseen", "gtcrn", float(unseen), condition=condition)
        for condition, unseen in (
            ("babble/0dB", 0), ("rain/0dB", 0), ("rain/-5dB", 0), ("city/0dB", 1)
        )
    ]  # fmt: skip
    records += [
        _record("stoi", "noisy", 0.5), _record("stoi", "noisy", 0.7, condition="rain/0dB"),
        _record("stoi", "gtcrn", 0.6), _record("stoi", "gtcrn", 0.9, condition="rain/0dB"),
        _record("stoi", "gtcrn", 0.4, condition="rain/-5dB"),
        _record("stoi", "gtcrn", 0.3, condition="city/0dB"),
        _record("lsd", "gtcrn", 7.04),
        _record("stoi", "rnnoise", None, reason="not installed"),
    ]  # fmt: skip
    tables = _tables(*records)
    head = ["", "STOI", "log-spectral distance dB, lower is better"]
    seen = [head, ["noisy", "0.600", ""], ["rnnoise", "undefined", ""], ["gtcrn", "0.750", "7.0"]]
    assert tables["manifest, small: seen noises, 0 dB"] == seen
    assert tables["manifest, small: unseen noises, 0 dB"][3] == ["gtcrn", "0.300", ""]
    assert [title.partition(": ")[2] for title in tables][2:] == [
        "seen noises, -5 dB", "seen noises, 0 dB", "unseen noises, 0 dB",
    ]  # fmt: skip


def test_each_system_has_what_it_was_trained_on_its_size_and_its_speed() -> None:
    frames = {"all": 60_000.0, "babble/0dB": 6_000.0}
    records = [_record("train_frames", "kernel-4", n, condition=c) for c, n in frames.items()]
    records += [_record("centres", "kernel-4", n, condition=c) for c, n in frames.items()]
    records += [
        _record("params", "dnn", 4_500_000.0, condition="all"),
        *(_record("rtf", "kernel-4", v, condition=f"babble/{v}dB") for v in (0.1, 0.2, 0.6)),
        _record("rtf", "logmmse", 0.007), _record("rtf", "gtcrn", 0.0814),
        _record("rtf", "rnnoise", None, reason="not installed"),
        _record("stoi", "noisy", 0.5), _record("stoi", "kernel-4", 0.6, experiment="alone"),
    ]  # fmt: skip
    tables = _tables(*records)
    assert tables["manifest, small: systems"][1:] == [
        ["dnn", "", "", "4,500,000 parameters", ""],
        ["kernel-4", "6,000 to 60,000", "1.0 to 10.0", "6,000 to 60,000 centres", "0.200"],
        ["logmmse", "none", "", "none", "0.007"],
        ["rnnoise", "other recordings", "", "2,884,769 parameters", "undefined: not installed"],
        ["gtcrn", "other recordings", "", "48,228 parameters", "0.081"],
    ]
    assert not any("alone" in title for title in tables)


@pytest.mark.parametrize("name", PEERS)
def test_what_the_registry_knows_stands_in_the_page(name: str) -> None:
    peer = PEERS[name]
    (row,) = _tables(_record("stoi", name, 0.8))["Off the shelf"][1:]
    for known in (name, peer.title, peer.version, peer.trained_on, peer.licence):
        assert known in " | ".join(row)
    assert f"{peer.sample_rate_hz / 1000:g} kHz" in row
    assert f"{peer.latency_ms:g} ms" in row
