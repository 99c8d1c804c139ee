"""Python runs this first in the processes that the tests start.

It keeps the network from them, and it takes typeguard's place: ESPnet and inflect check types in
most of their functions, and rewriting these takes six of the nine seconds of an import of ESPnet.
The tests' own processes keep the checks.
"""

import importlib.machinery
import sys
import types

from no_network import block_network

block_network()


def _unchecked(target=None, **options):
    """`typechecked`, with or without arguments, which changes nothing."""
    return target if target is not None else lambda function: function


_typeguard = types.ModuleType("typeguard")
_typeguard.__spec__ = importlib.machinery.ModuleSpec("typeguard", None)
_typeguard.typechecked = _unchecked
sys.modules["typeguard"] = _typeguard
