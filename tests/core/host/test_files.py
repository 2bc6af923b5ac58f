# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Files are whole or not there: full disks, kills, several writers, planted links."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from m4sam_core.errors import ConfigError
from m4sam_core.host.files import whole_file, whole_folder, write_bytes, write_json, write_text

REPO = Path(__file__).resolve().parents[3]
KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from m4sam_core.host.files import whole_file
with whole_file(Path(sys.argv[1])) as draft:
    draft.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_exception_leaves_the_old_file_and_no_draft(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), whole_file(path) as draft:
        draft.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_two_writers_at_once_each_write_a_whole_file(tmp_path):
    path = tmp_path / "a.png"
    with whole_file(path) as one, whole_file(path) as other:
        assert one != other
        assert (one.suffix, other.suffix) == (".png", ".png")
        one.write_text("one, and long")
        other.write_text("other")
        assert not path.exists()
    assert path.read_text() == "one, and long"
    assert names(tmp_path) == ["a.png"]


def test_the_draft_of_a_killed_writer_is_used_again(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    command = [sys.executable, "-c", KILLED_WRITER, str(path)]
    assert subprocess.run(command, cwd=REPO, check=False).returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert len(names(tmp_path)) == 2
    write_text(path, "n")
    assert path.read_text() == "n"
    assert names(tmp_path) == ["a.txt"]


def test_the_umask_decides_who_may_read(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_link_planted_as_the_draft_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / ".a.part.json").symlink_to(tmp_path / "precious")
    with pytest.raises(ConfigError, match="expected a file that can be written"):
        write_json(tmp_path / "a.json", {})
    assert (tmp_path / "precious").read_text() == "mine"


def test_the_disk_has_the_content_before_the_name_changes(tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr(os, "fsync", lambda handle: events.append(os.readlink(f"/proc/self/fd/{handle}")))
    monkeypatch.setattr(os, "replace", lambda old, new, real=os.replace: (events.append("renamed"), real(old, new)))
    write_bytes(tmp_path / "a.bin", b"1")
    assert events == [str(tmp_path / ".a.part.bin"), "renamed", str(tmp_path)]


def test_a_device_is_written_as_it_is():
    code = (
        "from pathlib import Path; from m4sam_core.host.files import write_json; write_json(Path('/dev/stdout'), [1])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[", "1", "]"]
    assert stat.S_ISLNK(os.lstat("/dev/stdout").st_mode)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_one_line():
    with pytest.raises(ConfigError, match="No space left"):
        write_json(Path("/dev/full"), [1])


def test_a_folder_is_whole_or_not_there(tmp_path):
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "d") as draft:
        (draft / "x").mkdir()
        raise RuntimeError
    assert names(tmp_path) == []
    with whole_folder(tmp_path / "d") as one, whole_folder(tmp_path / "e") as other:
        assert one != other
        (one / "x").write_text("1")
    assert names(tmp_path) == ["d", "e"]


def test_a_folder_draft_starts_empty(tmp_path):
    (tmp_path / ".d.part" / "sub").mkdir(parents=True)
    (tmp_path / ".d.part" / "sub" / "old").write_text("")
    with whole_folder(tmp_path / "d") as draft:
        (draft / "new").write_text("")
    assert names(tmp_path / "d") == ["new"]
