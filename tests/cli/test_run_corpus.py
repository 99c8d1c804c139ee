"""Where `squall run` takes a corpus from: folders, recordings at hand, downloads and subsets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from squall.cli import main
from squall.corpora import preparation
from squall.corpora.preparation import prepare_corpus
from squall.corpora.settings import CorpusConfig
from squall.engine.experiment import RunOptions
from squall.engine.runner import Cell
from squall.engine.tasks import load_config

Run = Callable[..., tuple[int, str]]

# The only stage of a run: what it was given.
TELL = """
import json
from pathlib import Path
told = {"folders": list(map(str, experiment.options.corpus_dirs)),
        "options": experiment.config.corpus.options,
        "experiment": experiment.config.experiment}
Path(TOLD).write_text(json.dumps(told))
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose recipes are of several corpora; the first two have no `corpus.dir`."""
    corpora = {
        "an4": "{name: an4, urls: [http://127.0.0.1:1/an4.tar]}",
        "libri": "{name: librispeech}",
        "sample": "{name: librispeech, dir: my/LibriSpeech}",
        "timit": "{name: timit, dir: timit}",
    }
    folder = tmp_path / "checkout"
    for recipe, corpus in corpora.items():
        path = folder / "conf" / recipe / "small.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(f"corpus: {corpus}\nespnet: {{max_epoch: 1}}\n")
    monkeypatch.setenv("SQUALL_ROOT", str(folder))
    monkeypatch.setenv("SQUALL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def run(root: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """The exit code of a run of the first stages, and what it wrote on standard error."""

    def run(*arguments: object) -> tuple[int, str]:
        code = main(["run", *map(str, arguments), "--stop-stage", "0"])
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def told(run: Run, stand_in: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """What the stages of a run are given."""
    stand_in.write_text(TELL.replace("TOLD", repr(str(tmp_path / "told.json"))))

    def told(*arguments: object) -> dict[str, Any]:
        assert run(*arguments)[0] == 0
        given: dict[str, Any] = json.loads((tmp_path / "told.json").read_text())
        return given

    return told


@pytest.mark.fault(
    "Environment",
    "a corpus whose path has spaces, is relative or begins with ~",
    "it is found",
)
@pytest.mark.slow
def test_folders_are_relative_in_the_home_or_have_spaces(
    told: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    given = told("an4", "--corpus-dir", "WSJ0", "~/my discs/WSJ1", tmp_path / "c")
    home = tmp_path / "home" / "my discs"
    assert given["folders"] == [str(tmp_path / "WSJ0"), str(home / "WSJ1"), str(tmp_path / "c")]
    assert told("an4", "--corpus-dir=one folder")["folders"] == [str(tmp_path / "one folder")]
    assert told("an4")["folders"] == []


def test_options_of_one_folder_are_kept_as_before(tmp_path: Path, root: Path) -> None:
    config = load_config(root / "conf" / "an4" / "small.yaml")
    for given in (None, "/one", ("/one", "/two")):
        cell = Cell(config, RunOptions(exp_dir=str(tmp_path), corpus_dir=given))
        assert json.loads(cell.to_json())["options"]["corpus_dir"] == (
            list(given) if isinstance(given, tuple) else given
        )
        again = Cell.from_json(cell.to_json()).options
        assert again.corpus_dirs == cell.options.corpus_dirs
    assert again.corpus_dirs == (Path("/one"), Path("/two"))


@pytest.mark.slow
def test_a_subset_is_an_option_of_the_corpus(told: Callable[..., dict[str, Any]]) -> None:
    assert told("libri", "--subset", "mini")["options"] == {"subset": "mini"}
    assert told("libri")["options"] == {}


@pytest.mark.usefixtures("in_this_process")
def test_a_corpus_of_one_folder_refuses_two(run: Run, tmp_path: Path) -> None:
    code, err = run("an4", "--corpus-dir", tmp_path, tmp_path)
    assert code == 1
    assert "--corpus-dir: 2 folders, but the corpus 'an4' lies in one" in err
    with pytest.raises(ValueError, match="2 folders, but the corpus 'demo' lies in one"):
        prepare_corpus(CorpusConfig(name="demo"), [tmp_path / "a", tmp_path / "b"])


def test_a_corpus_of_several_folders_gets_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    several = {"wsj": lambda folders, config: seen.append(folders) or {}}
    monkeypatch.setattr(preparation, "_OF_SEVERAL_FOLDERS", several)
    for given in (tmp_path, [tmp_path, tmp_path / "b"]):
        prepare_corpus(CorpusConfig(name="wsj"), given)
    assert seen == [(tmp_path,), (tmp_path, tmp_path / "b")]


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(
    ("recipe", "hint"),
    [
        ("an4", "/an4/corpus does not exist: give the corpus with --corpus-dir, or fetch it with "
                "--download\n"),
        ("sample", "/data/my/LibriSpeech does not exist: give the corpus with --corpus-dir, or "
                   "fetch it with --download and --corpus-dir FOLDER\n"),
        ("timit", "/data/timit does not exist: give the corpus with --corpus-dir\n"),
    ],
)  # fmt: skip
def test_an_absent_corpus_says_how_to_get_it(run: Run, recipe: str, hint: str) -> None:
    code, err = run(recipe)
    assert code == 1
    assert hint in err


@pytest.mark.usefixtures("in_this_process")
def test_one_of_several_absent_folders_is_named(run: Run, root: Path, tmp_path: Path) -> None:
    (root / "conf" / "an4" / "small.yaml").write_text("corpus: {name: wsj}\nespnet: {}\n")
    code, err = run("an4", "--corpus-dir", tmp_path, tmp_path / "absent")
    assert code == 1
    assert f"{tmp_path / 'absent'} does not exist" in err


@pytest.mark.usefixtures("in_this_process")
def test_nothing_is_fetched_into_the_recordings_at_hand(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data" / "my" / "LibriSpeech").mkdir(parents=True)
    code, err = run("sample", "--download")
    assert code == 1
    assert "--download: small takes the recordings at hand in" in err
    assert "--corpus-dir FOLDER --download" in err
    _, err = run("sample", "--download", "--corpus-dir", tmp_path / "mine")
    assert "--download:" not in err
    assert "does not exist" not in err
    assert not (tmp_path / "mine").exists()  # the check fetches nothing yet


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "experiment"),
    [
        (["--corpus-dir", "little"], "tiny"),
        (["--corpus-dir", "much"], "small"),
        (["--corpus-dir", "little", "--preset", "small"], "small"),
        ([], "small"),
    ],
)
def test_a_small_corpus_has_an_experiment_of_its_own(
    root: Path,
    told: Callable[..., dict[str, Any]],
    tmp_path: Path,
    arguments: list[str],
    experiment: str,
) -> None:
    for name, count in (("little", 900_000), ("much", 1_100_000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "audio").write_bytes(bytes(count))
    settings = "corpus: {name: timit, at_most_mb: 1}\nespnet: {max_epoch: 1}\n"
    (root / "conf" / "timit" / "tiny.yaml").write_text(settings)
    assert told("timit", *arguments)["experiment"] == experiment
