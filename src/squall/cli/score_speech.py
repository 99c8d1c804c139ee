"""`squall score-speech`: scores of enhanced files, against clean ones or on their own."""

from __future__ import annotations

import argparse
import csv
import math
import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np

from squall.audio.offset import describe_offset
from squall.audio.reading import SAMPLE_RATE_HZ, AudioError, audio_below, read_audio
from squall.cli.score_words import (
    Recognise,
    WordsTable,
    find_texts,
    load_recogniser,
    print_rows,
    recognise_folders,
    write_words,
)
from squall.files import atomic_write, refuse_inputs
from squall.report.page import Section, page_html, table_html
from squall.scoring.bootstrap import compare_means
from squall.scoring.cells import text_cell
from squall.scoring.delay import align_signals, find_lag
from squall.scoring.metrics import declared
from squall.scoring.speech_scores import (
    DEFAULT_SCORES,
    SPEECH_SCORES,
    MetricSummary,
    SpeechPair,
    SpeechScores,
    check_scores,
    missing_packages,
    score_pairs,
    summarise_metric,
)
from squall.scoring.speech_signals import Score
from squall.scoring.transcripts import read_transcripts

__all__ = ["score_speech_files"]

# Resampling and codecs pad by a few milliseconds; a larger difference is another recording.
_CUT_AT_MOST_S = 0.010
_LAG_AT_MOST_S = 0.020
_FEWEST_FILES = 5  # resamples of fewer say little of their spread, and call any difference sure

_Paths = tuple[Path | None, Path]  # reference, estimate

_INTERVAL = "percentile bootstrap over files, 2000 resamples, seed 0"


def score_speech_files(options: argparse.Namespace) -> int:
    """Print or write one line per file, then the mean of each score; with a recogniser its errors.

    Files are brought to one channel at 16 kHz. Where an estimate is late or early, by up to 20 ms,
    the two are aligned, unless that is switched off. Two files whose lengths then differ by less
    than 10 ms are cut to the shorter. All of that is said. Without a reference the scores are those
    that need none. Several estimates are scored one after the other, and compared with the first.

    Returns:
        1 when a file has no counterpart, cannot be read or has another length than its
        counterpart; the others are scored nevertheless.

    Raises:
        FileNotFoundError: a folder without audio.
        ValueError: an unknown score, a package that one needs is missing, two files of one name,
            nothing to score, a file and a folder, or an output would replace an input or another
            output; a recogniser without texts, or texts without one, or a file without text.
    """
    names = _wanted_scores(options.scores, reference=options.reference is not None)
    folders = {str(estimate): estimate for estimate in options.estimate}
    if len(folders) < len(options.estimate):
        raise ValueError("--estimate has a file or folder twice")
    found = {name: _find_pairs(options.reference, path) for name, path in folders.items()}
    _check_outputs(options)
    speech = _speech(found, options.reference)
    recognise, texts = _recogniser(options, speech)
    several = len(folders) > 1
    lag = ["lag_samples"] if options.reference else []
    head = [*(["estimate"] if several else []), "file", *names, *lag, "reason"]
    scored: dict[str, dict[str, SpeechScores]] = {}
    rows: list[list[str]] = []
    unscored: list[str] = []
    with atomic_write(options.csv) if options.csv else nullcontext(sys.stdout) as file:
        for folder, (pairs, problems) in found.items():
            for problem in problems:
                print(problem, file=sys.stderr)
            unscored += problems
            reading = _Reading(pairs, align=options.align)
            mine = scored[folder] = {}
            jobs = min(options.jobs or os.cpu_count() or 1, max(1, len(pairs)))
            for scores in score_pairs(reading, scores=names, jobs=jobs):
                name, late, notes = reading.names.popleft()
                if not rows:
                    _write_row(file, head)
                mine[_utterance(name, folder)] = scores
                values = [_number(score) for score in scores.metrics().values()]
                values += ["" if late is None else str(late)] if lag else []
                reasons = "; ".join(filter(None, [scores.reason, *notes]))
                rows.append([*([folder] if several else []), name, *values, reasons])
                _write_row(file, rows[-1])
                if options.csv:
                    done = len(mine) + len(reading.problems)
                    print(f"{done} of {len(pairs)}: {name}", file=sys.stderr)
            unscored += reading.problems
            _tell_lags(reading.lags)
        if not rows:
            raise ValueError(f"nothing could be scored, {len(unscored)} problem(s) above")
    if not options.csv:
        print()
    summaries = {
        folder: {name: summarise_metric([one[name] for one in mine.values()]) for name in names}
        for folder, mine in scored.items()
        if mine
    }
    for folder, means in summaries.items():
        if several:
            print(f"{folder}:")
        _print_table(means)
    differences = [row for row in _differences(scored, names) if several]
    if differences:
        print_rows(_DIFFERENCE_HEAD, differences, _DIFFERENCE_NOTE)
    failed = len(unscored)
    words = None
    if recognise:
        words, unheard = recognise_folders(speech, texts, recognise)
        print_rows(words.head, words.rows, words.note)
        if options.words:
            write_words(options.words, words)
        failed += unheard
    if options.html:
        _write_page(options.html, summaries, differences, words, head, rows, unscored)
    if failed:
        print(f"{failed} file(s) could not be scored, see above", file=sys.stderr)
    return 1 if failed else 0


