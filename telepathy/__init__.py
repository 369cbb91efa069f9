"""Telepathy: the experiments around LatentWire. Printing and run folders live here."""
