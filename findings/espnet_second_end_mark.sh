#!/usr/bin/env bash
# espnet 202511, beam search: what ends with its last allowed token gets the end mark twice, and the
# second stays in the text.
#
# Expected: a hypothesis has one end mark. `Speech2Text` takes the first and the last token away and
# makes the text of what lies between.
# Seen: in the step of the longest length (`maxlenratio`) every hypothesis gets an end mark, also one
# that has just ended by itself. With a longest length of 2 the best hypothesis of the search below
# is `<sos/eos> A <sos/eos> <sos/eos>`, with 3 it is `<sos/eos> A <sos/eos>`, at the same score. The
# text of the first is then "A<sos/eos>", a word error, and a probability that is multiplied over its
# tokens has that of the end in it twice. `BeamSearch` and `BatchBeamSearch` do the same.
# squall: a sequence is cut behind its first end mark (squall/asr/recogniser.py).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
install() { "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
install torch==2.11.0 numpy packaging
install --no-deps espnet==202511
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch
from espnet.nets.batch_beam_search import BatchBeamSearch
from espnet.nets.beam_search import BeamSearch
from espnet.nets.scorer_interface import BatchScorerInterface

TOKENS = ["<blank>", "A", "<sos/eos>"]


class EndsAfterOne(BatchScorerInterface):
    """A decoder that says `A` and then ends."""

    def init_state(self, x):
        return None

    def score(self, y, state, x):
        return torch.tensor([-9.0, -0.1, -3.0] if len(y) == 1 else [-9.0, -3.0, -0.1]), None

    def batch_score(self, ys, states, xs):
        return torch.stack([self.score(y, None, None)[0] for y in ys]), [None] * len(ys)


def best(kind, longest):
    search = BeamSearch(
        {"decoder": EndsAfterOne()}, {"decoder": 1.0}, beam_size=2, vocab_size=3, sos=2, eos=2
    )
    search.__class__ = kind
    return search(torch.zeros(10, 4), maxlenratio=(longest + 0.5) / 10)[0]


same = True
for kind in (BeamSearch, BatchBeamSearch):
    for longest, expected in ((2, "A<sos/eos>"), (3, "A")):
        found = best(kind, longest)
        # As espnet2.bin.asr_inference.Speech2Text does: without the ends and without blanks.
        text = "".join(TOKENS[k] for k in found.yseq[1:-1].tolist() if k != 0)
        print(f"{kind.__name__}, longest length {longest}: {text} ({float(found.score):.1f})")
        same = same and text == expected
if not same:
    sys.exit("espnet behaves otherwise now")
PYTHON
