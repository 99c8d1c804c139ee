#!/usr/bin/env bash
# Classification of images by the loss, with neural collapse along the training
#
# Stages: 0 check, 1 prepare, 4 tune, 5 train, 6 predict, 7 score, 8 report.
#
#   ./run.sh images --corpus-dir DIR      IDX, CIFAR, STL-10, SVHN files, or folders of pictures
#   ./run.sh images --preset sample       parts of CIFAR under SQUALL_DATA; also vgg, tcn
#
# Settings: conf/images/*.yaml. Results: exp/images/report.html, recipes/images/RESULTS.md.
set -euo pipefail

exec squall run images "$@"
