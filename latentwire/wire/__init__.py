"""Wires: a sender's hidden states as messages for a receiver."""
