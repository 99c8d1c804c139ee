"""Settings of the recipe `tabular`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from squall.engine.config import ExperimentConfig
from squall.networks.stack import NetworkSettings
from squall.settings import flatten
from squall.studies.losses import ComparedLosses

__all__ = ["Scaling", "TabularConfig", "TabularSettings"]

_NOT_CHOICES = ("losses", "initialisations")


Scaling = Literal["training", "parts", "published"]


class TabularSettings(ComparedLosses):
    """What the tabular study trains and how it scores.

    Args:
        losses: as in `ComparedLosses`.
        initialisations: networks of each loss and fold, which differ in the seed of their initial
            weights and of the order of samples. Five in the source.
        network: the network and its training.
        test: which rows a network is tested on.

            - `folds`: the test parts of the collection's four folds, as in the authors' script.
              They are no cross-validation: `squall.studies.tabular.splits` tells how they overlap.
            - `disjoint`: four folds of a cross-validation without copies, so that each row is
              tested once and no test row is known from training.
            - `file`: the test file, after training on all of the training file, for the sets that
              have one, and the folds for the others. It is not the default because of the files: of
              the 19 test files of the 118 sets at hand, 11 are in other units than their training
              files (one is standardised, the other is not), so that a network would be tested on
              inputs of a kind that it never saw.
            - `fifths`: four random fifths. What not to do, and here to see whether it explains the
              source's accuracies: with parts of one's own, numbers compare with nobody else's.
        epoch: after which a network is scored.

            - `last`: the last one.
            - `best_test`: the one with the best accuracy on the test part. What not to do, and here
              to see whether it explains the source's accuracies: what chooses the network does not
              test it, and the fewer the rows, the more is gained by chance.
        scaling: of the inputs. `training`: each is standardised by mean and standard deviation over
            the training part, so that nothing of the test part is known in training. `parts`: each
            part by its own, which makes sense for `file` only. `published`: as in the files, which
            the collection's authors have standardised over all rows; the authors' script does that.
            The default differs from it little, and does not leave sets like `monks-1` raw, whose
            training file is not standardised.
        bins: of the expected calibration error; 10 in the authors' script.

    Source: Hui 2023 (thesis), section 4.3.3.
    """

    initialisations: int = Field(default=5, ge=1)
    network: NetworkSettings = NetworkSettings()
    test: Literal["folds", "disjoint", "file", "fifths"] = "folds"
    epoch: Literal["last", "best_test"] = "last"
    scaling: Scaling = "training"
    bins: int = Field(default=10, ge=1)


class TabularConfig(ExperimentConfig):
    """Everything that decides the numbers of the tabular study.

    Args:
        sets: the names of the sets to train on; empty for all.
        study: what to train and how to score it.
    """

    task: Literal["tabular"] = "tabular"
    sets: tuple[str, ...] = ()
    study: TabularSettings = TabularSettings()

    def hashed(self) -> dict[str, Any]:
        """As those of every experiment; without `epoch` where it is what it was before it was one.

        So the folders of experiments from before that setting are those of now.
        """
        settings = super().hashed()
        if self.study.epoch == "last":
            del settings["study"]["epoch"]
        return settings

    @property
    def system(self) -> str:
        """All losses: they are trained side by side."""
        return " and ".join(self.study.losses)

    @property
    def choices(self) -> str:
        """What the source leaves open and is chosen otherwise here than by default.

        >>> from squall.corpora.settings import CorpusConfig
        >>> study = TabularSettings(scaling="published", bins=15)
        >>> corpus = CorpusConfig(name="uci121")
        >>> TabularConfig(recipe="tabular", experiment="all", corpus=corpus, study=study).choices
        'scaling=published bins=15'
        """
        usual, chosen = flatten(TabularSettings().model_dump()), flatten(self.study.model_dump())
        return " ".join(
            f"{key.removeprefix('network.')}={value}"
            for key, value in chosen.items()
            if key.partition(".")[0] not in _NOT_CHOICES and value != usual.get(key)
        )
