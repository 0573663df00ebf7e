"""What goes over wires: websocket channels, Docker stream framing, Kubernetes protobuf, DNS messages, spawner messages.

Protocols without I/O: bytes in, values out, and back.
"""
