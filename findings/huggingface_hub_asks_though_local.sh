#!/usr/bin/env bash
# huggingface_hub 2.4.0: with local_files_only=True the hub is asked all the same.
#
# Expected: "avoid downloading the file and return the path to the local cached file if it exists", so
# that nothing goes out; transformers and others pass the option on for those who work offline.
# Seen: before it looks into its cache it asks the hub for /api/agent-harnesses, a list of programs whose
# environment variables it knows, for the header that tells by which of them it is used. The answer is kept
# for a day; where the hub cannot be reached it is asked again by each process. HF_HUB_OFFLINE=1 stops it.
# squall: `squall.studies.text.encoder` sets that constant for as long as it opens a model, unless
# --download was given.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check huggingface_hub==2.4.0
cat > "$folder/local.py" <<'PYTHON'
import socket
import sys

asked = []


def note(host, *_, **__):
    asked.append(host)
    raise socket.gaierror("nobody is asked here")


socket.getaddrinfo = note
from huggingface_hub import hf_hub_download

try:
    hf_hub_download("somebody/something", "config.json", local_files_only=True)
except Exception as error:
    print(type(error).__name__)
print("asked:", asked)
sys.exit(not asked)
PYTHON
export HF_HOME=$folder/home
unset HF_HUB_OFFLINE
"$folder/venv/bin/python" "$folder/local.py" || {
    echo "changed: nobody is asked where files may only be local" >&2
    exit 1
}
! HF_HUB_OFFLINE=1 "$folder/venv/bin/python" "$folder/local.py" || {
    echo "changed: the hub is asked in spite of HF_HUB_OFFLINE" >&2
    exit 1
}
