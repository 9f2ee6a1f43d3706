"""The methods of a VM, on a real guest."""

import pytest

import labctl


@pytest.fixture(autouse=True)
def small(lab_path, request):
    request.node.add_marker(pytest.mark.lab(str(lab_path)))


def test_commands_end_as_they_end(vm):
    assert vm.succeed("uname -s").strip() == "Linux"
    assert vm.succeed("echo a", "echo b; cd /tmp") == "a\nb\n"
    assert vm.execute("echo said; echo wrong >&2; exit 7") == (7, "said\n")
    assert vm.fail("echo no; false") == "no\n"
    # labctl's own exit codes, as a guest's.
    for status in (4, 5, 6, 64, 124, 125, 126):
        assert vm.execute(f"exit {status}")[0] == status
    assert vm.execute_bytes("cat; printf 'e\\n' >&2", input=bytes(range(256))) == (0, bytes(range(256)), "e\n")


def test_a_failure_names_vm_command_status_and_what_was_said(vm):
    with pytest.raises(labctl.CommandFailed) as caught:
        vm.succeed("echo some output; echo some error >&2; exit 3")
    text = str(caught.value)
    for part in ("box-01", "`echo some output", "ended with 3", "  | some output", "  | some error", "console"):
        assert part in text
    assert caught.value.status == 3 and isinstance(caught.value, AssertionError)
    with pytest.raises(labctl.CommandFailed, match="should have failed"):
        vm.fail("true")


def test_a_command_that_takes_too_long_is_stopped_and_the_next_works(vm):
    with pytest.raises(labctl.CommandTimedOut, match="box-01: `sleep 600`"):
        vm.succeed("sleep 600", timeout=2)
    assert vm.succeed("echo next") == "next\n"


def test_waiting(vm):
    vm.succeed("rm -f /tmp/flag; (sleep 1; touch /tmp/flag) >/dev/null 2>&1 &")
    vm.wait_for_file("/tmp/flag")
    assert vm.wait_until_succeeds("echo yes") == "yes\n"
    vm.succeed("(sleep 1; rm /tmp/flag) >/dev/null 2>&1 &")
    vm.wait_until_fails("test -e /tmp/flag")
    with pytest.raises(labctl.WaitTimedOut, match="`false` did not succeed within 1 s"):
        vm.wait_until_succeeds("false", timeout=1)


def test_ports(vm):
    vm.succeed("ip link set lo up; (nc -l -p 8080 >/dev/null 2>&1 </dev/null &)")
    vm.wait_for_open_port(8080)
    vm.succeed("echo | nc 127.0.0.1 8080 || true")
    vm.wait_for_closed_port(8080)


def test_the_console_is_typed_on_and_read(vm):
    vm.send_console("echo one-$((1+1))-three\n")
    assert "one" in vm.wait_for_console_text("one-[0-9]-three")
    with pytest.raises(labctl.WaitTimedOut, match="the console did not say 'never said'") as caught:
        vm.wait_for_console_text("never said", timeout=0.5)
    assert any("one-2-three" in line for line in caught.value.console)
    # How labctl brings commands over is nobody's business.
    assert not any("stty -echo" in line for line in vm.console_tail(1000))


def test_the_screen_and_the_monitor(vm, tmp_path):
    vm.succeed("echo shown-$((6*7)) > /dev/tty1")
    vm.wait_for_text("shown-[0-9]+")
    assert "shown-42" in vm.get_screen_text()
    assert vm.screenshot(tmp_path / "shot").read_bytes().startswith(b"\x89PNG")
    assert vm.send_monitor_command("info status") == "VM status: running\n"
    with pytest.raises(labctl.LabctlError, match="box-01.*nosuch"):
        vm.send_monitor_command("nosuch")
    vm.pause()
    assert "paused" in vm.send_monitor_command("info status")
    vm.resume()
    vm.send_key("a")
    vm.send_chars("abc")


def test_files_and_folders_get_there_and_back(vm, tmp_path):
    folder = tmp_path / "source dir"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "bytes").write_bytes(bytes(range(256)) * 20)
    (folder / "run").write_text("#!/bin/sh\necho it runs\n")
    (folder / "run").chmod(0o755)
    vm.copy_from_host(folder, "/tmp/a/b")
    assert vm.succeed("/tmp/a/b/run") == "it runs\n"
    back = vm.copy_from_vm("/tmp/a/b", tmp_path / "back")
    assert (back / "sub" / "bytes").read_bytes() == (folder / "sub" / "bytes").read_bytes()
    assert (back / "run").stat().st_mode & 0o100
    vm.copy_from_host(folder / "run", "/tmp/new/folder/it's")
    assert vm.copy_from_vm("/tmp/new/folder/it's", tmp_path).read_text() == (folder / "run").read_text()
    vm.write_file("/tmp/text", "as it is")
    assert vm.read_file("/tmp/text") == "as it is"
    with pytest.raises(labctl.LabctlError, match="box-01.*/no/such"):
        vm.copy_from_vm("/no/such", tmp_path)


def test_what_is_asked_for_is_refused_by_name(vm):
    for ask in (vm.block, vm.unblock):
        with pytest.raises(labctl.Unsupported, match="no network yet"):
            ask()


@pytest.mark.vm("box-02")
def test_a_vm_goes_down_and_comes_back(vm, lab):
    assert vm.name == "box-02" and vm in lab.group("box")
    vm.succeed("touch /tmp/before")
    vm.hard_reset()
    vm.wait_for_console_text("LABCTL-SHELL")
    assert vm.status()["resets"] == 1
    vm.fail("test -e /tmp/before")
    vm.send_console("poweroff -f\n")
    vm.wait_for_shutdown()
    with pytest.raises(labctl.CommandNotRun, match="box-02: `true` has no result: box-02 is not running"):
        vm.succeed("true")
    vm.start()
    vm.crash()
    assert not vm.is_running()
    vm.start()
    assert vm.is_running() and lab.box_01.is_running()
