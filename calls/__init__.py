"""What happened in calls: who called (a pseudonym, never a number), each call, and each of its turns.

``callers`` and ``pseudonyms`` make a caller's unit; ``records`` are the rows that `parley.row_log` writes;
``subjects`` finds everything that came of one person. Nothing here imports torch, the experiments or the orchestrator.
"""
