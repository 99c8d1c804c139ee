"""`squall enhance`: noisy files to enhanced files."""

from __future__ import annotations

import argparse
import functools
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from squall.cli.progress import display
from squall.engine.experiment import Experiment
from squall.engine.tasks import open_experiment
from squall.enhance.settings import ALL, EnhancementConfig
from squall.files import disk_full

__all__ = ["enhance_files", "enhance_stream"]

if TYPE_CHECKING:
    from squall.enhance.enhancer import Enhancer

_READ_S = 0.01  # at a time: what is waited for comes on top of the delay


def enhance_files(options: argparse.Namespace) -> int:
    """Enhance files; the exit code is 1 when one of them could not be.

    Raises:
        FileNotFoundError: the experiment has no trained model; an input does not exist, or is a
            folder without audio.
        ValueError: the experiment is of another task, there is no such model, or a result would
            overwrite an input or another result.
    """
    experiment = open_experiment(options.model, EnhancementConfig)
    import torch  # not earlier: a wrong experiment is to be told at once

    from squall.audio.reading import audio_info, unread_below
    from squall.enhance.audio_files import enhance_file, plan_outputs

    torch.set_num_threads(options.threads)
    enhancer_for = _enhancers(experiment, options.condition)
    jobs = plan_outputs(options.audio, options.output)
    failed, audio_s, computing_s = 0, 0.0, 0.0
    with display(len(jobs)) as (say, show):
        for folder in filter(Path.is_dir, options.audio):
            if left_out := unread_below(folder):
                say(f"{folder}: {left_out}")
        for number, job in enumerate(jobs, start=1):

            def on_progress(
                share: float, done: int = number - 1, name: str = job.source.name
            ) -> None:
                show(done + share, name)

            started = time.perf_counter()
            try:
                enhancer, chosen = enhancer_for(job.source)
                notes = chosen + enhance_file(enhancer, job, on_progress=on_progress)
                audio_s += audio_info(job.source).duration_s
            except (OSError, ValueError, RuntimeError, MemoryError) as error:
                if isinstance(error, OSError) and disk_full(error):
                    raise  # the next file would find it full too
                text = str(error) or "the memory is full"
                named = text.startswith((str(job.source), str(job.target)))
                say(text if named else f"{job.source}: {text}")
                failed += 1
                continue
            computing_s += time.perf_counter() - started
            for note in notes:
                say(f"{job.source}: {note}")
            say(f"{number} of {len(jobs)}: {job.target}")
        if audio_s:
            say(
                f"{audio_s:.1f} s of audio in {computing_s:.1f} s: real-time factor "
                f"{computing_s / audio_s:.2f} on {options.threads} thread(s)"
            )
    if failed:
        print(f"{failed} of {len(jobs)} files could not be enhanced", file=sys.stderr)
    return 1 if failed else 0


def _enhancers(
    experiment: Experiment[EnhancementConfig], condition: str | None
) -> Callable[[Path], tuple[Enhancer, tuple[str, ...]]]:
    """What gives the enhancer of a file, and what there is to say of the choice."""
    from squall.enhance.audio_files import nearest_to_file
    from squall.enhance.enhancer import Enhancer, find_model, find_models
    from squall.enhance.nearest import AUTO

    train_dir = experiment.directory / "train"
    load = functools.cache(lambda folder: Enhancer.load(folder, experiment.config))
    if condition != AUTO:
        enhancer = load(find_model(train_dir, condition))
        return lambda path: (enhancer, ())
    models = find_models(train_dir)

    def nearest(path: Path) -> tuple[Enhancer, tuple[str, ...]]:
        name = nearest_to_file(path, models, experiment.config)
        why = (
            f"no noise is clearly nearest to its own: the model {name}"
            if name == ALL
            else f"its noise is nearest to that of the model {name}"
        )
        return load(models[name]), (why,)

    return nearest


def enhance_stream(options: argparse.Namespace) -> int:
    """Enhance raw 16-bit samples, mono, from standard input to standard output, as they come.

    Raises:
        FileNotFoundError, ValueError: as `enhance_files` does; `auto` knows no file here.
    """
    experiment = open_experiment(options.model, EnhancementConfig)
    import soxr
    import torch

    from squall.audio.reading import SAMPLE_RATE_HZ
    from squall.enhance.enhancer import Enhancer, find_model
    from squall.enhance.nearest import AUTO
    from squall.enhance.stream import EnhancementStream

    if options.condition == AUTO:
        raise ValueError("--condition auto hears a whole file first: with --stream name a model")
    torch.set_num_threads(options.threads)
    folder = find_model(experiment.directory / "train", options.condition)
    stream = EnhancementStream(Enhancer.load(folder, experiment.config))
    rate_hz = options.stream
    lost = "; what is above 8000 Hz is lost" if rate_hz > SAMPLE_RATE_HZ else ""
    also = " and resampling" if rate_hz != SAMPLE_RATE_HZ else ""
    delay = f"delay {stream.latency_s:.2f} s, beside that of computing{also}{lost}"
    print(delay, file=sys.stderr, flush=True)
    down, up = (
        soxr.ResampleStream(one, other, 1, dtype="float32", quality="HQ") if one != other else None
        for one, other in ((rate_hz, SAMPLE_RATE_HZ), (SAMPLE_RATE_HZ, rate_hz))
    )
    at_once = 2 * math.ceil(_READ_S * rate_hz)
    taken = given = 0
    last = False
    while not last:
        data = sys.stdin.buffer.read(at_once)
        last = len(data) < at_once
        samples = np.frombuffer(data[: len(data) // 2 * 2], "<i2") / np.float32(32768)
        taken += len(samples)
        part = down.resample_chunk(samples, last=last) if down else samples
        enhanced = stream.push(np.asarray(part, np.float32))
        if last:
            enhanced = np.append(enhanced, stream.finish())
        result = up.resample_chunk(enhanced, last=last) if up else enhanced
        if last:
            result = np.pad(result, (0, max(0, taken - given - len(result))))
        result = result[: taken - given]
        given += len(result)
        written = np.clip(np.round(result * 32768), -32768, 32767).astype("<i2")
        sys.stdout.buffer.write(written.tobytes())
        sys.stdout.buffer.flush()
    return 0
