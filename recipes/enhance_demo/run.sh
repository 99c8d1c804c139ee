#!/usr/bin/env bash
# Speech enhancement on synthetic speech, offline, minutes on two cores
#
# Stages: 0 check, 1 prepare, 2 mix, 3 features, 4 tune, 5 train, 6 enhance, 7 score, 8 report.
# The corpus is the demo's; without it, it is spoken by eSpeak NG when stage 1 first runs.
#
# Settings: conf/enhance_demo/*.yaml. Results: exp/enhance_demo/report.html.
set -euo pipefail

exec squall run enhance_demo "$@"
