"""Real Ansible over the consoles of real guests."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from labctl import Lab
from labctl.program import find

PACKAGE = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(shutil.which("ansible-playbook") is None, reason="ansible-core is not installed")

PLAYBOOK = """\
- hosts: box
  gather_facts: false
  tasks:
    - { name: a command, raw: "echo 'it is' $((6*7))", register: said }
    - { name: what it said, ansible.builtin.assert: { that: "'it is 42' in said.stdout" } }
    - { name: a script, script: script.sh one, register: ran }
    - { name: what that said, ansible.builtin.assert: { that: "'ran with one' in ran.stdout" } }
    - { name: a failure, raw: "echo bad >&2; exit 5", register: failed, failed_when: failed.rc != 5 }
"""


@pytest.fixture(scope="module")
def site(lab_path, tmp_path_factory):
    """A lab that is up, and a folder with an inventory script and a playbook."""
    folder = tmp_path_factory.mktemp("ansible")
    with Lab(lab_path, private=True).up("box-01") as lab:
        inventory = folder / "inventory"
        inventory.write_text(f'#!/bin/sh\nexec "{find()}" inventory "{lab_path}" "$@"\n')
        inventory.chmod(0o755)
        (folder / "script.sh").write_text("#!/bin/sh\necho ran with $1\n")
        (folder / "site.yml").write_text(PLAYBOOK)

        def run(*command, status=0):
            done = subprocess.run(
                [str(word) for word in command],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={
                    **os.environ,
                    "LABCTL": find(),
                    "LABCTL_HOME": str(lab.home),
                    "ANSIBLE_CONNECTION_PLUGINS": str(PACKAGE / "labctl" / "ansible" / "connection"),
                    "ANSIBLE_LOCALHOST_WARNING": "False",
                    "ANSIBLE_NOCOLOR": "1",
                    "ANSIBLE_HOME": str(folder / "home"),
                    "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
                },
            )
            assert done.returncode == status, done.stdout
            return done.stdout

        run.lab = lab
        run.folder = folder
        yield run


def test_ansible_reads_the_inventory(site):
    graph = site("ansible-inventory", "-i", "inventory", "--graph")
    assert "@box:" in graph and "|--box-02" in graph
    assert '"labctl_vm": "box-01"' in site("ansible-inventory", "-i", "inventory", "--host", "box-01")


def test_a_playbook_runs_over_the_console(site):
    said = site("ansible-playbook", "-i", "inventory", "site.yml", "--limit", "box-01")
    assert "box-01" in said and "failed=0" in said and "unreachable=0" in said


def test_a_vm_that_is_off_is_unreachable(site):
    said = site("ansible", "-i", "inventory", "box-02", "-m", "raw", "-a", "true", status=4)
    assert "UNREACHABLE" in said and "box-02 is not running; 'labctl up box-02' starts it" in said


def test_files_go_both_ways(site):
    # `copy` and `fetch` need Python in the guest; the connection itself does not.
    script = site.folder / "both.py"
    script.write_text(
        """
import sys
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader

connection = connection_loader.get("labctl", PlayContext(), "/dev/null")
connection.set_options(var_options={"inventory_hostname": "box-01", "labctl_file": sys.argv[1]})
open("sent", "wb").write(bytes(range(256)))
connection.put_file("sent", "/tmp/sent")
assert connection.exec_command("wc -c < /tmp/sent")[:2] == (0, b"256\\n")
assert connection.exec_command("cat", in_data=b"piped")[1] == b"piped"
connection.fetch_file("/tmp/sent", "fetched")
assert open("fetched", "rb").read() == bytes(range(256))
"""
    )
    interpreter = Path(shutil.which("ansible-playbook")).resolve().open().readline()[2:].split()[0]
    site(interpreter, script, site.lab.file)
