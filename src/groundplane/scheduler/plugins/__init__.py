"""One file per plugin; `registry` says which run, in which order and with which weight."""
