"""The registry: the only writer of the Triton model repository.

from registry.site import Registry
from registry.versions.publish import publish

with Registry.at(settings()) as registry:
    number = publish(Path("runs/nlu/bundle"), registry)   # -> triton_repo/barista_nlu/<number>/
"""
