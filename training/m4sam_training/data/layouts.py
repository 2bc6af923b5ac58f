# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The one table of dataset layouts: every folder name, split name and habit of a dataset is here.

A new dataset is one more `Layout` in `LAYOUTS`; `m4sam_training.data.scan` reads them all (docs/datasets.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from m4sam_core.errors import ConfigError

DepthKind = Literal["real", "synthetic", "black", "copy_rgb"]
DEPTH_KINDS: tuple[DepthKind, ...] = ("real", "synthetic", "black", "copy_rgb")


@dataclass(frozen=True)
class Layout:
    """Where one dataset keeps its files.

    Attributes:
        name: what `--layout` takes.
        title: the dataset's own name.
        roots: folders below the given root that may hold the splits; "." is the root itself.
        splits: our split name -> names the dataset uses for it, first match wins.
        by_list: videos are listed in `<split>.txt` and lie in `video_folder`, instead of in a folder per split.
        video_folder: folder of the videos when `by_list`.
        rgb, depth, synthetic_depth, mask: accepted folder names inside a video (compared without case).
        sparse_masks: frames without ground truth are normal; only annotated frames are used.
        frame_list: the alternative list form, one line per frame, columns in this order; () when there is none.
        published: videos and frames of the whole dataset as published, for `m4sam dataset check`; zeros when not fixed.
        metadata: file with fps, depth unit and source inside each video; "" when the layout has none.
        pictures: the split's folder holds pictures that have nothing to do with each other, each a video of one frame;
            a set without a depth folder is used without depth.
    """

    name: str
    title: str
    roots: tuple[str, ...]
    splits: dict[str, tuple[str, ...]]
    rgb: tuple[str, ...]
    depth: tuple[str, ...]
    mask: tuple[str, ...]
    synthetic_depth: tuple[str, ...] = ()
    by_list: bool = False
    video_folder: str = "data"
    sparse_masks: bool = False
    frame_list: tuple[str, ...] = ()
    published: tuple[int, int] = (0, 0)
    metadata: str = ""
    pictures: bool = False

    def depth_folders(self, kind: DepthKind) -> tuple[str, ...]:
        """Folder names of the depth maps for `kind`; () when the kind needs no depth files.

        Raises:
            ConfigError: the layout has no depth maps of that kind.
        """
        if kind in ("black", "copy_rgb"):
            return ()
        if kind == "synthetic":
            if not self.synthetic_depth:
                raise ConfigError(f"depth_kind: expected real, black or copy_rgb for {self.title}, got 'synthetic'")
            return self.synthetic_depth
        return self.depth


LAYOUTS: dict[str, Layout] = {
    "rdvs": Layout(
        name="rdvs",
        title="RDVS",
        roots=(".", "RDVS", "rdvs"),
        splits={"train": ("train",), "test": ("test",)},
        rgb=("rgb",),
        depth=("Depth",),
        synthetic_depth=("SyntheticDepth",),
        mask=("ground-truth", "GT"),
        frame_list=("img", "gt", "flow", "depth"),
        published=(57, 4087),
    ),
    "vidsod100": Layout(
        name="vidsod100",
        title="ViDSOD-100",
        roots=(".", "VidSOD", "vidsod_100", "vidsod100", "ViDSOD-100"),
        splits={"train": ("train",), "test": ("test",)},
        rgb=("rgb",),
        depth=("depth",),
        mask=("gt",),
        published=(100, 9362),
    ),
    "dvisal": Layout(
        name="dvisal",
        title="DViSal",
        roots=(".", "DViSal_dataset", "DViSal"),
        splits={"train": ("train",), "val": ("val",), "test": ("test_all", "test")},
        rgb=("RGB",),
        depth=("Depth",),
        mask=("GT",),
        by_list=True,
        sparse_masks=True,
        published=(237, 7117),
    ),
    "m4sam": Layout(
        name="m4sam",
        title="M4-SAM (from rosbags)",
        roots=(".",),
        splits={"train": ("train",), "val": ("val",), "test": ("test",)},
        rgb=("rgb",),
        depth=("depth",),
        mask=("mask",),
        sparse_masks=True,
        metadata="video.yaml",
    ),
    "pictures": Layout(
        name="pictures",
        title="Picture set (DUTS, NJU2K, NLPR, ...)",
        roots=(".",),
        splits={
            "train": ("train", "DUTS-TR", "TrainDataset", "train_data", "NJU2K_Traindataset", "NLPR_Traindataset", "."),
            "val": ("val",),
            "test": ("test", "DUTS-TE", "TestDataset", "test_data"),
        },
        rgb=("rgb", "images", "image", "imgs", "RGB_left", "DUTS-TR-Image", "DUTS-TE-Image"),
        depth=("depth", "depths"),
        mask=("gt", "masks", "mask", "groundtruth", "ground_truth", "DUTS-TR-Mask", "DUTS-TE-Mask"),
        pictures=True,
    ),
}


def get_layout(name: str) -> Layout:
    """The layout called `name`.

    Raises:
        ConfigError: unknown name; the text lists the known ones.
    """
    if name not in LAYOUTS:
        raise ConfigError(f"layout: expected one of {', '.join(LAYOUTS)}, got {name!r}")
    return LAYOUTS[name]
