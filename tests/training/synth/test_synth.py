# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The generator of RGB-D clips."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from m4sam_core.errors import InputError
from m4sam_training.synth.assets import load_style
from m4sam_training.synth.builder import SceneBuilder
from m4sam_training.synth.clip import PLAIN_STYLE, generate_clip, write_clip
from m4sam_training.synth.geometry import Canvas, Pose, Surface, Wobble
from m4sam_training.synth.lens import expose, random_lens
from m4sam_training.synth.models.shapes import SOLIDS
from m4sam_training.synth.sensor import SensorNoise, sense
from m4sam_training.synth.solids import Solid, import_trimesh, load_mesh, mesh_from_trimesh
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


@pytest.mark.parametrize("recipe", sorted(SOLIDS))
def test_every_solid_turns_in_space_and_lies_in_front(recipe) -> None:
    rng = np.random.default_rng(3)
    shape = import_trimesh().util.concatenate([part for part, _ in SOLIDS[recipe](rng)])
    mesh = mesh_from_trimesh(shape)
    assert np.ptp(mesh.vertices, axis=0).max() == pytest.approx(1.0, abs=1e-5)
    canvas = Canvas(_pose())
    canvas.depth[:] = 5.0
    _solid(mesh, turn_rad_s=1.0).draw(canvas, np.array([0.0, 0.0, 2.0]), 0.8, 7, 0.0)
    mine = canvas.owner == 7
    assert mine.sum() > 20
    assert (np.abs(canvas.depth[mine] - 2.0) < 0.8).all()
    assert (canvas.depth[~mine] == 5.0).all()
    later = Canvas(_pose())
    _solid(mesh, turn_rad_s=1.0).draw(later, np.array([0.0, 0.0, 2.0]), 0.8, 7, 0.7)
    assert not np.array_equal(later.rgb, canvas.rgb)


def test_a_solid_cube_has_the_depth_of_its_front_face() -> None:
    mesh = mesh_from_trimesh(import_trimesh().creation.box((1, 1, 1)))
    canvas = Canvas(_pose())
    _solid(mesh).draw(canvas, np.array([0.0, 0.0, 3.0]), 1.0, 1, 0.0)
    assert canvas.depth[24, 32] == pytest.approx(2.5, abs=1e-4)
    assert (canvas.owner > 0).sum() == pytest.approx((60.0 / 2.5) ** 2, rel=0.1)
    behind = Canvas(_pose())
    behind.depth[:] = 1.0
    _solid(mesh).draw(behind, np.array([0.0, 0.0, 3.0]), 1.0, 1, 0.0)
    assert not behind.owner.any()


def test_a_solid_stands_on_its_lowest_point() -> None:
    mesh = mesh_from_trimesh(import_trimesh().creation.box((1, 0.4, 1)))
    assert _solid(mesh).foot == pytest.approx(0.2, abs=1e-6)


def test_mesh_files_bring_their_texture(tmp_path) -> None:
    (tmp_path / "quad.obj").write_text(
        "v 0 0 0\nv 1 0 0\nv 1 0 1\nv 0 0 1\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nf 1/1 2/2 3/3\nf 1/1 3/3 4/4\n",
        encoding="utf-8",
    )
    cv2.imwrite(str(tmp_path / "quad.png"), np.full((8, 8, 3), (10, 20, 200), np.uint8))
    mesh = load_mesh(tmp_path / "quad.obj")
    assert mesh.texture is not None
    assert mesh.texture[0, 0] == pytest.approx([200, 20, 10])
    assert np.ptp(mesh.vertices[:, 1]) == pytest.approx(1.0)
    (tmp_path / "broken.obj").write_bytes(b"\x00\x01")
    with pytest.raises(InputError, match=r"broken\.obj"):
        load_mesh(tmp_path / "broken.obj")


def test_rich_scenes_have_solids_and_white_clutter() -> None:
    style = replace(PLAIN_STYLE, solid_share=1.0, border_share=1.0, pale_share=1.0)
    scenes = [SceneBuilder(style, np.random.default_rng(seed), 4 / 3).build() for seed in range(6)]
    things = [thing for scene in scenes for thing in scene.things]
    assert sum(isinstance(thing.body, Solid) for thing in things) > len(things) / 2
    assert any(isinstance(t.body, Solid) and not t.salient and t.body.texture.mean() > 180 for t in things)
    first, second = (list(generate_clip(5, 2, 60, 80, style=style)) for _ in range(2))
    assert np.array_equal(first[1].rgb, second[1].rgb)


def _solid(mesh, turn_rad_s=0.0):
    still = Wobble(np.zeros(3), np.zeros((2, 3)), np.zeros((2, 3)))
    texture = np.random.default_rng(0).uniform(0, 255, (32, 32, 3)).astype(np.float32)
    return Solid(
        mesh, texture, "box", 1.0, np.zeros(3), still, turn_rad_s, np.array([0.3, -0.5, 1.0]), ambient=0.5, gloss=0.2
    )
