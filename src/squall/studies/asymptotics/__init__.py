"""Asymptotics of the rescaled square loss: what its equations predict, and what minima do."""
