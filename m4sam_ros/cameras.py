# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Camera presets, config/cameras/*.yaml: which topics a driver publishes, and what the node must know of them.

`python -m m4sam_ros.cameras` checks every preset and prints the table of docs/cameras.md.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from m4sam_core.config import Config
from m4sam_core.errors import ConfigError
from m4sam_core.host.plain_yaml import load_yaml, nest
from m4sam_core.host.share import shared_folder
from m4sam_core.rgbd.encodings import DEPTH_ENCODINGS, RGB_ENCODINGS
from m4sam_ros.settings import NodeConfig

FOLDER = Path("config") / "cameras"
_NAME = "{name}"
_TOPIC = re.compile(r"(/([A-Za-z_][A-Za-z0-9_]*|\{name\}))+")
_METRIC_ENCODINGS = {"millimetres": ("16UC1", "mono16"), "metres": ("32FC1", "64FC1")}
_ROS_PARAMETERS = ("use_sim_time",)


class CameraTopics(Config):
    """Absolute topic names."""

    rgb: str = Field(description="Colour image.")
    depth: str = Field(description="Depth image, registered to the colour image.")
    camera_info: str = Field("", description="CameraInfo of the colour image; empty: none.")

    @field_validator("rgb", "depth", "camera_info")
    @classmethod
    def _absolute(cls, name: str) -> str:
        if name and not _TOPIC.fullmatch(name):
            raise ValueError("expected an absolute topic name such as /camera/color/image_raw")
        return name


class CameraEncodings(Config):
    """Encodings the driver is known to publish."""

    rgb: tuple[str, ...] = Field(min_length=1, description="Of the colour image.")
    depth: tuple[str, ...] = Field(min_length=1, description="Of the depth image.")

    @model_validator(mode="after")
    def _known(self) -> CameraEncodings:
        for given, known in ((self.rgb, RGB_ENCODINGS), (self.depth, DEPTH_ENCODINGS)):
            unknown = set(given) - set(known)
            if unknown:
                raise ValueError(f"{', '.join(sorted(unknown))}: the node reads {', '.join(known)}")
        return self


class CameraPreset(Config):
    """One camera driver."""

    name: str = Field(min_length=1, description="Cameras it is for.")
    driver: str = Field(min_length=1, description="ROS 2 package and version whose names these are.")
    driver_command: str = Field(min_length=1, description="Starts the driver so that depth is registered to colour.")
    driver_note: str = Field(min_length=1, description="What is most often forgotten; printed when launching.")
    topics: CameraTopics = Field(description="Names with the driver's defaults.")
    named_topics: CameraTopics | None = Field(
        None, description="Names when the driver was started as {name}, for several cameras."
    )
    encodings: CameraEncodings = Field(description="What to expect on the topics.")
    depth_unit: Literal["millimetres", "metres"] = Field(description="Of the depth image.")
    image_transport: Literal["raw", "compressed"] = Field("raw", description="Of the colour image.")
    depth_transport: Literal["raw", "compressed", "compressedDepth"] = Field("raw", description="Of the depth image.")
    parameters: dict[str, Any] = Field(default_factory=dict, description="Parameters of the node, dotted names.")

    @model_validator(mode="after")
    def _consistent(self) -> CameraPreset:
        expected = _METRIC_ENCODINGS[self.depth_unit]
        if not set(self.encodings.depth) <= set(expected):
            raise ValueError(
                f"depth in {self.depth_unit}: expected {' or '.join(expected)}, got {self.encodings.depth}"
            )
        if _NAME in "".join(self.topics.model_dump().values()):
            raise ValueError("topics: {name} belongs into named_topics")
        if self.named_topics is not None and _NAME not in self.named_topics.rgb:
            raise ValueError("named_topics: expected {name} in each")
        own = {key: value for key, value in self.parameters.items() if key not in _ROS_PARAMETERS}
        try:
            NodeConfig.parse(nest(own))
        except ConfigError as error:
            raise ValueError(f"parameters: {error}") from None
        return self

    def topics_of(self, name: str = "") -> CameraTopics:
        """Topics of the camera called `name`; empty: the only one."""
        if not name or self.named_topics is None:
            return self.topics
        filled = {key: topic.replace(_NAME, name) for key, topic in self.named_topics.model_dump().items()}
        return CameraTopics.parse(filled)


def known_cameras(folder: Path | None = None) -> tuple[str, ...]:
    """Names of the presets."""
    return tuple(sorted(path.stem for path in (folder or shared_folder() / FOLDER).glob("*.yaml")))


def load_camera(name: str, folder: Path | None = None) -> CameraPreset:
    """The preset `name`.

    Args:
        name: as in `camera:=`.
        folder: where the presets are; None: those of this package.

    Raises:
        ConfigError: unknown preset, or one that breaks the schema; the text names the field.
    """
    folder = folder or shared_folder() / FOLDER
    path = folder / f"{name}.yaml"
    if name not in known_cameras(folder):
        raise ConfigError(
            f"camera: expected one of {', '.join(known_cameras(folder))}, got {name!r}; see docs/cameras.md"
        )
    values = load_yaml(path)
    try:
        return CameraPreset.parse(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def markdown_table() -> str:
    """The table of docs/cameras.md."""
    lines = ["| `camera:=` | cameras | rgb | depth | unit |", "|---|---|---|---|---|"]
    for name in known_cameras():
        preset = load_camera(name)
        rgb = f"`{preset.topics.rgb}` ({', '.join(preset.encodings.rgb)})"
        depth = f"`{preset.topics.depth}` ({', '.join(preset.encodings.depth)})"
        lines.append(f"| `{name}` | {preset.name} | {rgb} | {depth} | {preset.depth_unit} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown_table())
