"""What names the experiment of a language model, and what does not."""

from __future__ import annotations

from typing import Any

from squall.corpora.settings import CorpusConfig
from squall.studies.charlm.settings import CharlmConfig


def _name(**settings: Any) -> str:
    given = {"recipe": "charlm", "experiment": "toy", "corpus": CorpusConfig(name="text8")}
    return CharlmConfig(**given, **settings).directory_name


def test_what_changes_no_network_is_no_part_of_the_name() -> None:
    for settings in (
        {"loss": {"fused": True}},
        {"text": {"ngrams": [2, 3]}},
        {"evaluation": {"memory": 9}},
        {"training": {"precision": "auto"}},
    ):
        assert _name(**settings) == _name()


def test_what_changes_it_is() -> None:
    names = {
        _name(**settings)
        for settings in (
            {},
            {"loss": {"name": "square"}},
            {"loss": {"name": "squentropy", "alpha": 0.1}},
            {"text": {"units": "subword"}},
            {"network": {"memory": 9}},
            {"training": {"steps": 9}},
            {"training": {"precision": "float32"}},
            {"seed": 2},
        )
    }
    assert len(names) == 8


def test_the_system_is_the_loss_with_its_parameters() -> None:
    config = CharlmConfig(
        recipe="charlm",
        experiment="toy",
        corpus=CorpusConfig(name="text8"),
        loss={"name": "squentropy", "alpha": 0.1, "fused": False},
    )
    assert config.system == "squentropy-a0.1"
