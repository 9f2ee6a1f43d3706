"""Ansible over the serial consoles of a lab; ``python3 -m labctl.ansible`` prints the connection plugin's folder."""
