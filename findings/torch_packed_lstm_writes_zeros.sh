#!/usr/bin/env bash
# torch 2.14.1 on a CPU: the gradient of an LSTM over packed texts writes zeros without end.
#
# Expected: packing spares the steps behind the end of each text, forwards and backwards, so that the
# work grows with the number of words.
# Seen: backwards, each step makes a tensor of the whole batch, fills it with zeros and adds it up. With
# 16 texts of up to 20, 40, 80 and 160 words the zeros written are 0.5, 1.8, 6.9 and 27 million, four
# times as many for texts twice as long; over a padded batch they are 2,048, whatever the length.
# squall: squall.studies.text.bilstm turns texts round within their length and runs dense LSTMs, 1.2 to
# 1.8 times faster on batches of about one length.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.3.5
cat > "$folder/packed.py" <<'PYTHON'
import math
import sys

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.profiler import ProfilerActivity, profile

torch.set_num_threads(1)
torch.manual_seed(0)


def zeros_written(longest, *, packed):
    lstm = torch.nn.LSTM(8, 16, batch_first=True, bidirectional=True)
    words = torch.randn(16, longest, 8, requires_grad=True)
    lengths = torch.linspace(longest, 1, 16).long()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as recorded:
        if packed:
            found, _ = lstm(pack_padded_sequence(words, lengths, batch_first=True))
            found, _ = pad_packed_sequence(found, batch_first=True)
        else:
            found, _ = lstm(words)
        found.sum().backward()
    return sum(
        math.prod(event.input_shapes[0])
        for event in recorded.events()
        if event.name == "aten::zero_" and event.input_shapes and event.input_shapes[0]
    )


lengths = (20, 40, 80, 160)
packed = [zeros_written(longest, packed=True) for longest in lengths]
padded = [zeros_written(longest, packed=False) for longest in lengths]
print("packed", *packed)
print("padded", *padded)
sys.exit(not (packed[3] > 3.5 * packed[2] > 12 * packed[1] and len(set(padded)) == 1))
PYTHON
"$folder/venv/bin/python" "$folder/packed.py" 2>/dev/null || {
    echo "changed: the zeros written no longer grow with the square of the length" >&2
    exit 1
}
