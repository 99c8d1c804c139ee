"""`squall transcribe`: text, JSON, captions or word times from audio files."""

from __future__ import annotations

import argparse
import io
import logging
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from squall.asr.settings import RecognitionConfig
from squall.audio.reading import unread_below
from squall.audio.segments import Pauses
from squall.audio.voice_activity import build_voice_activity
from squall.cli.progress import display
from squall.cli.transcript_formats import FORMATS, TIMED_FORMATS, Format
from squall.engine.tasks import open_experiment
from squall.files import atomic_write, growing_file, refuse_inputs

if TYPE_CHECKING:
    from squall.asr.transcription import Spoken, Transcript

__all__ = ["transcribe_files"]

_STANDARD_INPUT = Path("-")


def transcribe_files(options: argparse.Namespace) -> int:
    """Recognise files; the exit code is 1 when one of them could not be, or not to its end.

    Each segment is written when it is there, so that what is done stays, whatever becomes of the
    rest. In a folder of results each file is written when it is whole.

    Raises:
        FileNotFoundError: the experiment has no trained model; an input does not exist, or is a
            folder without audio.
        ValueError: the experiment is of another task or knows no times of words, the lengths of
            segments do not fit together, or a result would overwrite an input.
        ImportError: the detector silero is asked for and not installed.
        OSError: the output cannot be written.
    """
    with _errors_only():
        return _transcribe_files(options)


