"""One method per file; each registers itself in `METHODS`."""
