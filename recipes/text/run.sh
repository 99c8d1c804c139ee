#!/usr/bin/env bash
# Classification of sentences and pairs: fine-tuned encoders, ESIM, PWIM, by loss
#
# Stages: 0 check, 1 prepare, 2 tokens, 4 tune, 5 train, 6 predict, 7 score, 8 report.
#
#   ./run.sh text --corpus-dir DIR                    your texts, train.tsv, dev.tsv and test.tsv
#   ./run.sh text --preset sample                     six sets under SQUALL_DATA/text
#   ./run.sh text --preset esim --corpus-dir DIR      a model of pairs; pwim is another
#   ./run.sh text --preset bert_base --corpus-dir DIR --set model.pretrained=FOLDER
#                                                     the sources' model
#
# Settings: conf/text/*.yaml. Results: exp/text/report.html, recipes/text/RESULTS.md.
set -euo pipefail

exec squall run text "$@"