@contextmanager
def _errors_only() -> Iterator[None]:
    """Keep ESPnet's and our own warnings away: what matters to the user is printed below."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)


@dataclass(frozen=True)
class _Job:
    """One file to recognise.

    Args:
        path: the file.
        name: how it was given.
        format: what is written of it.
        target: a file for it alone, or None.
    """

    path: Path
    name: str
    format: Format
    target: Path | None

    @property
    def size(self) -> int:
        """Bytes of the file, by which the progress is counted."""
        return self.path.stat().st_size


def _transcribe_files(options: argparse.Namespace) -> int:
    experiment = open_experiment(options.model, RecognitionConfig)
    shortest_s, longest_s = options.segment_s
    pauses = Pauses(shortest_s, longest_s, options.pause_s)
    activity = None if options.vad == "none" else build_voice_activity(options.vad)
    # ESPnet reports missing extras while it is imported.
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        from squall.asr.decoding import load_recogniser
        from squall.asr.transcription import find_audio, transcribe

    with ExitStack() as opened:
        inputs = opened.enter_context(_files(options.audio))
        with redirect_stdout(io.StringIO()):
            paths = find_audio(list(inputs))
        jobs = _plan(paths, inputs, options.output, options.format)
        output = Path(options.output) if options.output else None
        with redirect_stdout(io.StringIO()):
            recogniser = load_recogniser(experiment, device=options.device, threads=options.threads)
        if options.format in TIMED_FORMATS and recogniser.model.ctc is None:
            raise ValueError(
                f"--format {options.format} needs the times of words, which this model does not "
                "have: it was trained without CTC. Take text or json"
            )
        head = FORMATS[options.format].head
        write = opened.enter_context(_writable(output, jobs, head))
        # Lines of text and a bar on one terminal would disturb each other.
        bar = sys.stderr.isatty() and bool(options.output or not sys.stdout.isatty())
        say, show = opened.enter_context(display(sum(job.size for job in jobs), bar=bar))
        for folder in filter(Path.is_dir, inputs):
            if left_out := unread_below(folder):
                say(f"{folder}: {left_out}")
        recognise = partial(transcribe, recogniser, activity=activity, pauses=pauses)
        failed, in_part, audio_s, started = 0, "", 0.0, time.perf_counter()
        for number, job in enumerate(jobs):
            done = sum(job.size for job in jobs[:number])
            result = _recognise(job, recognise, write, partial(_show, show, job, done))
            if result.problem is not None:
                say(f"{job.name}: {result.problem}")
                failed += 1
            if result.hypothesis is None:
                continue
            if result.problem is not None:
                in_part = ", or not to their end"
            audio_s += result.duration_s
            for conversion in result.conversions:
                say(f"{job.name}: {conversion}")
            if options.output:
                say(f"{number + 1} of {len(jobs)}: {job.target or job.name}")
        if options.output and audio_s:
            seconds = time.perf_counter() - started
            say(
                f"{audio_s:.1f} s of audio in {seconds:.1f} s: real-time factor "
                f"{seconds / audio_s:.3f} on {options.threads} thread(s)"
            )
    if failed:
        print(f"{failed} of {len(jobs)} files could not be transcribed{in_part}", file=sys.stderr)
    return 1 if failed else 0


def _show(show: Callable[[float, str], None], job: _Job, done: int, share: float) -> None:
    show(done + share * job.size, job.name)


def _recognise(
    job: _Job,
    recognise: Callable[..., Transcript],
    write: Callable[[str], object],
    show: Callable[[float], None],
) -> Transcript:
    """Recognise one file and write what comes of it, each segment at once or all of them whole."""
    own = io.StringIO(job.format.head)
    own.seek(0, io.SEEK_END)
    put = write if job.target is None else own.write

    def on_part(share: float, segments: Sequence[Spoken]) -> None:
        for segment in segments:
            put(job.format.segment(segment))
        show(share)

    result = recognise(job.path, on_part=on_part)
    if result.hypothesis is None:
        if failure := job.format.failure(result):
            put(failure)
    else:
        put(job.format.end(result))
        if job.target is not None:
            with atomic_write(job.target) as file:
                file.write(own.getvalue())
    return result


@contextmanager
def _files(given: Sequence[Path]) -> Iterator[dict[Path, str]]:
    """What is to be read, with the name that it was given by: `-` is standard input."""
    if _STANDARD_INPUT not in given:
        yield {path: str(path) for path in given}
        return
    with tempfile.NamedTemporaryFile(prefix="standard-input-") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        spooled = Path(file.name)
        yield {spooled if path == _STANDARD_INPUT else path: str(path) for path in given}


def _plan(
    paths: Sequence[Path], inputs: dict[Path, str], place: str | None, format_name: str
) -> list[_Job]:
    """What is written of each file, and where."""
    output = Path(place) if place else None
    kind = FORMATS[format_name]
    several = len(paths) > 1
    names = [inputs.get(path, str(path)) for path in paths]
    if several and format_name in ("srt", "vtt") and output is None:
        raise ValueError(
            f"--format {format_name} of {len(paths)} files: give a folder with -o, where each "
            "becomes a file of its own"
        )
    below = [_below(path, name, inputs) for path, name in zip(paths, names, strict=True)]
    titles = _recordings(below, names) if format_name == "ctm" else names
    targets: list[Path | None] = [None] * len(paths)
    each = format_name in TIMED_FORMATS and (several or any(map(Path.is_dir, inputs)))
    in_folder = output is not None and (output.is_dir() or each or str(place).endswith(os.sep))
    if output is not None and in_folder:
        if output.exists() and not output.is_dir():
            raise ValueError(
                f"{output} is a file; {len(paths)} result(s) of the format {format_name} need a "
                "folder: give another one"
            )
        targets = list(_targets(output, below, kind.suffix))
    jobs = [
        _Job(path, name, kind(title, several=several and not in_folder), target)
        for path, name, title, target in zip(paths, names, titles, targets, strict=True)
    ]
    for target in targets if in_folder else [output]:
        refuse_inputs(target, paths)
    return jobs


def _recordings(below: Sequence[Path], names: Sequence[str]) -> list[str]:
    """What recordings are called: without their suffix where that tells them apart."""
    stems = [str(path.with_suffix("")) for path in below]
    return [
        stem if stems.count(stem) == 1 else name for stem, name in zip(stems, names, strict=True)
    ]


def _below(path: Path, name: str, inputs: dict[Path, str]) -> Path:
    """The path of a file in the folder that was given, or its name alone."""
    if name == str(_STANDARD_INPUT):
        return Path("standard-input")
    folders = [folder for folder in inputs if folder != path and path.is_relative_to(folder)]
    return path.relative_to(folders[0]) if folders else Path(path.name)


def _targets(folder: Path, below: Sequence[Path], suffix: str) -> Iterator[Path]:
    """A file for each input, named after it, and told apart by its suffix or by a number."""
    taken: set[Path] = set()
    for path in below:
        names = [path.with_suffix(suffix), path.with_name(path.name + suffix)]
        number = 2
        while names[0] in taken:
            del names[0]
            names.append(path.with_name(f"{path.stem}-{number}{suffix}"))
            number += 1
        taken.add(names[0])
        yield folder / names[0]


@contextmanager
def _writable(
    output: Path | None, jobs: Sequence[_Job], head: str
) -> Iterator[Callable[[str], object]]:
    """What writes to the one output of all files, where each line can be read at once.

    What is there already is replaced by the first result, and not before. The head is written in
    front of it.

    Raises:
        OSError: it cannot be written, or no file can be made in the folder.
    """
    with ExitStack() as opened:
        try:
            if output is None:
                write: Callable[[str], object] = _print
            elif any(job.target is not None for job in jobs):
                output.mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=output).close()
                write = _to_nowhere
            else:
                write = opened.enter_context(growing_file(output))
        except OSError as error:
            reason = error.strerror or error
            raise OSError(f"{output}: cannot be written ({reason}): give another output") from error
        yield _with_head(write, head)


def _with_head(write: Callable[[str], object], head: str) -> Callable[[str], object]:
    heads = iter([head])
    return lambda text: write(next(heads, "") + text)


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _to_nowhere(text: str) -> None:
    """Every file has an output of its own."""
