# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Every command that writes much, on a disk of 30 MB that fills up: one line with path and advice, and it can go on."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.checkpoint import save_checkpoint
from m4sam_core.cli.main import main
from m4sam_core.config import ModelConfig
from m4sam_training.bags.export import export_videos
from m4sam_training.data.generate import generate_dataset
from m4sam_training.data.scan import scan_split

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk"),
]
MEGABYTE = 1 << 20
SIZE_MB = 30


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """D, two videos of the m4sam layout; bags, the same as recordings; nano.safetensors."""
    root = tmp_path_factory.mktemp("made")
    generate_dataset(root / "D", "m4sam", videos=2, frames=6, height=120, width=160)
    for split in ("train", "test"):
        export_videos(scan_split(root / "D", "m4sam", split), root / "bags", "mcap", progress=lambda _: None)
    torch.manual_seed(0)
    save_checkpoint(root / "nano.safetensors", build_model(ModelConfig.preset("nano")))
    return root


def contents(folder: Path) -> dict[str, str]:
    """Digests of what a command wrote; not of notes about the run, nor of files that name their own folder."""
    left_out = {".lock", "label_studio.json"}
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in left_out]
    digest = {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return {name.as_posix(): value for name, value in digest.items() if name.parts[0] != ".bags"}


COMMANDS = {
    "predict": (12, "predict {made}/D/train/train_1/rgb {made}/D/train/train_1/depth --model {nano} --out {out}"),
    "bag to-dataset": (300, "bag to-dataset {made}/bags --split train --out {out}"),
    "bag predict, mcap": (500, "bag predict {made}/bags/train_1 --model {nano} --out {out}"),
    "bag predict, sqlite3": (500, "bag predict {made}/bags/train_1 --model {nano} --storage sqlite3 --out {out}"),
    "dataset to-bag": (300, "dataset to-bag --layout m4sam {made}/D --split train --out {out}"),
    "dataset generate": (300, "dataset generate --layout m4sam --out {out} --videos 2 --frames 6"),
    "eval": (24, "eval --dataset m4sam --data {made}/D --checkpoint {nano} --out {out} --save-masks"),
    "bag to-lerobot": (300, "bag to-lerobot {made}/bags --out {out} --rgb image"),
    "robustness": (
        4,
        "robustness --data {made}/D --checkpoint {nano} --corruption dropout --out {out} --json {out}/r.json",
    ),
    "clip": (300, "clip {out} --frames 6"),
    "label export": (8, "label export {made}/D --split train --frames all --out {out}"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_told_and_the_same_command_goes_on_when_there_is_room(name, made, disk, tmp_path, capsys):
    left_kb, text = COMMANDS[name]
    for needed in {"label export": ["pycocotools"], "bag to-lerobot": ["pyarrow"]}.get(name, []):
        pytest.importorskip(needed)

    def words(out: Path) -> list[str]:
        return [word.format(made=made, nano=made / "nano.safetensors", out=out) for word in text.split()]

    ballast, out = disk / "ballast", disk / "out"
    ballast.write_bytes(bytes(SIZE_MB * MEGABYTE - left_kb * 1024))
    assert main(words(out)) == 2
    told = capsys.readouterr().err
    if name == "clip":  # an image file does not say why it failed
        assert "the write failed; check space and permissions" in told
    else:
        assert "No space left on device; free some space or choose another place" in told
    assert str(disk) in told
    assert "Traceback" not in told
    halves = [path for path in disk.rglob("*") if path.name.startswith(".") and path.name not in (".bags", ".lock")]
    assert not [path for path in halves if path.name.endswith(("part", "partial")) or ".part." in path.name]
    ballast.unlink()
    assert main(words(out)) == 0
    assert main(words(tmp_path / "roomy")) == 0
    if name.startswith(("bag predict", "dataset to-bag")):  # a bag's files carry its name
        assert len(contents(out)) == len(contents(tmp_path / "roomy"))
    else:
        assert contents(out) == contents(tmp_path / "roomy")
