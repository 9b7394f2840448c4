"""The service of the compose fleet, version v1. A next version is a copy of this file that behaves differently."""

from tidegate.demo.shop import Behaviour, serve

serve(Behaviour("v1"))
