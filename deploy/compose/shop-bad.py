"""The same service, version v2: it answers 5 % of its requests with 500."""

from tidegate.demo.shop import Behaviour, serve

serve(Behaviour("v2", error_ratio=0.05))
