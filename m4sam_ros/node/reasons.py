# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with the stream, told from counts: one line each, with what to do. No ROS in here."""

from __future__ import annotations

from dataclasses import dataclass, field

# In one period. A looping bag makes two with each loop.
MANY_JUMPS = 8
# Shares of the messages of a stream.
MANY_LATE = 0.2
MANY_BAD = 0.1
# In one period; and masks to a scene below which the memory is of no use.
FEW_SCENES = 3
MEMORY_FRAMES = 8
_REMEDY = {
    "frame_id": "; do two drivers publish under one name?",
    "size": "; do two drivers publish under one name?",
    "calibration": "; do two drivers publish camera_info under one name?",
    "time": "; does a bag loop, or does the driver stamp its images unsteadily?",
    "gap": "; the stream stops and starts (stream.scene.max_gap_s)",
    "picture": "; lower stream.scene.sensitivity where that is the same scene",
    "model": "; see the log for what fails",
}


@dataclass
class InputFacts:
    """One input since the last look.

    Attributes:
        topic: its resolved name.
        publishers: how many there are now.
        received: messages since the last look.
        bad: unusable messages since the last look.
        last_error: what was wrong with the last bad one, ever.
        incompatible_policy: QoS policy that a publisher could not satisfy, None when there was none.
        late: messages whose stamp did not advance.
        kind: message type that the node reads.
        foreign_type: another type that somebody publishes on the topic, "" when nobody does.
    """

    topic: str
    publishers: int = 0
    received: int = 0
    bad: int = 0
    last_error: str = ""
    incompatible_policy: str | None = None
    late: int = 0
    kind: str = ""
    foreign_type: str = ""


@dataclass
class Facts:
    """The node since the last look.

    Attributes:
        rgb: the rgb input.
        depth: the depth input.
        enabled: parameter `enabled`.
        masks: masks published.
        busy_s: how long the current frame has been inferred, 0 when idle. Seconds.
        model_error: the last error of the model since the last look, "" without.
        missing_depth: policy.
        tolerance_s: pairing tolerance now.
        nearest_miss_s: distance of the nearest depth of the last frame without partner, None without.
        clock: what is wrong with simulated time, see `why_no_time`; "" when nothing is.
        environment: what this machine lacks for messages to come, "" when nothing.
        drops: frames dropped since the last look, by cause.
        unpaired: of the masks, those without a depth message of their time.
        depth_note: why the model could not use the depth of the last frame, "" when it could.
        time_jumps: how often a stream's stamps jumped.
        period_s: how long ago the last look was.
        new_scenes: scenes that began anew since then, by cause.
        scene_text: what the last new scene of a cause was.
        blank_rgb: why most masks are empty, "" when the pictures show something.
        frozen: which camera repeats its last image, "" when none does.
        camera_info: what is wrong with camera_info, "" when nothing is.
        doubt: why most images may not be what their messages say, "" when they are.
        mask_topic: resolved name of the mask.
        mask_publishers: how many publish it; 1 is this node.
    """

    rgb: InputFacts
    depth: InputFacts
    enabled: bool = True
    masks: int = 0
    busy_s: float = 0.0
    model_error: str = ""
    missing_depth: str = "hold"
    tolerance_s: float = 0.0
    nearest_miss_s: float | None = None
    clock: str = ""
    environment: str = ""
    drops: dict[str, int] = field(default_factory=dict)
    unpaired: int = 0
    depth_note: str = ""
    time_jumps: int = 0
    period_s: float = 5.0
    new_scenes: dict[str, int] = field(default_factory=dict)
    scene_text: dict[str, str] = field(default_factory=dict)
    blank_rgb: str = ""
    frozen: str = ""
    camera_info: str = ""
    doubt: str = ""
    mask_topic: str = ""
    mask_publishers: int = 1


