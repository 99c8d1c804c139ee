"""The experiment directory and the stamp of the environment."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from squall.asr.settings import RecognitionConfig
from squall.engine.environment import environment
from squall.engine.experiment import Experiment, RunOptions, repository_root
from squall.engine.tasks import open_experiment, open_variants
from squall.settings import ConfigError


def _experiment(tmp_path: Path, **settings: object) -> Experiment:
    config = RecognitionConfig.model_validate(
        {"recipe": "toy", "experiment": "small", "corpus": {"name": "demo"}, "espnet": {}}
        | settings
    )
    return Experiment(config, RunOptions(exp_dir=str(tmp_path / "exp"), command="squall run toy"))


def test_the_place_is_recipe_experiment_and_hash(tmp_path: Path) -> None:
    experiment = _experiment(tmp_path)
    name = experiment.config.directory_name
    assert experiment.directory == tmp_path / "exp" / "toy" / name
    assert name.startswith("small-")
    assert len(name) == len("small-") + 8


def test_shared_folders_are_named_by_their_settings(tmp_path: Path) -> None:
    experiment = _experiment(tmp_path)
    folders = {experiment.shared("data", settings) for settings in ({"a": 1}, {"a": 2}, {"a": 1})}
    assert len(folders) == 2
    assert {folder.parent for folder in folders} == {tmp_path / "exp" / "toy" / "shared"}


def test_variants_share_the_model_and_nothing_else(tmp_path: Path) -> None:
    plain, variant = _experiment(tmp_path), _experiment(tmp_path, variant="beam_size=1")
    assert plain.directory == variant.directory
    for place in ("log_dir", "score_dir", "result_path", "config_path"):
        assert getattr(plain, place) != getattr(variant, place)


def test_settings_written_are_the_settings_opened(tmp_path: Path) -> None:
    written = _experiment(tmp_path, seed=7, loss={"name": "squentropy", "alpha": 1e-5})
    written.write_settings()
    opened = open_experiment(written.directory, RecognitionConfig)
    assert opened.config == written.config
    assert opened.directory == written.directory
    assert opened.recipe_dir == written.recipe_dir
    assert json.loads((written.directory / "options.json").read_text())["exp_dir"] == str(
        tmp_path / "exp"
    )


def test_a_variant_does_not_take_the_place_of_the_plain_experiment(tmp_path: Path) -> None:
    experiments = [_experiment(tmp_path), _experiment(tmp_path, variant="beam_size=1")]
    for experiment in experiments:
        experiment.write_settings()
    directory = experiments[0].directory
    assert open_experiment(directory, RecognitionConfig).config.variant == ""
    found = open_variants(directory)
    assert [experiment.config.variant for experiment in found] == ["", "beam_size=1"]


def test_a_variant_alone_can_be_opened(tmp_path: Path) -> None:
    variant = _experiment(tmp_path, variant="beam_size=1")
    variant.write_settings()
    assert open_experiment(variant.directory, RecognitionConfig).config == variant.config


def test_a_moved_experiment_opens_where_it_is(tmp_path: Path) -> None:
    written = _experiment(tmp_path)
    written.write_settings()
    moved = written.directory.rename(tmp_path / "kept")
    assert open_experiment(moved, RecognitionConfig).directory == moved


def test_a_folder_that_is_no_experiment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not an experiment directory"):
        open_experiment(tmp_path, RecognitionConfig)


@pytest.mark.parametrize("text", ["corpus: [", "seed: 1\n", "", "!!python/object:a.B {}"])
def test_damaged_settings_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        open_experiment(tmp_path, RecognitionConfig)


def test_the_stamp_has_what_a_number_needs() -> None:
    stamp = environment(command="squall run toy")
    assert stamp["command"] == "squall run toy"
    assert isinstance(stamp["dirty"], bool)
    assert stamp["commit"]
    assert stamp["versions"]["torch"].startswith("2.")
    assert "cores" in stamp["hardware"]
    assert json.loads(json.dumps(stamp)) == stamp


def test_written_results_are_no_change_of_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "src" / "squall" / "experiment.py"
    names = ("results.json", "RESULTS.md", "PEERS.md", "README.md")
    *results, notes = (tmp_path / "recipes" / "toy" / name for name in names)
    for path in (code, *results, notes):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("as committed")
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "toy"]):
        subprocess.run(["git", "-C", str(tmp_path), *identity, *command], check=True)
    monkeypatch.setattr("squall.engine.environment.__file__", str(code))
    assert not environment(command="")["dirty"]
    for path in results:
        path.write_text("written anew")
    assert not environment(command="")["dirty"]
    for path in (code, notes):
        path.write_text("changed")
        assert environment(command="")["dirty"]
        path.write_text("as committed")


def test_the_checkout_can_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf").mkdir()
    monkeypatch.setenv("SQUALL_ROOT", str(tmp_path))
    assert repository_root() == tmp_path


def test_the_checkout_is_found_beside_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SQUALL_ROOT", raising=False)
    assert (repository_root() / "src" / "squall").is_dir()
