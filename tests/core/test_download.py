# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Downloads from a server on this machine: whole or not at all, resumed, checked, and clear without a network."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from m4sam_core import download as module
from m4sam_core.cli.main import main
from m4sam_core.download import FILES, DownloadError, RemoteFile, download, get_file
from m4sam_core.errors import ConfigError
from m4sam_core.model_files import resolve_model

DATA = bytes(range(256)) * 4000


class Handler(BaseHTTPRequestHandler):
    """Serves DATA under any name; /cut/ stops half-way, /plain/ ignores ranges, /gone/ is 404."""

    requests: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self):
        wanted = self.headers.get("Range")
        type(self).requests.append((self.path, wanted))
        if self.path.startswith("/gone/"):
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and "/plain/" not in self.path else 0
        if start >= len(DATA):
            self.send_error(416)
            return
        body = DATA[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if "/cut/" in self.path else body)

    def log_message(self, *args):
        """Keep the test output clean."""


@pytest.fixture
def server():
    Handler.requests = []
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def row(url, **changes):
    sha = hashlib.sha256(DATA).hexdigest()
    base = RemoteFile("toy", url, "toy.safetensors", "Apache-2.0", "https://example.org", "A toy.", len(DATA), sha)
    return replace(base, **changes)


def test_a_file_is_fetched_once(server, tmp_path):
    seen = []
    path = download(row(f"{server}/a"), tmp_path, lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == DATA
    assert seen[0] == (0, len(DATA))
    assert seen[-1] == (len(DATA), len(DATA))
    assert download(row(f"{server}/a"), tmp_path) == path
    assert len(Handler.requests) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["toy.safetensors"]


@pytest.mark.parametrize("kind", ["ranges", "plain"])
def test_a_broken_transfer_goes_on(server, tmp_path, kind):
    with pytest.raises(DownloadError, match=r"connection.*run again to go on"):
        download(row(f"{server}/cut/a"), tmp_path)
    assert not (tmp_path / "toy.safetensors").exists()
    assert (tmp_path / "toy.safetensors.part").stat().st_size == len(DATA) // 2
    assert download(row(f"{server}/{kind}/a"), tmp_path).read_bytes() == DATA
    assert Handler.requests[-1][1] == f"bytes={len(DATA) // 2}-"


def test_a_whole_part_is_taken_over(server, tmp_path):
    (tmp_path / "toy.safetensors.part").write_bytes(DATA)
    assert download(row(f"{server}/a"), tmp_path).read_bytes() == DATA


def test_another_file_is_refused_and_removed(server, tmp_path):
    with pytest.raises(DownloadError, match=r"expected SHA-256 0000.*fetch it by hand"):
        download(row(f"{server}/a", sha256="0" * 64), tmp_path)
    with pytest.raises(DownloadError, match="expected 5 bytes, got 1024000"):
        download(row(f"{server}/a", size_bytes=5), tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "toy.safetensors").write_bytes(b"damaged")
    with pytest.raises(DownloadError, match="remove it and try again"):
        download(row(f"{server}/a"), tmp_path)


def test_without_a_network_the_text_says_where_to_put_the_file(server, tmp_path):
    with pytest.raises(DownloadError) as info:
        download(row("http://127.0.0.1:9/a"), tmp_path)
    assert f"put it at {tmp_path / 'toy.safetensors'}" in str(info.value)
    with pytest.raises(DownloadError, match="HTTP 404"):
        download(row(f"{server}/gone/a"), tmp_path)
    with pytest.raises(DownloadError, match=r"expected a direct link, got none.*arxiv.*M4SAM-rdvs\.pth"):
        download(get_file("m4sam_rdvs"), tmp_path)


def test_the_table_is_sound():
    assert len({entry.file for entry in FILES.values()}) == len(FILES)
    for entry in FILES.values():
        assert entry.licence
        assert not entry.url or entry.url.startswith("https://")
        assert not entry.url or (len(entry.sha256) == 64 and entry.size_bytes > 0)
    with pytest.raises(ConfigError, match=r"download: expected one of sam2\.1_tiny"):
        get_file("gpt")


def test_command_line_asks_for_the_licence(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "FILES", {"toy": row(f"{server}/a")})
    monkeypatch.setenv("M4SAM_CACHE", str(tmp_path / "cache"))
    answers = iter([False, True])
    monkeypatch.setattr("typer.confirm", lambda _: next(answers))
    assert main(["download", "toy"]) == 2
    assert "nothing was fetched" in capsys.readouterr().err
    assert Handler.requests == []
    assert main(["download", "toy"]) == 0
    assert "licence: Apache-2.0" in capsys.readouterr().out
    assert resolve_model("toy") == tmp_path / "cache" / "toy.safetensors"
    assert main(["download", "--list"]) == 0
    assert "yes" in capsys.readouterr().out
    (tmp_path / "cache" / "toy.safetensors").unlink()
    assert main(["download", "toy", "--accept-licence"]) == 0
