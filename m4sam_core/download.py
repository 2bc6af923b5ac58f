# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Named weights fetched into the cache: checked, resumable, never without the licence being accepted."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path

from m4sam_core.errors import ConfigError, M4SamError
from m4sam_core.model_files import cache_dir

_TIMEOUT_S = 30.0
_BLOCK_BYTES = 1 << 20
_SAM2 = "https://dl.fbaipublicfiles.com/segment_anything_2/092824"


class DownloadError(M4SamError):
    """A file could not be fetched, or is not the one expected."""


@dataclass(frozen=True)
class RemoteFile:
    """One row of the table.

    Attributes:
        name: what `m4sam download` takes.
        url: where it is; "" when its authors publish no direct link, see `page`.
        file: name in the cache.
        size_bytes: of the file; 0 when not known.
        sha256: of the file; "" when not known, the sum is then shown.
        licence: must be accepted.
        page: where the authors describe it.
        summary: one line.
    """

    name: str
    url: str
    file: str
    licence: str
    page: str
    summary: str
    size_bytes: int = 0
    sha256: str = ""


def _sam2(size: str, size_bytes: int, sha256: str) -> RemoteFile:
    file = f"sam2.1_hiera_{size}.pt"
    return RemoteFile(
        name=f"sam2.1_{size}",
        url=f"{_SAM2}/{file}",
        file=file,
        licence="Apache-2.0",
        page="https://github.com/facebookresearch/sam2",
        summary=f"SAM2.1 Hiera {size}, {size_bytes / 1e6:.0f} MB: the frozen trunk, for training (init.trunk).",
        size_bytes=size_bytes,
        sha256=sha256,
    )


def _release(dataset: str) -> RemoteFile:
    return RemoteFile(
        name=f"m4sam_{dataset}",
        url="",
        file=f"M4SAM-{dataset}.pth",
        licence="CC-BY-NC-4.0",
        page="https://arxiv.org/abs/2605.11760",
        summary=f"Published M4-SAM checkpoint ({dataset}), about 1.4 GB: non-commercial use only.",
    )


FILES: dict[str, RemoteFile] = {
    row.name: row
    for row in (
        _sam2("tiny", 156008466, "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"),
        _sam2("small", 184416285, "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"),
        _sam2("base_plus", 323606802, "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5"),
        _sam2("large", 898083611, "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"),
        _release("rdvs"),
        _release("vidsod"),
        _release("dvisal"),
    )
}


def get_file(name: str) -> RemoteFile:
    """The row of that name.

    Raises:
        ConfigError: unknown; the text lists the known ones.
    """
    if name not in FILES:
        raise ConfigError(f"download: expected one of {', '.join(FILES)}, got {name!r}")
    return FILES[name]


def download(
    row: RemoteFile,
    folder: Path | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Path:
    """Fetch a file unless it is there already; a broken transfer goes on where it stopped.

    The file appears under its name only when it is whole and its SHA-256 (when known) is right.

    Args:
        row: what to fetch.
        folder: None: the cache folder of `m4sam_core.model_files`.
        progress: called with bytes done and bytes in all (0: not known).

    Returns:
        Path of the file.

    Raises:
        DownloadError: no connection, no link, or a file that is not the expected one; the text says where to put it.
    """
    folder = folder or cache_dir()
    target = folder / row.file
    if target.is_file():
        _verify(row, target, "remove it and try again")
        return target
    by_hand = f"fetch it by hand from {row.url or row.page} and put it at {target}"
    if not row.url:
        raise DownloadError(f"{row.name}: expected a direct link, got none from its authors; {by_hand}")
    folder.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.part")
    try:
        _fetch(row.url, partial, progress)
    except urllib.error.HTTPError as error:
        raise DownloadError(f"{row.url}: expected the file, got HTTP {error.code}; {by_hand}") from None
    except (urllib.error.URLError, HTTPException, OSError) as error:
        reason = getattr(error, "reason", error)
        raise DownloadError(
            f"{row.url}: expected a connection, got {reason}; run again to go on, or {by_hand}"
        ) from None
    try:
        _verify(row, partial, by_hand)
    except DownloadError:
        partial.unlink()
        raise
    partial.replace(target)
    return target


def _fetch(url: str, partial: Path, progress: Callable[[int, int], None]) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing left to send: the file is whole already
            return
        raise
    with response, partial.open("ab") as file:
        if have and response.status != 206:  # the server starts from the beginning
            file.truncate(0)
            have = 0
        length = int(response.headers.get("Content-Length") or 0)
        done, total = have, have + length if length else 0
        progress(done, total)
        while block := response.read(_BLOCK_BYTES):
            file.write(block)
            done += len(block)
            progress(done, total)
    if total and done != total:
        raise OSError(f"{done} of {total} bytes; the connection was cut")


def _verify(row: RemoteFile, path: Path, remedy: str) -> None:
    size = path.stat().st_size
    if row.size_bytes and size != row.size_bytes:
        raise DownloadError(f"{path}: expected {row.size_bytes} bytes, got {size}; {remedy}")
    if row.sha256 and sha256_of(path) != row.sha256:
        raise DownloadError(f"{path}: expected SHA-256 {row.sha256}, got {sha256_of(path)}; {remedy}")


def digest_of(path: Path) -> str:
    """`sha256_of`, computed once as long as nobody writes to the file."""
    about = path.stat()
    return _digest_of(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=8)
def _digest_of(path: Path, *_: int) -> str:
    return sha256_of(path)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
