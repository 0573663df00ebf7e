"""Which instance a command line speaks to: its directories, without importing the settings where that is avoidable."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.base.settings import Settings

_DEFAULT_RUN = "/run/groundplane"  # Settings.run; a test holds the two together
_CONFIG_FILE = "/etc/groundplane/config.yaml"


class Place:
    """From `--root` and `--run`, else the environment, else the settings file, else the defaults."""

    __slots__ = ("_root", "_run")

    def __init__(self, root: str | None = None, run: str | None = None) -> None:
        self._root = root
        self._run = run

    @property
    def socket(self) -> str:
        """The engine's door, `Settings.engine_socket`: 15 ms cheaper where no settings file has to be read."""
        run = self._run or os.environ.get("GROUND_RUN")
        if run is None and not os.path.exists(os.environ.get("GROUND_CONFIG", _CONFIG_FILE)):
            run = _DEFAULT_RUN
        return f"{run}/ground.sock" if run is not None else self.settings().engine_socket

    def settings(self) -> Settings:
        """All settings of the instance. Raises UsageError."""
        from groundplane.base.settings import load

        return load(root=self._root, run=self._run)
