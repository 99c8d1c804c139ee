"""Off-the-shelf enhancers, put beside the estimators of a recipe as they are."""
