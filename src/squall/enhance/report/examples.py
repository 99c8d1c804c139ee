"""An utterance of each condition to look at and to listen to."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from squall.audio.frontend import StftFrontEnd
from squall.audio.reading import SAMPLE_RATE_HZ, read_audio
from squall.engine.experiment import Experiment
from squall.enhance.estimators.registry import ESTIMATORS, EstimatorEntry
from squall.enhance.places import EnhancementPlaces
from squall.enhance.report.comparison import Values, read_mixture_scores
from squall.enhance.settings import EnhancementConfig
from squall.report.figures import figure_svg
from squall.report.page import audio_html, details_html, figure_html, prose_html
from squall.report.report import Run, Section
from squall.scoring.metrics import declared
from squall.scoring.speech_scores import SPEECH_SCORES

__all__ = ["example_section"]

_WHOLE = 3  # conditions that stand open, with a player for every system
_SOUND_S = 360  # of all players: about 11 MB


@dataclass(frozen=True)
class _System:
    """A run: what it is called, what it is, where its audio is, and the scores of its mixtures."""

    label: str
    estimator: EstimatorEntry
    places: EnhancementPlaces
    values: Mapping[str, Values]


@dataclass(frozen=True)
class _Example:
    """A mixture, and the scores of the systems that are compared, the worst first."""

    condition: str
    utterance: str
    scores: Mapping[str, float]

    @property
    def difference(self) -> float:
        values = self.scores.values()
        return max(values) - min(values) if values else 0.0

    @property
    def ends(self) -> list[str]:
        """The worst system and the best."""
        systems = [*self.scores]
        return [*systems[:1], *systems[1:][-1:]]


def example_section(
    experiments: Sequence[Experiment[EnhancementConfig]], runs: Sequence[Run]
) -> Section:
    """The utterance of each condition on which the systems differ most: pictures and players.

    Compared are trained systems and those off the shelf, by the first of the scores that was
    computed. The mixture and the ideal mask are shown with them.
    """
    systems = [
        _System(
            label,
            experiment.config.estimator.entry,
            EnhancementPlaces(experiment),
            read_mixture_scores(run).values,
        )
        for label, experiment, run in zip(_short_labels(runs), experiments, runs, strict=True)
        if (run.score_dir / "mixtures.csv").is_file()
    ]
    metric = max(SPEECH_SCORES, key=lambda name: _is_computed(systems, name))
    left_s, parts = float(_SOUND_S), list[str]()
    for example in _choose(systems, metric):
        files = _files(example, systems)
        if not files:
            continue
        noisy, ends = next(iter(files)), example.ends
        few = [label for label in files if label in (noisy, *ends, "clean")]
        pictured = [label for label in few if label in (noisy, *ends[-1:], "clean")]
        seconds = len(read_audio(files[noisy]).samples) / SAMPLE_RATE_HZ
        folded = len(parts) >= _WHOLE
        choices = [few] if folded else [[*files], few]
        heard = next((one for one in choices if len(one) * seconds <= left_s), [])
        left_s -= len(heard) * seconds
        title = _title(example, metric)
        body = _body(example, files, pictured, heard) + _absent(example, systems, metric, files)
        shown = details_html(title, body) if folded else f"<h3>{html.escape(title)}</h3>{body}"
        parts.append(shown)
    return Section("Examples", prose_html(_rule(metric)) + "".join(parts) if parts else "")


def _is_computed(systems: Sequence[_System], metric: str) -> bool:
    return any(math.isfinite(value) for one in systems for value in one.values[metric].values())


def _choose(systems: Sequence[_System], metric: str) -> list[_Example]:
    """The mixture of each condition with the largest difference, sorted by it."""
    places: dict[tuple[str, str], dict[str, float]] = {}
    for system in systems:
        for place, value in system.values[metric].items():
            scores = places.setdefault(place, {})
            if system.estimator.timed and math.isfinite(value):
                scores[system.label] = value
    sign = -1 if declared(metric).lower_is_better else 1
    found: dict[str, _Example] = {}
    for (condition, utterance), scores in sorted(places.items()):
        ranked = dict(sorted(scores.items(), key=lambda item: sign * item[1]))
        example = _Example(condition, utterance, ranked)
        if condition not in found or example.difference > found[condition].difference:
            found[condition] = example
    return sorted(found.values(), key=lambda example: -example.difference)


def _files(example: _Example, systems: Sequence[_System]) -> dict[str, Path]:
    """The recordings that are there, the mixture first and the clean speech last."""
    place, places = f"{example.condition}/{example.utterance}", [one.places for one in systems]
    mixed = _first(one.mix / "audio" / f"{place}.wav" for one in places)
    clean = _first(one.clean / f"{example.utterance}.wav" for one in places)
    enhanced = {one.label: one.places.enhanced / f"{place}.flac" for one in systems}
    found = {label: path for label, path in enhanced.items() if path.is_file()}
    noisy = ESTIMATORS["noisy"]
    has_noisy = any(one.estimator is noisy and one.label in found for one in systems)
    first = {"noisy": mixed} if mixed and not has_noisy else {}
    return {**first, **found, **({"clean": clean} if clean else {})}


def _first(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _short_labels(runs: Sequence[Run]) -> list[str]:
    """The systems; where that is not enough to tell the runs apart, all that names them."""
    systems = [run.system for run in runs]
    labels = systems if len(set(systems)) == len(systems) else [run.label for run in runs]
    return [
        f"{label}, {run.directory.name}" if labels.count(label) > 1 else label
        for label, run in zip(labels, runs, strict=True)
    ]


def _title(example: _Example, metric: str) -> str:
    shown = declared(metric)
    ends = [f"{example.scores[label]:.{shown.digits}f} ({label})" for label in example.ends]
    values = f": {shown.heading} {' to '.join(ends)}" if ends else ""
    return f"{example.condition}, {example.utterance}{values}"


def _rule(metric: str) -> str:
    return (
        f"Of each condition the utterance on which the systems differ most in "
        f"{declared(metric).title}, with the values of the worst and the best of them; the "
        "conditions in which they differ most come first. The pictures are of the mixture, the "
        f"system that is best there and the clean speech. In the first {_WHOLE} conditions every "
        "system can be heard, in the others the mixture, the worst and the best system and the "
        f"clean speech, as far as {_SOUND_S // 60} minutes of sound reach. All of it lies in the "
        "folders `enhanced` of the experiments."
    )


def _body(
    example: _Example, files: Mapping[str, Path], pictured: Sequence[str], heard: Sequence[str]
) -> str:
    place = f"{example.condition}, {example.utterance}"
    picture = figure_html(_spectrograms({name: files[name] for name in pictured}), label=place)
    players = "".join(
        f"<div>{html.escape(name)}"
        + audio_html(read_audio(files[name]).samples, SAMPLE_RATE_HZ, label=f"{name}, {place}")
        + "</div>"
        for name in heard
    )
    return picture + (f'<div class="players">{players}</div>' if players else "")


def _absent(
    example: _Example, systems: Sequence[_System], metric: str, files: Mapping[str, Path]
) -> str:
    """Of what systems there is nothing: not installed, or failed."""
    place = (example.condition, example.utterance)
    names = [o.label for o in systems if place in o.values[metric] and o.label not in files]
    said = html.escape(f"No enhanced speech: {', '.join(names)}.")
    return f'<p class="soft">{said}</p>' if names else ""


def _spectrograms(files: Mapping[str, Path]) -> str:
    front_end = StftFrontEnd()
    title = f"Spectrograms from 0 to 8 kHz: {', '.join(files)}"
    with figure_svg(width=9, height=1.9 * len(files), name=title) as (figure, written):
        from matplotlib import colormaps

        panels = figure.subplots(len(files), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, path) in zip(panels, files.items(), strict=True):
            samples = read_audio(path).samples
            energies = front_end.energies(samples / max(1e-9, float(np.abs(samples).max())))
            # Half the channels in 32 colours: a third of the bytes, and it looks the same.
            halved = energies[:, 1:].reshape(len(energies), -1, 2).mean(axis=2)
            axes.imshow(
                10 * np.log10(halved.T + 1e-10),
                origin="lower",
                aspect="auto",
                extent=(0, len(samples) / SAMPLE_RATE_HZ, 0, 8),
                vmin=-50,
                vmax=30,
                cmap=colormaps["magma"].resampled(32),
                interpolation="none",
            )
            axes.set_title(name, fontsize=9, loc="left")
            axes.set_ylabel("kHz")
        panels[-1].set_xlabel("seconds")
        figure.tight_layout()
    return written[0]
