"""The OCI runtime, a program of its own: the runc-compatible command line, and the resident spawner and supervisors.

Executed and spoken to, never imported by the engine. Imports only kernel, oci, wire and base.
"""
