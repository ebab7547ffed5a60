"""Per-stage experiments: who is served by which version, who changed that, and what was really served.

``assignment`` decides (pure), ``store`` remembers and replicas follow it, ``api`` and ``commands`` are for the product
owner. Nothing here imports torch, the orchestrator, or a model.
"""
