"""Ansible's connection plugin ``labctl``: commands and files over the serial console of a VM, without a network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Optional, Tuple

from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.plugins.connection import ConnectionBase
from ansible.utils.display import Display

try:
    from labctl.lab import Lab
except ImportError:
    # Ansible was told where the plugin is, and so where the package is.
    sys.path.append(str(Path(__file__).resolve().parents[3]))
    from labctl.lab import Lab

from labctl.errors import CommandNotRun, CommandTimedOut, LabctlError
from labctl.vm import VM

DOCUMENTATION = """
name: labctl
short_description: runs tasks over the serial console of a VM of labctl
description:
  - Runs commands with C(labctl exec), copies files with C(labctl cp). Nothing has to be installed in the guest but a
    POSIX shell; modules other than C(raw) and C(script) need Python there, as with any connection.
author: the labctl developers
options:
  vm:
    description: Name of the VM.
    default: inventory_hostname
    vars: [{name: inventory_hostname}, {name: labctl_vm}]
  file:
    description: The lab file.
    type: path
    vars: [{name: labctl_file}]
  lab:
    description: The lab's name, where it is used without its file.
    vars: [{name: labctl_lab}]
  project:
    description: The copy of the lab, as C(labctl --project) names it.
    vars: [{name: labctl_project}]
  set:
    description: Variables of the lab file, C(NAME=VALUE).
    type: list
    elements: str
    default: []
    vars: [{name: labctl_set}]
  program:
    description: The program C(labctl).
    env: [{name: LABCTL}]
    vars: [{name: labctl_program}]
  command_timeout:
    description: How many seconds a command or a copy may take.
    type: int
    default: 900
    vars: [{name: labctl_timeout}]
"""

display = Display()


class Connection(ConnectionBase):  # type: ignore[misc]
    """A VM's console."""

    transport = "labctl"
    has_pipelining = True

    _vm: Optional[VM] = None

    def _connect(self) -> "Connection":
        if self._vm is not None:
            return self
        name = self.get_option("vm")
        try:
            variables = dict(item.split("=", 1) for item in self.get_option("set"))
            lab = Lab(
                self.get_option("file"),
                name=self.get_option("lab"),
                set=variables,
                project=self.get_option("project"),
                program=self.get_option("program"),
            )
            machine = lab[name]
            if not machine.is_running():
                raise AnsibleConnectionFailure(f"{name} is not running; 'labctl up {name}' starts it")
        except (LabctlError, ValueError) as error:
            raise AnsibleConnectionFailure(f"labctl: {error}") from error
        self._vm = machine
        self._connected = True
        return self

    @property
    def _machine(self) -> VM:
        self._connect()
        assert self._vm is not None
        return self._vm

    def exec_command(
        self, cmd: str, in_data: Optional[bytes] = None, sudoable: bool = True
    ) -> Tuple[int, bytes, bytes]:
        """Runs a command. Privilege escalation that asks for a password on a terminal cannot be answered."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        machine = self._machine
        display.vvv(f"EXEC {cmd}", host=machine.name)
        try:
            status, output, errors = machine.execute_bytes(
                cmd, input=bytes(in_data) if in_data else None, timeout=self.get_option("command_timeout")
            )
        except CommandTimedOut as error:
            raise AnsibleError(str(error)) from error
        except CommandNotRun as error:
            raise AnsibleConnectionFailure(str(error)) from error
        return status, output, errors.encode()

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copies a file into the VM."""
        super().put_file(in_path, out_path)
        if not Path(in_path).exists():
            raise AnsibleFileNotFound(f"there is no file {in_path}")
        self._copy(in_path, f"{self._machine.name}:{out_path}")

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copies a file out of the VM."""
        super().fetch_file(in_path, out_path)
        self._copy(f"{self._machine.name}:{in_path}", out_path)

    def _copy(self, source: str, target: str) -> None:
        machine = self._machine
        display.vvv(f"COPY {source} {target}", host=machine.name)
        try:
            machine.copy(source, target, timeout=self.get_option("command_timeout"))
        except LabctlError as error:
            raise AnsibleError(f"labctl: {error}") from error

    def close(self) -> None:
        """Nothing is held open."""
        self._vm = None
        self._connected = False

