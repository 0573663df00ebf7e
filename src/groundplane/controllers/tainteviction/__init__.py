"""Deletes pods from nodes whose NoExecute taints they do not tolerate, at once or when their patience ends."""