def why_no_time(now_ns: int, before_ns: int) -> str:
    """What is wrong with simulated time; "" when it runs.

    Args:
        now_ns: 0 as long as it has not begun. Nanoseconds.
        before_ns: at the last look. Nanoseconds.
    """
    if now_ns == 0:
        return "/clock is silent while use_sim_time is set"
    if now_ns == before_ns:
        return f"simulated time stands still at {now_ns * 1e-9:.3f} s; is the simulation paused?"
    return ""


def why_no_mask(facts: Facts) -> str | None:
    """One line saying why nothing is published and what to do; None when masks come or are not wanted."""
    if facts.masks > 0 or not facts.enabled:
        return None
    for problem in (_input_problem(facts.rgb, facts), _model_problem(facts)):
        if problem is not None:
            return f"no mask: {problem}"
    if facts.missing_depth == "drop":
        problem = _input_problem(facts.depth, facts) or _pairing_problem(facts)
        return f"no mask: {problem}"
    if facts.drops:
        causes = ", ".join(f"{count} {cause}" for cause, count in sorted(facts.drops.items()))
        return f"no mask: every frame was dropped ({causes}); see docs/troubleshooting.md"
    return "no mask: the first frames are on their way"


def why_twice(facts: Facts) -> str | None:
    """One line when another node publishes the same masks; None otherwise."""
    if facts.mask_publishers <= 1:
        return None
    return (
        f"{facts.mask_publishers} publishers of {facts.mask_topic}: another node has the same name or topics; give "
        "each a namespace (namespace:=..., -r __ns:=/front/saliency); one that was killed is gone after 20 s"
    )


def why_crowded(facts: Facts) -> str | None:
    """One line when an image topic has several publishers, whose images would be taken for one camera's; else None."""
    for image in (facts.rgb, facts.depth):
        if image.publishers > 1 and image.received:
            return (
                f"{image.publishers} publishers on {image.topic}: two cameras or players share the name, and their "
                "frames mix; stop one, or give each a name; one that was killed is gone after 20 s"
            )
    return None


def why_unsteady(facts: Facts) -> str | None:
    """One line when the stamps of an input jump about or go back and forth; None otherwise."""
    if facts.time_jumps >= MANY_JUMPS:
        return (
            f"the stamps of {facts.rgb.topic} or {facts.depth.topic} jumped {facts.time_jumps} times in "
            f"{facts.period_s:.0f} s; does the driver stamp its images when they are taken?"
        )
    for image in (facts.rgb, facts.depth):
        if image.late > MANY_LATE * image.received and image.received >= MANY_JUMPS:
            return (
                f"the stamps of {image.topic} go back and forth: {image.late} of {image.received} messages are older "
                "than one before them and are left out; does the driver stamp its images when they are taken?"
            )
    return None


def why_no_memory(facts: Facts) -> str | None:
    """One line when scenes begin anew so often that the memory never lives; None otherwise."""
    total = sum(facts.new_scenes.values())
    if total < FEW_SCENES or total * MEMORY_FRAMES < facts.masks:
        return None
    cause = max(facts.new_scenes, key=lambda name: facts.new_scenes[name])
    per_minute = total * 60 / max(facts.period_s, 1.0)
    return (
        f"the scene begins anew {per_minute:.0f} times a minute: {facts.scene_text.get(cause, cause)}{_REMEDY[cause]}"
    )


def why_wrong_calibration(facts: Facts) -> str | None:
    """One line when camera_info is not the images'; None otherwise."""
    return facts.camera_info or None


def why_one_topic(facts: Facts) -> str | None:
    """One line when colour and depth are read from one topic; None otherwise."""
    if facts.rgb.topic != facts.depth.topic:
        return None
    return f"colour and depth are both read from {facts.rgb.topic}; remap rgb/image and depth/image to a topic each"


def why_damaged(facts: Facts) -> str | None:
    """One line when many messages of an input cannot be read; None otherwise."""
    for image in (facts.rgb, facts.depth):
        if image.received >= MANY_JUMPS and image.bad > MANY_BAD * image.received:
            return f"many messages on {image.topic} are unusable: {image.last_error}"
    return None


