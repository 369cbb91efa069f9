"""Prompts for task examples, and the scoring of what a model answers to them."""
