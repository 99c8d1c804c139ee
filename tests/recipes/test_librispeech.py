"""The `librispeech` recipe runs all stages on its layout, and names what is broken."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

import tiny
from commands import RECOGNITION, numbered, work_done
from squall.corpora import librispeech
from squall.corpora.demo.corpus import prepare_demo
from squall.corpora.download import ChecksumError
from squall.corpora.librispeech import PARTS, Part
from squall.corpora.manifest import Utterance
from squall.engine.experiment import Experiment, RunOptions, repository_root
from squall.engine.runner import Cell, run_cell
from squall.engine.stages import Stage, StageError
from squall.engine.tasks import load_config
from squall.report.records import read_records

pytest.importorskip("espnet2")

from squall.asr import language_model
from squall.asr.recipe import list_stages
from squall.asr.settings import RecognitionConfig

Squall = Callable[..., tuple[int, str, str]]

SETS = {"train": "train-clean-100", "dev": "dev-clean", "test": "test-clean"}
PIECES = {"tokens": "{units: bpe, vocabulary_size: 40}"}
LANGUAGE_MODEL = {
    "lm.espnet": "{max_epoch: 1, lm: transformer, batch_type: sorted, batch_size: 8, "
    "lm_conf: {embed_unit: 8, att_unit: 8, head: 2, unit: 8, layer: 1}, use_tensorboard: false}",
    "decode.lm_weight": "0.3",
}


def write_librispeech(root: Path, demo_corpus: Path) -> None:
    """The demo corpus again, in LibriSpeech's layout; two of its test utterances are test-other."""
    number = 0
    for split, utterances in prepare_demo(demo_corpus).items():
        for position, utterance in enumerate(utterances):
            folder = "test-other" if split == "test" and position < 2 else SETS[split]
            _write(root / folder, utterance, number)
            number += 1


def _write(folder: Path, utterance: Utterance, number: int) -> None:
    """A speaker of one chapter of one utterance."""
    chapter = folder / str(100 + number) / "7"
    identifier = f"{100 + number}-7-0000"
    chapter.mkdir(parents=True)
    samples, rate_hz = soundfile.read(utterance.audio_path, dtype="int16")
    soundfile.write(chapter / f"{identifier}.flac", samples, rate_hz, subtype="PCM_16")
    (chapter / f"{100 + number}-7.trans.txt").write_text(f"{identifier} {utterance.text}\n")


