"""`squall transcribe`: time and memory for an hour, and how far the times of words are off.

    python benchmarks/transcription.py EXP_DIR --recordings AN4 --timit TIMIT

The hour is made of recordings of one folder in random order, with pauses of 0.3 to 2.5 s. Of TIMIT,
or NLTK's sample of it, the words that are said are aligned and compared with the hand labels; every
second speaker of the sample was used to set the constants of `squall.asr.alignment` for a model of
AN4, so that the others tell.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import soundfile

from squall.audio.reading import SAMPLE_RATE_HZ, audio_below, read_audio

PAUSE_S = (0.3, 2.5)
PAUSE_LEVEL = 2e-4


def write_hour(recordings: Path, path: Path, length_s: float) -> None:
    """Join recordings until they are long enough."""
    rng = np.random.default_rng(0)
    paths = audio_below(recordings)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE_HZ, 1, "PCM_16") as file:
        while file.frames < length_s * SAMPLE_RATE_HZ:
            file.write(read_audio(paths[rng.integers(len(paths))]).samples)
            pause = rng.standard_normal(round(rng.uniform(*PAUSE_S) * SAMPLE_RATE_HZ))
            file.write(PAUSE_LEVEL * pause)


def measure(experiment: Path, path: Path, length_s: float) -> None:
    """Transcribe a file with each detector in a process of its own."""
    for name in ("silero", "energy"):
        if name == "silero" and not find_spec("silero_vad"):
            print("| silero | not installed | | |")
            continue
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "squall", "transcribe", str(path), "--vad", name]
            command += ["--model", str(experiment), "--threads", "1", "--format", "json"]
            started = time.perf_counter()
            process = subprocess.Popen([*command, "-o", f"{folder}/found.json"])
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
        if status:
            raise SystemExit(f"{' '.join(command)} failed")
        gigabytes = usage.ru_maxrss * 1024 / 1e9
        print(f"| {name} | {seconds:.0f} s | {seconds / length_s:.4f} | {gigabytes:.2f} GB |")


def word_errors(experiment: Path, timit: Path) -> None:
    """Starts and ends of aligned words against the hand labels."""
    warnings.simplefilter("ignore")
    from squall.asr.alignment import time_words
    from squall.asr.decoding import load_recogniser
    from squall.asr.recogniser import Hypothesis, Word
    from squall.asr.settings import RecognitionConfig
    from squall.corpora.manifest import read_utterance
    from squall.corpora.timit import prepare_timit
    from squall.engine.tasks import open_experiment
    from squall.text.tokens import UNKNOWN

    recogniser = load_recogniser(
        open_experiment(experiment, RecognitionConfig), device="cpu", threads=1
    )
    if recogniser.config.tokens.units != "char":
        raise SystemExit("the times of words are measured for models of characters")
    known = set(recogniser.tokens)
    utterances = [u for split in prepare_timit(timit).values() for u in split]
    speakers = sorted({u.speaker for u in utterances})
    errors_s: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for utterance in utterances:
        labels = utterance.words or ()
        tokens = [
            "<space>" if c == " " else c if c in known else UNKNOWN
            for c in " ".join(label.label.upper() for label in labels)
        ]
        words = tuple(Word(label.label, 1.0) for label in labels)
        audio = read_utterance(utterance, sample_rate_hz=SAMPLE_RATE_HZ)
        found = time_words(
            recogniser,
            recogniser.encode(audio.samples),
            Hypothesis("", tuple(tokens), 0.0, 1.0, words),
            start_s=0.0,
            duration_s=audio.duration_s,
        )
        if found is None:
            raise SystemExit("the model has no CTC")
        was_used = speakers.index(utterance.speaker) % 2 == 0
        errors_s[was_used] += [
            (word.start_s - label.start_s, word.end_s - label.end_s)
            for word, label in zip(found, labels, strict=True)
        ]
    for was_used, pairs in errors_s.items():
        off_ms = 1000 * np.array(pairs)  # (words, 2)
        for name, edge in (("start", off_ms[:, 0]), ("end", off_ms[:, 1]), ("both", off_ms)):
            quarters = np.quantile(np.abs(edge), [0.5, 0.9])
            print(
                f"| {'used' if was_used else 'others'} | {name} | {np.median(edge):+.0f} | "
                f"{quarters[0]:.0f} | {quarters[1]:.0f} | {len(pairs)} |"
            )


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--recordings", type=Path)
    parser.add_argument("--length-s", type=float, default=3600.0)
    parser.add_argument("--timit", type=Path)
    options = parser.parse_args()
    if options.recordings:
        print("| detector | time | real-time factor | most memory |\n|---|---|---|---|")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "hour.wav"
            write_hour(options.recordings, path, options.length_s)
            measure(options.experiment, path, options.length_s)
    if options.timit:
        print("| speakers | edge | median, ms | median of absolute values | 90 % | words |")
        print("|---|---|---|---|---|---|")
        word_errors(options.experiment, options.timit)


if __name__ == "__main__":
    main()
