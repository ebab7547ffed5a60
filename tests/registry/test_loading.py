"""Asking the server of a site whether it answers for versions."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from serving_site import MODEL, open_site
from toy_nlu import keyword_bundle

from parley.serving.triton_record import ServerRecord, process_started, write_record
from registry.loading import SiteLoader
from registry.site import Registry
from registry.versions.publish import publish


@contextmanager
def server_of(registry: Registry, *ready: str) -> Iterator[None]:
    """What looks like the site's server: ready for these ``name/version`` alone."""

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            paths = {f"/v2/models/{name}/versions/{number}/ready" for name, number in (one.split("/") for one in ready)}
            self.send_response(200 if self.path in paths else 400)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing is written to the terminal."""

    with HTTPServer(("127.0.0.1", 0), Door) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        started, address = process_started(os.getpid()), f"127.0.0.1:{server.server_port}"
        assert started is not None
        write_record(
            registry.site.state_dir,
            ServerRecord(
                pid=os.getpid(), started=started, owner_pid=0, owner_started=0, grpc="", http=address, metrics=""
            ),
        )
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def test_a_version_is_asked_for_by_the_name_of_its_implementation(tmp_path: Path) -> None:
    with open_site(tmp_path, versions=1) as registry:
        assert publish(keyword_bundle(tmp_path / "keywords"), registry) == 2
        loader = SiteLoader(registry)
        with server_of(registry, f"{MODEL}/1", f"{MODEL}.keyword-1/2"):
            assert loader.answers([(MODEL, 1), (MODEL, 2)])
        with server_of(registry, f"{MODEL}/1", f"{MODEL}/2"):
            assert not loader.answers([(MODEL, 1), (MODEL, 2)])


def test_a_version_without_files_is_not_answered_for(tmp_path: Path) -> None:
    with open_site(tmp_path) as registry, server_of(registry, f"{MODEL}/1"):
        assert not SiteLoader(registry).answers([(MODEL, 1)])
