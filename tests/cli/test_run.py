"""`squall run` and `squall report`, with a stage that stands in for ESPnet's."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from squall.cli import main
from squall.report.records import read_records

CONFIG = """
description: a toy
corpus: {name: manifest}
espnet: {max_epoch: 1, optim_conf: {lr: 0.1}}
"""

# What stages 5 to 7 leave behind, in little.
FINISH = """
from squall.files import write_json
from squall.report.records import Record, write_records
config = experiment.config
record = Record(
    recipe="toy", experiment=" ".join(filter(None, [config.experiment, config.variant])),
    dataset="d", system=config.system, condition="test", seed=config.seed, metric="wer",
    value=10.0 * config.seed, unit="%", n=8, commit="c", command=experiment.options.command,
    hardware="h", seconds=1.0)
write_records(experiment.result_path, [record])
write_json(experiment.directory / "train" / "history.json", [{"epoch": 1, "valid": {"acc": 0.5}}])
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one recipe of one experiment."""
    folder = tmp_path / "checkout"
    (folder / "conf" / "toy").mkdir(parents=True)
    (folder / "conf" / "toy" / "small.yaml").write_text(CONFIG)
    monkeypatch.setenv("SQUALL_ROOT", str(folder))
    monkeypatch.delenv("SQUALL_COMMAND", raising=False)
    return folder


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(root: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return code, captured.out, captured.err

    return run


@pytest.mark.usefixtures("in_this_process")
def test_a_missing_corpus_is_one_message_and_exit_code_1(root: Path, run: Run) -> None:
    code, out, err = run("run", "toy", "--corpus-dir", root / "none")
    assert code == 1
    assert f"{root / 'none'} does not exist: give the corpus with --corpus-dir" in err
    assert "failed: small ce seed 1 (" in err
    assert "[small ce seed 1] 0 check: runs every time" in out
    assert "report:" not in out


@pytest.mark.usefixtures("in_this_process")
def test_an_unknown_parameter_of_a_loss_is_refused_in_the_first_stage(root: Path, run: Run) -> None:
    code, _, err = run("run", "toy", "--corpus-dir", root, "--set", "loss.alhpa=0.1")
    assert code == 1
    assert "[small ce-alhpa0.1 seed 1] 0 check: ValueError: ce has no parameter 'alhpa'" in err


@pytest.mark.slow
def test_all_cells_end_in_one_table_and_one_page(root: Path, run: Run, stand_in: Path) -> None:
    stand_in.write_text(FINISH)
    code, out, err = run("run", "toy", "--grid", "loss.name=ce,square", "seed=1,2", "--jobs", 2)
    assert (code, err) == (0, "")
    assert "mean ± sd of 2" in out
    assert "15.00 ± 7.07" in out
    recipe_dir = root / "exp" / "toy"
    assert f"report: {recipe_dir / 'report.html'}" in out
    assert len(read_records(recipe_dir / "results.json")) == 4
    page = (recipe_dir / "report.html").read_text()
    assert "squall run toy --grid loss.name=ce,square seed=1,2 --jobs 2" in page


@pytest.mark.slow
def test_a_failed_cell_leaves_the_report_of_the_others(
    root: Path, run: Run, stand_in: Path
) -> None:
    stand_in.write_text(FINISH + "\nif config.seed == 2: raise RuntimeError('no luck [/tmp]')\n")
    code, out, err = run("run", "toy", "--grid", "seed=1,2,3")
    assert code == 1
    assert "[small ce seed 2] 0 toy: RuntimeError: no luck [/tmp]" in err
    assert "failed: small ce seed 2 (" in err
    assert err.count("failed:") == 1
    assert "mean ± sd of 2" in out


def test_the_grid_of_the_config_is_run_unless_another_is_given(
    root: Path, run: Run, stand_in: Path
) -> None:
    (root / "conf" / "toy" / "small.yaml").write_text(CONFIG + "grid: {seed: [1, 2]}\n")
    assert run("run", "toy", "--dry-run")[1].count("small-") == 2
    assert run("run", "toy", "--dry-run", "--seed", 5)[1].count("small-") == 1
    assert run("run", "toy", "--dry-run", "--grid", "seed=1,2,3")[1].count("small-") == 3


@pytest.mark.slow
def test_a_setting_is_laid_over_every_group_of_the_grid(
    root: Path, run: Run, stand_in: Path, tmp_path: Path
) -> None:
    groups = "grid: {loss: [{name: ce}, {name: squentropy, alpha: 2}]}\n"
    (root / "conf" / "toy" / "small.yaml").write_text(CONFIG + groups)
    stand_in.write_text(FINISH)
    code, _, err = run("run", "toy", "--set", "loss.scale=3")
    assert code == 0, err
    named = {path.parent: path.read_text() for path in root.rglob("config.yaml")}
    assert len(named) == 2
    assert all("scale: 3.0" in text for text in named.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "losses"),
    [
        (["--set", "loss.name=squentropy"], [("squentropy", 2), ("squentropy", 3)]),
        (["--set", "loss.name=square"], [("square", None)]),
        (["--set", "loss.name=squentropy", "--set", "loss.alpha=4"], [("squentropy", 4)]),
        (["--set", "loss={name: square}"], [("square", None)]),
        (["--grid", "loss.name=squentropy,square"], [("square", None), ("squentropy", 2)]),
        (["--grid", "seed=1"], [("ce", None)]),
    ],
)
def test_a_name_picks_its_groups_of_the_grid(
    root: Path,
    run: Run,
    stand_in: Path,
    arguments: list[str],
    losses: list[tuple[str, int | None]],
) -> None:
    groups = "{name: ce}, {name: squentropy, alpha: 2}, {name: squentropy, alpha: 3}"
    (root / "conf" / "toy" / "small.yaml").write_text(CONFIG + f"grid: {{loss: [{groups}]}}\n")
    stand_in.write_text(FINISH)
    code, _, err = run("run", "toy", *arguments)
    assert code == 0, err
    found = [yaml.safe_load(p.read_text())["loss"] for p in (root / "exp").rglob("config.yaml")]
    assert sorted((loss["name"], loss.get("alpha")) for loss in found) == losses


@pytest.mark.slow
def test_cells_that_look_alike_are_all_run(root: Path, run: Run, stand_in: Path) -> None:
    stand_in.write_text("import time; time.sleep(1)\n" + FINISH)
    code, out, _ = run("run", "toy", "--jobs", 2, "--grid", "espnet.optim_conf.lr=0.1,0.2")
    assert code == 0
    assert out.count("model: ") == 2
    assert out.count("0 toy: done in") == 2


@pytest.mark.slow
def test_variants_of_the_decoding_share_a_directory_and_have_numbers_of_their_own(
    root: Path, run: Run, stand_in: Path, tmp_path: Path
) -> None:
    stand_in.write_text(FINISH)
    code, out, _ = run("run", "toy", "--grid", "decode.beam_size=1,10", "--jobs", 2)
    assert code == 0
    (directory,) = (root / "exp" / "toy").glob("small-*")
    assert {path.name for path in directory.glob("result*")} == {
        "result.json",
        "result.beam_size=1.json",
    }
    code, out, _ = run("report", directory, "-o", tmp_path / "page.html")
    assert code == 0
    assert "small beam_size=1" in out
    assert "ce beam_size=1" in (tmp_path / "page.html").read_text()


@pytest.mark.slow
def test_experiments_of_one_name_are_not_reported_as_one(
    root: Path, run: Run, stand_in: Path, tmp_path: Path
) -> None:
    """They differ in a setting that no table shows: one of them would be left out of it."""
    stand_in.write_text(FINISH)
    for rate in (0.1, 0.2):
        assert run("run", "toy", "--set", f"espnet.optim_conf.lr={rate}")[0] == 0
    first, second = sorted((root / "exp" / "toy").glob("small-*"))
    page = tmp_path / "page.html"
    code, _, err = run("report", first, second, "-o", page)
    assert code == 1
    assert f"{first} and {second} both have small ce seed 1 of d" in err
    assert "espnet.optim_conf.lr was 0." in err
    assert not page.exists()
    assert run("report", first, first, "-o", page)[0] == 0
    assert "1 run;" in page.read_text()


@pytest.mark.slow
def test_results_go_where_the_config_or_the_user_says(
    root: Path, run: Run, stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.write_text(FINISH)
    (root / "conf" / "toy" / "small.yaml").write_text(CONFIG + "results_dir: recipes/toy\n")
    assert run("run", "toy")[0] == 0
    assert (root / "recipes" / "toy" / "RESULTS.md").is_file()
    monkeypatch.chdir(tmp_path)
    assert run("run", "toy", "--results-dir", "mine")[0] == 0
    assert (tmp_path / "mine" / "RESULTS.md").is_file()


@pytest.mark.slow
def test_a_range_that_ends_before_the_report_makes_none(
    root: Path, run: Run, stand_in: Path
) -> None:
    stand_in.write_text(FINISH)
    code, out, _ = run("run", "toy", "--stop-stage", 7)
    assert code == 0
    assert "0 toy: done in" in out
    assert "report" not in out
    code, out, _ = run("run", "toy", "--stage", 8)
    assert code == 0
    assert "done in" not in out
    assert "report: " in out


def test_the_report_of_what_was_not_run_says_what_to_run(run: Run) -> None:
    code, _, err = run("run", "toy", "--stage", 8)
    assert code == 1
    assert err.startswith("squall: ")
    assert "result.json is missing: run the stages up to 7 (score) first" in err


def test_a_dry_run_tells_every_stage_and_writes_nothing(root: Path, run: Run) -> None:
    code, out, err = run("run", "toy", "--dry-run", "--corpus-dir", root)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(str(root / "exp" / "toy" / "small-"))
    stages = [line.split()[0] for line in lines[1:]]
    assert stages == list("01234567")
    assert not (root / "exp").exists()
    _, out, _ = run("run", "toy", "--dry-run", "--stage", 2, "--stop-stage", 3)
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["2", "3"]


@pytest.mark.parametrize("setting", ["loss.nam=ce", "loss.name=foo"])
def test_a_dry_run_tells_what_the_check_would(root: Path, run: Run, setting: str) -> None:
    code, _, err = run("run", "toy", "--dry-run", "--set", setting)
    assert code == 1
    assert setting.rpartition("=")[2] in err or "nam" in err
    code, out, err = run("run", "toy", "--dry-run", "--corpus-dir", root / "none" / "an44")
    assert code == 1
    assert f"{root / 'none' / 'an44'} does not exist" in err
    assert out.count("would run") > 1
    assert not (root / "exp").exists()


@pytest.mark.parametrize("option", ["--stage", "--stop-stage"])
@pytest.mark.parametrize("stage", ["-1", "9", "99", "x"])
def test_a_stage_that_no_recipe_has_is_refused(run: Run, option: str, stage: str) -> None:
    with pytest.raises(SystemExit):
        run("run", "toy", f"{option}={stage}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no recipe 'nowhere'; there are toy"),
        (["toy", "--experiment", "large"], "experiments in that folder: small"),
        (["toy", "--set", "seed"], "'seed': expected key=value"),
        (["toy", "--set", "sede=1"], "sede: there is no such setting"),
        (["toy", "--set", "espnet.seed=1"], "'seed' is set by squall"),
        (["toy", "--grid", "seed"], "'seed': expected key=value,value"),
        (["toy", "--grid", "seed=1,2", "--seed", "3"], "seed is set to 3 and is in --grid too"),
        (["toy", "--seed", "-1"], "seed: Input should be greater than or equal to 0"),
        (["toy", "--stage", "5", "--stop-stage", "3"], "--stop-stage 3 lies before --stage 5"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_written(
    root: Path, run: Run, arguments: list[str], message: str
) -> None:
    code, out, err = run("run", *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("squall: ")
    assert message in err
    assert not (root / "exp").exists()


def test_an_experiment_may_be_named_with_its_ending(root: Path, run: Run) -> None:
    arguments = ("--dry-run", "--experiment", "small.yaml", "--corpus-dir", root)
    assert run("run", "toy", *arguments)[0] == 0


@pytest.mark.slow
def test_damaged_results_are_named_and_kept(
    root: Path, run: Run, stand_in: Path, tmp_path: Path
) -> None:
    stand_in.write_text(FINISH)
    (tmp_path / "results.json").write_text("[{")
    code, _, err = run("run", "toy", "--results-dir", tmp_path)
    assert code == 1
    assert f"squall: {tmp_path / 'results.json'} is not a list of records" in err
    assert (tmp_path / "results.json").read_text() == "[{"


def test_report_of_a_folder_that_is_no_experiment(run: Run, tmp_path: Path) -> None:
    code, _, err = run("report", tmp_path, "-o", tmp_path / "report.html")
    assert code == 1
    assert err.startswith(f"squall: {tmp_path} is not an experiment directory")
    assert not (tmp_path / "report.html").exists()
    (tmp_path / "file").touch()
    code, _, err = run("report", tmp_path, "-o", tmp_path / "file" / "report.html")
    assert code == 1
    assert f"{tmp_path / 'file'} is a file, not a folder: give another place with -o" in err


def _on_a_terminal(*arguments: str) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "squall", *arguments]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs)
    os.close(theirs)
    written = b""
    while True:
        try:
            block = os.read(ours, 1 << 16)
        except OSError:  # how a terminal says that nobody writes to it any more
            break
        if not block:
            break
        written += block
    os.close(ours)
    return process.wait(timeout=60), written.decode()


@pytest.mark.fault(
    "Environment",
    "a terminal in place of a pipe",
    "bars, and errors as they are, brackets too",
)
@pytest.mark.slow
def test_on_a_terminal_bars_and_failures_are_shown_as_they_are(root: Path, stand_in: Path) -> None:
    stand_in.write_text(
        FINISH
        + "\nreport(1, 2, 'half [/way]')\nif config.seed == 2: raise RuntimeError('[/tmp]')\n"
    )
    code, text = _on_a_terminal("run", "toy", "--grid", "seed=1,2")
    assert code == 1
    assert "RuntimeError: [/tmp]" in text
    assert "MarkupError" not in text
    assert "small ce seed 1" in text
    assert "WER %" in text


@pytest.mark.slow
def test_stopping_says_how_to_go_on(root: Path, stand_in: Path, tmp_path: Path) -> None:
    started = tmp_path / "started"
    stand_in.write_text(f"open({str(started)!r}, 'w')\nimport time; time.sleep(60)\n")
    command = [sys.executable, "-m", "squall", "run", "toy"]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job hands down an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until = time.monotonic() + 60
    while not started.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    assert started.exists()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith("stopped; run the same command again to go on\n")
    assert "Traceback" not in err
    assert "memory was full" not in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cells", "jobs", "expected"),
    [
        (1, 1, [1]),
        (1, 4, [4]),
        (2, 5, [2, 2]),
        (4, 4, [1, 1, 1, 1]),
        (3, 2, [1, 1, 2]),
        (6, 4, [1, 1, 1, 1, 2, 2]),
    ],
    ids=str,
)
def test_no_job_is_idle_while_the_last_cells_decode(
    root: Path, tmp_path: Path, cells: int, jobs: int, expected: list[int], stand_in: Path
) -> None:
    stand_in.write_text(FINISH)
    seeds = ",".join(map(str, range(1, cells + 1)))
    exp = tmp_path / "exp"
    grid = ["--grid", f"seed={seeds}", "--exp-dir", str(exp), "--jobs", str(jobs)]
    assert main(["run", "toy", *grid]) == 0
    found = {}
    for path in exp.rglob("options.json"):
        settings = yaml.safe_load((path.parent / "config.yaml").read_text())
        found[settings["seed"]] = json.loads(path.read_text())["processes"]
    assert [found[seed] for seed in sorted(found)] == expected
