"""Notices nodes that have gone silent: their conditions become Unknown, taints keep pods away and send them off."""
