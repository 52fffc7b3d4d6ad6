"""Generators with a formal guarantee of differential privacy."""
