"""Foundations of all packages: errors, catalogues, files, progress, run folders, provenance."""
