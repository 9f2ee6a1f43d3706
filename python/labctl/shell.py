"""Commands in a guest, in the shell on its serial console."""

from __future__ import annotations

import shlex
from typing import Optional, Tuple

from .errors import CommandFailed, CommandNotRun, CommandTimedOut
from .machine import TIMEOUT, Machine
from .program import duration

#: ``labctl exec`` ends with these when the command took too long or could not be run; so may the command itself. The
#: command's own are marked at the end of its errors.
_AMBIGUOUS = (124, 125)
_MARK = "labctl: the command's own status"


class Shell(Machine):
    """Running commands. The guest needs a POSIX shell; ``login`` in the lab file says how to get at it."""

    def execute_bytes(
        self, command: str, *, input: Optional[bytes] = None, timeout: float = TIMEOUT
    ) -> Tuple[int, bytes, str]:
        """Runs a command.

        :param input: what it reads on its standard input.
        :returns: its exit status, its standard output, and its standard error.
        :raises CommandTimedOut, CommandNotRun: when there is no status.
        """
        wrapped = (
            f"(\n{command}\n); s=$?; case $s in {'|'.join(map(str, _AMBIGUOUS))}) "
            f"echo {shlex.quote(_MARK)} >&2;; esac; exit $s"
        )
        flags = [f"--timeout={duration(timeout)}", "--binary" if input is None else "--stdin"]
        result = self._run("exec", wrapped, flags=flags, input=input, seconds=timeout, check=False)
        errors = result.errors
        if result.status in _AMBIGUOUS:
            mark = _MARK + "\n"
            if not errors.endswith(mark):
                kind = CommandTimedOut if result.status == 124 else CommandNotRun
                raise kind(
                    command, _reason(errors), vm=self.name, status=result.status, console=self.console_tail()
                )
            errors = errors[: -len(mark)]
        elif result.status in (4, 64) and not result.output and errors.startswith("error"):
            # labctl itself did not get as far as the VM.
            raise CommandNotRun(command, _reason(errors), vm=self.name, status=result.status)
        return result.status, result.output, errors

    def execute(
        self, command: str, check_return: bool = True, check_output: bool = True, timeout: float = TIMEOUT
    ) -> Tuple[int, str]:
        """Runs a command and returns its exit status and output.

        ``check_return`` and ``check_output`` are there for the NixOS driver's callers; both are always looked at.
        """
        status, output, _ = self.execute_bytes(command, timeout=timeout)
        return status, output.decode(errors="replace")

    def _expect(self, commands: Tuple[str, ...], timeout: float, succeeds: bool) -> str:
        __tracebackhide__ = True
        said = ""
        for command in commands:
            status, output, errors = self.execute_bytes(command, timeout=timeout)
            text = output.decode(errors="replace")
            if (status == 0) != succeeds:
                raise CommandFailed(
                    command,
                    f"ended with {status}" if succeeds else "ended with 0, and should have failed",
                    vm=self.name,
                    status=status,
                    output=text,
                    errors=errors,
                    console=self.console_tail(),
                )
            said += text
        return said

    def succeed(self, *commands: str, timeout: float = TIMEOUT) -> str:
        """Runs commands, each of which has to end with 0, and returns their output.

        :raises CommandFailed: with output, errors and the console's last lines.
        """
        __tracebackhide__ = True
        return self._expect(commands, timeout, succeeds=True)

    def fail(self, *commands: str, timeout: float = TIMEOUT) -> str:
        """Runs commands, each of which has to end with something else than 0."""
        __tracebackhide__ = True
        return self._expect(commands, timeout, succeeds=False)

    def _repeat(self, command: str, timeout: float, succeeds: bool) -> str:
        said = [""]

        def is_done(_: bool) -> bool:
            status, said[0] = self.execute(command, timeout=timeout)
            return (status == 0) == succeeds

        self._until(is_done, timeout, f"`{command}` did not {'succeed' if succeeds else 'fail'}")
        return said[0]

    def wait_until_succeeds(self, command: str, timeout: float = TIMEOUT) -> str:
        """Runs a command again and again until it ends with 0; returns its output."""
        return self._repeat(command, timeout, succeeds=True)

    def wait_until_fails(self, command: str, timeout: float = TIMEOUT) -> str:
        """Runs a command again and again until it ends with something else than 0."""
        return self._repeat(command, timeout, succeeds=False)

    def sleep(self, secs: float) -> None:
        """Lets time pass in the guest."""
        self.succeed(f"sleep {secs:g}", timeout=secs + TIMEOUT)


def _reason(errors: str) -> str:
    """What labctl said, to stand behind the name of a command."""
    said = errors.strip()
    said = said[len("error: ") :] if said.startswith("error: ") else said
    return f"has no result: {said}"
