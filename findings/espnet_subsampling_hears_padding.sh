#!/usr/bin/env bash
# ESPnet 202511 against 202611: how many frames conv2d subsampling leaves of a padded utterance.
#
# Expected: an utterance has as many frames in a batch with a longer one as alone: 157 frames become
# 38, as two convolutions of width 3 and step 2 leave (157 - 1) // 2 = 78 and (78 - 1) // 2 = 38.
# Seen: 202511 cuts the mask by slices, from which the ends of the batch are left out and not those
# of the utterance: beside one of 201 frames, 157 become 40 and 107 become 27. The last two or one
# are of padding, and CTC and attention take them for speech. 202611 has 38 and 26.
# squall: the same training with both releases (same torch, seed, data) differs from the first batch
# on by nothing else; utterances that are recognised one by one are not touched.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=$(command -v python3.12 || command -v python3)
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null || {
    echo "needs Python 3.12, which both releases take"
    exit 2
}
"$python" -m venv "$folder/venv"
install() { "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
install torch==2.11.0 numpy==2.4.4 typeguard==4.6.1 "setuptools<74" packaging scipy==1.17.1
cat > "$folder/lengths.py" <<'PYTHON'
import torch

try:
    from espnet2.legacy.nets.pytorch_backend.transformer.subsampling import Conv2dSubsampling
except ModuleNotFoundError:
    from espnet.nets.pytorch_backend.transformer.subsampling import Conv2dSubsampling

layer = Conv2dSubsampling(40, 8, 0.0)
lengths = torch.tensor([201, 157, 107])
frames = torch.randn(3, 201, 40)
mask = (torch.arange(201) < lengths[:, None])[:, None]
together = layer(frames, mask)[1].sum(-1).flatten().tolist()
alone = [layer(frames[k : k + 1, :n], mask[k : k + 1, :, :n])[1].sum().item() for k, n in enumerate(lengths)]
print(together, alone)
PYTHON
for release in 202511 202611; do
    install --no-deps espnet==$release
    said=$("$folder/venv/bin/python" "$folder/lengths.py" 2>/dev/null | tail -n 1)
    echo "espnet $release, together and alone: $said"
    case $release in
        202511) expected="[49, 40, 27] [49, 38, 26]" ;;
        202611) expected="[49, 38, 26] [49, 38, 26]" ;;
    esac
    [ "$said" = "$expected" ] || {
        echo "changed: expected $expected"
        exit 1
    }
done
