"""The settings of a recogniser that comes from someone else."""

from __future__ import annotations

from pathlib import Path

import pytest

from squall.asr.bridge.names import WITH_TRANSFORMERS
from squall.asr.bridge.running import load_espnet_config

_KIND = "Hostile input"


@pytest.mark.fault(
    _KIND, "a recogniser's settings that name a network at an address", "refused until asked for"
)
@pytest.mark.parametrize("part", ["huggingface", "wav2vec2", "transformer_opt"])
@pytest.mark.parametrize("key", ["frontend", "encoder", "postencoder", "decoder", "lm"])
def test_a_part_that_fetches_is_refused(
    tmp_path: Path, key: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(WITH_TRANSFORMERS, raising=False)
    path = tmp_path / "config.yaml"
    path.write_text(f"{key}: {part}\n{key}_conf: {{model: someone/theirs}}\n")
    with pytest.raises(ValueError, match=rf"config\.yaml names {key} {part}, .*_TRANSFORMERS=1"):
        load_espnet_config(path)
    monkeypatch.setenv(WITH_TRANSFORMERS, "1")
    assert vars(load_espnet_config(path))[key] == part


def test_other_parts_are_espnets_own(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("encoder: conformer\ndecoder: transformer\nfrontend: null\n")
    assert load_espnet_config(path).encoder == "conformer"


@pytest.mark.fault(_KIND, "a recogniser's settings that are something else", "an error names them")
@pytest.mark.parametrize(
    "text",
    ["", "- 1", "1: 2", "a: [", "a: !!python/name:os.system", "a: 2001-99-99", "a: " + "[" * 2000],
)
def test_what_is_no_settings_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml is damaged: "):
        load_espnet_config(path)
