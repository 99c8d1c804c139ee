"""Mixture models: the lemmas of the CCQL paper in numbers, and descent's path to each loss."""
