"""Images made from files of this host: programs with everything they need to run, and what the user adds.

    programs.py ─ what a program is (ELF, script, Python) ─▶ tree.py, the base layer's future tree
      elf.py · libraries.py ─ its shared libraries          adds.py ─▶ a second tree over it, for `--add`
      python.py ─ its standard library                        layers.py ─▶ blobs, cached by fingerprint
      system.py ─ certificates, users, directories              build.py ─▶ configuration, manifest, name

Reads the host, decides, then writes blobs; nothing of the host is executed or changed. Left of `layers.py` no file's
content is read except ELF headers and first lines, so that an unchanged base costs one walk with `stat`.
"""
