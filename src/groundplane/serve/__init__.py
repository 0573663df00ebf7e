"""What every server here shares: listeners, TLS and our CA, limits, peer identity, graceful stop.

Owns the state root's `pki/` directory (`pki.py`) and the sockets it opens (`listeners.py`, `server.py`); decides
nothing about who may do what. `cryptography` is imported only where a key or certificate is made.
"""
