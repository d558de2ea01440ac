"""Benchmarks: which rows, how a model is asked, what its answers are worth, and whether a difference is real."""
