"""Detectors of suspicious results; each module registers its own in `DETECTORS`."""
