"""One bridge kind per file; each registers itself in `BRIDGES`."""
