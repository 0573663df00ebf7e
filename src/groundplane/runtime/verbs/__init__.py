"""The verbs of the command line, one file each: read options, call `launch` and `state`, print, return a status."""
