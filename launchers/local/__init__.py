"""The local launcher: persistent workers on this machine."""
