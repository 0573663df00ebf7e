"""Groundplane: one Linux machine as a complete cloud-native platform.

Importing this package does no work; `docs/architecture.md` is the map of what lies inside.
"""

__version__ = "0.1.0"
