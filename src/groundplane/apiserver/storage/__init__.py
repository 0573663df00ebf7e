"""Objects in the store: keys, the three writes, and what the store's refusals mean for a request."""
