"""The SQLite driver: an append-only log in one file, one writer thread, group commit, the newest state in memory.

    create ──► queue ──(once a loop turn)──► writer thread: INSERT…; COMMIT (fsync) ──► view.apply ──► answer
    get, list of the newest ──► view, no thread, no SQL          older than the recent events ──► SQL, reader thread

`store.py` is the contract, `writer.py` the thread, `log.py` the file and its SQL. Owns the file, its `-wal` and `-shm`,
and a `.lock` beside it.
"""
