"""The registry: the only writer of the Triton model repository.

from registry.publish import publish
from registry.model_config import write_configs
from registry.releases import create_release
from registry.pointers import promote, rollback

number = publish(Path("runs/nlu/bundle"), Path("triton_repo"))   # -> triton_repo/barista_nlu/<number>/
"""
