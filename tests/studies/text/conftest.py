"""What the tests of text classifiers share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiny_texts import write_tiny_encoder


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny encoder."""
    pytest.importorskip("transformers")
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder"))
