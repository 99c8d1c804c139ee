"""Every dependency tells a licence that squall can go with, or a reason stands beside it."""

from __future__ import annotations

from email.message import Message
from typing import Any, cast

import pytest

from licences import PAGE, Licence, installed_licences, told_licence


def test_no_dependency_has_a_licence_that_nobody_looked_at() -> None:
    found = installed_licences()
    assert {"torch", "numpy", "cffi"} <= {one.name for one in found}
    assert [one.problem for one in found if one.problem] == []


def test_the_page_names_what_is_installed() -> None:
    page = PAGE.read_text(encoding="utf-8")
    # What older Pythons alone need is not on the page, which was made with the newest.
    needed = [one for one in installed_licences() if one.direct and one.name != "six"]
    missing = [one.name for one in needed if one.name not in page]
    assert missing == [], "python tests/support/licences.py writes the page"


@pytest.mark.parametrize(
    "told",
    [
        "",
        "AGPL-3.0-or-later",
        "MIT; GNU Affero General Public License v3",
        "GPL-3.0-only",
        "GNU General Public License v2 (GPLv2)",
        "CC-BY-NC-4.0",
        "Free for non-commercial use",
        "LicenseRef-NVIDIA-Proprietary",
        "LGPL-2.1; GPL-3.0",
    ],
)
def test_a_licence_to_look_at_is_named(told: str) -> None:
    assert Licence("toy", "1.0", told).problem.startswith("toy 1.0 ")
    assert not Licence("nvidia-toy", "1.0", told).problem


@pytest.mark.parametrize(
    "told",
    [
        "MIT",
        "LGPL-2.1-or-later",
        "GNU Lesser General Public License v3 (LGPLv3)",
        "GPL-2.0-only WITH Classpath-exception-2.0",
        "MPL-2.0",
        "Apache-2.0 AND CNRI-Python",
    ],
)
def test_others_pass(told: str) -> None:
    assert not Licence("toy", "1.0", told).problem


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ([("License-Expression", "MIT"), ("License", "see LICENSE")], "MIT"),
        ([("License", "UNKNOWN"), ("Classifier", "License :: OSI Approved :: X License")],
         "X License"),
        ([("License", "BSD"), ("Classifier", "License :: OSI Approved")], "BSD"),
        ([("License", "All of\nthe text"), ("Classifier", "License :: Other")], "Other"),
        ([("Classifier", "Topic :: Sound")], ""),
    ],
)  # fmt: skip
def test_what_a_package_tells(fields: list[tuple[str, str]], told: str) -> None:
    about = Message()
    for name, value in fields:
        about[name] = value
    assert told_licence(cast(Any, about)) == told
