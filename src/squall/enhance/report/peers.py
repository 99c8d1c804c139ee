"""PEERS.md: what was trained here beside enhancers off the shelf."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from squall.audio.frames import HOP_S
from squall.enhance.estimators.registry import entry_of_system, order_of_systems
from squall.enhance.peers.peer import Peer
from squall.report.comparison import is_comparison
from squall.report.records import Record
from squall.report.tables import UNDEFINED, Table, fixed, markdown_page
from squall.scoring.metrics import declared
from squall.scoring.speech_scores import SPEECH_SCORES

__all__ = ["peer_pages"]

_KINDS = {0.0: "seen noises", 1.0: "unseen noises", None: "noises"}
_MEANING = (
    "Systems off the shelf are run as they are: they were trained on hundreds of hours of speech "
    "and noise of many kinds (one has no training), those of the recipe on the minutes below. In "
    "unseen noise, which the recipe's training does not have, the comparison is what to take where "
    "nobody has prepared for the noise, but not one of equal data: the others may have heard such "
    "noise, and readers of the test. Seen noise, of which the recipe trains on another part of the "
    "recording, is to the advantage of what was trained here. Scores are means over the noises and "
    "seeds that have a value; noise by noise they stand in RESULTS.md."
)


def peer_pages(records: Sequence[Record]) -> dict[str, str]:
    """PEERS.md by its name; nothing where no enhancer off the shelf was run."""
    records = [record for record in records if not is_comparison(record)]
    with_peers = {_place(r) for r in records if entry_of_system(r.system).peer}
    tables = []
    for place in sorted(with_peers):
        own = [record for record in records if _place(record) == place]
        tables += [_systems(own, ", ".join(place)), *_scores(own, ", ".join(place))]
    if not tables:
        return {}
    peers = {r.system: p for r in records if (p := entry_of_system(r.system).peer)}
    title = f"Enhancers off the shelf beside those of the {records[0].recipe} recipe"
    return {"PEERS.md": markdown_page(title, _MEANING, [_off_the_shelf(peers), *tables])}


def _place(record: Record) -> tuple[str, str]:
    return record.dataset, record.experiment


def _off_the_shelf(peers: Mapping[str, Peer]) -> Table:
    head = ["system", "what it is", "package", "rate", "latency", "parameters", "trained on",
            "licence"]  # fmt: skip
    rows = []
    for system in order_of_systems(peers):
        peer = peers[system]
        package = f"{peer.packages[0]} {peer.version}" if peer.packages else "squall"
        size = f"{peer.parameters:,}" if peer.parameters else "none"
        rows.append([system, peer.title, package, f"{peer.sample_rate_hz / 1000:g} kHz",
                     f"{peer.latency_ms:g} ms", size, peer.trained_on, peer.licence])  # fmt: skip
    note = (
        "The package in the version that it was tried with. Latency: how much of the signal behind "
        "a sample has to be known, without computing. The recipe's own systems have the whole "
        "signal."
    )
    return Table("Off the shelf", head, rows, note)


def _systems(records: Sequence[Record], place: str) -> Table:
    """What each system was trained on, how large it is and how fast."""
    rows = []
    for system in order_of_systems(r.system for r in records):
        entry = entry_of_system(system)
        if not entry.timed:
            continue
        own = [record for record in records if record.system == system]
        frames = _range(own, "train_frames", lambda n: f"{n:,.0f}")
        minutes = _range(own, "train_frames", lambda n: f"{n * HOP_S / 60:.1f}")
        sizes = [f"{found} {declared(metric).title}" for metric in ("params", "centres")
                 if (found := _range(own, metric, lambda n: f"{n:,.0f}"))]  # fmt: skip
        if entry.peer:
            frames, minutes = "other recordings" if entry.peer.parameters else "none", ""
            sizes = [f"{entry.peer.parameters:,} parameters" if entry.peer.parameters else "none"]
        rtf = [r.value for r in own if r.metric == "rtf" and r.value is not None]
        factor = f"{statistics.median(rtf):.3f}" if rtf else _why_none(own, "rtf")
        rows.append([system, frames, minutes, ", ".join(sizes), factor])
    head = ["system", "frames", "minutes", "parameters or centres", "real-time factor"]
    note = (
        "From the smallest model of a system to the largest where there are several; empty where "
        "it was not recorded. Real-time factor: seconds of computing per second of audio, the "
        "median over conditions, on one core unless the command below RESULTS.md gives more "
        "threads; of the recipe's systems that of the mask and what it is put on, without features."
    )
    return Table(f"{place}: systems", head, rows, note)


def _range(records: Sequence[Record], metric: str, write: Callable[[float], str]) -> str:
    values = [r.value for r in records if r.metric == metric and r.value is not None]
    ends = [write(end) for end in (min(values), max(values))] if values else []
    return " to ".join(dict.fromkeys(ends))


def _why_none(records: Sequence[Record], metric: str) -> str:
    return next((f"{UNDEFINED}: {r.reason}" for r in records if r.metric == metric), "")


def _scores(records: Sequence[Record], place: str) -> list[Table]:
    """A table of each kind of noise and SNR: a row for each system, a column for each score."""
    unseen = {r.condition: r.value for r in records if r.metric == "unseen"}
    scores = [name for name in SPEECH_SCORES if any(r.metric == name for r in records)]
    found: dict[tuple[str, str], dict[tuple[str, str], list[float]]] = {}
    systems = order_of_systems(r.system for r in records if r.metric in scores)
    for record in records:
        if record.metric in scores:
            group = (_KINDS[unseen.get(record.condition)], record.condition.partition("/")[2])
            values = found.setdefault(group, {}).setdefault((record.system, record.metric), [])
            values += [] if record.value is None else [record.value]
    tables = []
    for kind, snr in sorted(found, key=lambda group: (group[0], float(group[1][:-2]))):
        cells = found[kind, snr]
        rows = [
            [system, *(_mean(cells.get((system, name)), name) for name in scores)]
            for system in systems
        ]
        title = f"{place}: {kind}, {snr.replace('dB', ' dB')}"
        tables.append(Table(title, ["", *map(_head, scores)], rows))
    return tables


def _head(metric: str) -> str:
    shown = declared(metric)
    return f"{shown.heading}, lower is better" if shown.lower_is_better else shown.heading


def _mean(values: Sequence[float] | None, metric: str) -> str:
    """Empty where a system was not scored, undefined where no mixture has the score."""
    if values is None:
        return ""
    return fixed(statistics.fmean(values), declared(metric).digits) if values else UNDEFINED