def why_doubtful(facts: Facts) -> str | None:
    """One line when images may not be what their messages say; None otherwise."""
    return facts.doubt or None


def why_empty(facts: Facts) -> str | None:
    """One line when the pictures show nothing, so that masks are empty; None otherwise."""
    return facts.blank_rgb or None


def why_frozen(facts: Facts) -> str | None:
    """One line when a camera repeats its last image, so that masks are old; None otherwise."""
    return facts.frozen or None


def why_no_depth(facts: Facts) -> str | None:
    """One line saying why masks are made without depth; None when depth is used, or no masks are made."""
    if facts.masks == 0 or not facts.enabled:
        return None
    problem = _input_problem(facts.depth, facts)
    if problem is None and 2 * facts.unpaired > facts.masks:
        problem = _pairing_problem(facts)
    elif problem is None and facts.depth_note:
        problem = f"the model cannot use {facts.depth.topic}: {facts.depth_note}"
    return None if problem is None else f"masks from rgb alone: {problem}"


def _input_problem(facts: InputFacts, node: Facts) -> str | None:
    topic = facts.topic
    if facts.received == 0:
        if facts.foreign_type:
            return f"{topic} carries {facts.foreign_type}, the node reads {facts.kind}; {_other_topic(facts)}"
        if facts.publishers == 0:
            cause = f"{node.environment}; or " if node.environment else ""
            return f"no publisher on {topic}; {cause}start the camera or remap the input (ros2 topic list)"
        if facts.incompatible_policy is not None:
            return (
                f"QoS mismatch on {topic}: its publisher's {facts.incompatible_policy} does not satisfy the node's; "
                "set qos.reliability:=auto or best_effort"
            )
        cause = f", and {node.clock}" if node.clock else f"; {node.environment or 'is the camera streaming?'}"
        return f"{facts.publishers} publisher(s) on {topic} but no message{cause}"
    if facts.bad == facts.received:
        return f"every message on {topic} is unusable: {facts.last_error}"
    if facts.late >= facts.received - facts.bad:
        cause = f", and {node.clock}" if node.clock else "; the driver must stamp its messages"
        return f"the stamps of {topic} do not advance{cause}"
    return None


def _other_topic(facts: InputFacts) -> str:
    """What to do about a topic of another type."""
    base, _, transport = facts.topic.rpartition("/")
    if transport in ("compressed", "compressedDepth"):
        setting = "image_transport" if transport == "compressed" else "depth_transport"
        return f"set {setting}:={transport} and remap the input to {base}"
    return "remap the input to another topic (ros2 topic list -t)"


def _model_problem(facts: Facts) -> str | None:
    if facts.model_error:
        return f"the model fails: {facts.model_error}"
    if facts.busy_s > 0:
        return f"the model has been busy with one frame for {facts.busy_s:.1f} s; choose a smaller one (model:=edge)"
    return None


def _pairing_problem(facts: Facts) -> str:
    miss = facts.nearest_miss_s
    if miss is None:
        return "no depth message has come near an rgb frame yet"
    apart = f"{miss * 1000:.0f} ms" if miss < 10 else f"{miss:.0f} s"
    remedy = "are both stamped by the same clock?" if miss > 1 else "set sync.tolerance_s or sync.depth_stamp_offset_s"
    tolerance = f"{facts.tolerance_s * 1000:.0f} ms"
    return f"no pairs within the tolerance of {tolerance}, the nearest depth is {apart} away; {remedy}"


def why(facts: Facts) -> str | None:
    """The line that helps most; None when nothing is wrong."""
    return next(filter(None, (look(facts) for look in _LOOKS)), None)


# In the order of what hurts more.
_LOOKS = (
    why_no_mask,
    why_twice,
    why_crowded,
    why_one_topic,
    why_doubtful,
    why_empty,
    why_frozen,
    why_unsteady,
    why_no_memory,
    why_no_depth,
    why_damaged,
    why_wrong_calibration,
)
