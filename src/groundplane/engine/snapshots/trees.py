"""Removing and measuring trees that a hostile program may have made: any depth, any names, constant stack and files."""

from __future__ import annotations

import os

from groundplane.base.ids import name_suffix


def remove_tree(path: str) -> None:
    """Delete a directory with all that is in it; success where it is missing.

    A directory inside that is not empty is first moved up beside `path`, because `shutil.rmtree` recurses and holds one
    file descriptor for each level: a container can make its tree deeper than our limits, and longer than PATH_MAX.
    """
    queue = [path]
    while queue:
        directory = queue.pop()
        try:
            entries = os.scandir(directory)
        except FileNotFoundError:
            continue
        with entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)
                    continue
                try:
                    os.rmdir(entry.path)
                except OSError:
                    moved = f"{path}.{name_suffix(12)}"  # a killed remover may have left others
                    os.rename(entry.path, moved)
                    queue.append(moved)
        os.rmdir(directory)


def tree_size(path: str) -> int:
    """Bytes of the files below, each inode once. What vanishes meanwhile, or lies too deep to be named, is left out."""
    seen: set[tuple[int, int]] = set()
    total = 0
    queue = [path]
    while queue:
        try:
            entries = os.scandir(queue.pop())
        except OSError:
            continue
        with entries:
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    queue.append(entry.path)
                elif (found.st_dev, found.st_ino) not in seen:
                    seen.add((found.st_dev, found.st_ino))
                    total += found.st_size
    return total
