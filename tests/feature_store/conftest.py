"""A real redis-server for the tests of this folder, on a socket of its own."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an empty server that writes every command to disk before it answers."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("needs redis-server on the PATH (apt-get install redis-server)")
    folder = tmp_path_factory.mktemp("redis")
    socket = folder / "redis.sock"
    durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    command = [program, "--port", "0", "--unixsocket", str(socket), "--dir", str(folder), *durable]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    url = f"unix://{socket}"
    try:
        _wait_for(url, server, folder / "log")
        yield url
    finally:
        server.terminate()
        server.wait(timeout=10)


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        try:
            redis.Redis.from_url(url).ping()
            return
        except redis.RedisError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.02)
    raise AssertionError(log.read_text())
