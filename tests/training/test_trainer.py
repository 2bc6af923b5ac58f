"""The training run in one process: resuming, accumulation, precision, checkpoints, refusals."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.checkpoint import load_checkpoint, save_checkpoint
from m4sam_core.errors import CheckpointError, ConfigError
from m4sam_core.stream.recurrence import unroll_clip
from m4sam_training.checkpointing import Progress, list_checkpoints, load_adapter, load_training_state, trainable_state
from m4sam_training.distributed import World, choose_device
from m4sam_training.optim import learning_rates, make_optimizer
from m4sam_training.starting_model import starting_model
from m4sam_training.train_config import TrainConfig
from m4sam_training.train_data import ClipSampler
from m4sam_training.train_log import read_metrics
from m4sam_training.train_step import DivergedError, TrainStep
from m4sam_training.trainer import Trainer, choose_checkpoint

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


class Discs:
    """Clips of a bright disc in front of a dark wall, moving; the same clip for the same index and epoch."""

    def __init__(self, clips: int = 4, length: int = 2) -> None:
        self.clips, self.length, self.epoch, self.poison = clips, length, 0, None

    def __len__(self) -> int:
        return self.clips

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(1000 * self.epoch + index)
        rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
        x, y, radius = (torch.rand(3, generator=generator) * torch.tensor([24.0, 24.0, 6.0])).tolist()
        mask = torch.stack(
            [
                ((columns - x - 16 - 2 * t) ** 2 + (rows - y - 16) ** 2 < (8 + radius) ** 2).float()[None]
                for t in range(self.length)
            ]
        )
        noise = 0.1 * torch.rand(self.length, 3, 64, 64, generator=generator)
        colour = torch.tensor([0.8, 0.3, 0.1]).view(1, 3, 1, 1)
        rgb = (0.2 + noise) * (1 - mask) + colour * mask
        if index == self.poison:
            mask = mask * float("nan")
        return {"rgb": rgb, "depth": 0.9 - 0.6 * mask, "mask": mask, "name": f"disc{index}", "stems": ["0"]}


def settings(**sections: dict[str, Any]) -> TrainConfig:
    base: dict[str, Any] = {
        "model": {"preset": "nano"},
        "data": {"batch_size": 2, "workers": 0},
        "optim": {"epochs": 2, "scale_lr_by_processes": False},
        "run": {"tensorboard": False, "log_every_steps": 1, "device": "cpu"},
    }
    for name, values in sections.items():
        base[name] = {**base.get(name, {}), **values}
    return TrainConfig.parse(base)


def losses(out: Path) -> list[tuple[int, float, float]]:
    return [(entry["step"], entry["loss/total"], entry["grad_norm"]) for entry in read_metrics(out)]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(out / "last.safetensors").state_dict()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory) -> Path:
    """Two epochs of two steps, uninterrupted."""
    out = tmp_path_factory.mktemp("whole")
    result = Trainer(settings(), Discs(), out, ALONE).run()
    assert result.progress == Progress(epoch=2, clips=0, step=4)
    return out


def test_a_run_leaves_loadable_weights_and_metrics(whole_run):
    entries = read_metrics(whole_run)
    assert [entry["step"] for entry in entries] == [1, 2, 3, 4]
    assert {"loss/coarse1", "loss/edge3", "loss/mae", "loss/moe", "lr/rest", "lr/adapter"} <= entries[0].keys()
    for group in ("rgb", "depth", "fusion"):
        shares = [entries[0][f"expert_load/{group}/{index}"] for index in range(3)]
        assert sum(shares) == pytest.approx(1.0, abs=1e-5)
    model = load_checkpoint(whole_run / "last.safetensors")
    clip = Discs()[0]
    with torch.no_grad():
        output = unroll_clip(model, clip["rgb"][None], clip["depth"][None])
    assert output.mask_prob.shape == (1, 2, 1, 64, 64)
    assert not equal(weights(whole_run), starting_model(settings()).state_dict())


@pytest.mark.parametrize("steps", [2, 3], ids=["between epochs", "inside an epoch"])
def test_resumed_equals_uninterrupted(whole_run, tmp_path, steps):
    stopped = Trainer(settings(run={"max_steps": steps}), Discs(), tmp_path, ALONE).run()
    assert stopped.progress.step == steps
    again = Trainer(settings(), Discs(), tmp_path, ALONE)
    again.resume(list_checkpoints(tmp_path)[-1])
    again.run()
    assert losses(tmp_path) == losses(whole_run)
    assert equal(weights(tmp_path), weights(whole_run))


def test_two_runs_with_one_seed_are_equal_and_another_seed_differs(whole_run, tmp_path):
    Trainer(settings(run={"max_steps": 1}), Discs(), tmp_path / "same", ALONE).run()
    assert losses(tmp_path / "same") == losses(whole_run)[:1]
    Trainer(settings(run={"seed": 1, "max_steps": 1}), Discs(), tmp_path / "other", ALONE).run()
    assert losses(tmp_path / "other")[0] != losses(whole_run)[0]


def test_resuming_drops_log_entries_the_checkpoint_does_not_know(whole_run, tmp_path):
    Trainer(settings(run={"max_steps": 3}), Discs(), tmp_path, ALONE).run()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 4, "epoch": 1, "loss/total": 99.0, "grad_norm": 1.0}) + '\n{"step": 5, "ep')
    again = Trainer(settings(), Discs(), tmp_path, ALONE)
    again.resume(list_checkpoints(tmp_path)[-1])
    again.run()
    assert losses(tmp_path) == losses(whole_run)


def test_only_free_settings_may_change_on_resume(tmp_path):
    Trainer(settings(run={"max_steps": 1}), Discs(), tmp_path, ALONE).run()
    folder = list_checkpoints(tmp_path)[-1]
    with pytest.raises(ConfigError, match=r"got other values of optim\.lr, run\.seed"):
        Trainer(settings(optim={"lr": 0.5}, run={"seed": 4}), Discs(), tmp_path, ALONE).resume(folder)
    other = Trainer(settings(run={"keep_checkpoints": 5}), Discs(), tmp_path, ALONE)
    other.resume(folder)
    assert other.progress.step == 1


def test_accumulating_two_batches_averages_their_gradients():
    """Without batch statistics in play (evaluation mode), 2 batches of 2 equal 1 batch of 4."""
    loss = {"moe_weight": 0.0, "final": {"dice": 0.0}}
    cfg = settings(loss=loss, optim={"deep_update": "always"}, model={"preset": "nano", "adapter": {"gate_noise": 0.0}})
    clips = [Discs()[index] for index in range(4)]

    def gradients(groups: list[list[dict[str, Any]]]) -> dict[str, torch.Tensor]:
        step = TrainStep(starting_model(cfg), cfg, ALONE)
        step.model.eval()
        batches = [
            {key: torch.stack([clip[key] for clip in group]) for key in ("rgb", "depth", "mask")} for group in groups
        ]
        step.run(batches, epoch=0, step=0)
        return {name: p.grad for name, p in step.model.named_parameters() if p.grad is not None}

    together, apart = gradients([clips]), gradients([clips[:2], clips[2:]])
    for name, gradient in together.items():
        assert torch.allclose(gradient, apart[name], rtol=1e-3, atol=1e-6), name


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_mixed_precision_stays_near_full_precision(amp):
    batch = {key: torch.stack([Discs()[i][key] for i in range(2)]) for key in ("rgb", "depth", "mask")}
    totals = []
    for choice in ("off", amp):
        cfg = settings(optim={"amp": choice})
        step = TrainStep(starting_model(cfg), cfg, ALONE)
        report = step.run([batch], epoch=0, step=0)
        assert all(p.dtype == torch.float32 for p in step.model.parameters())
        totals.append(report.losses["total"].item())
    assert totals[1] == pytest.approx(totals[0], rel=0.02)


@pytest.mark.parametrize("kind", ["moe_lora", "bottleneck", "none"])
def test_recomputing_the_trunk_changes_no_number(kind):
    batch = {key: torch.stack([Discs()[i][key] for i in range(2)]) for key in ("rgb", "depth", "mask")}
    results = []
    for recompute in (False, True):
        cfg = settings(optim={"recompute": recompute}, model={"preset": "nano", "adapter": {"kind": kind}})
        step = TrainStep(starting_model(cfg), cfg, ALONE)
        for number in range(2):
            step.run([batch], epoch=0, step=number)
        results.append(step.model.state_dict())
    assert equal(*results), "weights, running statistics and their counters"


def test_gradients_are_clipped_to_the_norm_asked_for():
    cfg = settings(optim={"grad_clip": 0.5})
    step = TrainStep(starting_model(cfg), cfg, ALONE)
    batch = {key: Discs()[0][key][None].repeat(2, 1, 1, 1, 1) for key in ("rgb", "depth", "mask")}
    report = step.run([batch], epoch=0, step=0)
    assert report.grad_norm > 0.5
    clipped = math.sqrt(
        sum(p.grad.double().square().sum().item() for p in step.model.parameters() if p.grad is not None)
    )
    assert clipped == pytest.approx(0.5, rel=1e-3)


def test_the_frozen_trunk_stays_and_the_rest_moves(whole_run):
    before, after = starting_model(settings()).state_dict(), weights(whole_run)
    frozen = [name for name in before if name.startswith("trunk.hiera.")]
    assert frozen
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert all(
        torch.any(before[name] != after[name])
        for name in before
        if name.startswith("fuser.") and name.endswith("weight")
    )


def test_learning_rates_follow_the_cosine_and_the_number_of_processes():
    cfg = settings(optim={"epochs": 60, "scale_lr_by_processes": True}).optim
    assert learning_rates(cfg, 0, 2) == {"rest": 2e-3, "adapter": 2e-4}
    assert learning_rates(cfg, 30, 2)["rest"] == pytest.approx((2e-3 + 1e-7) / 2)
    assert learning_rates(cfg, 60, 2)["rest"] == pytest.approx(1e-7)
    theirs = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, T_max=60, eta_min=1e-7)
    for epoch in range(60):
        assert learning_rates(cfg, epoch, 1)["rest"] == pytest.approx(schedule.get_last_lr()[0], rel=1e-9)
        theirs.step()
        schedule.step()


def test_optimiser_groups_split_adapters_from_the_rest():
    model = build_model(settings().model)
    groups = {group["name"]: group for group in make_optimizer(model, settings().optim).param_groups}
    inside = {id(p) for p in model.trunk.parameters()}
    assert (groups["rest"]["lr"], groups["adapter"]["lr"]) == (1e-3, 1e-4)
    assert all(id(p) in inside for p in groups["adapter"]["params"])
    trained = sum(len(group["params"]) for group in groups.values())
    assert trained == sum(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(("processes", "batch_size"), [(1, 4), (2, 2), (4, 1)])
def test_any_number_of_processes_sees_the_same_batches(processes, batch_size):
    samplers = [
        ClipSampler(10, batch_size=batch_size, rank=rank, processes=processes, seed=5) for rank in range(processes)
    ]
    for sampler in samplers:
        sampler.start(epoch=3)
    seen = [[*chain(*parts)] for parts in zip(*samplers, strict=True)]
    single = ClipSampler(10, batch_size=4, rank=0, processes=1, seed=5)
    single.start(epoch=3)
    assert seen == list(single)
    assert len(seen) == 3
    assert set(chain(*seen)) == set(range(10)), "every clip is seen"
    assert all(len(batch) == 4 for batch in seen), "the last batch is filled up"
    single.start(epoch=4)
    assert seen != list(single)
    single.start(epoch=3, skip_batches=2)
    assert list(single) == seen[2:]


def test_checkpoints_are_thinned_and_unfinished_ones_ignored(tmp_path):
    (tmp_path / "checkpoints" / ".unfinished_x").mkdir(parents=True)
    Trainer(settings(optim={"epochs": 3}, data={"clips_per_epoch": 1, "batch_size": 1}), Discs(), tmp_path, ALONE).run()
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_00000002", "step_00000003"]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step_00000002", "step_00000003"]
    newest = list_checkpoints(tmp_path)[-1]
    assert (newest / "weights.safetensors").samefile(tmp_path / "last.safetensors"), "no second copy on the disk"


def test_a_run_taken_back_to_an_older_checkpoint_forgets_the_later_ones(whole_run, tmp_path):
    first = settings(run={"max_steps": 2, "keep_checkpoints": 9})
    Trainer(first, Discs(), tmp_path, ALONE).run()
    later = Trainer(settings(run={"keep_checkpoints": 9}), Discs(), tmp_path, ALONE)
    later.resume(list_checkpoints(tmp_path)[-1])
    later.run()
    older, stale = list_checkpoints(tmp_path)
    (stale / "state.pt").write_bytes(b"from another life")
    again = Trainer(settings(run={"max_steps": 3}), Discs(), tmp_path, ALONE)
    again.resume(older)
    again.run()
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_00000002", "step_00000003"]
    last = Trainer(settings(), Discs(), tmp_path, ALONE)
    last.resume(older)
    last.run()
    assert losses(tmp_path) == losses(whole_run)
    assert load_training_state(list_checkpoints(tmp_path)[-1])[0] == Progress(epoch=2, clips=0, step=4)


def test_which_checkpoint_a_start_continues_from(tmp_path):
    assert choose_checkpoint(tmp_path, "auto", restarts=0) is None
    assert choose_checkpoint(tmp_path, "never", restarts=0) is None
    Trainer(settings(run={"max_steps": 1}), Discs(), tmp_path, ALONE).run()
    newest = list_checkpoints(tmp_path)[-1]
    assert choose_checkpoint(tmp_path, "auto", restarts=0) == newest
    assert choose_checkpoint(tmp_path, str(newest), restarts=0) == newest
    assert choose_checkpoint(tmp_path, "never", restarts=1) == newest, "torchrun restarted it"
    with pytest.raises(ConfigError, match="expected an empty folder, got a run at step_00000001"):
        choose_checkpoint(tmp_path, "never", restarts=0)
    with pytest.raises(CheckpointError, match="expected auto, never or a checkpoint folder"):
        choose_checkpoint(tmp_path, str(tmp_path / "nothing"), restarts=0)


class Payload:
    def __reduce__(self) -> Any:
        return (os.mkdir, ("owned",))


@pytest.mark.parametrize("damage", ["truncated", "empty", "pickled object", "foreign"])
def test_damaged_or_hostile_states_are_refused(tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    Trainer(settings(run={"max_steps": 1}), Discs(), tmp_path, ALONE).run()
    state = list_checkpoints(tmp_path)[-1] / "state.pt"
    if damage == "truncated":
        state.write_bytes(state.read_bytes()[:-1000])
    elif damage == "empty":
        state.write_bytes(b"")
    elif damage == "pickled object":
        torch.save({"version": 1, "progress": Payload()}, state)
    else:
        torch.save([1, 2, 3], state)
    with pytest.raises(CheckpointError, match="expected a training state"):
        load_training_state(state.parent)
    assert not (tmp_path / "owned").exists()


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint(tmp_path):
    clips = Discs(clips=2)
    cfg = settings(optim={"epochs": 2})
    Trainer(settings(optim={"epochs": 2}, run={"max_steps": 1}), clips, tmp_path, ALONE).run()
    clips.poison = 1
    again = Trainer(cfg, clips, tmp_path, ALONE)
    again.resume(list_checkpoints(tmp_path)[-1])
    with pytest.raises(DivergedError, match="expected finite losses"):
        again.run()
    good = weights(tmp_path)
    assert all(torch.isfinite(tensor).all() for tensor in good.values())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops_and_the_run_can_go_on(whole_run, tmp_path, number):
    class Interrupting(Discs):
        def __getitem__(self, index: int) -> dict[str, Any]:
            self.served = getattr(self, "served", 0) + 1
            if self.served == 2:
                os.kill(os.getpid(), number)
            return super().__getitem__(index)

    before = signal.getsignal(number)
    result = Trainer(settings(), Interrupting(), tmp_path, ALONE).run()
    assert result.stopped_by == number
    assert result.progress == Progress(epoch=0, clips=2, step=1)
    assert signal.getsignal(number) == before
    again = Trainer(settings(), Discs(), tmp_path, ALONE)
    again.resume(list_checkpoints(tmp_path)[-1])
    again.run()
    assert losses(tmp_path) == losses(whole_run)


def test_adapter_file_holds_what_is_trained_and_restores_it(tmp_path):
    Trainer(settings(run={"save_adapter": True, "max_steps": 1}), Discs(), tmp_path, ALONE).run()
    path = tmp_path / "last.adapter.safetensors"
    assert path.stat().st_size < (tmp_path / "last.safetensors").stat().st_size
    trained = load_checkpoint(tmp_path / "last.safetensors")
    restored = starting_model(settings(init={"adapter": str(path)}))
    assert equal(restored.state_dict(), trained.state_dict())
    assert not any(name.startswith("trunk.hiera.") for name in trainable_state(trained))
    other = build_model(settings(model={"preset": "nano", "adapter": {"kind": "lora"}}).model)
    with pytest.raises(CheckpointError, match="expected an adapter of this architecture"):
        load_adapter(path, other)
    with pytest.raises(CheckpointError, match="expected an adapter file, got"):
        load_adapter(tmp_path / "last.safetensors", trained)
    (tmp_path / "short").write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="expected an adapter file"):
        load_adapter(tmp_path / "short", trained)


def test_starting_from_a_checkpoint_needs_the_same_architecture(whole_run, tmp_path):
    path = whole_run / "last.safetensors"
    assert equal(starting_model(settings(init={"checkpoint": str(path)})).state_dict(), weights(whole_run))
    other = settings(init={"checkpoint": str(path)}, model={"preset": "nano", "adapter": {"rank": 2}})
    with pytest.raises(CheckpointError, match=r"with another one: adapter\.rank"):
        starting_model(other)
    save_checkpoint(tmp_path / "x.safetensors", build_model(other.model))
    assert (
        starting_model(
            settings(
                init={"checkpoint": str(tmp_path / "x.safetensors")}, model={"preset": "nano", "adapter": {"rank": 2}}
            )
        ).cfg.adapter.rank
        == 2
    )


@pytest.mark.slow
def test_two_clips_are_learned_by_heart(tmp_path):
    """150 steps on 2 clips: S-measure above .95, in evaluation mode, by the stored weights."""
    sod = pytest.importorskip("py_sod_metrics")

    class Same(Discs):
        def set_epoch(self, epoch: int) -> None:
            """Every epoch shows the same two clips."""

    clips = Same(clips=2)
    paper = TrainConfig.parse({"preset": "paper"}).loss.model_dump()
    run = {"save_every_epochs": 150, "log_every_steps": 50}
    cfg = settings(loss=paper, optim={"epochs": 150, "lr": 3e-3, "lr_adapter": 1e-3}, run=run)
    Trainer(cfg, clips, tmp_path, ALONE).run()
    model, measure = load_checkpoint(tmp_path / "last.safetensors"), sod.Smeasure()
    for index in range(2):
        clip = clips[index]
        with torch.no_grad():
            output = unroll_clip(model, clip["rgb"][None], clip["depth"][None])
        for prob, mask in zip(output.mask_prob[0, :, 0], clip["mask"][:, 0], strict=True):
            measure.step((255 * prob).round().byte().numpy(), (255 * mask).byte().numpy())
    score = measure.get_results()["sm"]
    print(f"S-measure after 150 steps on 2 clips: {score:.3f}")
    assert score > 0.95


def test_a_downloaded_trunk_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("M4SAM_CACHE", str(tmp_path))
    cfg = settings(model={"preset": "nano", "trunk": {"size": "tiny"}}, init={"trunk": "sam2.1_tiny"})
    with pytest.raises(CheckpointError, match=r"sam2\.1_tiny"):
        starting_model(cfg)
    trunk = {k: torch.randn_like(v) for k, v in build_model(cfg.model).trunk.hiera.state_dict().items()}
    torch.save({"model": {f"image_encoder.trunk.{k}": v for k, v in trunk.items()}}, tmp_path / "sam2.1_hiera_tiny.pt")
    assert equal(starting_model(cfg).trunk.hiera.state_dict(), trunk)


def test_no_clips_and_no_such_gpu_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected at least one clip"):
        Trainer(settings(), Discs(clips=0), tmp_path, ALONE)
    with pytest.raises(ConfigError, match="expected auto, cpu, cuda or cuda:N"):
        choose_device("quantum", 0)
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="expected one of 0 GPUs"):
            choose_device("cuda", 0)


def test_without_tensorboard_the_run_goes_on_and_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    Trainer(settings(run={"tensorboard": True, "max_steps": 1}), Discs(), tmp_path, ALONE).run()
    assert "pip install tensorboard" in caplog.text
    assert (tmp_path / "last.safetensors").is_file()


def test_tensorboard_gets_scalars_and_images(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    Trainer(settings(run={"tensorboard": True, "max_steps": 2}), Discs(), tmp_path, ALONE).run()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"loss/total", "lr/adapter", "expert_load/rgb/0"} <= set(tags["scalars"])
    assert tags["images"] == ["rgb | depth | mask | coarse | final"]
    assert [event.step for event in events.Scalars("loss/total")] == [1, 2]
