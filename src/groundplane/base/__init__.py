"""The ground floor: errors, clock, ids, task groups, log, settings, JSON and YAML.

Owns nothing at run time; knows nothing of containers or clusters; imports no other package of ours.
Modules that the runtime and the CLI's hot path import (`errors`, `ids`) use the standard library only.
"""
