"""Labs of virtual PCs, driven through the program ``labctl``.

    with Lab("lab.yaml").up() as lab:
        lab.student_01.succeed("uname -a")
"""

from .errors import (
    CommandFailed,
    CommandNotRun,
    CommandTimedOut,
    LabctlError,
    LabFailed,
    LabFileInvalid,
    LabLocked,
    NotReady,
    ProgramNotFound,
    Unsupported,
    WaitTimedOut,
)
from .lab import Lab
from .program import Program
from .vm import VM

__all__ = [
    "VM",
    "CommandFailed",
    "CommandNotRun",
    "CommandTimedOut",
    "Lab",
    "LabFailed",
    "LabFileInvalid",
    "LabLocked",
    "LabctlError",
    "NotReady",
    "Program",
    "ProgramNotFound",
    "Unsupported",
    "WaitTimedOut",
]
