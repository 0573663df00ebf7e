"""Tells the data plane where a Service's pods are, in slices of at most 100 endpoints, changed as little as can be."""
