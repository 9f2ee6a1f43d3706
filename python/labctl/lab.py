"""A lab: the VMs of a lab file."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Type, Union

from .errors import LabctlError
from .home import PrivateHome
from .program import Program, Result, duration, failure
from .vm import VM


class Lab:
    """A lab file, or, with ``name``, a lab as it was last brought up.

    VMs are attributes (``lab.student_01``) and items (``lab["student-01"]``). Leaving a ``with`` block takes the lab
    down; overlays stay, unless it is ``private``: such a lab has a state of its own and leaves nothing behind.

    :param set: variables of the lab file.
    :param project: the copy of the lab of this name (``labctl --project``).
    :param private: whether this is a copy beside all others, in a state folder that goes with it.
    :param program: the path of ``labctl``, or how to run it.
    """

    def __init__(
        self,
        file: Union[str, Path, None] = None,
        *,
        name: Optional[str] = None,
        set: Optional[Mapping[str, object]] = None,
        project: Optional[str] = None,
        private: bool = False,
        program: Union[str, Path, Program, None] = None,
    ) -> None:
        if file is not None and name is not None:
            raise ValueError("a lab has a file or a name, not both")
        if file is None and name is None:
            file = default_file(Path.cwd())
        self.file = None if file is None else Path(os.path.abspath(file))
        self.name = name
        self.program = program if isinstance(program, Program) else Program(program)
        self._home = PrivateHome(self.program) if private else None
        if self._home is not None:
            self.program = self._home.program
        self._options: List[str] = [f"--set={key}={value}" for key, value in (set or {}).items()]
        if name is not None:
            self._options.append(f"--lab={name}")
        if project is not None:
            self._options.append(f"--project={project}")
        #: VMs that something was done with, in order; for reports.
        self.touched: Dict[str, None] = {}
        self._vms: Optional[Dict[str, VM]] = None

    # -- running labctl

    def run(
        self,
        verb: str,
        *words: str,
        flags: Sequence[str] = (),
        input: Optional[bytes] = None,
        seconds: float = 3600,
        check: bool = True,
        vm: Optional[str] = None,
    ) -> Result:
        """Runs a verb on this lab.

        :param words: what stands behind the lab file, such as names of VMs.
        :param flags: options of the verb.
        :param seconds: how long it may take by its own limits.
        :param vm: the VM that errors are about.
        """
        file = [] if self.file is None else [str(self.file)]
        result = self.program.run(
            verb, *flags, *self._options, *file, *words, input=input, seconds=seconds, check=False
        )
        if check and result.status != 0:
            raise failure(result, verb, vm)
        return result

    def _change(self, verb: str, names: Tuple[str, ...], flags: Sequence[str]) -> "Lab":
        flags = [*flags, "--format=json", "--wait", "--progress=quiet"]
        result = self.run(verb, *names, flags=flags, check=False)
        if result.status != 0:
            raise _explained(result, verb)
        return self

    # -- verbs

    def up(self, *vms: str, wait: bool = True, parallel: Optional[int] = None) -> "Lab":
        """Brings the lab, or some of its VMs, up, and waits until they are ready.

        :raises NotReady, LabFailed: with the console's last lines of a VM that did not come up.
        """
        flags = [] if wait else ["--no-wait"]
        return self._change("up", vms, flags + ([] if parallel is None else [f"--parallel={parallel}"]))

    def down(self, *vms: str, timeout: Optional[float] = None) -> "Lab":
        """Asks the guests to power off, then stops those that did not within ``timeout`` seconds."""
        return self._change("down", vms, [] if timeout is None else [f"--timeout={duration(timeout)}"])

    def reset(self, *vms: str) -> "Lab":
        """Gives VMs fresh disks; those that run come back running."""
        return self._change("reset", vms, [])

    def destroy(self) -> None:
        """Removes the VMs with their disks; golden images stay."""
        self.run("destroy", flags=["--yes", "--wait", "--progress=quiet"])

    def start_all(self) -> None:
        """Brings everything up, as the NixOS test driver calls it."""
        self.up()

    def status(self, *vms: str) -> List[Dict[str, Any]]:
        """What ``labctl status --format json`` says: a mapping for each VM."""
        entries: List[Dict[str, Any]] = self.run("status", *vms, flags=["--format=json"]).json()
        return entries

    def inventory(self) -> Dict[str, Any]:
        """What Ansible is told about the lab."""
        inventory: Dict[str, Any] = self.run("inventory", flags=["--list"]).json()
        return inventory

    def check(self, *vms: str) -> Dict[str, Any]:
        """Grades the VMs by the lab file's ``checks``; the report as ``labctl check --format json`` has it."""
        result = self.run("check", *vms, flags=["--format=json"], check=False)
        if result.status not in (0, 1) or not result.output.strip():
            raise failure(result, "check")
        report: Dict[str, Any] = result.json()
        return report

    @contextlib.contextmanager
    def subtest(self, name: str) -> Iterator[None]:
        """Gives a part of a test a name, which stands in its errors."""
        try:
            yield
        except LabctlError as error:
            error.message = f"{error.message} (in subtest '{name}')"
            raise

    # -- VMs

    @property
    def vms(self) -> Dict[str, VM]:
        """All VMs of the lab by name, in the order of the file."""
        if self._vms is None:
            self._vms = {entry["name"]: VM(self, entry["name"]) for entry in self.status()}
        return self._vms

    def group(self, name: str) -> List[VM]:
        """The VMs of a group of replicas."""
        return [self.vms[entry["name"]] for entry in self.status(name)]

    def __getitem__(self, name: str) -> VM:
        try:
            return self.vms[name]
        except KeyError:
            raise LabctlError(f"the lab has no VM '{name}'; it has {', '.join(self.vms)}") from None

    def __getattr__(self, name: str) -> VM:
        if name.startswith("_"):
            raise AttributeError(name)
        for vm in self.vms.values():
            if attribute(vm.name) == name:
                return vm
        raise AttributeError(f"the lab has no VM '{name}'; it has {', '.join(self.vms)}")

    def __iter__(self) -> Iterator[VM]:
        return iter(self.vms.values())

    def __len__(self) -> int:
        return len(self.vms)

    # -- lifetime

    @property
    def home(self) -> Optional[Path]:
        """The state folder of a private lab."""
        return None if self._home is None else self._home.path

    def close(self) -> None:
        """Takes the lab down; a private one is removed."""
        if self._home is not None:
            self._home.close()
        else:
            self.down()

    def keep(self) -> None:
        """Leaves a private lab running and its state in place, for a look."""
        if self._home is not None:
            self._home.keep()

    def __enter__(self) -> "Lab":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], *_: object) -> None:
        try:
            self.close()
        except LabctlError:
            # What went wrong inside of the block is what matters.
            if kind is None:
                raise

    def __repr__(self) -> str:
        return f"Lab({str(self.file or self.name)!r})"


