"""Waiting for what runs in a guest: units of systemd, ports, files."""

from __future__ import annotations

import shlex
from typing import Dict, Optional, Tuple

from .errors import LabctlError
from .machine import TIMEOUT
from .shell import Shell

#: The state LISTEN of /proc/net/tcp; proc(5).
_LISTENING = "0A"


class Services(Shell):
    """Questions that a test asks again and again."""

    def systemctl(self, query: str, user: Optional[str] = None) -> Tuple[int, str]:
        """Runs ``systemctl``; with ``user``, that user's."""
        if user is None:
            return self.execute(f"systemctl {query}")
        inner = f"XDG_RUNTIME_DIR=/run/user/`id -u` systemctl --user {query}"
        return self.execute(f"su -l {shlex.quote(user)} -c {shlex.quote(inner)}")

    def get_unit_info(self, unit: str, user: Optional[str] = None) -> Dict[str, str]:
        """The properties of a unit."""
        status, said = self.systemctl(f"--no-pager show {shlex.quote(unit)}", user)
        if status != 0:
            raise LabctlError(f"{self.name}: systemctl show {unit} ended with {status}: {said}", vm=self.name)
        return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)

    def get_unit_property(self, unit: str, property: str, user: Optional[str] = None) -> str:
        """One property of a unit."""
        return self.get_unit_info(unit, user).get(property, "")

    def require_unit_state(self, unit: str, require_state: str = "active") -> None:
        """The unit has to be in a state now."""
        state = self.get_unit_property(unit, "ActiveState")
        if state != require_state:
            raise LabctlError(f"{self.name}: unit {unit} is '{state}', not '{require_state}'", vm=self.name)

    def wait_for_unit(self, unit: str, user: Optional[str] = None, timeout: float = TIMEOUT) -> None:
        """Waits until a unit is active; one that has failed, or that nothing will start, is an error at once."""

        def is_active(_: bool) -> bool:
            info = self.get_unit_info(unit, user)
            state = info.get("ActiveState", "")
            if state == "failed":
                raise LabctlError(f"{self.name}: unit {unit} has failed", vm=self.name, console=self.console_tail())
            if state == "inactive":
                status, jobs = self.systemctl("list-jobs --full 2>&1", user)
                if status == 0 and "No jobs" in jobs and self.get_unit_info(unit, user)["ActiveState"] == state:
                    raise LabctlError(
                        f"{self.name}: unit {unit} is inactive and there are no jobs that would start it",
                        vm=self.name,
                    )
            return state == "active"

        self._until(is_active, timeout, f"unit {unit} did not become active")

    def start_job(self, jobname: str, user: Optional[str] = None) -> Tuple[int, str]:
        """Starts a unit."""
        return self.systemctl(f"start {shlex.quote(jobname)}", user)

    def stop_job(self, jobname: str, user: Optional[str] = None) -> Tuple[int, str]:
        """Stops a unit."""
        return self.systemctl(f"stop {shlex.quote(jobname)}", user)

    def _port_is_open(self, port: int, addr: str) -> bool:
        if addr in ("localhost", "127.0.0.1", "::1"):
            # Needs no program beyond grep: who listens is in the kernel's table.
            pattern = f":{port:04X} [0-9A-F]*:0000 {_LISTENING} "
            return self.execute(f"cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q '{pattern}'")[0] == 0
        return self.execute(f"nc -z -w 5 {shlex.quote(addr)} {port}")[0] == 0

    def wait_for_open_port(self, port: int, addr: str = "localhost", timeout: float = TIMEOUT) -> None:
        """Waits until somebody listens on a TCP port; on other hosts by ``nc``."""
        self._until(lambda _: self._port_is_open(port, addr), timeout, f"port {port} of {addr} did not open")

    def wait_for_closed_port(self, port: int, addr: str = "localhost", timeout: float = TIMEOUT) -> None:
        """Waits until nobody listens on a TCP port."""
        self._until(lambda _: not self._port_is_open(port, addr), timeout, f"port {port} of {addr} did not close")

    def wait_for_file(self, filename: str, timeout: float = TIMEOUT) -> None:
        """Waits until a path exists."""
        self._until(
            lambda _: self.execute(f"test -e {shlex.quote(filename)}")[0] == 0, timeout, f"{filename} did not appear"
        )
