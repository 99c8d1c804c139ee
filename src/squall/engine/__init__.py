"""Runs any recipe: settings, experiment folders, stages, grids, processes, clusters."""
