"""HF_ENDPOINT and the variables of a proxy are all that is needed where the Hub is not reached directly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.hub import Hub, serve
from tests.support.model_files import write_model
from tests.support.publications import NAME, ONE, TOKEN, checkpoint
from tests.support.small_runs import ROOT, environment

WORK = """
import sys
from contextlib import contextmanager
from pathlib import Path
from quantize_lib.publish.hub.publisher import HubPublisher
from quantize_lib.source import fetch, inspect
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.targets import publish_spec

class Reporter:
    @contextmanager
    def progress(self, *_):
        yield self
    def advance(self, amount=1):
        pass

folder, name, fingerprint = sys.argv[1:]
spec = ModelSpec(id="base/tiny", name="tiny", revision="main")
fetch(spec, inspect(spec, token=None), Reporter(), token=None)
publisher = HubPublisher(publish_spec("hub", namespace="acme", private=False))
publisher.publish(Path(folder), name, fingerprint=fingerprint, message="m")
print(publisher.current(name).commit)
"""


def test_reading_and_publishing_go_through_a_proxy_to_the_named_endpoint(tmp_path: Path) -> None:
    made = checkpoint(tmp_path / "checkpoint", ONE)
    model = write_model(tmp_path / "model")
    with serve(Hub()) as hub:
        hub.add_token(TOKEN, "acme")
        hub.add_model("base/tiny", {path.name: path.read_bytes() for path in model.iterdir()})
        # No such host: only the proxy knows what is meant.
        proxy, hub.endpoint = hub.endpoint, "http://hub.invalid"
        env = {
            **environment(),
            **hub.environment(tmp_path / "home"),
            "HTTP_PROXY": proxy,
            "HF_TOKEN_WRITE": TOKEN,
            "PYTHONPATH": str(ROOT),
        }
        for name in ("NO_PROXY", "no_proxy"):
            env.pop(name, None)
        done = subprocess.run(
            [sys.executable, "-c", WORK, str(made), NAME, ONE],
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == hub.model(NAME).head
        assert all(request.target.startswith("http://") for request in hub.requests)
        assert {"get_object", "put_object", "create_commit"} <= {request.route for request in hub.requests}
        named = [request for request in hub.requests if request.target.startswith("http://hub.invalid/")]
        assert {"repo_info", "create_repo", "create_commit"} <= {request.route for request in named}
