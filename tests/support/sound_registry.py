"""Whether repository, catalogue and pins of a site say the same."""

from parley.signatures import verify_version
from registry import catalogue
from registry.layout import version_numbers
from registry.site import Registry
from registry.versions.mending import unsettled_models
from registry.versions.signing import read_pin, trusted_keys

MODEL = "barista_nlu"


def known(registry: Registry) -> list[int]:
    with registry.catalogue.read() as c:
        return [row.number for row in catalogue.versions(c, model=MODEL)]


def check_sound(registry: Registry, numbers: list[int]) -> None:
    """Repository, catalogue and pins name the same versions, and each verifies."""
    directory = registry.repo / MODEL
    assert version_numbers(directory) == known(registry) == numbers
    for number in numbers:
        pin = read_pin(registry.site, MODEL, number)
        assert pin is not None
        verify_version(directory / str(number), trusted_keys(registry.site), model=MODEL, number=number, pin=pin)
    assert unsettled_models(registry) == []
