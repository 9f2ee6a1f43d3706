"""Prints the folder of the connection plugin, for ``ANSIBLE_CONNECTION_PLUGINS``."""

from pathlib import Path

print(Path(__file__).resolve().parent / "connection")
