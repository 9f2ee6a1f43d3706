"""The serial console, the keyboard, the screen and the monitor of a VM."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Sequence, Union

from .errors import LabctlError, WaitTimedOut
from .machine import TIMEOUT, Machine
from .program import duration


class Terminal(Machine):
    """Typing and looking."""

    def wait_for_console_text(self, regex: str, timeout: float = TIMEOUT) -> str:
        """Waits until the console has said what a POSIX extended regular expression matches, within a line.

        It begins behind what the latest wait found, at the start of the run at first.

        :returns: what was said up to there.
        """
        return self._wait(regex, timeout, ("--regex", "--show"), "the console did not say")

    def wait_for_text(self, regex: str, timeout: float = TIMEOUT) -> None:
        """Waits until the screen shows what a POSIX extended regular expression matches, within a line."""
        self._wait(regex, timeout, ("--regex", "--screen"), "the screen did not show")

    def _wait(self, regex: str, timeout: float, flags: Sequence[str], what: str) -> str:
        result = self._run(
            "wait", "--", regex, flags=[*flags, f"--timeout={duration(timeout)}"], seconds=timeout, check=False
        )
        if result.status == 6:
            raise WaitTimedOut(
                f"{self.name}: {what} '{regex}' within {timeout:g} s",
                vm=self.name,
                status=6,
                console=self.console_tail(),
            )
        if result.status != 0:
            raise LabctlError(
                result.errors.strip(), vm=self.name, status=result.status, console=self.console_tail()
            )
        return result.text

    def skip_console(self) -> None:
        """The next wait for the console looks only at what it says from now on."""
        self._run("wait", "--", "-", flags=["--new", "--timeout=0"], check=False)

    def send_console(self, chars: str) -> None:
        """Types on the serial console, as it is."""
        self._run("send", "--", chars, flags=["--raw"])

    def send_chars(self, chars: str, layout: str = "us") -> None:
        """Types text on the keyboard; ``layout`` is what the guest is set to: us, de or fr."""
        self._run("send", flags=["--raw", f"--layout={layout}", f"--type={chars}"])

    def send_key(self, key: str, delay: float = 0.0) -> None:
        """Presses keys together, by QEMU's names: ``ret``, ``ctrl-alt-delete``; then waits ``delay`` seconds."""
        self._run("send", flags=[f"--keys={key}"])
        if delay > 0:
            time.sleep(delay)

    def send_monitor_command(self, command: str) -> str:
        """Gives a command to the monitor, and returns its answer; ``help`` lists them."""
        return self._run("monitor", "--", command).text

    def get_screen_text(self) -> str:
        """What can be read on the screen; empty where it shows a picture."""
        reading = self._run("screen", flags=["--format=json"]).json()
        return "\n".join(row.rstrip() for row in reading["rows"]).rstrip("\n")

    def screenshot(self, filename: Union[str, Path]) -> Path:
        """Saves the screen as a picture; without a suffix it is a ``.png``."""
        path = Path(filename)
        if not path.suffix:
            path = path.with_name(path.name + ".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._run("screenshot", flags=[f"--output={path}"])
        return path
