"""Sentences and pairs of sentences: encoders with each loss on tasks of classification."""
