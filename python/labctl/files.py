"""Files between the host and a guest, over its serial console."""

from __future__ import annotations

import io
import posixpath
import shlex
import tarfile
from pathlib import Path
from typing import Union

from .errors import CommandFailed
from .machine import TIMEOUT
from .program import duration
from .shell import Shell


class Files(Shell):
    """Copying. A serial line carries some ten kilobytes a second."""

    def copy_from_host(self, source: Union[str, Path], target: str, timeout: float = TIMEOUT) -> None:
        """Copies a file, or a folder with all that is in it, to the path ``target`` in the guest.

        Folders above ``target`` are made. For a folder the guest needs ``tar``.
        """
        source = Path(source)
        # The guest's root is where it is.
        folder = target if source.is_dir() else posixpath.dirname(target.rstrip("/")) or "."
        self.succeed(f"mkdir -p {shlex.quote(folder)}", timeout=timeout)
        if not source.is_dir():
            self.copy(str(source.absolute()), f"{self.name}:{target}", timeout)
            return
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
            archive.add(source, arcname=".")
        status, _, errors = self.execute_bytes(
            f"tar -x -f - -C {shlex.quote(folder)}", input=packed.getvalue(), timeout=timeout
        )
        if status != 0:
            self._failed(f"copying {source} to {target}", status, errors)

    def copy_from_vm(self, source: str, target_dir: Union[str, Path] = ".", timeout: float = TIMEOUT) -> Path:
        """Copies a file or a folder of the guest into a folder of the host, which is made.

        :returns: where it is.
        """
        folder = Path(target_dir)
        folder.mkdir(parents=True, exist_ok=True)
        name = posixpath.basename(source.rstrip("/")) or "root"
        if self.execute(f"test -d {shlex.quote(source)}", timeout=timeout)[0] != 0:
            self.copy(f"{self.name}:{source}", str((folder / name).absolute()), timeout)
            return folder / name
        status, output, errors = self.execute_bytes(
            f"tar -c -f - -C {shlex.quote(source)} .", timeout=timeout
        )
        if status != 0:
            self._failed(f"copying {source}", status, errors)
        with tarfile.open(fileobj=io.BytesIO(output)) as archive:
            (folder / name).mkdir(exist_ok=True)
            _extract(archive, folder / name)
        return folder / name

    def write_file(self, path: str, content: Union[str, bytes], timeout: float = TIMEOUT) -> None:
        """Writes a file of the guest."""
        content = content.encode() if isinstance(content, str) else content
        status, _, errors = self.execute_bytes(f"cat > {shlex.quote(path)}", input=content, timeout=timeout)
        if status != 0:
            self._failed(f"writing {path}", status, errors)

    def read_file(self, path: str, timeout: float = TIMEOUT) -> str:
        """The text of a file of the guest."""
        return self.succeed(f"cat -- {shlex.quote(path)}", timeout=timeout)

    def copy(self, source: str, target: str, timeout: float = TIMEOUT) -> None:
        """``labctl cp``: one of both is ``VM:PATH``."""
        self.lab.touched[self.name] = None
        self.lab.run(
            "cp", source, target, flags=[f"--timeout={duration(timeout)}"], seconds=timeout, vm=self.name
        )

    def _failed(self, what: str, status: int, errors: str) -> None:
        raise CommandFailed(
            what,
            f"ended with {status}",
            vm=self.name,
            status=status,
            errors=errors,
            console=self.console_tail(),
        )


def _extract(archive: tarfile.TarFile, folder: Path) -> None:
    """Unpacks what a guest packed. A guest is not trusted: nothing gets out of the folder, and no device is made."""
    root = folder.resolve()
    for member in archive.getmembers():
        place = (root / member.name).resolve()
        if place != root and root not in place.parents:
            raise ValueError(f"the guest's archive has '{member.name}', which is outside of {folder}")
        if member.isdir():
            place.mkdir(parents=True, exist_ok=True)
        elif member.isfile():
            place.parent.mkdir(parents=True, exist_ok=True)
            content = archive.extractfile(member)
            place.write_bytes(b"" if content is None else content.read())
            place.chmod(0o600 | (member.mode & 0o111 and 0o100))
