"""Finds the program ``labctl`` and runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Optional, Union

from .errors import LabctlError, LabFailed, LabFileInvalid, LabLocked, NotReady, ProgramNotFound

#: Exit codes that have a kind of their own.
_KINDS = {1: LabFailed, 3: LabFailed, 4: LabFileInvalid, 5: LabLocked, 6: NotReady}
#: Beyond its own limits, ``labctl`` gets this many seconds before it is taken to hang.
_GRACE = 120.0


@dataclass(frozen=True)
class Result:
    """How a run of ``labctl`` ended."""

    status: int
    output: bytes
    errors: str

    @property
    def text(self) -> str:
        return self.output.decode(errors="replace")

    def json(self) -> Any:
        return json.loads(self.output)


def find(environment: Mapping[str, str] = os.environ) -> str:
    """The path of ``labctl``: ``$LABCTL``, else in ``PATH``, else in ``.build/release`` of the repository."""
    asked = environment.get("LABCTL")
    if asked:
        found = shutil.which(asked, path=environment.get("PATH"))
        if found is None:
            raise ProgramNotFound(f"$LABCTL is '{asked}', which cannot be run")
        # Where it is run from is not where it was named from.
        return str(Path(found).absolute())
    found = shutil.which("labctl", path=environment.get("PATH"))
    if found is not None:
        return found
    for folder in Path(__file__).resolve().parents:
        built = folder / ".build" / "release" / "labctl"
        if os.access(built, os.X_OK):
            return str(built)
    raise ProgramNotFound("there is no labctl in PATH; set LABCTL to its path, or build it with 'make build'")


class Program:
    """The program ``labctl``, with an environment."""

    def __init__(self, path: Union[str, Path, None] = None, environment: Optional[Mapping[str, str]] = None) -> None:
        self.environment = dict(os.environ if environment is None else environment)
        self.environment["NO_COLOR"] = "1"
        self.path = str(path) if path is not None else find(self.environment)

    def run(
        self, *arguments: str, input: Optional[bytes] = None, seconds: float = 3600, check: bool = True
    ) -> Result:
        """Runs a verb to its end.

        :param seconds: how long the verb may take by its own limits.
        :param check: whether an exit code other than 0 is raised as an error of its kind.
        """
        try:
            done = subprocess.run(
                [self.path, *arguments],
                input=b"" if input is None else input,
                capture_output=True,
                env=self.environment,
                timeout=seconds + _GRACE,
            )
        except OSError as error:
            raise ProgramNotFound(f"cannot run {self.path}: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise LabctlError(f"labctl {' '.join(arguments)} did not end within {seconds:g} s") from error
        result = Result(done.returncode, done.stdout, done.stderr.decode(errors="replace"))
        if check and result.status != 0:
            raise failure(result, arguments[0])
        return result


def failure(result: Result, verb: str, vm: Optional[str] = None) -> LabctlError:
    """The error that a run ended with."""
    said = result.errors.strip()
    said = said[len("error: ") :] if said.startswith("error: ") else said
    message = said or f"labctl {verb} ended with {result.status} and said nothing"
    return _KINDS.get(result.status, LabctlError)(message, vm=vm, status=result.status)


def duration(seconds: float) -> str:
    """A duration as ``labctl`` takes it."""
    return f"{max(0, round(seconds * 1000))}ms"
