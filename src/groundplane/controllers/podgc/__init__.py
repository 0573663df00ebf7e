"""Removes pods that nobody else can: those of nodes that are gone, and finished ones beyond a number."""
