"""Gives every node its own range of pod addresses (`spec.podCIDR`), out of the cluster's."""
