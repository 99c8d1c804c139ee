"""What experiments on classifiers share: settings of a training, stages, scores, report."""
