"""Estimators of masks, each in a file of its own behind one interface."""
