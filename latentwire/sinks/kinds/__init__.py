"""One sink per file."""
