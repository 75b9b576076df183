"""That the seam holds: a family with nothing of Stable Diffusion 3 trains by the same program.

The made-up family of ``support/toy_family.py`` goes through the registry, the check of a recipe,
loading, embedding, sampling, all policies and the contracted gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from marblecli.engine.shards import Shards
from marblecli.models import registry
from marblecli.models.architectures import Architecture
from marblecli.models.check import model_problems
from marblecli.models.family import LoadRequest
from marblecli.models.loading import Model, load_model
from marblecli.models.make_policies import make_policies
from marblecli.models.policies import Policies
from marblecli.models.supported import examine_model
from marblecli.settings import ModelSettings
from marblecli.train.batch import LossSettings, TrainingBatch
from marblecli.train.gradients.plain import reward_gradients
from marblecli.train.gradients.reward_gradients import contracted_gradients
from support.toy_family import TOY, pack, unpack, write_toy_model

CPU = torch.device("cpu")
TEXTS = ("a red square on black", "two circles", "toy")


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "FAMILIES", (*registry.FAMILIES, TOY))


@pytest.fixture
def settings(tmp_path: Path) -> ModelSettings:
    folder = write_toy_model(tmp_path / "model")
    return ModelSettings(pretrained=str(folder), dtype="fp32", guidance=2.0)


@pytest.fixture
def model(settings: ModelSettings) -> Model:
    return load_model(settings, 0, CPU, TEXTS)


def apart(model: Model, settings: ModelSettings) -> Policies:
    """Policies in float64 whose trained, old and reference weights differ."""
    policies = make_policies(model.family, model.network, settings)
    for name in ("trained", "old", "reference"):
        policies.network(name).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(2):
            for value in policies.trained_parameters().values():
                value.add_(0.3 * torch.randn(value.shape, generator=generator))
            policies.blend_old(0.4)
    return policies


def offloaded_gradients(rank: int, count: int, folder: str) -> list[float]:
    """In a process of its own: how far each gradient is from the one with whole weights."""
    from support.training import make_batch

    settings = ModelSettings(pretrained=folder, dtype="fp32", mode="full")
    constants = LossSettings(mix=0.1, advantage_clip=5.0, kl_weight=1e-2, micro_batch_size=4)
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "FAMILIES", (*registry.FAMILIES, TOY))
        for shards in (Shards(), Shards(offloaded=True)):
            model = load_model(settings, 0, CPU, TEXTS)
            policies = make_policies(TOY, model.network, settings, shards)
            with torch.no_grad():
                for value in policies.trained_parameters().values():
                    value.mul_(1.1)
            batch = toy_batch(make_batch(torch.float32), model, torch.float32)
            gradients = contracted_gradients(policies, batch, constants)
            found.append([whole.clone() for whole in gradients.whole()])
    largest = max(float(whole.abs().max()) for whole in found[0])
    return [float((one - other).abs().max()) / largest for one, other in zip(*found, strict=True)]


def toy_batch(
    batch: TrainingBatch, model: Model, dtype: torch.dtype = torch.float64
) -> TrainingBatch:
    """The images of ``batch`` as this family's: 4 x 8 places of the latents, its own prompts."""
    count = len(batch.latents)
    latents = torch.cat([batch.latents, batch.latents.flip(3)], 3)
    conditioning = model.backbone.conditioning([TEXTS[n % 3] for n in range(count)])
    each = {name: tensor.to(dtype) for name, tensor in conditioning.tensors.items()}
    return replace(batch, latents=latents, conditioning=type(conditioning)(each))


def test_it_is_recognised_by_its_configurations(settings: ModelSettings) -> None:
    assert examine_model(settings).family is TOY
    assert model_problems(settings, 40) == []


def test_its_own_options_and_limits_are_checked_with_the_recipe(settings: ModelSettings) -> None:
    wrong = ModelSettings(pretrained=settings.pretrained, guidence=1.0, lora={"targets": ["quary"]})
    keys = {problem.key: problem.message for problem in model_problems(wrong, 36)}
    assert "did you mean 'guidance'?" in keys["model.guidence"]
    assert "did you mean 'query'?" in keys["model.lora.targets"]
    (fault,) = model_problems(settings, 36)
    assert str(fault) == (
        "sampling.resolution: must be a multiple of 8 with this model, got 36; "
        "the nearest are 32 or 40"
    )


def test_its_conditioning_has_a_mask_and_a_number_and_its_shapes_are_told(
    settings: ModelSettings, model: Model
) -> None:
    found = model.backbone.conditioning(TEXTS[:2]).tensors
    architecture = examine_model(settings).architecture
    assert isinstance(architecture, Architecture)
    shapes = TOY.conditioning_shapes(architecture, settings)
    assert {name: tuple(part.shape[1:]) for name, part in found.items()} == shapes
    assert found["mask"].sum(1).tolist() == [5.0, 2.0]
    assert found["guidance"].tolist() == [2.0, 2.0]


