"""Evaluation: the contract of a method, the runner, statistics, timing."""
