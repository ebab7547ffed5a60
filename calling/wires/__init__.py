"""The gateway's side of the wires that a test caller speaks: one module a wire, registered in ``registered``."""
