"""A pytest plugin: the fixtures ``lab`` and ``vm``, and what their VMs said and showed when a test fails.

A lab is brought up once for each process that runs tests (with pytest-xdist: once for each worker, so that workers do not
meet), in a state folder of its own, and is removed at the end. Markers say what a test wants:

    @pytest.mark.lab("class.lab.yaml", vms=["student-01"], set={"SIZE": "1G"}, reset=True)
    @pytest.mark.vm("student-01", "student-02")     # runs once for each
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Generator, List, Optional, Tuple

import pytest

from .errors import LabctlError, ProgramNotFound
from .lab import Lab, default_file
from .program import Program, find
from .vm import VM

#: So many VMs of a lab are shown for a failing test that did nothing with any of them.
_MOST_SHOWN = 4


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("labctl")
    group.addoption("--lab-file", metavar="FILE", help="lab file of tests whose marker names none (ini: lab_file)")
    group.addoption("--lab-keep", action="store_true", help="leave labs running at the end, for a look")
    group.addoption(
        "--lab-artifacts",
        metavar="DIR",
        help="where screenshots of failing tests go (ini: lab_artifacts; default: pytest's temporary folder)",
    )
    parser.addini("lab_file", "lab file of tests whose marker names none, relative to the ini file")
    parser.addini("lab_artifacts", "where screenshots of failing tests go, relative to the ini file")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "lab(file=None, *, vms=None, set=None, reset=False): the lab of a test: its file, which of its VMs have to be up, "
        "variables, and whether they get fresh disks first",
    )
    config.addinivalue_line("markers", "vm(name, ...): the VM that the fixture `vm` is; with several, one after another")
    config.stash[_POOL] = LabPool(config)


def pytest_report_header(config: pytest.Config) -> Optional[str]:
    try:
        return f"labctl: {find()}"
    except ProgramNotFound:
        return None


def pytest_unconfigure(config: pytest.Config) -> None:
    pool = config.stash.get(_POOL, None)
    if pool is not None:
        pool.close()


@dataclass
class Wish:
    """What the marker of a test asks for."""

    file: Path
    vms: Tuple[str, ...] = ()
    variables: Dict[str, str] = field(default_factory=dict)
    reset: bool = False


class LabPool:
    """The labs of this process, by file and variables."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._labs: Dict[Tuple[Any, ...], Lab] = {}

    def _file(self, item: pytest.Item, named: Optional[str]) -> Path:
        if named is not None:
            # As written in a test, it lies beside it.
            return item.path.parent / named
        asked = self._config.getoption("--lab-file")
        if asked:
            return Path(asked).absolute()
        ini = self._config.getini("lab_file")
        if ini:
            return (self._config.inipath.parent if self._config.inipath else self._config.rootpath) / str(ini)
        return default_file(item.path.parent)

    def wish(self, item: pytest.Item) -> Wish:
        """What a test asks for, by its closest marker."""
        marker = item.get_closest_marker("lab")
        named: Dict[str, Any] = dict(marker.kwargs) if marker else {}
        if marker and marker.args:
            named["file"] = marker.args[0]
        unknown = sorted(set(named) - {"file", "vms", "set", "reset"}) + list(marker.args[1:] if marker else ())
        if unknown:
            raise pytest.UsageError(f"@pytest.mark.lab takes file, vms, set and reset, not {unknown}")
        vms = named.get("vms") or ()
        return Wish(
            self._file(item, named.get("file")),
            (vms,) if isinstance(vms, str) else tuple(vms),
            {key: str(value) for key, value in (named.get("set") or {}).items()},
            bool(named.get("reset")),
        )

    def lab(self, wish: Wish) -> Lab:
        """The lab of a wish; VMs are not up yet."""
        key = (wish.file.resolve(), tuple(sorted(wish.variables.items())))
        if key not in self._labs:
            self._labs[key] = Lab(wish.file, set=wish.variables, private=True, program=Program())
        return self._labs[key]

    def close(self) -> None:
        """Removes the labs, or leaves them for a look."""
        while self._labs:
            _, lab = self._labs.popitem()
            if self._config.getoption("--lab-keep"):
                lab.keep()
                print(f"\nlabctl: kept; LABCTL_HOME={lab.home} labctl status {lab.file}")
            else:
                lab.close()


