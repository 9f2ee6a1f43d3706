"""What has to be true of the machines of lab.yaml. Needs the Python package labctl (`make install`, or PYTHONPATH)."""

import pytest


def test_the_scratch_disk_is_mounted(vm):
    assert "/scratch" in vm.succeed("mount")


@pytest.mark.vm("machine-01", "machine-02")
def test_every_machine_has_a_name(vm):
    assert vm.succeed("hostname").strip()


def test_what_one_writes_the_other_does_not_see(lab):
    lab.machine_01.succeed("echo mine > /root/note")
    lab.machine_02.fail("test -e /root/note")


@pytest.mark.lab(vms=["machine-01"], reset=True)
def test_a_script_is_copied_and_run(lab, tmp_path):
    script = tmp_path / "greet"
    script.write_text("#!/bin/sh\necho hello from $(uname -s)\n")
    script.chmod(0o755)
    machine = lab.machine_01
    machine.fail("test -e /root/note")  # the disk is fresh
    machine.copy_from_host(script, "/usr/local/bin/greet")
    assert machine.succeed("/usr/local/bin/greet") == "hello from Linux\n"


def test_a_service_opens_its_port(vm):
    vm.succeed("ip link set lo up", "httpd -p 8080 -h /root")
    vm.wait_for_open_port(8080)
