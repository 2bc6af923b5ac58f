# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Recipe of the reference files beside this one: `python -m tests.golden.select PARITY_DIR`.

Keeps the inputs, the final maps (some subsampled), projections of everything else, and the gates' choices.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from tests.golden.kit import HERE, project

_FULL = ("mem_out.deep",)
_HALF = ("mem_out.shallow", "out")


def select(source: np.lib.npyio.NpzFile) -> dict[str, np.ndarray]:
    """What the repository keeps of one full fixture."""
    kept: dict[str, np.ndarray] = {}
    for name in source.files:
        array = source[name]
        if name.endswith(("/stat", "/cmean", "in/seeds")):
            continue
        if name in _HALF:
            kept[f"{name}@2"] = array[..., ::2, ::2]
        elif array.ndim == 4 and array.dtype == np.float32 and name not in _FULL:
            kept[f"{name}/proj"] = project(name, array).astype(np.float32)
        else:
            kept[name] = array
    return kept


def main(parity: Path) -> None:
    """Write every reference file."""
    for tag in ("t4", "b2t2"):
        kept = select(np.load(parity / "fixtures" / f"{tag}.npz"))
        np.savez_compressed(HERE / f"{tag}.npz", **kept)
    for tag in ("unit", "train_b2t2"):
        kept = dict(np.load(parity / "fixtures" / f"{tag}.npz"))
        np.savez_compressed(
            HERE / f"{tag}.npz", **{k: v for k, v in kept.items() if not k.endswith(("/stat", "/cmean"))}
        )
    keys = json.loads((parity / "official_keys.json").read_text())["keys"]
    lines = [f"{key} {' '.join(map(str, spec['shape']))} {spec['dtype']}" for key, spec in keys.items()]
    np.savez_compressed(HERE / "keys.npz", lines=np.array(lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
