#!/usr/bin/env bash
# Speech enhancement with binary masks: kernel machines against deep networks
#
# Stages: 0 check, 1 prepare, 2 mix, 3 features, 4 tune, 5 train, 6 enhance, 7 score, 8 report.
# --preset sample runs on recordings at hand (SQUALL_DATA); else --corpus-dir and --noise-dir.
#
# Settings: conf/enhance_hint/*.yaml. Results: recipes/enhance_hint/RESULTS.md, exp/enhance_hint/report.html.
set -euo pipefail

exec squall run enhance_hint "$@"
