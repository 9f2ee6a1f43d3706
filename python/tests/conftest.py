"""Labs for the tests: of the smallest guest that has a shell, and of a program that only pretends to be labctl."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from labctl.program import find

pytest_plugins = ["pytester", "labctl.pytest_plugin"]

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = str(REPOSITORY / "python")

LAB = """\
lab: small
vms:
  box:
    replicas: 2
    memory: 96M
    kernel: {kernel}
    initrd: {initrd}
    append: console=ttyS0 quiet
    ready: {{ console: LABCTL-SHELL, timeout: 10m }}
"""


@pytest.fixture(scope="session")
def lab_text():
    """A lab file whose guests are up in seconds."""
    made = subprocess.run(
        [REPOSITORY / "scripts" / "guests", "kernel-cloud-amd64", "initrd-small-amd64"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    kernel, initrd = made.stdout.split()
    return LAB.format(kernel=kernel, initrd=initrd)


@pytest.fixture(scope="session")
def lab_path(lab_text, tmp_path_factory):
    path = tmp_path_factory.mktemp("lab") / "lab.yaml"
    path.write_text(lab_text)
    return path


@pytest.fixture
def run_pytest(pytester, monkeypatch, lab_text):
    """Runs pytest in a process of its own, in a folder with a lab file."""
    monkeypatch.setenv("PYTHONPATH", PACKAGE)
    # Where the inner pytest runs, what this one was started from is elsewhere.
    monkeypatch.setenv("LABCTL", find())
    (pytester.path / "lab.yaml").write_text(lab_text)

    def run(*arguments):
        return pytester.runpytest_subprocess("-p", "labctl.pytest_plugin", *arguments)

    return run


@pytest.fixture
def pretended(tmp_path):
    """Makes a program that says and ends as told, and writes down what it was called with."""

    def make(output="", errors="", status=0):
        path = tmp_path / "labctl"
        path.write_text(
            f"#!{sys.executable}\n"
            "import sys\n"
            f"open({str(tmp_path / 'calls')!r}, 'a').write(repr(sys.argv[1:]) + '\\n')\n"
            f"sys.stdout.write({output!r}); sys.stderr.write({errors!r}); sys.exit({status})\n"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make
