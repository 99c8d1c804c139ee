#!/usr/bin/env bash
# submitit 1.5.4, local executor: `job.cancel()` does nothing where the caller ignores SIGINT.
#
# Expected: `cancel()` ends a job of the local executor, however the program that submitted it was
# started.
# Seen: `cancel()` sends SIGINT to the job's process. A program that a shell script starts in the
# background (`script &`), or under a scheduler that does so, ignores SIGINT, and what it starts
# inherits that. The job then runs to its end, and its state is FINISHED. The same program started
# in the foreground has its job INTERRUPTED within two seconds. Nothing is logged in either case.
# squall: `--cluster local` starts jobs with SIGINT at its default (squall/engine/cluster.py), so that
# no cancelled job goes on training in a folder that the next command works in.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check submitit==1.5.4
cat > "$folder/cancel.py" <<'PYTHON'
import sys
import tempfile
import time

import submitit


def sleep(seconds):
    time.sleep(seconds)
    return "ran to its end"


if __name__ == "__main__":
    executor = submitit.AutoExecutor(folder=tempfile.mkdtemp(dir=sys.argv[1]), cluster="local")
    executor.update_parameters(timeout_min=2)
    job = executor.submit(sleep, 12)
    time.sleep(3)
    job.cancel()
    deadline = time.monotonic() + 40
    while not job.done() and time.monotonic() < deadline:
        time.sleep(0.2)
    print(job.state)
PYTHON
foreground=$("$folder/venv/bin/python" -c "
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
subprocess.run([sys.executable, '$folder/cancel.py', '$folder'])" 2>/dev/null)
background=$(trap '' INT; "$folder/venv/bin/python" "$folder/cancel.py" "$folder" 2>/dev/null)
echo "cancelled: $foreground; cancelled where SIGINT is ignored: $background"
if [ "$foreground" = INTERRUPTED ] && [ "$background" = FINISHED ]; then
    exit 0
fi
echo "submitit behaves otherwise now" >&2
exit 1
