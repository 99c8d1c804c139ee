"""Files of models and data that come from someone else: nothing that is in them is run."""

from __future__ import annotations

import ast
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from squall.enhance.estimators.dnn import DnnEstimator
from squall.enhance.estimators.kernel import KernelEstimator
from squall.enhance.frames import FrameSet
from squall.files import read_arrays
from squall.kernels import EigenProRegressor
from squall.kernels.apart import Checkpoint as KernelCheckpoint
from squall.networks.checkpoint import Checkpoint
from squall.networks.tensors import load_weights
from squall.studies.text.embeddings import read_vectors
from squall.studies.text.pairs import PairFamily
from squall.studies.text.settings import PairSettings
from squall.studies.text.words import Vocabulary, write_vocabulary

SOURCE = Path(__file__).parents[2] / "src"
KIND = "Hostile input"


class MakesFolder:
    """What a harmful file holds: reading it would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def _pairs(path: Path) -> Any:
    write_vocabulary(path.with_name("words.txt"), Vocabulary(("a",)))
    path.rename(path.with_name("vectors.npy"))
    return PairFamily.saved(PairSettings(kind="esim"), 4, path.parent)


def _frames(path: Path) -> Any:
    path.with_name("frames.json").write_text('{"mixtures": [], "counts": []}')
    path.rename(path.with_name("features.npy"))
    return FrameSet.read(path.parent)


READERS: dict[str, Callable[[Path], Any]] = {
    "checkpoint": lambda path: Checkpoint(path, "stamp").read(),
    "weights": lambda path: load_weights(torch.nn.Linear(1, 1), path),
    "checkpoint of a kernel machine": lambda path: KernelCheckpoint(path, "stamp").read(),
    "kernel machine": EigenProRegressor.load,
    "arrays": lambda path: read_arrays(path, remedy="make it again"),
    "word vectors": lambda path: read_vectors(path, Vocabulary(("a",)), seed=0),
    "pair model": _pairs,
    "frames": _frames,
}


def _torch(path: Path, harm: Any) -> None:
    torch.save({"weight": harm}, path)


def _pickle(path: Path, harm: Any) -> None:
    path.write_bytes(pickle.dumps(harm))


def _array(path: Path, harm: Any) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([harm], dtype=object), allow_pickle=True)


def _arrays(path: Path, harm: Any) -> None:
    objects = np.array([harm], dtype=object)
    names = ("vectors", "words", "metadata", "weight")
    with path.open("wb") as file:
        np.savez(file, allow_pickle=True, **dict.fromkeys(names, objects))  # type: ignore[arg-type]


@pytest.mark.fault(
    KIND, "a pickle, or an array of objects, in the place of any file", "an error; nothing is run"
)
@pytest.mark.parametrize("write", [_torch, _pickle, _array, _arrays])
@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
def test_nothing_in_a_file_is_run(
    tmp_path: Path, reader: Callable[[Path], Any], write: Callable[[Path, Any], None]
) -> None:
    harm, path = tmp_path / "harm", tmp_path / "file.npz"
    write(path, MakesFolder(harm))
    with pytest.raises(ValueError, match=str(tmp_path)):
        reader(path)
    assert not harm.exists()


def test_the_harm_would_be_done(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(MakesFolder(tmp_path / "harm")))  # noqa: S301  # the twin of above
    assert (tmp_path / "harm").is_dir()


@pytest.mark.fault(KIND, "odd values in the file of an estimator", "an error that names it")
@pytest.mark.parametrize(
    "content",
    ['"dnn"', "{}", '{"parameters": 3}', '{"parameters": {"no": 1}}', '{"dimensions": "x"}'],
)
def test_odd_values_of_an_estimator(tmp_path: Path, content: str) -> None:
    for kind, estimator in (("dnn", DnnEstimator), ("kernel", KernelEstimator)):
        whole = content.replace("{", f'{{"kind": "{kind}", "format": 1, ', 1).replace(", }", "}")
        (tmp_path / "estimator.json").write_text(whole)
        with pytest.raises((ValueError, FileNotFoundError), match=str(tmp_path)):
            estimator.load(tmp_path)  # type: ignore[attr-defined]


def test_every_call_that_could_unpickle_says_that_it_must_not() -> None:
    wanted = {"torch.load": "weights_only=True", "_torch_load": "weights_only=True",
              "np.load": "allow_pickle=False"}  # fmt: skip
    calls, pickles = [], []
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if name in wanted and isinstance(node, ast.Call):
                calls.append(name)
                assert wanted[name] in ast.unparse(node), f"{path}:{node.lineno}"
            if name.partition(".")[0] in ("joblib", "shelve", "marshal", "dill", "cloudpickle"):
                pickles.append(f"{path.name}: {name}")
            if name in ("pickle.load", "pickle.loads", "pd.read_pickle", "joblib.load"):
                pickles.append(f"{path.name}: {name}")
    assert len(calls) > 5
    assert not pickles
