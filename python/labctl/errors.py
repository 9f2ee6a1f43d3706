"""What can go wrong. Every message names the VM, the command, how it ended and the console's last lines, where there are such."""

from __future__ import annotations

from typing import Optional, Sequence


def _indented(lines: Sequence[str]) -> str:
    return "".join(f"\n  | {line}" for line in lines)


class LabctlError(Exception):
    """``labctl`` ended with an error.

    ``status`` is its exit code, ``message`` what it said, ``vm`` the VM it was about, ``console`` that VM's last console lines.
    """

    def __init__(
        self,
        message: str,
        *,
        vm: Optional[str] = None,
        status: Optional[int] = None,
        console: Sequence[str] = (),
    ) -> None:
        self.message = message
        self.vm = vm
        self.status = status
        self.console = list(console)
        super().__init__(message, vm, status)

    def __str__(self) -> str:
        text = self.message
        if self.vm is not None and self.vm not in text.split("\n", 1)[0]:
            text = f"{self.vm}: {text}"
        if self.console:
            text += f"\nlast lines of the console of {self.vm}:{_indented(self.console)}"
        return text


class ProgramNotFound(LabctlError):
    """There is no ``labctl`` to run."""


class LabFileInvalid(LabctlError):
    """The lab file has errors (exit code 4)."""


class LabLocked(LabctlError):
    """Another ``labctl`` changes the lab (exit code 5)."""


class NotReady(LabctlError):
    """VMs did not become ready in time (exit code 6)."""


class LabFailed(LabctlError):
    """A verb failed on some VMs, or on all (exit codes 1 and 3)."""


class WaitTimedOut(LabctlError):
    """What was waited for did not come in time."""


class Unsupported(LabctlError):
    """This version of ``labctl`` cannot do that."""


class CommandError(LabctlError):
    """A command in a guest did not do what was expected of it; ``command`` is the command."""

    def __init__(
        self,
        command: str,
        message: str,
        *,
        vm: str,
        status: Optional[int] = None,
        output: str = "",
        errors: str = "",
        console: Sequence[str] = (),
    ) -> None:
        super().__init__(message, vm=vm, status=status, console=console)
        self.command = command
        self.output = output
        self.errors = errors

    def __str__(self) -> str:
        text = f"{self.vm}: `{self.command}` {self.message}"
        for name, said in (("output", self.output), ("errors", self.errors)):
            if said.strip():
                text += f"\n{name}:{_indented(said.rstrip().splitlines()[-20:])}"
        if self.console:
            text += f"\nlast lines of the console:{_indented(self.console)}"
        return text


class CommandFailed(CommandError, AssertionError):
    """A command ended otherwise than expected; ``status`` is its exit status."""


class CommandTimedOut(CommandError):
    """A command did not end in time, and was stopped."""


class CommandNotRun(CommandError):
    """A command could not be run: the VM is off, or nobody is logged in on its console."""
