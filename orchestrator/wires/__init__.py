"""The wires a telephone gateway may speak, behind one contract (:mod:`orchestrator.wires.contract`)."""
