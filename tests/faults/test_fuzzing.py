"""Every parser of squall's own, given damaged files: an error that names the file, or a value.

The quick test tries a few dozen files for each. Its nightly twin tries others for as long as
`SQUALL_FUZZ_SECONDS` says, 60 seconds for each parser. What it finds becomes one of `FOUND`.
"""

from __future__ import annotations

import gzip
import json
import os
import pickle
import struct
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from squall.asr.bridge.running import load_espnet_config
from squall.audio.mixing import read_mixtures
from squall.audio.reading import audio_info, open_audio, read_audio
from squall.corpora.images import read_idx, read_images
from squall.corpora.manifest import Interval, Utterance, read_manifest, write_manifest
from squall.corpora.table import read_table
from squall.corpora.timit_layout import read_intervals, read_prompt, read_recording
from squall.corpora.wsj_discs import read_index, read_transcript
from squall.engine.tasks import load_config
from squall.enhance.estimators.estimator import estimator_kind
from squall.files import read_json
from squall.report.records import read_records
from squall.scoring.transcripts import read_transcripts
from squall.studies.tabular.collection import read_set
from squall.studies.text.corpus import read_text_corpus
from squall.studies.text.embeddings import read_vectors
from squall.studies.text.words import Vocabulary, read_vocabulary

KIND = "Hostile input"
EXAMPLES = 30
MOST_BYTES = 64_000_000


@dataclass(frozen=True)
class Parser:
    """A parser and a file that it takes.

    Args:
        read: given the path of the file.
        valid: the file's content.
        name: the file's name.
        beside: further files of the folder, which stay whole.
        tokens: what is put into damaged files beside bytes at random.
    """

    read: Callable[[Path], Any]
    valid: bytes
    name: str = "file"
    beside: Mapping[str, bytes] = field(default_factory=dict)
    tokens: tuple[bytes, ...] = ()


