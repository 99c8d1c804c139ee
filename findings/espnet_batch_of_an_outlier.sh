#!/usr/bin/env bash
# ESPnet 202511, samplers `numel` and `length`: one long utterance makes a batch of many times
# `batch_bins`.
#
# Expected: batches "which have same number of 'bins' as possible" (`--help`), so that `batch_bins`
# bounds the memory of a training.
# Seen: utterances are sorted by length and a batch is closed after the one that makes it too large,
# to whose length all of it is padded. Of 17 utterances of 2 s and one of 100 s, 600,000 bins make
# one batch of 28.8 million: 48 times as many. Without the short ones the long one is 1.6 million.
# squall: stage 0 asks ESPnet's sampler for the batches of the corpus at hand and tells the memory of
# the largest (squall/asr/needs.py), with its number of utterances and the length it is padded to.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# The samplers alone: ESPnet's other packages take gigabytes.
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'numpy<2' typeguard==4.4.4
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps espnet==202511
cat > "$folder/batches.py" <<'PYTHON'
import sys
import types

# Of PyTorch the samplers take the name of a base class.
data = types.ModuleType("torch.utils.data")
data.Sampler = type("Sampler", (), {})
for name in ("torch", "torch.utils"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["torch.utils.data"] = data

from espnet2.samplers.length_batch_sampler import LengthBatchSampler
from espnet2.samplers.num_elements_batch_sampler import NumElementsBatchSampler

lengths = [32_000] * 17 + [1_600_000]  # samples at 16 kHz
shapes = f"{sys.argv[1]}/speech_shape"
with open(shapes, "w") as file:
    file.writelines(f"utt{k:02} {length}\n" for k, length in enumerate(lengths))
for sampler in (NumElementsBatchSampler, LengthBatchSampler):
    (batch,) = sampler(batch_bins=600_000, shape_files=[shapes])
    print(len(batch) * max(lengths[int(name[3:])] for name in batch) // 600_000)
PYTHON
times=$("$folder/venv/bin/python" "$folder/batches.py" "$folder" | tr '\n' ' ')
echo "the batch has so many times batch_bins (numel, length): $times"
if [ "$times" = "48 48 " ]; then
    exit 0
fi
echo "ESPnet behaves otherwise now" >&2
exit 1
