"""Answers calls: wires, turn taking, the call session, the clients of its four stages, and the Ray Serve application.

Nothing here imports torch, and every audio time is counted in samples.
"""
