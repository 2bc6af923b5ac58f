"""The generator of RGB-D clips."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from m4sam_core.errors import InputError
from m4sam_training.synth.assets import load_style
from m4sam_training.synth.clip import generate_clip, write_clip
from m4sam_training.synth.geometry import Canvas, Pose, Surface, Wobble
from m4sam_training.synth.lens import expose, random_lens
from m4sam_training.synth.sensor import SensorNoise, sense
from m4sam_training.synth.sprites import SHAPES, SPRITE_PX, random_sprite
from m4sam_training.synth.texture import PATTERNS, procedural_texture, value_noise

SIZE = {"height": 96, "width": 128}


def _clip(seed, frames=2):
    return list(generate_clip(seed, frames, **SIZE))


def test_same_seed_same_clip() -> None:
    for first, second in zip(_clip(3), _clip(3), strict=True):
        assert np.array_equal(first.rgb, second.rgb)
        assert np.array_equal(first.depth, second.depth)
        assert np.array_equal(first.mask, second.mask)


def test_other_seed_other_clip() -> None:
    assert not np.array_equal(_clip(3)[0].rgb, _clip(4)[0].rgb)


def test_types_sizes_and_stamps() -> None:
    frames = list(generate_clip(0, 3, 60, 80, fps=10.0))
    assert [frame.stamp for frame in frames] == [0.0, 0.1, 0.2]
    for frame in frames:
        assert (frame.rgb.shape, frame.rgb.dtype) == ((60, 80, 3), np.uint8)
        assert (frame.depth.shape, frame.depth.dtype) == ((60, 80), np.uint16)
        assert (frame.mask.shape, frame.mask.dtype) == ((60, 80), np.uint8)
        assert set(np.unique(frame.mask)) <= {0, 255}


def test_most_clips_show_something_salient_nearer_than_the_rest() -> None:
    shares, nearer = [], 0
    for seed in range(12):
        frame = _clip(seed, 1)[0]
        shares.append((frame.mask > 0).mean())
        seen = frame.depth > 0
        inside, outside = frame.depth[seen & (frame.mask > 0)], frame.depth[seen & (frame.mask == 0)]
        nearer += bool(inside.size and outside.size and np.median(inside) < np.percentile(outside, 90))
    assert sum(share > 0.005 for share in shares) >= 10
    assert max(shares) < 0.9
    assert nearer >= 9


@pytest.mark.parametrize("arguments", [{"frames": 0}, {"frames": 1, "height": 8}, {"frames": 1, "fps": 0.0}])
def test_impossible_clips_are_refused(arguments) -> None:
    with pytest.raises(InputError, match="synthetic clip"):
        next(generate_clip(0, **arguments))


def test_written_clip_reads_back_exactly(tmp_path) -> None:
    write_clip(tmp_path / "clip", 5, 2, fps=7.5, **SIZE)
    frame = list(generate_clip(5, 2, fps=7.5, **SIZE))[1]
    rgb = cv2.imread(str(tmp_path / "clip/rgb/00001.png"))[..., ::-1]
    depth = cv2.imread(str(tmp_path / "clip/depth/00001.png"), cv2.IMREAD_UNCHANGED)
    mask = cv2.imread(str(tmp_path / "clip/mask/00001.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(rgb, frame.rgb)
    assert depth.dtype == np.uint16
    assert np.array_equal(depth, frame.depth)
    assert np.array_equal(mask, frame.mask)
    assert "fps: 7.5" in (tmp_path / "clip/video.yaml").read_text(encoding="utf-8")


def _pose(width=64, height=48, focal_px=60.0):
    return Pose.look(np.zeros(3), np.zeros(3), focal_px, width, height)


def test_a_wall_has_the_depth_of_its_distance() -> None:
    canvas = Canvas(_pose())
    texture = np.full((8, 8, 3), 200, np.float32)
    canvas.draw_surface(Surface(np.array([-9.0, -9, 2]), np.array([18.0, 0, 0]), np.array([0, 18.0, 0]), texture))
    assert np.allclose(canvas.depth, 2.0, atol=1e-4)
    assert np.allclose(canvas.rgb, 200, atol=1e-3)


def test_the_nearer_wall_wins_whatever_the_order() -> None:
    near = Surface(
        np.array([-9.0, -9, 1]), np.array([18.0, 0, 0]), np.array([0, 18.0, 0]), np.ones((4, 4, 3), np.float32)
    )
    far = Surface(
        np.array([-9.0, -9, 3]), np.array([18.0, 0, 0]), np.array([0, 18.0, 0]), np.zeros((4, 4, 3), np.float32)
    )
    for order in ((near, far), (far, near)):
        canvas = Canvas(_pose())
        for surface in order:
            canvas.draw_surface(surface)
        assert np.allclose(canvas.depth, 1.0, atol=1e-4)


def test_projection_undoes_back_projection() -> None:
    pose = Pose.look(np.array([0.1, -0.2, 0.3]), np.array([0.3, -0.2, 0.1]), 60.0, 64, 48)
    column, row, depth = pose.project(pose.point_at(10.0, 40.0, 1.5))
    assert (column, row, depth) == pytest.approx((10.0, 40.0, 1.5))


def test_positive_pitch_looks_down() -> None:
    pose = Pose.look(np.zeros(3), np.array([0.4, 0.0, 0.0]), 60.0, 64, 48)
    assert pose.point_at(32, 24, 1.0)[1] > 0.3


def _sensor(**changes):
    values = {
        "kind": "stereo", "disparity_step_px": 1e-4, "noise_px": 0.0, "axial_m": 0.0, "shadow_px": 0.0,
        "edge_jitter_px": 0.0, "dropout": 0.0, "border_px": (0, 0, 0, 0), "max_m": 8.0,
        "patches": np.ones((16, 16), np.float32),
    }  # fmt: skip
    return SensorNoise(**{**values, **changes})


def test_a_perfect_sensor_reads_millimetres() -> None:
    depth_m = np.linspace(0.5, 3.0, 48 * 64, dtype=np.float32).reshape(48, 64)
    reading = sense(depth_m, _sensor(), np.random.default_rng(0), 60.0)
    assert np.abs(reading / 1000 - depth_m).max() < 0.005


def test_sensor_loses_what_is_too_far_and_its_borders() -> None:
    depth_m = np.full((48, 64), 1.0, np.float32)
    depth_m[:24] = 9.5
    reading = sense(depth_m, _sensor(border_px=(3, 2, 0, 4)), np.random.default_rng(0), 60.0)
    assert not reading[:24].any()
    assert not reading[:, :3].any()
    assert not reading[:, -2:].any()
    assert not reading[-4:].any()
    assert reading[24:-4, 3:-2].all()


def test_a_second_viewpoint_casts_a_shadow_beside_the_foreground() -> None:
    depth_m = np.full((48, 64), 3.0, np.float32)
    depth_m[10:40, 20:40] = 0.6
    reading = sense(depth_m, _sensor(shadow_px=8.0), np.random.default_rng(0), 60.0)
    assert reading[20, 30] > 0
    assert (reading == 0).any()
    assert not (reading[:8] == 0).any()


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_every_shape_is_solid_and_in_front(shape) -> None:
    alpha, relief = SHAPES[shape](np.random.default_rng(2))
    assert alpha.shape == relief.shape == (SPRITE_PX, SPRITE_PX)
    assert 0.03 < (alpha > 0.5).mean() < 0.95
    assert relief.min() >= 0
    assert relief.max() > 0.01


@pytest.mark.parametrize("pattern", sorted(PATTERNS))
def test_every_pattern_is_a_share(pattern) -> None:
    field = PATTERNS[pattern](np.random.default_rng(1), 128)
    assert field.shape == (128, 128)
    assert field.min() >= 0
    assert field.max() <= 1


def test_textures_stay_in_range_and_noise_is_stretched() -> None:
    texture = procedural_texture(np.random.default_rng(0), 64, 0.8, 1.0)
    assert texture.shape == (64, 64, 3)
    assert texture.min() >= 0
    assert texture.max() <= 255
    noise = value_noise(np.random.default_rng(0), 64, 4)
    assert (noise.min(), noise.max()) == pytest.approx((0.0, 1.0))


def test_light_comes_from_where_it_is_said_to() -> None:
    rng = np.random.default_rng(5)
    sprite = random_sprite(rng, np.array([-1.0, 0.0, 0.3]), 1.0, 0.0)
    assert sprite.rgb.shape == (SPRITE_PX, SPRITE_PX, 3)
    assert sprite.rgb[sprite.alpha > 0.5].std() > 1


def test_motion_is_smooth_and_bounded() -> None:
    wobble = Wobble.draw(np.random.default_rng(0), [0.2, 0.1], 1.0)
    path = np.array([wobble.at(t) for t in np.linspace(0, 5, 400)])
    assert (np.abs(path) <= [0.2, 0.1]).all()
    assert np.abs(np.diff(path, axis=0)).max() < 0.02


def test_cameras_differ_with_severity() -> None:
    rgb = np.full((48, 64, 3), 120, np.float32)
    good = expose(rgb, random_lens(np.random.default_rng(1), 64, 0.0), 0.0, np.random.default_rng(2))
    bad = expose(rgb, random_lens(np.random.default_rng(1), 64, 1.0), 0.0, np.random.default_rng(2))
    assert good.dtype == bad.dtype == np.uint8
    assert bad.std() > good.std()


def test_held_out_pictures_and_sensor_are_not_the_training_ones(tmp_path) -> None:
    rng = np.random.default_rng(0)
    for folder, channels in (("photos", 3), ("cutouts", 4)):
        (tmp_path / folder).mkdir()
        for index in range(9):
            cv2.imwrite(str(tmp_path / folder / f"{index}.png"), rng.integers(0, 255, (40, 40, channels), np.uint8))
    (tmp_path / "backdrops.txt").write_text("1 8", encoding="utf-8")
    train, held_out = load_style(tmp_path, "train"), load_style(tmp_path, "held_out")
    assert (len(train.photos), len(held_out.photos)) == (7, 2)
    assert (len(train.backdrops), len(held_out.backdrops)) == (1, 1)
    assert (len(train.cutouts), len(held_out.cutouts)) == (7, 2)
    assert not set(train.sensors) & set(held_out.sensors)
    assert len(list(generate_clip(0, 1, 60, 80, style=train))) == 1


def test_a_folder_without_pictures_says_what_to_do(tmp_path) -> None:
    with pytest.raises(InputError, match="m4sam edge assets"):
        load_style(tmp_path, "train")
