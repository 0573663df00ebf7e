"""What every server here shares: listeners, TLS and our CA, limits, peer identity, graceful stop."""
