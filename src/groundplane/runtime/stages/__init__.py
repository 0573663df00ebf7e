"""The two stages of a launch: `outside`, the caller, and `inside`, the new process; `talk.py` draws how they talk."""
