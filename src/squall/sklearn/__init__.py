"""Estimators of scikit-learn's form with the losses of `squall.losses`."""

from squall.sklearn.classifier import SquentropyClassifier

__all__ = ["SquentropyClassifier"]
