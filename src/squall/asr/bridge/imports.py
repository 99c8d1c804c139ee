"""What importing ESPnet needs, and the name of squall's model in it."""

from __future__ import annotations

import importlib.machinery
import sys
import types

__all__ = ["MODEL_NAME", "keep_g2p_out"]


MODEL_NAME = "squall"


def keep_g2p_out() -> None:
    """Keep `g2p_en` out: ESPnet imports it, it tries two downloads, and recognition has no use."""
    if "g2p_en" not in sys.modules:
        stub = types.ModuleType("g2p_en")
        stub.__spec__ = importlib.machinery.ModuleSpec("g2p_en", None)
        sys.modules["g2p_en"] = stub