def attribute(name: str) -> str:
    """A VM's name as a Python attribute."""
    return name.replace("-", "_")


def default_file(folder: Path) -> Path:
    """``lab.yaml`` of a folder, else its one ``*.lab.yaml``."""
    if (folder / "lab.yaml").exists():
        return folder / "lab.yaml"
    found = sorted(path for path in folder.glob("*.lab.yaml") if not path.name.startswith("."))
    if len(found) != 1:
        count = "no" if not found else f"{len(found)} files"
        raise LabctlError(f"{folder} has no lab.yaml and {count} *.lab.yaml; name the lab file")
    return found[0]


def _explained(result: Result, verb: str) -> LabctlError:
    """The error of a verb that says as JSON what became of each VM."""
    error = failure(result, verb)
    try:
        outcomes = result.json()
    except ValueError:
        return error
    bad = [outcome for outcome in outcomes if outcome["result"] in ("failed", "not-ready", "skipped", "interrupted")]
    if bad:
        names = ", ".join(outcome["name"] for outcome in bad)
        reasons = "; ".join(outcome.get("message") or outcome["result"] for outcome in bad)
        error.message = f"labctl {verb} failed on {names} (exit code {result.status}): {reasons}"
        error.vm, error.console = bad[0]["name"], bad[0].get("console", [])
    return error
