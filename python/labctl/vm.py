"""One VM of a lab, with the methods of the NixOS test driver's machines."""

from __future__ import annotations

from typing import NoReturn

from .errors import Unsupported
from .files import Files
from .machine import TIMEOUT
from .services import Services
from .terminal import Terminal


class VM(Files, Services, Terminal):
    """A VM of a lab: ``lab.student_01``."""

    def start(self) -> None:
        """Starts it, with what it depends on, and waits until it is ready; nothing when it is."""
        self.lab.touched[self.name] = None
        self.lab.up(self.name)

    def reset(self) -> None:
        """Gives it fresh disks; it comes back as it was, running or not."""
        self.lab.touched[self.name] = None
        self.lab.reset(self.name)

    def shutdown(self, timeout: float = 30) -> None:
        """Asks the guest to power off by the power button, and stops it when it did not in time."""
        self.lab.down(self.name, timeout=timeout)

    def crash(self) -> None:
        """Stops it at once, as if the plug were pulled."""
        self.lab.down(self.name, timeout=0)

    def wait_for_shutdown(self, timeout: float = TIMEOUT) -> None:
        """Waits until the guest has powered off."""
        self._until(lambda _: not self.is_running(), timeout, "it did not power off")

    def reboot(self, timeout: float = TIMEOUT) -> None:
        """Presses ctrl-alt-delete and waits until the guest has reset.

        ``wait_for_console_text`` afterwards looks at what the new boot says.
        """
        before = self.status()["resets"]
        self.skip_console()
        self.send_key("ctrl-alt-delete")
        self._until(lambda _: self.status()["resets"] > before, timeout, "it did not reset")

    def hard_reset(self) -> None:
        """Presses the reset button."""
        self.skip_console()
        self.send_monitor_command("system_reset")

    def pause(self) -> None:
        """Holds the guest."""
        self.send_monitor_command("stop")

    def resume(self) -> None:
        """Lets a guest go on that is held."""
        self.send_monitor_command("cont")

    def block(self) -> NoReturn:
        """Pulls the network cable; there is none yet."""
        raise Unsupported(f"{self.name}: block() pulls a network cable, and VMs have no network yet", vm=self.name)

    def unblock(self) -> NoReturn:
        """Puts the network cable back; there is none yet."""
        raise Unsupported(f"{self.name}: unblock() is about a network cable, and VMs have no network yet", vm=self.name)
