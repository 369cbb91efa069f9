"""Suites: YAML files that list the experiments of a study."""

from telepathy.experiments.suites.expansion import Experiment, expand
from telepathy.experiments.suites.loading import Suite, load_suite, suite_names

__all__ = ["Experiment", "Suite", "expand", "load_suite", "suite_names"]
