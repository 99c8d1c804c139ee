"""Architectures for images, with the features of their last hidden layer within reach."""
