"""Settings of recipes on images."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from squall.classification.settings import ClassifierConfig, TrainingSettings
from squall.networks.vision.training import SgdPlan
from squall.settings import Settings

__all__ = ["ChosenImages", "ImagesConfig", "NetworkSettings", "SgdSettings", "TransferSettings"]


class NetworkSettings(BaseModel):
    """The network.

    Args:
        name: one of `squall.networks.vision.architectures.ARCHITECTURES`.

    Every further key (width, depth, factor, hidden, ...) goes to the architecture, which checks it.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = "resnet18"

    @property
    def parameters(self) -> dict[str, Any]:
        """The architecture's own parameters."""
        return dict(self.model_extra or {})


class ChosenImages(BaseModel):
    """Which of a set's images are used, and how.

    Args:
        name: what results call the choice; by default what it says of classes and training images.
        classes: their names, or so many that are drawn with the first seed; None takes all.
        groups: names of super-classes to the names of their classes: the super-class is what is
            learnt; other classes are left out.
        train: only so many of the training images, the same share of each class; None takes all.
        test: likewise of the test images.
        dev: share of the training images, of each class, that is held out as the development set.
        skip: so many training images of each class are left out before the others are counted, so
            that two experiments see none in common.
        size: pictures in folders are made squares of so many pixels; None leaves them as they are.
        scaling: `channel` brings each channel to mean 0 and standard deviation 1 over the training
            images, `pixel` each place.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    classes: tuple[str, ...] | int | None = None
    groups: dict[str, tuple[str, ...]] | None = None
    train: int | None = Field(default=None, ge=2)
    test: int | None = Field(default=None, ge=2)
    dev: float = Field(default=0.1, gt=0, lt=1)
    skip: int = Field(default=0, ge=0)
    size: int | None = Field(default=None, ge=8)
    scaling: Literal["channel", "pixel"] = "channel"

    @property
    def label(self) -> str:
        """What results call the choice; empty where all is used."""
        if self.name:
            return self.name
        count = self.classes if isinstance(self.classes, int) else len(self.classes or ())
        parts = [f"{count} classes"] if count else []
        parts += ["of " + " and ".join(self.groups)] if self.groups else []
        parts += [f"{self.train} images"] if self.train else []
        return ", ".join(parts)


class SgdSettings(TrainingSettings):
    """How an image classifier is trained, see `squall.networks.vision.training.SgdPlan`.

    Args:
        measured_epochs: after these epochs, and the one that is kept, neural collapse is measured;
            0 is before the first. Their weights are kept in `train/snapshots`.

    The others as in `TrainingSettings` and `SgdPlan`.
    """

    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=128, ge=1)
    learning_rate: float | tuple[float, ...] = 0.1
    weight_decay: float = Field(default=5e-4, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    schedule: Literal["cosine", "steps", "none"] = "cosine"
    milestones: tuple[int, ...] = ()
    divisor: float = Field(default=10.0, gt=1)
    augment: bool = False
    measured_epochs: tuple[int, ...] = ()

    @property
    def plan(self) -> SgdPlan:
        """In the form that a training takes."""
        names = SgdPlan.__dataclass_fields__
        return SgdPlan(**{name: value for name, value in dict(self).items() if name in names})


class TransferSettings(Settings):
    """Fine-tuning of the network to another task, from its weights along the training.

    Args:
        images: on which images of the same set; `skip` keeps them apart from those of the training.
        training: how the whole network is trained, with a last layer of its own; of several
            learning rates that with the highest accuracy on the development set counts.
    """

    images: ChosenImages
    training: SgdSettings


class ImagesConfig(ClassifierConfig):
    """Everything that decides the numbers of an image classifier.

    Args:
        network: what is trained.
        images: on which images.
        training: how.
        transfer: to what the network is fine-tuned, from the weights after each of
            `training.measured_epochs`; None leaves it.
    """

    task: Literal["images"] = "images"
    network: NetworkSettings = NetworkSettings()
    images: ChosenImages = ChosenImages()
    training: SgdSettings = SgdSettings()
    transfer: TransferSettings | None = None

    @model_validator(mode="after")
    def _one_choice(self) -> ImagesConfig:
        if self.transfer is not None and not self.training.measured_epochs:
            raise ValueError("transfer needs training.measured_epochs, to begin from")
        if self.images.classes is not None and self.images.groups is not None:
            raise ValueError("images.classes and images.groups exclude each other")
        return self

    @property
    def dataset(self) -> str:
        """The name of the set, and which of its images are taken."""
        return ", ".join(filter(None, [self.corpus.name, self.images.label]))

    def prepared(self) -> dict[str, Any]:
        """The settings that decide the prepared images."""
        found = {
            "corpus": self.corpus.model_dump(mode="json", include={"name", "options"}),
            "images": self.images.model_dump(mode="json", exclude={"name"}),
        }
        if self.transfer is not None:
            found["transfer"] = self.transfer.images.model_dump(mode="json", exclude={"name"})
        return found
