"""The table of faults, docs/faults.md, from the tests that carry the marker `fault`.

`./run.sh test --faults` runs all of these tests, nightly ones too, and writes the table. A test
says what it breaks and what is promised; what came out is how it ended, and what it adds:

    @pytest.mark.fault("State", "a checkpoint that is cut off", "the error names it")
    def test_...(record_property):
        record_property("outcome", "20 of 20 runs end with the same numbers")
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

KINDS = ("Killed", "Disk", "State", "Hostile input", "Load", "Environment")
_ROOT = Path(__file__).parents[2]


@dataclass
class Fault:
    """What is known of a fault after the tests.

    Args:
        kind: one of `KINDS`.
        what: what is broken.
        promised: what squall does then.
        where: the test.
        ended: how many of the test's cases ended so: passed, failed, skipped.
        outcomes: in the words of the test.
    """

    kind: str
    what: str
    promised: str
    where: str
    ended: dict[str, int] = field(default_factory=dict)
    outcomes: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """OK only where every case that ran passed."""
        if self.ended.get("failed"):
            return f"**failed in {self.ended['failed']} of {sum(self.ended.values())} cases**"
        if not self.ended.get("passed"):
            return "not run here"
        return "OK" if self.ended["passed"] == 1 else f"OK in {self.ended['passed']} cases"


def read_fault(item: pytest.Item) -> tuple[str, str, str] | None:
    """Kind, fault and promise of a test; None for one without the marker."""
    marker = item.get_closest_marker("fault")
    if marker is None:
        return None
    kind, what, promised = marker.args
    if kind not in KINDS:
        raise pytest.UsageError(f"{item.nodeid}: '{kind}' is none of {', '.join(KINDS)}")
    return kind, what, promised


def collect_faults(reports: Iterable[pytest.TestReport]) -> list[Fault]:
    """The faults that tests have reported on, in the order of `KINDS` and of the tests' files."""
    faults: dict[tuple[str, ...], Fault] = {}
    for report in sorted(reports, key=lambda report: report.nodeid):
        found = [value for name, value in report.user_properties if name == "fault"]
        if not found or (report.when != "call" and report.passed):
            continue
        kind, what, promised = found[0]
        path = report.nodeid.partition("::")[0]
        fault = faults.setdefault((kind, what), Fault(kind, what, promised, path))
        fault.ended[report.outcome] = fault.ended.get(report.outcome, 0) + 1
        fault.outcomes += [
            str(value)
            for name, value in report.user_properties
            if name == "outcome" and str(value) not in fault.outcomes
        ]
    return sorted(faults.values(), key=lambda fault: KINDS.index(fault.kind))


def faults_text(faults: Iterable[Fault]) -> str:
    """The page with its tables, one for each kind."""
    faults = list(faults)
    lines = [
        "# Faults",
        "",
        "What is promised when something breaks, and what came out. Made by "
        "`./run.sh test --faults`; not edited by hand. Each row is a test, or the cases of one, in "
        "the file named last.",
    ]
    for kind in KINDS:
        own = [fault for fault in faults if fault.kind == kind]
        if not own:
            continue
        lines += [
            "",
            f"## {kind}",
            "",
            "| fault | promised | came out | test |",
            "|---|---|---|---|",
        ]
        for fault in own:
            outcome = "; ".join([fault.verdict, *fault.outcomes])
            cells = [fault.what, fault.promised, outcome, f"`{fault.where}`"]
            lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    bad = sum(not fault.verdict.startswith("OK") for fault in faults)
    lines += ["", f"{len(faults)} faults, {len(faults) - bad} of them OK."]
    return "\n".join(lines) + "\n"


def write_table(faults: Iterable[Fault], path: Path = _ROOT / "docs" / "faults.md") -> Path:
    """Write the page."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(faults_text(faults), encoding="utf-8")
    return path
