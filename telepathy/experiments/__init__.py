"""Experiments: their configurations, the registry, suites, schedulers and analysis."""
