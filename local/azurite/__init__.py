"""Azurite, the storage emulator: `with azurite() as storage`."""

from local.azurite.choice import azurite
from local.azurite.emulator import Azurite

__all__ = ["Azurite", "azurite"]
