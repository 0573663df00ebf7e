"""Sees that every namespace has the ServiceAccount `default`, without which no pod can be made in it."""
