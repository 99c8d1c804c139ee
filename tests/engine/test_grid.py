"""Which settings a recipe has where none are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from squall.engine.grid import find_config

DEFAULTS = {
    "an4": "conformer",
    "asymptotics": "figures",
    "ccql": "cifar100",
    "collapse": "mlp",
    "charlm": "text8_small",
    "demo": "conformer",
    "enhance_demo": "enhancement",
    "enhance_hint": "ibm",
    "enhance_timit": "irm",
    "images": "cifar10",
    "librispeech": "e_branchformer",
    "mixtures": "lemmas",
    "own": "conformer",
    "spiral": "spirals",
    "tabular": "collection",
    "text": "bert",
    "timit": "rnn",
    "voxforge": "conformer",
    "wsj": "rnn",
}


def test_further_presets_leave_the_default_of_a_recipe() -> None:
    recipes = sorted(
        path.parent.name for path in Path(__file__).parents[2].glob("recipes/*/run.sh")
    )
    assert recipes == sorted(DEFAULTS)
    assert {recipe: find_config(recipe, None)[0].stem for recipe in recipes} == DEFAULTS


@pytest.mark.parametrize("written", ["base: [", "base: first.yaml", "- a list", ""])
def test_a_file_that_builds_on_itself_or_is_none_is_left_to_who_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.setenv("SQUALL_ROOT", str(tmp_path))
    (tmp_path / "conf" / "toy").mkdir(parents=True)
    (tmp_path / "conf" / "toy" / "first.yaml").write_text(written)
    assert find_config("toy", None) == (tmp_path / "conf" / "toy" / "first.yaml", "")
