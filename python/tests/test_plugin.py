"""The pytest plugin, as a user's tests meet it, with real guests."""

import subprocess
import sys
from pathlib import Path

import pytest

from labctl.home import PrivateHome
from labctl.program import Program


def test_a_failing_test_shows_the_console_and_a_picture(pytester, run_pytest):
    pytester.makepyfile(
        """
        def test_wrong(vm):
            vm.succeed("echo about to fail; exit 9")
        """
    )
    result = run_pytest("--lab-artifacts=shots", "--junitxml=report.xml")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*CommandFailed: box-01: `echo about to fail; exit 9` ended with 9*",
            "*labctl: console of box-01*",
            "*LABCTL-INIT-REACHED*",
            "*labctl: screenshot of box-01*",
        ]
    )
    [picture] = (pytester.path / "shots").rglob("box-01.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "screenshot_box-01" in (pytester.path / "report.xml").read_text()


def test_markers_choose_vms_and_give_fresh_ones(pytester, run_pytest):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.vm("box-01", "box-02")
        def test_each(vm):
            vm.fail("test -e /tmp/mark")
            vm.succeed("touch /tmp/mark")

        @pytest.mark.lab(vms=["box-01"])
        def test_the_state_stays(lab, vm):
            assert vm.name == "box-01"
            lab.box_01.succeed("test -e /tmp/mark")

        @pytest.mark.lab("lab.yaml", vms="box-01", reset=True)
        def test_unless_it_is_reset(lab):
            lab.box_01.fail("test -e /tmp/mark")

        @pytest.mark.lab("no.yaml")
        def test_without_a_file(lab):
            pass

        @pytest.mark.lab(reset=True, vm="box-01")
        def test_with_a_misspelled_word(lab):
            pass
        """
    )
    result = run_pytest("-v")
    result.assert_outcomes(passed=4, errors=2)
    result.stdout.fnmatch_lines(["*test_each*box-02* PASSED*", "*no.yaml*", "*takes file, vms, set and reset, not*'vm'*"])


def test_workers_of_xdist_have_labs_of_their_own(pytester, run_pytest):
    pytest.importorskip("xdist")
    pytester.makepyfile(
        """
        import pathlib, pytest

        @pytest.mark.parametrize("number", range(4))
        def test_alone(vm, lab, number, worker_id):
            vm.succeed("sleep 1")
            pathlib.Path("homes").open("a").write(f"{worker_id} {lab.home}\\n")
            # Nobody else writes here.
            vm.succeed(f"echo {worker_id} >> /tmp/workers", "test $(sort -u /tmp/workers | wc -l) = 1")

        pytestmark = pytest.mark.lab(vms="box-01")
        """
    )
    result = run_pytest("-n2", "--dist=each", "-q")
    result.assert_outcomes(passed=8)
    lines = {tuple(line.split()) for line in (pytester.path / "homes").read_text().splitlines()}
    assert len(lines) == 2 and len({home for _, home in lines}) == 2
    # Nothing is left of them.
    assert not any(Path(home).exists() for _, home in lines)


def test_the_labs_of_a_killed_run_are_removed_by_the_next(lab_path):
    script = f"""
import os, signal
from labctl import Lab
lab = Lab({str(lab_path)!r}, private=True).up("box-01", wait=False)
print(lab.home, lab.box_01.status()["processID"], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    program = Program()
    environment = {**program.environment, "LABCTL": program.path, "PYTHONPATH": str(Path(__file__).parents[1])}
    killed = subprocess.run([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
    home, number = killed.stdout.split()
    assert Path(home, "owner").exists() and Path("/proc", number).exists()
    PrivateHome(program).close()
    assert not Path(home).exists()
    assert not Path("/proc", number).exists() or Path("/proc", number, "stat").read_text().split()[2] == "Z"
