"""The ``parley`` command, on top of all rooms."""
