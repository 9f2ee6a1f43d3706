"""How labctl is found, called, and what its exit codes become."""

import json
import os

import pytest

import labctl
from labctl.program import Program, find


def test_the_variable_comes_before_the_path(tmp_path, pretended):
    program = pretended()
    assert find({"LABCTL": str(program), "PATH": "/nowhere"}) == str(program)
    assert find({"PATH": str(tmp_path)}) == str(program)
    with pytest.raises(labctl.ProgramNotFound, match="LABCTL is '/no/labctl'"):
        find({"LABCTL": "/no/labctl", "PATH": str(tmp_path)})


@pytest.mark.parametrize(
    "status, kind",
    [
        (1, labctl.LabFailed),
        (3, labctl.LabFailed),
        (4, labctl.LabFileInvalid),
        (5, labctl.LabLocked),
        (6, labctl.NotReady),
        (64, labctl.LabctlError),
    ],
)
def test_exit_codes_are_kinds_of_errors(tmp_path, pretended, status, kind):
    lab = labctl.Lab(tmp_path / "lab.yaml", program=pretended(errors="error: it is so\n", status=status))
    with pytest.raises(kind, match="it is so") as caught:
        lab.status()
    assert caught.value.status == status


def test_a_failed_up_names_the_vm_and_shows_its_console(tmp_path, pretended):
    outcomes = [
        {"name": "a", "result": "started", "console": []},
        {"name": "b", "result": "not-ready", "message": "b said no 'login: '", "console": ["Kernel panic"]},
    ]
    lab = labctl.Lab(tmp_path / "lab.yaml", program=pretended(output=json.dumps(outcomes), status=6))
    with pytest.raises(labctl.NotReady) as caught:
        lab.up()
    assert "failed on b (exit code 6): b said no 'login: '" in str(caught.value)
    assert "  | Kernel panic" in str(caught.value)


def test_options_stand_before_the_file_and_the_names(tmp_path, pretended):
    lab = labctl.Lab(tmp_path / "my lab.yaml", set={"SIZE": 3}, program=pretended(output="[]"))
    lab.up("a", parallel=2)
    [call] = [eval(line) for line in (tmp_path / "calls").read_text().splitlines()]
    assert call[0] == "up" and call[-2:] == [str(tmp_path / "my lab.yaml"), "a"]
    assert "--set=SIZE=3" in call and "--parallel=2" in call


def test_a_lab_without_a_file_is_the_one_here(tmp_path, pretended, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(labctl.LabctlError, match="name the lab file"):
        labctl.Lab(program=pretended())
    (tmp_path / "one.lab.yaml").touch()
    assert labctl.Lab(program=pretended()).file == tmp_path / "one.lab.yaml"
    (tmp_path / "two.lab.yaml").touch()
    with pytest.raises(labctl.LabctlError, match="2 files"):
        labctl.Lab(program=pretended())


def test_unknown_vms_are_answered_with_those_that_there_are(tmp_path, pretended):
    vms = json.dumps([{"name": "student-01"}, {"name": "teacher"}])
    lab = labctl.Lab(tmp_path / "lab.yaml", program=pretended(output=vms))
    assert lab.student_01 is lab["student-01"]
    assert [vm.name for vm in lab] == ["student-01", "teacher"]
    with pytest.raises(labctl.LabctlError, match="no VM 'nobody'; it has student-01, teacher"):
        lab["nobody"]
    with pytest.raises(AttributeError, match="no VM 'student_02'"):
        lab.student_02


def test_the_environment_is_the_callers(pretended):
    program = Program(pretended(), {**os.environ, "LABCTL_HOME": "/somewhere"})
    assert program.environment["LABCTL_HOME"] == "/somewhere" and program.environment["NO_COLOR"] == "1"


def test_statuses_of_labctl_and_of_the_command_are_told_apart(tmp_path, pretended):
    vm = labctl.VM(labctl.Lab(tmp_path / "lab.yaml", program=pretended(errors="error: nobody\n", status=125)), "a")
    with pytest.raises(labctl.CommandNotRun, match="a: `true` has no result: nobody"):
        vm.succeed("true")
