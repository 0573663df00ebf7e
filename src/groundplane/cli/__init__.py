"""The door for people: `ground`, one module per verb; parse, call, print; the only place that may exit.

`main.py` looks the verb up in `verbs.py` and imports only that verb's module, because start-up is what a user feels: a
bare interpreter takes 8 ms here, and `argparse`, `socket`, `http.client`, `typing` and `dataclasses` cost 5 to 30 ms
each. So the shared modules below use none of them: `options` (docker's flags), `http` (one request over the unix
socket), `api` (requests, errors, start on demand), `streams` (attached terminals), `tables`, `template`, `units`.

A verb's module has `run(args, place) -> int`: the exit code. It raises GroundError for what `main` shall print.
"""
