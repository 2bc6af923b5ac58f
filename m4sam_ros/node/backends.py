# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What turns a frame into a mask: the saliency pipeline, or `identity`, which needs no model.

Nodes of one process hold one set of weights (docs/decisions/0025-cameras-share-weights.md).

`identity` exists to measure and wire the node itself: it marks what is nearer than the middle of the depth range. It is
chosen only by name (`model:=identity`), never as a fallback.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakValueDictionary

import numpy as np

from m4sam_core.config import PipelineConfig, RoiConfig
from m4sam_core.vision.region import Region, region_of

if TYPE_CHECKING:
    from m4sam_core.loaded import LoadedModel

_LOG = logging.getLogger(__name__)
IDENTITY = "identity"
_SAMPLING_STEP_PX = 8


class Backend(Protocol):
    """The part of `m4sam_core.SaliencyPipeline` that the node uses."""

    @property
    def memory_bytes(self) -> int:
        """Bytes of the stream's memory."""
        ...

    @property
    def refused(self) -> str | None:
        """What the system did not allow of `affinity` and `priority`."""
        ...

    def turn(self) -> AbstractContextManager[None]:
        """Held around a frame; cameras that share weights stand in line for it."""
        ...

    def warm_up(self, height: int, width: int) -> object:
        """Do once what the first frame would otherwise pay for."""
        ...

    def process(
        self,
        rgb: np.ndarray,
        depth: np.ndarray | None,
        stamp: float,
        camera: Hashable = None,
        ignored: np.ndarray | None = None,
    ) -> Any:
        """One frame in, one result out; another `camera` is another scene, pixels not 0 in `ignored` do not count."""
        ...

    def configure(self, cfg: PipelineConfig) -> None:
        """Apply live settings."""
        ...

    def reset(self, reason: str) -> None:
        """Forget the scene."""
        ...

    def close(self) -> None:
        """Free the memory."""
        ...


class Backends:
    """Makes the nodes' backends; those with the same weights and settings of the load share them."""

    def __init__(self) -> None:
        # A model lives as long as one of its pipelines.
        self._models: WeakValueDictionary[tuple[object, ...], LoadedModel] = WeakValueDictionary()
        self._loading = threading.Lock()

    def load(self, model: str, cfg: PipelineConfig, progress: Callable[[str], None] | None = None) -> Backend:
        """The backend called `model`. Any thread; a second one waits until the first has loaded.

        Args:
            model: weights by name or path, or `identity`.
            cfg: everything else.
            progress: told what takes time.

        Raises:
            CheckpointError: no such weights, or unusable ones.
            ConfigError: e.g. a device that this machine does not have.
        """
        if model == IDENTITY:
            return NearHalf(cfg.roi)
        from m4sam_core.bench.threads import quickest_threads
        from m4sam_core.loaded import FIXED, load_for_inference
        from m4sam_core.pipeline import SaliencyPipeline

        key = (model, *(getattr(cfg, name) for name in FIXED))
        with self._loading:
            loaded = self._models.get(key)
            if loaded is None:
                threads = cfg.threads or quickest_threads(model, cfg, progress or _LOG.info)
                loaded = self._models[key] = load_for_inference(model, cfg, progress, threads)
            elif progress is not None:
                progress(f"model {model} is shared with another camera of this process")
            return SaliencyPipeline(loaded, cfg)


@dataclass(frozen=True)
class NearHalfResult:
    """The fields of `m4sam_core.SaliencyResult`."""

    mask: np.ndarray
    region: Region
    stamp: float
    scene_id: int
    frame_index: int
    reset_reason: str | None
    rgb_only: bool
    depth_note: str | None
    depth_doubt: str | None = None
    rgb_note: str | None = None
    wrote_memory: bool = False
    memory_entries: int = 0
    timings_ms: dict[str, float] = field(default_factory=dict)

    @property
    def probability(self) -> np.ndarray:
        """(H, W) float32, 0 or 1."""
        return (self.mask > 0).astype(np.float32)


class NearHalf:
    """Marks the nearer half of the valid depth range. No model, no memory; for benchmarks and wiring."""

    def __init__(self, roi: RoiConfig | None = None) -> None:
        self._roi = roi or RoiConfig()
        self._scene_id = 0
        self._frame_index = 0
        self._reason: str | None = None
        self._camera: Hashable = None

    @property
    def memory_bytes(self) -> int:
        """It remembers nothing."""
        return 0

    @property
    def refused(self) -> str | None:
        """It has no threads to place."""
        return None

    def turn(self) -> AbstractContextManager[None]:
        """Nothing is shared."""
        return nullcontext()

    def warm_up(self, height: int, width: int) -> None:
        """Nothing to warm."""

    def configure(self, cfg: PipelineConfig) -> None:
        """Another rectangle of the picture may count."""
        self._roi = cfg.roi

    def close(self) -> None:
        """Nothing to free."""

    def reset(self, reason: str) -> None:
        """Start a new scene."""
        self._scene_id += 1
        self._frame_index = 0
        self._reason = reason

    def process(
        self,
        rgb: np.ndarray,
        depth: np.ndarray | None,
        stamp: float,
        camera: Hashable = None,
        ignored: np.ndarray | None = None,
    ) -> NearHalfResult:
        """Mask of (H, W) uint8 0/255 at the size of rgb; empty without usable depth."""
        if camera != self._camera and self._frame_index:
            self.reset("camera changed")
        self._camera = camera
        note = None
        if depth is None:
            note = "no depth"
        elif depth.shape != rgb.shape[:2]:
            note = f"depth is {depth.shape[1]}x{depth.shape[0]}, rgb {rgb.shape[1]}x{rgb.shape[0]}"
        region = region_of(rgb.shape[0], rgb.shape[1], self._roi, [ignored])
        seen = region.take_depth(depth)
        mask = np.zeros(rgb.shape[:2], np.uint8) if note or seen is None else region.restore(_nearer_half(seen))
        result = NearHalfResult(
            mask, region, stamp, self._scene_id, self._frame_index, self._reason, note is not None, note
        )
        self._frame_index += 1
        self._reason = None
        return result


def _nearer_half(depth: np.ndarray) -> np.ndarray:
    sample = depth[::_SAMPLING_STEP_PX, ::_SAMPLING_STEP_PX].astype(np.float32)
    sample = sample[np.isfinite(sample) & (sample > 0)]
    if sample.size == 0:
        return np.zeros(depth.shape, np.uint8)
    middle = np.asarray((sample.min() + sample.max()) / 2, depth.dtype)
    return ((depth > 0) & (depth <= middle)).view(np.uint8) * np.uint8(255)
