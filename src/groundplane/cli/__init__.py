"""The door for people: `ground`, one module per verb; parse, call, print; the only place that may exit."""