@pytest.fixture(scope="module")
def written(demo_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """14 training, 4 development, 2 test-clean and 2 test-other utterances."""
    root = tmp_path_factory.mktemp("a place with spaces") / "LibriSpeech"
    write_librispeech(root, demo_corpus)
    return root


@pytest.fixture
def corpus(written: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(written, tmp_path / "LibriSpeech")


@pytest.fixture
def sample(squall: Squall) -> Squall:
    """The `sample` experiment with the tiny model: exit code, standard output and error."""

    def run(*arguments: object, **settings: object) -> tuple[int, str, str]:
        chosen = {**tiny.SETTINGS, "loss.name": "ce", **settings}
        return squall("librispeech", "--preset", "sample", *arguments, settings=chosen)

    return run


@pytest.mark.slow
def test_all_stages_run_with_a_further_set_and_run_again_skips(
    sample: Squall, written: Path, tmp_path: Path
) -> None:
    settings = {
        "corpus.options.extra": "test-other",
        "decode.sets": "[dev, test, test-other]",
    }
    code, out, err = sample("--corpus-dir", written, **settings)
    assert code == 0, err
    assert work_done(out) == numbered(RECOGNITION)
    records = read_records(tmp_path / "results" / "results.json")
    assert {r.condition for r in records if r.metric == "wer"} == {"dev", "test", "test-other"}
    assert {r.dataset for r in records} == {"librispeech"}
    assert {r.n for r in records if r.metric == "ser" and r.condition != "dev"} == {2}
    assert "test-other" in (tmp_path / "results" / "RESULTS.md").read_text()

    arguments = ("--corpus-dir", written.parent, "--stage", 1, "--stop-stage", 5)
    code, out, err = sample(*arguments, **settings)  # the folder that holds LibriSpeech
    assert code == 0, err
    assert work_done(out) == ["4 lm"]


@pytest.mark.slow
def test_pieces_and_a_language_model_of_another_text(
    sample: Squall, written: Path, tmp_path: Path
) -> None:
    lines = [path.read_text().split(maxsplit=1)[1] for path in written.rglob("*.trans.txt")]
    text = tmp_path / "my text.gz"
    text.write_bytes(gzip.compress("".join(["a line\n", *lines]).encode()))
    settings = {**PIECES, **LANGUAGE_MODEL, "lm.text": str(text)}
    code, out, err = sample("--corpus-dir", written, **settings)
    assert code == 0, err
    assert work_done(out) == numbered(RECOGNITION)
    (lm,) = (tmp_path / "exp" / "librispeech" / "shared").glob("lm-*/lm")
    assert len((lm / "text" / "split.0").read_text().splitlines()) == len(lines) + 1
    (log,) = (tmp_path / "exp").rglob("4-lm.log")
    told = log.read_text()
    assert " lines have what is not in the token list and becomes <unk>: " in told
    assert "'a' 1" in told

    text.write_bytes(gzip.compress("".join(lines).encode()))
    code, out, err = sample("--corpus-dir", written, "--stage", 1, "--stop-stage", 4, **settings)
    assert code == 0, err
    assert work_done(out) == ["4 lm"]
    assert (lm.parent / "lm.before-1" / "model.pth").exists()


def _config(**settings: object) -> RecognitionConfig:
    path = repository_root() / "conf" / "librispeech" / "sample.yaml"
    chosen = {key.replace("__", "."): value for key, value in settings.items()}
    return load_config(path, {**tiny.SETTINGS, "corpus.dir": None, **chosen})


def test_a_further_set_is_among_the_inputs_of_its_decoding(tmp_path: Path) -> None:
    for sets in (["dev", "test"], ["test"], ["dev", "test", "test-other"]):
        config = _config(decode__sets=sets, corpus__options__extra="test-other")
        stages = list_stages(Experiment(config, RunOptions(str(tmp_path))))
        for stage in stages[6:]:
            manifests = {path.stem for path in stage.inputs if path.parent == stages[1].directory}
            assert manifests == {"dev", "test", *sets}


@pytest.mark.slow
def test_the_text_of_a_language_model_is_fetched(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = tmp_path / "served" / "text.txt.gz"
    served.parent.mkdir()
    served.write_bytes(gzip.compress(b"A LINE\n"))
    checksum = "md5:" + hashlib.md5(served.read_bytes()).hexdigest()
    trained_on: list[Path] = []
    monkeypatch.setattr(
        language_model, "train_language_model", lambda *_, text, **__: trained_on.append(text)
    )

    def stages(download: bool = True, **settings: object) -> list[Stage]:
        config = _config(lm={"espnet": {}, "text": served.as_uri(), **settings})
        options = RunOptions(str(tmp_path / "exp"), str(corpus), download=download)
        return list_stages(Experiment(config, options))

    def quiet(done: int, total: int, message: str) -> None:
        assert message

    place = tmp_path / "exp" / "librispeech" / "text.txt.gz"
    place.parent.mkdir(parents=True)
    with pytest.raises(StageError, match=rf"lm\.text: {place} does not exist; fetch it from file"):
        stages(download=False)[0].run(quiet)
    stages()[0].run(quiet)
    lm = stages(text_checksum="md5:" + "0" * 32)[4]
    monkeypatch.setattr("squall.asr.recipe._fingerprint", lambda *_: {})
    with pytest.raises(ChecksumError, match=r"cannot download text\.txt\.gz"):
        lm.run(quiet)
    before = lm.fingerprint()
    stages(text_checksum=checksum)[4].run(quiet)
    assert trained_on == [place]
    assert place.read_bytes() == served.read_bytes()
    assert before is None
    assert lm.fingerprint() is not None
    served.unlink()
    stages(text_checksum=checksum)[4].run(quiet)
    assert trained_on == [place, place]
    stages(download=False)[0].run(quiet)


def _damage_transcript(root: Path) -> None:
    next((root / "train-clean-100").glob("*/*/*.trans.txt")).unlink()


def _damage_audio(root: Path) -> None:
    path = next((root / "dev-clean").glob("*/*/*.flac"))
    path.write_bytes(path.read_bytes()[:20000])


def _repeat_an_id(root: Path) -> None:
    path = next((root / "test-clean").glob("*/*/*.trans.txt"))
    path.write_text(path.read_text() * 2)


def _share_a_speaker(root: Path) -> None:
    chapter = next((root / "test-clean").glob("*/*"))
    shutil.copytree(chapter, root / "train-clean-100" / chapter.parent.name / chapter.name)


@pytest.mark.parametrize(
    ("damage", "messages"),
    [
        (_damage_transcript, [r"train-clean-100: 1 utterance(s) have no transcript: ", ".flac"]),
        (_damage_audio, ["1 problem(s) in the corpus:", "  dev/", "-7-0000.flac"]),
        (_repeat_an_id, ["-7.trans.txt:2: ", "-7-0000 is in the transcript already"]),
        (_share_a_speaker, ["its id is in test too", "speaker 1", "is in test too"]),
    ],
)
def test_a_damaged_corpus_stops_in_the_second_stage(
    sample: Squall, corpus: Path, damage: Callable[[Path], None], messages: list[str]
) -> None:
    damage(corpus)
    code, out, err = sample("--corpus-dir", corpus, "--stage", 1, "--stop-stage", 2)
    assert code == 1
    for message in messages:
        assert message in err
    assert "2 tokens" not in out


def test_a_broken_recording_is_left_out_when_asked_for(sample: Squall, corpus: Path) -> None:
    _damage_audio(corpus)
    arguments = ("--corpus-dir", corpus, "--stage", 1, "--stop-stage", 1, "--skip-bad")
    code, out, err = sample(*arguments)
    assert code == 0, err
    assert "train 14, dev 3, test 2 utterances; 1 problems left out" in out


@pytest.mark.slow
def test_the_corpus_is_fetched_into_the_place_of_the_recipe(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(librispeech, "MIRRORS", [tmp_path.as_uri()])
    (tmp_path / "12").mkdir()
    for name in SETS.values():
        archive = tmp_path / "12" / f"{name}.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(written / name, f"LibriSpeech/{name}")
        md5 = hashlib.md5(archive.read_bytes()).hexdigest()
        monkeypatch.setitem(PARTS, name, Part(12, archive.stat().st_size, md5, None))
    told: list[str] = []
    for place in (None, str(tmp_path / "chosen")):
        options = RunOptions(str(tmp_path / "exp"), place, download=True)
        told.clear()
        run_cell(
            Cell(_config(), options, last=1), lambda stage, done, total, text: told.append(text)
        )
        folder = Path(place) if place else tmp_path / "exp" / "librispeech" / "corpus"
        sets = [path.name for path in (folder / "LibriSpeech").iterdir()]
        assert sorted(sets) == sorted(SETS.values())
        assert "unpacking test-clean.tar.gz (3 of 3)" in told
        assert "train 14, dev 4, test 2 utterances" in told
    manifest = next((tmp_path / "exp").glob("librispeech/shared/data-*/test.jsonl"))
    first = json.loads(manifest.read_text().splitlines()[0])
    assert first["audio_path"].startswith(str(tmp_path / "chosen" / "LibriSpeech"))
