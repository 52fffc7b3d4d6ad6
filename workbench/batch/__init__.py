"""Batches: a grid of cells, run, resumed, verified."""
