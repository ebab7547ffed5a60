"""The registry: the only writer of the Triton model repository.

from registry.writing import open_for_writing
from registry.versions.publish import publish

with open_for_writing(settings()) as registry:
    number = publish(Path("runs/nlu/bundle"), registry)   # -> triton_repo/barista_nlu/<number>/
"""
