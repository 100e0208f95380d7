"""A Hugging Face Hub on the loopback address, for the genuine client.

It behaves as the Hub does where huggingface_hub 2.4.0 or the Hub's docs tell how, each route with its source
(`tests.support.hub.routes`), and refuses what the Hub refuses: a wrong hash, size, order, parent commit or
token. Xet is off in tests (HF_HUB_DISABLE_XET): it is another way to move the same bytes, below the commits.

    with serve(Hub()) as hub:
        hub.add_token("hf_write", "acme")
        repository = hub.add_model("acme/tiny", {"config.json": b"{}"})
        hub.fail("status", route="create_commit", status=503, retry_after="0")
"""

from tests.support.hub.faults import Fault
from tests.support.hub.server import serve, serve_here
from tests.support.hub.state import Hub
from tests.support.hub.store import Repository
from tests.support.hub.web import Request

__all__ = ["Fault", "Hub", "Repository", "Request", "serve", "serve_here"]
