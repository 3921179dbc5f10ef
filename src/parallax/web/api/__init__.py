"""The JSON API in the exchange's own dialect, and the event stream.

app.add_middleware(Beside, api=create_api(desk))
"""

from parallax.web.api.app import Api, Beside, create_api

__all__ = ["Api", "Beside", "create_api"]
