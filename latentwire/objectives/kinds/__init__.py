"""One objective per file; each registers itself in `OBJECTIVES`."""
