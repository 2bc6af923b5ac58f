# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Packages the ROS 2 node, the core library and the offline tools as one distribution, m4sam_ros.

Works with pip (a virtual environment, ROS 2 from wheels or sourced) and with colcon, plain and --symlink-install.
"""

import sys
from pathlib import Path

from setuptools import find_packages, setup

NAME = "m4sam_ros"
VERSION = "1.0.0"

# `training` collides with other top-level packages of that name, so the folder is mapped to m4sam_training.
packages = find_packages(include=["m4sam_core", "m4sam_core.*", "m4sam_ros", "m4sam_ros.*"])
if Path("training").is_dir():  # a robot can do without the offline tools
    packages += ["m4sam_training", *(f"m4sam_training.{name}" for name in find_packages("training/m4sam_training"))]


def shared_files(*folders):
    """data_files entries that install every file of `folders` under share/m4sam_ros, folder by folder."""
    found = {}
    for folder in folders:
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                found.setdefault(f"share/{NAME}/{path.parent}", []).append(str(path))
    return list(found.items())


def beside_bin(names):
    """lib/m4sam_ros/<name> of a wheel, where `ros2 run` looks: each starts the script that pip puts into bin/."""
    folder = Path("build") / "libexec"
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        # Its own folder, links followed, so that it may be called by any path.
        start = f'exec "$(dirname -- "$(readlink -f -- "$0")")/../../bin/{name}" "$@"'
        (folder / name).write_text(f"#!/bin/sh\n{start}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return [(f"lib/{NAME}", [str(folder / name) for name in names])]


EXECUTABLES = {
    "m4sam": "m4sam_core.cli.main:main",
    "saliency_node": "m4sam_ros.node:main",
    "play": "m4sam_ros.player:main",
    "record": "m4sam_ros.recorder:main",
    "viewer": "m4sam_ros.viewer:main",
}

test_requires = [
    "hypothesis>=6.100",
    "import-linter>=2.0; python_version >= '3.10'",
    "mcap>=1.2",
    "mypy>=1.11",
    "pytest>=8.0",
    "pytest-xdist>=3.7",
    "rosbags-image",
    "ruff>=0.6",
    "types-PyYAML",
]
ros_wheels = [
    "ros-kilted-rclpy",
    "ros-kilted-common-interfaces",
    "ros-kilted-rmw-fastrtps-cpp",
]

setup(
    name=NAME,
    version=VERSION,
    description="M4-SAM: RGB-D video salient object detection for robots, as a ROS 2 node and a Python library.",
    long_description=Path("README.md").read_text(encoding="utf-8") if Path("README.md").is_file() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer="M4-SAM for robots maintainers",
    maintainer_email="maintainers@users.noreply.github.com",
    keywords=["ROS 2", "RGB-D", "saliency", "segmentation"],
    classifiers=[
        "Intended Audience :: Developers",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    packages=packages,
    package_dir={"m4sam_training": "training/m4sam_training"},
    package_data={
        "m4sam_core": ["py.typed", "weights/*"],
        "m4sam_training": ["**/*.yaml", "edge/*.sha256"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *shared_files("launch", "config"),
        # colcon puts the scripts themselves there (setup.cfg).
        *(beside_bin(EXECUTABLES) if "bdist_wheel" in sys.argv else []),
    ],
    python_requires=">=3.10",
    install_requires=[
        "setuptools",
        "numpy>=1.22",
        "opencv-python-headless>=4.6",
        "pillow>=9.1",
        "pydantic>=2.5",
        "pyyaml>=5.4",
        "rich>=11.2",
        "safetensors>=0.4",
        "scipy>=1.8",
        "torch>=2.5",
        "typer>=0.9",
    ],
    extras_require={
        # The Hiera trunks. See docs/install.md for the way to install it that leaves your torch alone.
        "sam2": ["sam2==1.1.0"],
        # Faster on a CPU, with the same masks (docs/deploy.md). `onnx` writes the graphs they run.
        "openvino": ["openvino>=2024.4", "onnx>=1.16"],
        "onnxruntime": ["onnxruntime>=1.18", "onnx>=1.16"],
        # Writing graphs for other engines: m4sam export.
        "export": ["onnx>=1.16"],
        # Reading and writing rosbags without a ROS installation.
        "bags": ["rosbags>=0.10"],
        # Watching the node in Rerun.
        "viewer": ["rerun-sdk>=0.41"],
        # Scores and plots.
        "eval": ["pysodmetrics>=1.5", "matplotlib>=3.5"],
        # Damage inside JPEG files: m4sam dataset check.
        "check": ["simplejpeg>=1.6"],
        # Recordings for robot learning: m4sam bag to-lerobot.
        "lerobot": ["pyarrow>=14", "av>=12"],
        # COCO files: m4sam label.
        "label": ["pycocotools>=2.0.6"],
        # Rendering the packaged model's training clips.
        "synth": ["trimesh>=4.4", "embreex>=2.17"],
        # People in the packaged model's training clips; see the Makefile for the way that leaves your torch alone.
        "edge": ["anny>=0.6.2"],
        # A folder of bags on a Ray cluster: m4sam bag to-dataset --engine ray.
        "cluster": ["ray>=2.9"],
        "train": ["tensorboard"],
        # ROS 2 from Python wheels, where no ROS 2 is installed.
        "ros-wheels": ros_wheels,
        "test": test_requires,
    },
    entry_points={
        "console_scripts": [f"{name} = {place}" for name, place in EXECUTABLES.items()],
        # Tables of commands that join `m4sam`, see m4sam_core/cli/main.py.
        "m4sam.commands": [
            "ros = m4sam_ros.cli:COMMANDS",
            "training = m4sam_training.cli:COMMANDS",
        ],
    },
    zip_safe=False,
)
