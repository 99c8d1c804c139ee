"""Example utterances of the report: a player, what was said, and what each system recognised."""

from __future__ import annotations

import html
import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from squall.asr.report.utterances import Recognised, aligned_html, counted
from squall.audio.containers import AudioError
from squall.corpora.manifest import Utterance, read_manifest, read_utterance
from squall.report.page import audio_html
from squall.report.report import Run

__all__ = ["LONGEST_S", "MOST_EXAMPLES", "choose_examples", "examples_html"]

LONGEST_S = 10.0
"""Longer recordings are not put into the page."""

MOST_EXAMPLES = 12
"""More are not put into the page, each of at most 430 kB."""

_MOST_RATE_HZ = 16000

_LEGEND = (
    '<p class="soft">Marks: '
    '<span class="error substituted"><del>said</del><ins>recognised</ins><b>S</b></span> '
    'substitution, <span class="error deleted"><del>said</del><b>D</b></span> deletion, '
    '<span class="error inserted"><ins>recognised</ins><b>I</b></span> insertion. Examples are '
    f"chosen among utterances of at most {LONGEST_S:g} s; recordings are made equally loud.</p>"
)


def examples_html(tested: Sequence[Recognised], manifests: Mapping[Path, Path]) -> str:
    """A few test utterances; systems stand side by side where they were tested on the same ones.

    Args:
        tested: runs with their test utterances.
        manifests: the manifest of its test utterances by the directory of a run. Where that, or a
            recording, is gone, the page says so.

    Returns:
        HTML with at most `MOST_EXAMPLES` utterances; empty where nothing was tested.

    Raises:
        ValueError: a manifest is damaged; the message names it.
    """
    groups: dict[tuple[object, ...], list[Recognised]] = {}
    for one in tested:
        said = ((id, reference) for id, (reference, _) in one.texts.items())
        groups.setdefault((one.dataset, one.unit, *said), []).append(one)
    each = max(1, MOST_EXAMPLES // max(1, len(groups)))
    found: list[str] = []
    for together in list(groups.values())[:MOST_EXAMPLES]:
        paths = [manifests[one.run.directory] for one in together]
        found += islice(_examples(together, paths), each)
    return _LEGEND + "".join(found) if found else ""


def choose_examples(
    rates: Mapping[str, Sequence[float]], durations_s: Mapping[str, float]
) -> list[tuple[str, str]]:
    """Choose utterances to look at and to listen to.

    Args:
        rates: for each utterance its error rate by each system.
        durations_s: their lengths, as far as they are known. The choice is among those of at most
            `LONGEST_S`, and among all where there is none.

    Returns:
        Pairs of what an utterance is an example of, and its id; none of them twice.
    """
    short = [id for id in rates if durations_s.get(id, LONGEST_S + 1) <= LONGEST_S]
    mean = {id: statistics.fmean(rates[id]) for id in sorted(short or rates)}
    spread = {id: max(rates[id]) - min(rates[id]) for id in mean}
    wrong = sorted((id for id in mean if mean[id]), key=lambda id: -mean[id])
    right = sorted((id for id in mean if not mean[id]), key=lambda id: durations_s.get(id, 0.0))
    chosen = {
        "Most errors": wrong[:1],
        "Median of those with errors": wrong[len(wrong) // 2 :][:1],
        "No error": right[len(right) // 2 :][:1],
        "Systems differ most": [id for id in sorted(wrong, key=lambda id: -spread[id])[:1]
                                if spread[id]],
    }  # fmt: skip
    found: dict[str, str] = {}
    for role, ids in chosen.items():
        for id in ids:
            found.setdefault(id, role)
    return [(role, id) for id, role in found.items()]


def _examples(tested: Sequence[Recognised], manifests: Sequence[Path]) -> Iterator[str]:
    """Examples of runs that were tested on the same utterances."""
    utterances = _utterances(manifests)
    rates = {id: [_rate(one, id) for one in tested] for id in tested[0].texts}
    durations_s = {id: utterance.duration_s for id, utterance in utterances.items()}
    for role, id in choose_examples(rates, durations_s):
        about = [tested[0].dataset, f"speaker {tested[0].speakers[id]}"]
        if id in durations_s:
            about.append(f"{durations_s[id]:.1f} s")
        yield (
            f"<article><h3>{role}: <code>{html.escape(id)}</code></h3>"
            f'<p class="soft">{html.escape(", ".join(about))}</p>'
            f"{_player(id, utterances.get(id), manifests[0])}{_hypotheses(tested, id)}</article>"
        )


def _utterances(manifests: Sequence[Path]) -> dict[str, Utterance]:
    """Those of the first manifest that is there."""
    for path in manifests:
        if path.is_file():
            return {utterance.id: utterance for utterance in read_manifest(path)}
    return {}


def _rate(tested: Recognised, id: str) -> float:
    counts = tested.alignment(id).counts
    return counts.errors / max(1, counts.reference)


def _player(id: str, utterance: Utterance | None, manifest: Path) -> str:
    if utterance is None:
        return f"<p>No recording: {html.escape(str(manifest))} is gone or does not have it.</p>"
    if utterance.duration_s > LONGEST_S:
        path = html.escape(utterance.audio_path)
        return f"<p>No recording: it is longer than {LONGEST_S:g} s. It is in {path}.</p>"
    try:
        rate_hz = min(_MOST_RATE_HZ, utterance.sample_rate_hz)
        audio = read_utterance(utterance, sample_rate_hz=rate_hz)
    except AudioError as error:
        return f"<p>No recording: {html.escape(str(error))}.</p>"
    return audio_html(audio.samples, audio.sample_rate_hz, label=f"recording of {id}")


def _hypotheses(tested: Sequence[Recognised], id: str) -> str:
    """The reference, and each different hypothesis with the runs that have it."""
    reference = html.escape(tested[0].texts[id][0]) or "(nothing)"
    parts = [f"<dt>reference</dt><dd>{reference}</dd>"]
    groups: dict[str, list[Recognised]] = {}
    for one in tested:
        groups.setdefault(one.texts[id][1], []).append(one)
    for same in groups.values():
        alignment = same[0].alignment(id)
        who = html.escape(_names([one.run for one in same]))
        parts.append(f"<dt>{who}: {counted(alignment.counts, same[0].unit)}</dt>")
        parts.append(f'<dd class="aligned">{aligned_html(alignment)}</dd>')
    return f"<dl>{''.join(parts)}</dl>"


def _names(runs: Sequence[Run]) -> str:
    """The runs in a few words: each system with its seeds."""
    seeds: dict[str, list[str]] = {}
    for run in runs:
        seeds.setdefault(run.group, []).append(str(run.seed))
    return "; ".join(
        f"{group}, seed{'s' if len(of_group) > 1 else ''} {', '.join(of_group)}"
        for group, of_group in seeds.items()
    )
