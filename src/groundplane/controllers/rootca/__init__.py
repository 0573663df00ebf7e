"""Publishes the cluster's root certificate into every namespace, where pods mount it to trust the API server."""
