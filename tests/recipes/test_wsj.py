"""The `wsj` recipe runs all stages on the two corpora's discs, and lists what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from commands import RECOGNITION, numbered, work_done
from squall.report.records import read_records
from tiny_wsj import ROWS, lose_disc, lose_line, rows_of_demo, write_wsj

pytest.importorskip("espnet2")

Squall = Callable[..., tuple[int, str, str]]

# The architectures with a few units, and one epoch.
SMALL = {
    "rnn": [
        "espnet.max_epoch=1",
        "espnet.encoder_conf.num_layers=1",
        "espnet.encoder_conf.hidden_size=8",
        "espnet.encoder_conf.output_size=8",
        "espnet.decoder_conf.hidden_size=8",
        "espnet.decoder_conf.att_conf={atype: location, adim: 8, aconv_chans: 2, aconv_filts: 5}",
        "espnet.batch_size=8",
        "lm.espnet.max_epoch=1",
        "lm.units=word",  # as the source has it
        "lm.espnet.lm_conf={rnn_type: lstm, unit: 8, nlayers: 1}",
    ],
    "transformer": [
        "espnet.max_epoch=1",
        "espnet.encoder_conf.num_blocks=1",
        "espnet.encoder_conf.output_size=8",
        "espnet.encoder_conf.attention_heads=2",
        "espnet.encoder_conf.linear_units=8",
        "espnet.decoder_conf.num_blocks=1",
        "espnet.decoder_conf.attention_heads=2",
        "espnet.decoder_conf.linear_units=8",
        "espnet.batch_size=8",
        "espnet.accum_grad=1",
        "lm.espnet.max_epoch=1",
    ],
}


@pytest.fixture
def wsj(squall: Squall) -> Squall:
    """`squall run wsj` with a tiny model: exit code, output and errors."""

    def run(preset: str, *arguments: object) -> tuple[int, str, str]:
        assignments = [part for setting in SMALL[preset] for part in ("--set", setting)]
        settings = ("--set", "decode.beam_size=2", "--preset", preset, *assignments)
        return squall("wsj", *settings, *arguments)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("preset", SMALL)
def test_all_stages_run_on_the_discs(
    wsj: Squall, demo_corpus: Path, tmp_path: Path, preset: str
) -> None:
    rows = rows_of_demo(demo_corpus)
    write_wsj(tmp_path / "discs", rows)
    folders = (tmp_path / "discs" / "WSJ0", tmp_path / "discs" / "WSJ1")
    arguments = ("--corpus-dir", *folders, "--set", "loss.name=rescaled_square")
    code, out, err = wsj(preset, *arguments)
    assert code == 0, err
    assert work_done(out) == numbered(RECOGNITION)

    records = {
        (r.condition, r.metric): r for r in read_records(tmp_path / "results" / "results.json")
    }
    assert {system.system for system in records.values()} == {"rescaled_square-m15-k1"}
    tested = [row for row in rows if row.split == "test"]
    assert records["test", "wer"].n == sum(len(row.words.split()) for row in tested)
    assert {metric for condition, metric in records if condition == "test"} >= {"wer", "cer", "rtf"}

    code, out, err = wsj(preset, *arguments)
    assert code == 0, err
    assert work_done(out) == ["0 check"]


def test_a_disc_that_is_missing_is_listed(wsj: Squall, tmp_path: Path) -> None:
    discs = tmp_path / "discs"
    write_wsj(discs)
    lose_disc(discs, "13-16.1")
    code, _, err = wsj(
        "rnn", "--corpus-dir", discs / "WSJ0", discs / "WSJ1", "--set", "loss.name=ce"
    )
    assert code == 1
    assert "13-16.1" in err


def test_an_utterance_without_transcript_is_named(wsj: Squall, tmp_path: Path) -> None:
    discs = tmp_path / "discs"
    write_wsj(discs)
    lose_line(discs, ROWS[0])
    code, _, err = wsj("rnn", "--corpus-dir", discs, "--set", "loss.name=ce")
    assert code == 1
    assert ROWS[0].id in err