def _in_folder(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    return lambda path: read(path.parent)


def _every_way(path: Path) -> None:
    """Length, samples, and samples in blocks; what one refuses the next is not asked for."""
    audio_info(path)
    read_audio(path)
    with open_audio(path) as stream:
        for _ in stream.blocks(4096):
            pass


def _sphere(coding: str = "pcm") -> bytes:
    fields = {
        "channel_count -i": 1, "sample_rate -i": 16000, "sample_n_bytes -i": 2,
        "sample_count -i": 400, "sample_byte_format -s2": "01",
        f"sample_coding -s{len(coding)}": coding,
    }  # fmt: skip
    lines = "".join(f"{key} {value}\n" for key, value in fields.items())
    return f"NIST_1A\n   1024\n{lines}end_head\n".encode().ljust(1024) + _samples().tobytes()


def _samples() -> np.ndarray[Any, Any]:
    return (1000 * np.sin(np.arange(400) / 5)).astype("<i2")


def _sound(kind: str, repeats: int = 1) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sound"
        soundfile.write(path, np.tile(_samples(), repeats), 16000, format=kind)
        return path.read_bytes()


def _manifest() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.jsonl"
        word = (Interval("go", 0.0, 0.5),)
        write_manifest(path, [
            Utterance("u1", "a.wav", 0.0, 1.0, 16000, "s", "go on", words=word, phones=word),
            Utterance("u2", "b.wav", 0.5, 1.0, 16000, "s", "stop"),
        ])  # fmt: skip
        return path.read_bytes()


def _uci() -> dict[str, bytes]:
    rows = [f"{n + 1}\t{n * 0.5}\t{-n}\t{n % 2}\n" for n in range(8)]
    whole, even = "0 1 2 3 4 5 6 7\n", "0 1 2 3\n4 5 6 7\n"
    return {
        "toy_R.dat": ("\tf1\tf2\tclase\n" + "".join(rows)).encode(),
        "conxuntos.dat": even.encode(),
        "conxuntos_kfold.dat": (even * 4).encode(),
        "unused": whole.encode(),
    }


def _cifar() -> dict[str, bytes]:
    rows = np.arange(4 * 3072, dtype=np.int64).astype(np.uint8).reshape(4, 3072)
    batch = pickle.dumps({b"data": rows, b"fine_labels": [0, 1, 0, 1]}, 2)
    names = pickle.dumps({b"fine_label_names": [b"cat", b"dog"]}, 2)
    return {"train": batch, "test": batch, "meta": names}


def _one_of(files: Mapping[str, bytes], name: str, read: Callable[[Path], Any],
            tokens: tuple[bytes, ...] = ()) -> Parser:  # fmt: skip
    return Parser(read, files[name], name, files, tokens)


_NUMBERS = (b"0", b"-1", b"9" * 20, b"9" * 5000, b"1e999", b"nan", b"\xd9\xa3", b"\xc2\xb2")
_TEXT = (*_NUMBERS, b"\0", b"\r", b"\t", b"\n", b" ", b"\xe2\x80\xa8", b"\xff", b"\xef\xbb\xbf")
_JSON = (*_TEXT, b"{", b"[", b"[" * 5000, b'"', b"\\", b"\\ud800", b"null", b"true", b"NaN")
_YAML = (
    *(*_JSON, b"&a ", b"*a", b"!!int ", b"!!timestamp ", b"!!set ", b"!!binary ", b"<<: ", b"? "),
    *(b"---\n", b"- ", b": ", b"|", b"2001-99-99", b"base: ", b"task: ", b"task: enhancement\n"),
)
_BINARY = (
    b"\xff" * 4,
    b"\0" * 4,
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\xff" * 8,
    b"r\xff\xff\xff\x7f",
)
_SPHERE = (*_NUMBERS, b"channel_count", b"sample_rate", b"sample_coding", b"-i ", b"end_head\n")
_IDX = struct.pack(">4B3I", 0, 0, 8, 3, 2, 2, 2) + bytes(8)
_RECORD = {
    "recipe": "toy", "experiment": "small", "dataset": "d", "system": "ce", "condition": "",
    "seed": 1, "metric": "wer", "value": 1.0, "unit": "%", "n": 3, "commit": "c" * 40,
    "command": "x", "hardware": "m", "seconds": 1.0,
}  # fmt: skip
_SETTINGS = (
    b"corpus: {name: demo, options: {a: &a [1, 2]}}\nespnet: {max_epoch: 3, optim_conf: {lr: 0.1}}"
    b"\ngrid: {seed: *a}\nloss: {name: square, scale: 2}\n"
)
_MIXTURE = {
    "id": "m1", "condition": "babble/0dB", "utterance": "u1", "noise": "babble", "snr_db": 0.0,
    "noise_part": "test", "offset_samples": 3, "samples": 400, "snr_over": "whole",
}  # fmt: skip
_TIMIT = {
    "SX3.WAV": _sphere(), "SX3.TXT": b"0 400 She had.\n", "SX3.PHN": b"0 200 sh\n200 400 iy\n",
    "SX3.WRD": b"0 400 she\n",
}  # fmt: skip
_read_timit = lambda path: read_recording(  # noqa: E731
    path.parent / "SX3.WAV", utterance_id="u", speaker="s"
)
_vectors = lambda path: read_vectors(path, Vocabulary(("the", "of")), seed=0)  # noqa: E731

PARSERS = {
    "SPHERE": Parser(_every_way, _sphere(), "a.wav", tokens=_SPHERE),
    "SPHERE with shorten": Parser(
        audio_info, _sphere("pcm,embedded-shorten-v2.00"), "a.wav", tokens=_SPHERE
    ),
    "WAV": Parser(_every_way, _sound("WAV"), "a.wav", tokens=(*_BINARY, b"data", b"fmt ")),
    "AIFF": Parser(_every_way, _sound("AIFF"), "a.aiff", tokens=(*_BINARY, b"SSND", b"COMM")),
    "FLAC": Parser(_every_way, _sound("FLAC"), "a.flac", tokens=(*_BINARY, b"fLaC", b"\xff\xf8")),
    "Ogg": Parser(_every_way, _sound("OGG", 4), "a.ogg", tokens=(*_BINARY, b"OggS")),
    "MP3": Parser(_every_way, _sound("MP3", 9), "a.mp3", tokens=(*_BINARY, b"Xing", b"ID3\4\0\0")),
    ".phn": Parser(read_intervals, b"0 200 sh\n200 400 iy\n", "a.PHN", tokens=_TEXT),
    ".txt of TIMIT": Parser(read_prompt, b"0 400 She had.\n", "a.TXT", tokens=_TEXT),
    "words of TIMIT": _one_of(_TIMIT, "SX3.WRD", _read_timit, _TEXT),
    ".dot": Parser(read_transcript, b"WHAT WAS SAID (01ic0201)\nGO (01ic0202)\n", "a.dot",
                   tokens=(*_TEXT, b"(", b")")),
    ".ndx": Parser(read_index, b";; c\n11_1_1:wsj0/si_tr_s/01i/01ic0201.wv1\n", "a.ndx",
                   tokens=(*_TEXT, b"_", b":", b"/..")),
    "trn": Parser(read_transcripts, b"go on (u1)\nstop (u2)\n", "a.trn",
                  tokens=(*_TEXT, b"(", b")", b"{", b";;")),
    "transcripts": Parser(read_transcripts, b"u1 go on\nu2 stop\n", "text", tokens=_TEXT),
    "UCI": _one_of(_uci(), "toy_R.dat", _in_folder(read_set), _TEXT),
    "UCI's folds": _one_of(_uci(), "conxuntos_kfold.dat", _in_folder(read_set), _TEXT),
    "IDX": Parser(lambda path: read_idx(path, dimensions=3), _IDX, tokens=_BINARY),
    "IDX, gzipped": Parser(
        lambda path: read_idx(path, dimensions=3), gzip.compress(_IDX, mtime=0), "a.gz",
        tokens=_BINARY,
    ),
    "CIFAR": _one_of(_cifar(), "train", _in_folder(read_images), _BINARY),
    "CIFAR's names": _one_of(_cifar(), "meta", _in_folder(read_images), (*_BINARY, b"K\5", b"}")),
    "manifest": Parser(read_manifest, _manifest(), "m.jsonl", tokens=_JSON),
    "table of a corpus": Parser(
        _in_folder(read_table), b"id\tspeaker\tsplit\ttext\tpath\nu1\ts\ttrain\tgo\tu1.wav\n",
        "manifest.tsv", tokens=(*_TEXT, b"a" * 140_000),
    ),
    "mixtures": Parser(read_mixtures, json.dumps(_MIXTURE).encode() + b"\n", tokens=_JSON),
    "settings": Parser(load_config, _SETTINGS, "a.yaml", tokens=_YAML),
    "ESPnet's settings": Parser(load_espnet_config, _SETTINGS, "config.yaml", tokens=_YAML),
    "GLUE": Parser(
        _in_folder(read_text_corpus), b"label\ttext\n" + b"1\tgo on\n0\tstop\n" * 6, "train.tsv",
        {"test.tsv": b"label\ttext\n1\tgo\n0\tno\n"}, (*_TEXT, b"label", b"text_b", b"index"),
    ),
    "records": Parser(read_records, json.dumps([_RECORD]).encode(), "results.json", tokens=_JSON),
    "JSON": Parser(read_json, b'{"a": [1, 2.5, null]}', "a.json", tokens=_JSON),
    "estimator": Parser(
        _in_folder(estimator_kind), b'{"kind": "dnn", "format": 1}', "estimator.json", tokens=_JSON
    ),
    "vocabulary": Parser(read_vocabulary, b"<pad>\n<unk>\nthe\nof\n", "words.txt", tokens=_TEXT),
    "word vectors": Parser(_vectors, b"the 1 2 3\nof 4 5 6\n", "v.txt", tokens=_TEXT),
}  # fmt: skip

FOUND: list[tuple[str, bytes]] = [
    ("CIFAR", _cifar()["train"].replace(b"q\x01", b"r\xff\xff\xff\x7f", 1)),  # 17 GB of places
    (
        "CIFAR's names",
        _cifar()["meta"].replace(b"X\x03\0\0\0", b"X\x03\0\0\xf9", 1),
    ),  # a 4 GB name
    ("CIFAR's names", b"\x80\4\x95\0\0\0\0\4\0\0\0}."),  # a frame of 16 GB
    ("SPHERE", _sphere().replace(b"    1024", b"99999999", 1)),
    ("SPHERE", _sphere().replace(b"   1024\n", b"99999999", 1)),
    ("SPHERE", _sphere()[:200].replace(b"sample_count -i 400\n", b"")),
    ("table of a corpus", b"id\tspeaker\tsplit\ttext\nu\ts\ttrain\t" + b"a" * 140_000),
    ("settings", b"a: \x15"),
    ("JSON", b""),
    ("JSON", b"[" * 100_000),
    ("records", b"[" * 100_000),
    ("manifest", b"[" * 100_000),
    (".phn", b"0 " + b"9" * 5000 + b" sh\n"),
    ("GLUE", b"label\ttext\n" + b"9" * 5000 + b"\tgo\n1\tno\n0\tno\n"),
    ("SPHERE with shorten", _sphere("pcm,shorten").replace(b"-i 16000", b"-i 0    ")),
]
"""Files that a parser once answered in another way."""


@st.composite
def damaged(draw: st.DrawFn, parser: Parser) -> bytes:
    """Any bytes; or the valid file with bytes cut out, flipped, repeated or put in."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=400))
    content = parser.valid
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 40)))
        change = draw(st.sampled_from(["cut", "cut off", "flip", "repeat", "bytes", "token"]))
        if change == "cut":
            content = content[:start] + content[end:]
        elif change == "cut off":
            content = content[:start]
        elif change == "flip" and start < len(content):
            flipped = content[start] ^ draw(st.integers(1, 255))
            content = content[:start] + bytes([flipped]) + content[start + 1 :]
        elif change == "repeat":
            content = content[:end] + content[start:end] * draw(st.integers(1, 3)) + content[end:]
        elif change == "bytes":
            content = content[:start] + draw(st.binary(max_size=8)) + content[end:]
        elif change == "token" and parser.tokens:
            kept = draw(st.sampled_from([start, end]))
            content = content[:start] + draw(st.sampled_from(parser.tokens)) + content[kept:]
    return content


def check(parser: Parser, content: bytes) -> None:
    """Fail unless the parser gives a value, or an error that names the file, in little memory."""
    with tempfile.TemporaryDirectory(prefix="fuzz") as place:
        folder = Path(place) / "toy"
        folder.mkdir()
        for name, other in parser.beside.items():
            (folder / name).write_bytes(other)
        path = folder / parser.name
        path.write_bytes(content)
        tracemalloc.start()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                parser.read(path)
        except (ValueError, OSError) as error:
            if "toy" not in str(error):
                raise AssertionError("the error does not name the file") from error
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < MOST_BYTES + 100 * len(content), f"{peak} bytes of memory"


def _search(parser: Parser, examples: int, start: int) -> None:
    @seed(start)
    @settings(max_examples=examples, deadline=None, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(damaged(parser))
    def search(content: bytes) -> None:
        check(parser, content)

    search()


@pytest.mark.parametrize("name", PARSERS)
def test_the_valid_file_is_read(name: str, tmp_path: Path) -> None:
    parser = PARSERS[name]
    folder = tmp_path / "toy"
    folder.mkdir()
    for other, content in {**parser.beside, parser.name: parser.valid}.items():
        (folder / other).write_bytes(content)
    parser.read(folder / parser.name)


@pytest.mark.slow
@pytest.mark.fault(KIND, "damaged files, for each parser", "an error that names the file; no more")
@pytest.mark.parametrize("name", PARSERS)
def test_damaged_files(name: str) -> None:
    _search(PARSERS[name], EXAMPLES, start=0)


@pytest.mark.parametrize(("name", "content"), FOUND, ids=[name for name, _ in FOUND])
def test_what_was_found(name: str, content: bytes) -> None:
    check(PARSERS[name], content)


@pytest.mark.nightly
@pytest.mark.timeout(0)
@pytest.mark.fault(KIND, "damaged files, for each parser and for long", "an error that names it")
@pytest.mark.parametrize("name", PARSERS)
def test_damaged_files_for_long(name: str, record_property: Callable[[str, object], None]) -> None:
    end = time.monotonic() + float(os.environ.get("SQUALL_FUZZ_SECONDS", "60"))
    start, rounds = time.time_ns(), 0
    while time.monotonic() < end:
        _search(PARSERS[name], 200, start=start + rounds)
        rounds += 1
    record_property("outcome", f"{name}: {200 * rounds} files")