def _check_outputs(options: argparse.Namespace) -> None:
    """Refuse outputs that would replace an input or one another, before anything is scored."""
    given = filter(None, (options.reference, options.text, *options.estimate))
    inputs = [*chain.from_iterable(audio_below(p) if p.is_dir() else [p] for p in given)]
    places: set[str] = set()
    for output in filter(None, (options.csv, options.html, options.words)):
        if output.is_dir():
            raise ValueError(f"{output} is a folder: give the name of a file")
        refuse_inputs(output, inputs)
        if output.exists() and not output.is_file():
            continue  # a device, which takes several
        if (place := os.path.realpath(output)) in places:
            raise ValueError(f"{output} is to be written twice: give another output")
        places.add(place)


def _recogniser(
    options: argparse.Namespace, speech: Mapping[str, Mapping[str, Path]]
) -> tuple[Recognise | None, dict[str, str]]:
    """The recogniser and the texts that are asked for, loaded before anything is scored."""
    if (options.recogniser is None) != (options.text is None):
        raise ValueError("--recogniser and --text FILE, with what is said, go together")
    if options.recogniser is None:
        if options.words:
            raise ValueError("--words writes what a recogniser understood: give --recogniser")
        return None, {}
    if not options.text.exists():
        raise ValueError(f"{options.text}: no such file; it holds what is said, lines `id words`")
    texts, _ = read_transcripts(options.text)
    try:
        find_texts(speech, texts)
    except ValueError as error:
        raise ValueError(f"{options.text}: {error}") from None
    return load_recogniser(options.recogniser), texts


def _speech(
    found: Mapping[str, tuple[Mapping[str, _Paths], object]], reference: Path | None
) -> dict[str, dict[str, Path]]:
    """The files of each estimate, and of the reference, which comes last."""
    alone = Path(next(iter(found))).stem  # the name of files that stand alone
    files = {
        folder: {_utterance(n, folder) or alone: estimate for n, (_, estimate) in pairs.items()}
        for folder, (pairs, _) in found.items()
    }
    if reference is not None:
        folder, (pairs, _) = next(iter(found.items()))
        files[str(reference)] = {
            _utterance(n, folder) or alone: c for n, (c, _) in pairs.items() if c is not None
        }
    return files


def _utterance(name: str, given: str) -> str:
    """The name of an utterance: its file's below a folder; empty of a file that stands alone."""
    return name if Path(given).is_dir() else ""


def _tell_lags(lags: Sequence[int | None]) -> None:
    if late := [lag for lag in lags if lag]:
        print(
            f"{len(late)} of {len(lags)} estimates are late or early (lag_samples: {min(late)} "
            f"to {max(late)}): aligned with their references; --no-align scores them as they are",
            file=sys.stderr,
        )


_DIFFERENCE_NOTE = (
    "difference from the first estimate; bootstrap over files, 10,000 resamples, seed 0; "
    f"none below {_FEWEST_FILES} files"
)
_DIFFERENCE_HEAD = ("estimate", "score", "difference", "95 % interval", "p", "files")


