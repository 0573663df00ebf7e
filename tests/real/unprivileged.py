"""A command as a user without rights who may still read this checkout, also where it lies below a private /root."""

from __future__ import annotations

NOBODY = 65534


def unprivileged(*words: str) -> list[str]:
    """The command as nobody, with the one capability that lets it pass closed directories (capabilities(7))."""
    ids = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return ["setpriv", *ids, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", *words]