def test_packing_is_undone(batch: TrainingBatch) -> None:
    latents = torch.randn(2, 4, 4, 6)
    assert pack(latents).shape == (2, 6, 16)
    assert torch.equal(unpack(pack(latents), 4, 6), latents)


@pytest.mark.parametrize(
    "overrides",
    [
        {"mode": "lora"},
        {"mode": "lora", "lora": {"targets": "all-linear"}},
        {"mode": "lora", "gradient_checkpointing": True},
        {"mode": "full"},
        {"mode": "full", "gradient_checkpointing": True},
    ],
    ids=["lora", "all-linear", "lora-checkpointed", "full", "full-checkpointed"],
)
def test_contracted_gradients_are_those_of_one_backward_pass_a_reward(
    overrides: dict[str, Any],
    settings: ModelSettings,
    model: Model,
    batch_of: Callable[..., TrainingBatch],
    loss_settings: LossSettings,
) -> None:
    chosen = ModelSettings(pretrained=settings.pretrained, dtype="fp32", **overrides)
    policies = apart(model, chosen)
    batch = toy_batch(batch_of(torch.float64), model)
    found = contracted_gradients(policies, batch, loss_settings)
    expected = reward_gradients(policies, batch, loss_settings)
    assert len(found.blocks) == len(expected.blocks) > 0
    pairs = (
        *zip(found.whole(), expected.whole(), strict=True),
        *zip(found.penalty, expected.penalty, strict=True),
    )
    largest = max(float(theirs.abs().max()) for _, theirs in pairs)
    for mine, theirs in pairs:
        # A bias of attention's keys changes nothing: its gradient is rounding.
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-13 * largest)


def test_its_blocks_can_be_sharded(
    settings: ModelSettings, run_group: Callable[..., list[list[float]]]
) -> None:
    (away,) = run_group(1, offloaded_gradients, settings.pretrained)
    assert len(away) > 10
    # The same sums in another order.
    assert max(away) < 1e-5


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_its_blocks_can_be_compiled(mode: str, settings: ModelSettings, model: Model) -> None:
    policies = make_policies(TOY, model.network, settings.model_copy(update={"mode": mode}))
    noised, level = torch.randn(2, 4, 4, 8), torch.tensor([0.3, 0.7])
    told = model.backbone.conditioning(TEXTS[:2])
    with torch.no_grad():
        plain = policies.velocity("old", noised, level, told)
        policies.compile_blocks(backend="eager")
        assert torch.equal(policies.velocity("old", noised, level, told), plain)
    compiled = [block for block in TOY.blocks(policies.network("old")) if block._compiled_call_impl]
    assert len(compiled) == 4


def test_all_linear_leaves_out_what_the_family_says(settings: ModelSettings, model: Model) -> None:
    lora = settings.lora.model_copy(update={"targets": "all-linear"})
    policies = make_policies(TOY, model.network, settings.model_copy(update={"lora": lora}))
    adapted = {name.split(".lora_")[0] for name in policies.trained_parameters()}
    layers = ("query", "key", "value", "word")
    assert adapted == {
        *(f"double_blocks.{n}.{layer}" for n in range(2) for layer in layers),
        *(f"single_blocks.{n}.{layer}" for n in range(2) for layer in ("into", "out")),
    }


def test_the_grid_may_depend_on_the_resolution(model: Model) -> None:
    small, large = (model.backbone.solver(4, (4, side, side)).levels for side in (4, 16))
    assert (large[1:-1] > small[1:-1]).all()


def test_weights_are_drawn_from_the_seed_alone(settings: ModelSettings) -> None:
    architecture = examine_model(settings).architecture
    first, again, other = (
        TOY.load(LoadRequest(settings, architecture, seed)).network for seed in (0, 0, 1)
    )
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(first.embed.weight, other.embed.weight)


def test_a_run_trains_it(settings: ModelSettings, run_tiny: Callable[..., Any]) -> None:
    """The whole loop: sampling, scoring, gradients, steps, evaluation, a checkpoint."""
    model = {"pretrained": settings.pretrained, "dtype": "fp32", "lora": {"rank": 2, "alpha": 4}}
    recorded, _ = run_tiny({"model": model, "training.steps": 2})
    assert [step["step"] for step in recorded.metrics] == [1, 2]
    assert len(recorded.conflicts) == 2
    trained = recorded.checkpoints[-1].tensors["trained"]
    assert {name.split(".")[0] for name in trained} == {"double_blocks", "single_blocks"}
    assert any("lora_B" in name and value.abs().sum() > 0 for name, value in trained.items())