def _differences(
    scored: Mapping[str, Mapping[str, SpeechScores]], names: Sequence[str]
) -> Iterator[list[str]]:
    """Each estimate less the first, over the files that have a score in both."""
    (_, base), *others = scored.items()
    for folder, mine in others:
        for name in names:
            both = [
                (mine[file][name].value, base[file][name].value)
                for file in mine
                if file in base and mine[file][name].defined and base[file][name].defined
            ]
            row = [folder, name, "", "-", "", str(len(both))]
            if both:
                a, b = np.array(both).T
                row[2] = f"{(a - b).mean():+.4f}"
            if len(both) >= _FEWEST_FILES:
                difference = compare_means(values_a=a, values_b=b)
                row[3] = f"{difference.low:+.4f} to {difference.high:+.4f}"
                row[4] = f"{difference.p_value:.4f}"
            yield row


def _wanted_scores(given: str | None, *, reference: bool) -> tuple[str, ...]:
    """The scores that are asked for; all their packages are there."""
    if given is not None:
        names = check_scores([name.strip() for name in given.split(",")], reference=reference)
    elif reference:
        names = DEFAULT_SCORES
    else:
        names = check_scores(["all"], reference=False)
    if missing := missing_packages(names):
        raise ValueError("; ".join(missing))
    return names


class _Reading:
    """Reads pairs one by one as they are wanted; keeps what there is to say about each.

    Attributes:
        names: name, lag and notes of the pairs that were handed out, in order.
        lags: of the estimates, in samples; None where none was looked for.
        problems: why the others could not be, a sentence for each.
    """

    def __init__(self, pairs: Mapping[str, _Paths], *, align: bool) -> None:
        self.pairs, self.align = pairs, align
        self.names: deque[tuple[str, int | None, list[str]]] = deque()
        self.lags: list[int | None] = []
        self.problems: list[str] = []

    def __iter__(self) -> Iterator[SpeechPair]:
        for name, (reference, estimate) in self.pairs.items():
            try:
                if reference is None:
                    pair, lag, notes = _read_alone(estimate)
                else:
                    pair, lag, notes = _read_pair(reference, estimate, align=self.align)
            except (AudioError, _LengthError, OSError, MemoryError) as error:
                self.problems.append(str(error) or f"{name}: the memory is full")
                print(self.problems[-1], file=sys.stderr)
                continue
            for note in notes:
                print(f"{name}: {note}", file=sys.stderr)
            self.names.append((name, lag, notes))
            self.lags.append(lag)
            yield pair


class _LengthError(ValueError):
    """Two files are not of one length."""


def _read_alone(estimate: Path) -> tuple[SpeechPair, None, list[str]]:
    """A signal that is scored without a reference, and what there is to say about it."""
    audio = read_audio(estimate, sample_rate_hz=SAMPLE_RATE_HZ)
    return SpeechPair(estimate=audio.samples), None, [f"estimate {c}" for c in audio.conversions]


def _read_pair(
    reference: Path, estimate: Path, *, align: bool
) -> tuple[SpeechPair, int | None, list[str]]:
    """The signals, by how many samples the estimate is late, and what there is to say."""
    audio = {
        "reference": read_audio(reference, sample_rate_hz=SAMPLE_RATE_HZ),
        "estimate": read_audio(estimate, sample_rate_hz=SAMPLE_RATE_HZ),
    }
    notes = [f"{which} {text}" for which, read in audio.items() for text in read.conversions]
    signals = {which: read.samples for which, read in audio.items()}
    for which, samples in signals.items():
        mean, spread = samples.mean(dtype=np.float64), samples.std(dtype=np.float64)
        if offset := describe_offset(float(mean), float(spread)):
            notes.append(f"{which} has {offset}, not counted")
    lag = find_lag(**signals, max_lag_samples=_samples(_LAG_AT_MOST_S)) if align else None
    lengths = {which: len(samples) for which, samples in signals.items()}
    difference = lengths["estimate"] - lengths["reference"]
    if min(abs(difference), abs(difference - (lag or 0))) >= _samples(_CUT_AT_MOST_S):
        raise _LengthError(
            f"{estimate}: {lengths['estimate'] / SAMPLE_RATE_HZ:.3f} s, but {reference} has "
            f"{lengths['reference'] / SAMPLE_RATE_HZ:.3f} s: these are not aligned"
        )
    if difference and not lag:
        longer = max(lengths, key=lambda which: lengths[which])
        notes.append(f"{longer} cut by {abs(difference)} samples to the length of the other")
    clean, enhanced = align_signals(**signals, lag_samples=lag or 0)
    return SpeechPair(reference=clean, estimate=enhanced), lag, notes


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE_HZ)


