"""Suites: which experiments a question needs, written down in YAML, and what runs them."""

from telepathy.experiments.suites.expansion import Experiment, expand
from telepathy.experiments.suites.loading import Suite, load_suite, suite_names

__all__ = ["Experiment", "Suite", "expand", "load_suite", "suite_names"]
