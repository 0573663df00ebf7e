"""The fuse box: the only place where rooms are plugged together; settings, roles, start and shutdown order."""
