"""What `squall enhance --condition auto` costs: the nearest model against the right one.

Every test mixture of an experiment goes to the model of its own noise and SNR, to the one that
`nearest_model` chooses (from all frames, and from the first 0.25 s), and to the model of all
conditions.

    python benchmarks/nearest.py exp/enhance_timit/sample-1a2b3c4d --utterances 8
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from squall.engine.tasks import open_experiment
from squall.enhance.enhancer import find_models
from squall.enhance.frames import FrameSet
from squall.enhance.model import MaskModel
from squall.enhance.nearest import nearest_model
from squall.enhance.places import EnhancementPlaces
from squall.enhance.settings import ALL, EnhancementConfig

FIRST_FRAMES = 25


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("experiment", type=Path, help="directory with models of conditions")
    parser.add_argument("--utterances", type=int, default=1000, help="of each condition, the most")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> int:
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    experiment = open_experiment(args.experiment, EnhancementConfig)
    folders = find_models(experiment.directory / "train")
    models = {name: MaskModel.load(folder) for name, folder in folders.items()}
    test = EnhancementPlaces(experiment).features / "test"
    conditions = sorted(str(path.relative_to(test)) for path in test.glob("*/*") if path.is_dir())
    print(
        "mask error x 100 by the model that is used; how often the nearest one is the right one\n"
    )
    print("| condition | its own | nearest | of the first 0.25 s | all | right | noise right |")
    print("|---|---|---|---|---|---|---|")
    totals = defaultdict(list)
    for condition in conditions:
        frames = FrameSet.read(test / condition)
        errors = defaultdict(list)
        for _, rows in list(frames.spans())[: args.utterances]:
            x, mask = np.asarray(frames.features[rows]), np.asarray(frames.masks[rows])
            found = nearest_model(folders, x)
            used = {"nearest": found, "first": nearest_model(folders, x[:FIRST_FRAMES]), "all": ALL}
            if condition in models:
                used["own"] = condition
            squares = {
                name: float(np.square(models[name].estimate(x) - mask).mean())
                for name in set(used.values())
            }
            for way, name in used.items():
                errors[way].append(100 * squares[name])
            errors["right"].append(100.0 * (found == condition))
            errors["noise"].append(100.0 * (found.split("/")[0] == condition.split("/")[0]))
        means = {way: statistics.fmean(values) for way, values in errors.items()}
        print_row(condition, means)
        kind = "seen" if condition in models else "unseen"
        for way, value in means.items():
            totals[kind, way].append(value)
    for kind in ("seen", "unseen"):
        means = {way: statistics.fmean(v) for (k, way), v in totals.items() if k == kind}
        if means:
            print_row(f"mean, {kind}", means)
    return 0


def print_row(name: str, means: dict[str, float]) -> None:
    cells = [
        f"{means[way]:.2f}" if way in means else "" for way in ("own", "nearest", "first", "all")
    ]
    print(
        f"| {name} | {' | '.join(cells)} | {means['right']:.0f} % | {means['noise']:.0f} % |",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
