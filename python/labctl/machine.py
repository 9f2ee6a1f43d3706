"""What all that can be done with a VM stands on."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence

from .errors import WaitTimedOut
from .program import Result

if TYPE_CHECKING:
    from .lab import Lab

#: How long things may take by default, in seconds; as the NixOS test driver has it.
TIMEOUT = 900.0
#: Lines of the console in errors and reports.
TAIL = 20

# ECMA-48: control sequences, operating system commands, other escape sequences.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")

# How labctl brings a command over (ShellScript, TransferScript). In `exec --binary` the whole of it; otherwise what stands
# before and behind the output.
_BROUGHT = re.compile(
    r'stty -echo 2>/dev/null; LC=; echo L""(\w+?)A0\.(?:(?!stty -echo).)*?(?:L\1Z\.|L\1B\.\n)|L\w{8,14}(?:E\d+|S)\.\n'
    r'|^stty -echo 2>/dev/null; LC=; echo L""\w+A0\.\n',
    re.DOTALL | re.MULTILINE,
)
_PROMPTS = re.compile(r"^(\S[^\n]{0,60}?[#$%>] ?)(?:\n?\1)+", re.MULTILINE)


class Machine:
    """A VM of a lab, and how ``labctl`` is called for it."""

    def __init__(self, lab: "Lab", name: str) -> None:
        self.lab = lab
        self.name = name

    def _run(
        self,
        verb: str,
        *words: str,
        flags: Sequence[str] = (),
        input: Optional[bytes] = None,
        seconds: float = TIMEOUT,
        check: bool = True,
    ) -> Result:
        """Runs a verb on this VM; ``words`` stand behind its name."""
        self.lab.touched[self.name] = None
        return self.lab.run(
            verb, self.name, *words, flags=flags, input=input, seconds=seconds, check=check, vm=self.name
        )

    def status(self) -> Dict[str, Any]:
        """What ``labctl status`` says of it: ``state``, ``resets``, ``disks``, …"""
        return self.lab.status(self.name)[0]

    def is_running(self) -> bool:
        """Whether its process lives, paused or not."""
        return self.status()["state"] in ("ready", "running", "paused")

    def console_log(self) -> str:
        """What its console has said since it was started, without escape sequences and without commands of labctl's."""
        result = self._run("console", flags=["--log"], check=False)
        text = _ESCAPES.sub("", result.text).replace("\r\n", "\n")
        # A bare carriage return begins the line again.
        text = "\n".join(line.rsplit("\r", 1)[-1] for line in text.split("\n"))
        return _PROMPTS.sub(r"\1", _BROUGHT.sub("", text))

    def console_tail(self, lines: int = TAIL) -> List[str]:
        """The last lines that its console has said."""
        return self.console_log().rstrip().split("\n")[-lines:]

    def _until(
        self, is_done: Callable[[bool], bool], timeout: float, what: str, pause: float = 0.5
    ) -> None:
        """Asks until the answer is yes. The last time, the question is told that it is the last."""
        deadline = time.monotonic() + timeout
        while True:
            is_last = time.monotonic() >= deadline
            if is_done(is_last):
                return
            if is_last:
                raise WaitTimedOut(
                    f"{self.name}: {what} within {timeout:g} s", vm=self.name, console=self.console_tail()
                )
            time.sleep(pause)

    def __repr__(self) -> str:
        return f"<VM {self.name}>"
