"""A state folder of one's own, so that a lab in a test never meets a lab that somebody works with."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import List

from .errors import LabctlError
from .program import Program

_PREFIX = "labctl-py"


class PrivateHome:
    """A ``LABCTL_HOME`` that goes with the process that made it.

    The process holds a lock on it. One whose lock is free was left by a process that was killed: the next one that is
    made takes its VMs down and removes it.
    """

    def __init__(self, program: Program) -> None:
        parent = Path(tempfile.gettempdir())
        _sweep(program, parent)
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}-{os.getuid()}-", dir=parent))
            self._lock = open(self.path / "owner", "w")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            # Another process may have taken it for one that was left, before the lock was held.
            if os.fstat(self._lock.fileno()).st_nlink > 0:
                break
            self._lock.close()
        self.program = Program(program.path, {**program.environment, "LABCTL_HOME": str(self.path)})

    def close(self) -> None:
        """Ends what runs in it and removes it."""
        if self._lock.closed:
            return
        _destroy(self.program, self.path)
        self._lock.close()

    def keep(self) -> None:
        """Leaves it as it is, for a look; nothing removes it then."""
        (self.path / "owner").unlink()
        self._lock.close()


def _destroy(program: Program, home: Path) -> None:
    here = Program(program.path, {**program.environment, "LABCTL_HOME": str(home)})
    labs: List[str] = [Path(lab["stateFolder"]).name for lab in here.run("ls", "--format", "json").json()]
    for lab in labs:
        here.run("destroy", "--lab", lab, "--yes", "--wait", "--progress", "quiet")
    shutil.rmtree(home, ignore_errors=True)


def _sweep(program: Program, parent: Path) -> None:
    for home in parent.glob(f"{_PREFIX}-{os.getuid()}-*"):
        try:
            if home.stat().st_uid != os.getuid():
                continue
            with open(home / "owner", "r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _destroy(program, home)
        except (OSError, LabctlError):
            # It has an owner, was kept, is being made, or somebody else removes it.
            continue
