"""Build prompts from task examples and score the answers of a model."""
