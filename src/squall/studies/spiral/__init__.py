"""Two spirals: how the decision boundary of each loss grows along training."""