_POOL = pytest.StashKey[LabPool]()
_USED = pytest.StashKey[Lab]()


def _prepare(request: pytest.FixtureRequest, vms: Tuple[str, ...]) -> Lab:
    item = request.node
    pool = request.config.stash[_POOL]
    wish = pool.wish(item)
    lab = pool.lab(wish)
    lab.touched.clear()
    item.stash[_USED] = lab
    names = vms or wish.vms
    if wish.reset:
        running = [entry["name"] for entry in lab.status(*names) if entry["state"] != "absent"]
        if running:
            lab.reset(*running)
    # VMs that an earlier test took down come up again; those that are up stay as they are.
    return lab.up(*names)


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Lab:
    """The lab of the test, with its VMs up and ready."""
    return _prepare(request, ())


@pytest.fixture
def vm(request: pytest.FixtureRequest) -> VM:
    """One VM of the lab, up and ready: what the marker ``vm`` names, else the first of the lab."""
    name: Optional[str] = getattr(request, "param", None)
    pool = request.config.stash[_POOL]
    wish = pool.wish(request.node)
    known = pool.lab(wish)
    if name is None:
        name = wish.vms[0] if wish.vms else next(iter(known.vms))
    machine = known[name]
    if "lab" not in request.fixturenames:
        _prepare(request, (name,))
    else:
        request.getfixturevalue("lab")
        known.up(name)
    return machine


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("vm")
    if marker is not None and "vm" in metafunc.fixturenames:
        if not marker.args:
            raise pytest.UsageError("@pytest.mark.vm takes names of VMs")
        metafunc.parametrize("vm", marker.args, indirect=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    lab = item.stash.get(_USED, None)
    if lab is None or not report.failed or call.when == "teardown":
        return
    for machine in _of_interest(lab):
        try:
            _attach(item, report, machine)
        except (LabctlError, OSError) as error:
            report.sections.append((f"labctl: {machine.name}", str(error)))


def _of_interest(lab: Lab) -> List[VM]:
    """The VMs that the test did something with, else some of those that there are."""
    try:
        known = lab.vms
        names = list(lab.touched) or [
            entry["name"] for entry in lab.status() if entry["state"] != "absent"
        ][:_MOST_SHOWN]
    except LabctlError:
        return []
    return [known[name] for name in names if name in known]


def _attach(item: pytest.Item, report: pytest.TestReport, machine: VM) -> None:
    report.sections.append((f"labctl: console of {machine.name}", "\n".join(machine.console_tail())))
    if not machine.is_running():
        status = machine.status()
        report.sections.append((f"labctl: {machine.name}", f"{status['state']}: {status.get('note') or 'not running'}"))
        return
    picture = machine.screenshot(_artifacts(item) / f"{machine.name}.png")
    report.sections.append((f"labctl: screenshot of {machine.name}", str(picture)))
    # The report of the teardown, which JUnit files are written from, has them too.
    item.user_properties.append((f"screenshot_{machine.name}", str(picture)))


def _artifacts(item: pytest.Item) -> Path:
    config = item.config
    asked = config.getoption("--lab-artifacts") or ""
    ini = config.getini("lab_artifacts")
    if asked:
        base = Path(asked).absolute()
    elif ini:
        base = (config.inipath.parent if config.inipath else config.rootpath) / str(ini)
    else:
        base = Path(item.session.config._tmp_path_factory.getbasetemp()) / "labctl"  # type: ignore[attr-defined]
    folder = base / re.sub(r"[^A-Za-z0-9_.-]+", "_", item.nodeid).strip("_")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
