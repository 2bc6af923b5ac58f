# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Masks of a model or a folder, scored by a protocol (docs/evaluation.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from m4sam_core.errors import ConfigError, InputError
from m4sam_core.host.progress import tracked
from m4sam_core.rgbd.image_files import write_png
from m4sam_training.data.names import safe_name
from m4sam_training.data.videos import Irregularity, Scan
from m4sam_training.eval.predict_dataset import Prediction
from m4sam_training.eval.protocols import Protocol, get_protocols
from m4sam_training.eval.report import WorstFrames, write_csv, write_curves
from m4sam_training.eval.scoring import FrameScore, FrameScorer, row, summary, to_uint8


@dataclass
class Evaluation:
    """Scores of one run.

    Attributes:
        protocol: name, a key of `PROTOCOLS`.
        scores: frame scores by "was min-max applied".
        dropped: what could not be scored, with reasons.
        sheet: the worst frames, as pictures.
    """

    protocol: str
    scores: dict[bool, list[FrameScore]]
    dropped: list[Irregularity] = field(default_factory=list)
    sheet: WorstFrames = field(default_factory=lambda: WorstFrames(0))

    @property
    def rows(self) -> dict[str, dict[str, float]]:
        """What the protocol prints: row name -> score name -> value."""
        return {p.name: row(p, self.scores[p.minmax]) for p in get_protocols(self.protocol)}

    @property
    def main(self) -> list[FrameScore]:
        """Frame scores of the protocol's first row."""
        return self.scores[get_protocols(self.protocol)[0].minmax]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: S, E_mean, F_adaptive, MAE at the top, everything else below."""
        first = get_protocols(self.protocol)[0]
        values = summary(self.main, first.average)
        return {
            **{name: values[name] for name in ("S", "E_mean", "F_adaptive", "MAE")},
            "protocol": self.protocol,
            "frames": len(self.main),
            "videos": len({score.video for score in self.main}),
            "rows": self.rows,
            "all": values,
            "per_video": {
                video: summary([score for score in self.main if score.video == video])
                for video in dict.fromkeys(score.video for score in self.main)
            },
            "dropped": [{"path": str(item.path), "reason": item.reason} for item in self.dropped],
        }

    def write(self, out: Path) -> list[str]:
        """Write per_video.csv, worst.png and, where matplotlib is installed, curves.png.

        Returns:
            what could not be made, a line each.

        Raises:
            OSError: the folder cannot be written.
        """
        out.mkdir(parents=True, exist_ok=True)
        write_csv(out / "per_video.csv", self.main)
        self.sheet.write(out / "worst.png")
        try:
            write_curves(out / "curves.png", self.main, self.protocol)
        except ConfigError as error:
            return [f"no curves.png: {error}"]
        return []


def evaluate(
    predictions: Iterable[Prediction],
    protocol: str,
    dropped: list[Irregularity],
    masks: Path | None = None,
    worst: int = 0,
) -> Evaluation:
    """Score predictions as they come; nothing but scores and the worst frames is kept in memory.

    Args:
        predictions: frames of one split.
        protocol: a key of `PROTOCOLS`.
        dropped: what the source of the predictions could not read; taken over into the result.
        masks: folder for `<video>/<stem>.png`, the very masks that are scored; None writes none.
        worst: frames on the sheet of worst frames; 0: no sheet.

    Raises:
        ConfigError: unknown protocol, PySODMetrics missing.
        InputError: no frame could be scored.
    """
    rows: tuple[Protocol, ...] = get_protocols(protocol)
    scorers = {minmax: FrameScorer(minmax) for minmax in dict.fromkeys(p.minmax for p in rows)}
    scores: dict[bool, list[FrameScore]] = {minmax: [] for minmax in scorers}
    sheet = WorstFrames(worst)
    for item in predictions:
        for minmax, scorer in scorers.items():
            mask = to_uint8(item.mask_prob, minmax) if item.stored is None else item.stored
            score = scorer.score(item.video, item.frame.stem, mask, item.ground_truth)
            scores[minmax].append(score)
            if minmax == rows[0].minmax:
                sheet.add(score, item.rgb, item.ground_truth, mask)
                if masks is not None:
                    _save(masks, item, mask)
    result = Evaluation(protocol, scores, dropped, sheet)
    if not result.main:
        reasons = "; ".join(sorted({entry.reason for entry in dropped})[:3]) or "no annotated frame in this split"
        raise InputError(f"evaluation: expected at least one frame to score, got none ({reasons})")
    return result


def _save(folder: Path, item: Prediction, mask: Any) -> None:
    for name in (item.video, item.frame.stem):
        if not safe_name(name):
            raise InputError(f"mask name: expected a plain file name, got {name!r}")
    (folder / item.video).mkdir(parents=True, exist_ok=True)
    write_png(folder / item.video / f"{item.frame.stem}.png", mask)


def counted(predictions: Iterable[Prediction], scan: Scan, title: str) -> Iterator[Prediction]:
    """The same predictions with a progress bar on a terminal."""
    yield from tracked(predictions, title, scan.frame_count)
