"""The resident half of the runtime: one spawner per instance, and one supervisor per running container.

The *spawner* is small, single-threaded and started before anything else, so that starting a container never forks the
large daemon; it also keeps the daemon running. A *supervisor* is forked from it and owns one container: makes it,
writes its log, serves attached clients, and leaves its end in a file. An *agent* is forked for one exec or one set of
pinned namespaces, and ends with it. `docs/design/processes.md` draws who is whose parent and what each kill does;
`wire/spawner.py` draws what they say.

Owns the run directory's `spawner.sock`, `spawner.lock` and what lies in `c/<id12>/` while a container runs. Reads the
bundle (`config.json`) that the engine wrote. Never imports the engine, and keeps its imports few: every module counts
in the memory of every container.
"""
