"""The JSON API, the same desk in the exchange's own dialect, and the event stream.

An ASGI application: `api = create_api(desk)` serves what it says that it `serves`.
"""

from parallax.web.api.app import Api, create_api

__all__ = ["Api", "create_api"]
