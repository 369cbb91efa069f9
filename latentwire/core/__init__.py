"""Foundations that every package may use: errors, catalogues, files, progress, run folders."""
