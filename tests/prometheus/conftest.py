"""A real broker for this folder's whole system."""

from tests.scenarios.conftest import broker

__all__ = ["broker"]