def _find_pairs(reference: Path | None, estimate: Path) -> tuple[dict[str, _Paths], list[str]]:
    """Pairs by name, and what is missing, in words."""
    for path in filter(None, (reference, estimate)):
        if not path.exists():
            raise ValueError(f"{path}: no such file or folder")
    if reference is None:
        files = _files_below(estimate) if estimate.is_dir() else {str(estimate): estimate}
        return {name: (None, path) for name, path in files.items()}, []
    if reference.is_dir() != estimate.is_dir():
        raise ValueError(f"{reference} and {estimate}: give two folders or two files")
    if not reference.is_dir():
        return {str(estimate): (reference, estimate)}, []
    references, estimates = _files_below(reference), _files_below(estimate)
    problems = [
        f"{path}: no file of this name in {other}"
        for files, others, other in (
            (references, estimates, estimate),
            (estimates, references, reference),
        )
        for name, path in files.items()
        if name not in others
    ]
    both = [name for name in references if name in estimates]
    return {name: (references[name], estimates[name]) for name in both}, problems


def _files_below(folder: Path) -> dict[str, Path]:
    """The audio files below a folder, by their path in it without suffix."""
    files: dict[str, Path] = {}
    for path in audio_below(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in files:
            raise ValueError(f"{path} and {files[name]}: two files of one name; remove one")
        files[name] = path
    return files


def _write_row(file: IO[str], cells: Sequence[str]) -> None:
    csv.writer(file, lineterminator="\n").writerow(map(text_cell, cells))
    file.flush()


def _number(score: Score) -> str:
    return f"{score.value:.4f}" if score.defined else ""


def _print_table(summaries: Mapping[str, MetricSummary]) -> None:
    missing = False
    width = max(len("metric"), *map(len, summaries))
    print(f"{'metric':<{width}} {'mean':>9}   {'95 % interval':<22} {'files':>5} {'NaN':>5}  unit")
    for name, summary in summaries.items():
        none = math.isnan(summary.low)
        missing = missing or none
        print(
            f"{name:<{width}} {summary.mean:>9.4f}   {_interval(summary):<22} "
            f"{summary.scored:>5} {summary.undefined:>5}  {_unit(name)}"
        )
    print(f"interval: {_INTERVAL}")
    if missing:
        print("-: no interval, one file or none has this score: nothing tells its spread")


def _interval(summary: MetricSummary) -> str:
    return "-" if math.isnan(summary.low) else f"{summary.low:.4f} to {summary.high:.4f}"


def _unit(name: str) -> str:
    metric = declared(name)
    return (
        f"{metric.unit}, {metric.better} is better" if metric.unit else f"{metric.better} is better"
    )


def _write_page(
    path: Path,
    summaries: Mapping[str, Mapping[str, MetricSummary]],
    differences: Sequence[Sequence[str]],
    words: WordsTable | None,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    unscored: Sequence[str],
) -> None:
    """One HTML file with all tables, and what could not be scored, in words."""
    sections = []
    for folder, means in summaries.items():
        table = [
            [
                declared(name).title,
                f"{summary.mean:.4f}",
                _interval(summary),
                str(summary.scored),
                str(summary.undefined),
                _unit(name),
            ]
            for name, summary in means.items()
        ]
        shown = table_html(["score", "mean", "95 % interval", "files", "no score", "unit"], table)
        title = f"Means: {folder}" if len(summaries) > 1 else "Means"
        sections.append(Section(title, f"{shown}<p>Interval: {_INTERVAL}.</p>"))
    if differences:
        shown = table_html(list(_DIFFERENCE_HEAD), [list(row) for row in differences])
        shown += f"<p>{_DIFFERENCE_NOTE}</p>"
        sections.append(Section("Differences from the first estimate", shown))
    if words:
        shown = f"{table_html(list(words.head), words.rows)}<p>{words.note}</p>"
        sections.append(Section("Words", shown))
    titles = [declared(name).title if name in SPEECH_SCORES else name for name in head]
    sections.append(Section("Files", table_html(titles, [list(row) for row in rows])))
    if unscored:
        sections.append(Section("Not scored", table_html(["why"], [[why] for why in unscored])))
    with atomic_write(path) as file:
        file.write(page_html("Scores of speech", sections))
