"""What is done inside the new namespaces, as values: each step says what it does (`describe`) and does it (`apply`).

`plan.py` puts them in order; `stages/inside.py` walks the list. A step that fails is named in the error by its own
description. A step opens paths of the container only through `Inside.root` and the `kernel.calls.files` functions
that cannot leave it.
"""
