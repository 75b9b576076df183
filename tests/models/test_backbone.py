from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline
from torch import Tensor

from marblecli.errors import BadInputError
from marblecli.models.backbone import Backbone, load_pipeline
from marblecli.settings import ModelSettings

TEXTS = ("a red square on black", "a blue circle on white", 'the text "EH" in blue on black')


@pytest.fixture
def settings(tiny_folder: Path) -> ModelSettings:
    return ModelSettings(pretrained=str(tiny_folder), dtype="fp32", max_sequence_length=1)


@pytest.fixture
def pipeline(settings: ModelSettings) -> StableDiffusion3Pipeline:
    return load_pipeline(settings)


def test_conditioning_is_what_the_pipeline_encodes(
    pipeline: StableDiffusion3Pipeline, settings: ModelSettings
) -> None:
    backbone = Backbone(pipeline, settings)
    backbone.embed(TEXTS)
    asked = [TEXTS[2], TEXTS[0], TEXTS[2]]
    found = backbone.conditioning(asked)
    for row, text in enumerate(asked):
        context, _, pooled, _ = pipeline.encode_prompt(
            text, None, None, do_classifier_free_guidance=False, max_sequence_length=1
        )
        torch.testing.assert_close(found.context[row], context[0])
        torch.testing.assert_close(found.pooled[row], pooled[0])
    assert not torch.equal(found.context[0], found.context[1])
    assert not found.context.requires_grad


def test_rows_of_a_conditioning_stay_together(
    pipeline: StableDiffusion3Pipeline, settings: ModelSettings
) -> None:
    backbone = Backbone(pipeline, settings)
    backbone.embed(TEXTS)
    part = backbone.conditioning(TEXTS)[torch.tensor([2, 1])]
    expected = backbone.conditioning([TEXTS[2], TEXTS[1]])
    assert torch.equal(part.context, expected.context)
    assert torch.equal(part.pooled, expected.pooled)


class FakePipeline:
    """Encodes a text as its length; its encoder and itself log what is asked of them."""

    def __init__(self, device: str = "meta") -> None:
        self.log: list[object] = []
        self.text_encoder = SimpleNamespace(to=lambda device: self.log.append(str(device)))
        self.text_encoder_2 = self.text_encoder_3 = None
        self.vae = SimpleNamespace(device=torch.device(device))

    def encode_prompt(self, prompt: Sequence[str], **_: object) -> tuple[Tensor, ...]:
        self.log.append(list(prompt))
        lengths = torch.tensor([float(len(text)) for text in prompt])
        return lengths.view(-1, 1, 1), torch.empty(0), lengths.view(-1, 1), torch.empty(0)


def test_a_text_is_encoded_once_and_the_encoders_leave_the_device() -> None:
    pipeline = FakePipeline()
    backbone = Backbone(pipeline, ModelSettings(pretrained="x"))
    backbone.embed(["bb", "a", "bb", "a"])
    backbone.embed(["a", "ccc"])
    backbone.embed(["bb", "ccc"])
    assert pipeline.log == ["meta", ["a", "bb"], "cpu", "meta", ["ccc"], "cpu"]
    # Kept on the CPU, handed out where the model is.
    assert backbone.conditioning(["ccc", "a"]).pooled.device.type == "meta"


def test_embeddings_come_in_the_order_asked_for() -> None:
    backbone = Backbone(FakePipeline("cpu"), ModelSettings(pretrained="x"))
    backbone.embed(["bb", "a", "ccc"])
    assert backbone.conditioning(["ccc", "a"]).pooled.flatten().tolist() == [3.0, 1.0]


def test_many_texts_are_encoded_in_batches() -> None:
    pipeline = FakePipeline()
    texts = ["x" * length for length in range(1, 71)]
    Backbone(pipeline, ModelSettings(pretrained="x")).embed(texts)
    assert [len(entry) for entry in pipeline.log if isinstance(entry, list)] == [32, 32, 6]
    assert [text for entry in pipeline.log if isinstance(entry, list) for text in entry] == texts


def test_a_text_never_embedded_is_an_error() -> None:
    with pytest.raises(KeyError, match="unheard of"):
        Backbone(FakePipeline(), ModelSettings(pretrained="x")).conditioning(["unheard of"])


def test_latents_have_the_shape_that_decodes_to_the_resolution(
    pipeline: StableDiffusion3Pipeline, settings: ModelSettings
) -> None:
    backbone = Backbone(pipeline, settings)
    assert backbone.latent_shape(32) == (8, 8, 8)
    assert backbone.latent_shape(16) == (8, 4, 4)
    assert backbone.decode(torch.zeros(2, 8, 4, 4)).shape == (2, 3, 16, 16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_decoded_images_are_float32_from_0_to_1(
    pipeline: StableDiffusion3Pipeline, settings: ModelSettings, dtype: torch.dtype
) -> None:
    pipeline.vae.to(dtype)
    latents = 100 * torch.randn(4, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    images = Backbone(pipeline, settings).decode(latents)
    assert images.dtype == torch.float32
    assert (images.min(), images.max()) == (0.0, 1.0)
    assert not images.requires_grad


def test_decoding_undoes_the_scale_and_shift_and_maps_minus_1_to_black() -> None:
    def decode(latents: Tensor, return_dict: bool) -> tuple[Tensor]:
        assert not return_dict
        return (latents,)

    config = SimpleNamespace(scaling_factor=2.0, shift_factor=0.5)
    vae = SimpleNamespace(config=config, dtype=torch.float32, decode=decode)
    backbone = Backbone(SimpleNamespace(vae=vae), ModelSettings(pretrained="x"))
    latents = torch.tensor([-3.0, -1.0, 0.0, 1.0, 9.0]).view(1, 1, 1, 5)
    # latents / 2 + 0.5 is -1, 0, 0.5, 1, 5.
    assert backbone.decode(latents).flatten().tolist() == [0.0, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [2, 10, 40])
def test_the_samplers_grid_is_the_shifted_flow_grid(shift: float, steps: int) -> None:
    own = FlowMatchEulerDiscreteScheduler(shift=shift)
    pipeline = SimpleNamespace(scheduler=own)
    sampler = Backbone(pipeline, ModelSettings(pretrained="x")).sampler(steps)
    # From just below pure noise, evenly down to the clean image, then shifted as SD3 shifts.
    even = np.linspace(0.999, 0.999 / steps, steps)
    shifted = shift * even / (1 + (shift - 1) * even)
    np.testing.assert_allclose(sampler.sigmas, [*shifted, 0.0], rtol=1e-5)
    np.testing.assert_allclose(sampler.timesteps, 1000 * sampler.sigmas[:-1], atol=1.0)
    own.set_timesteps(sigmas=even)
    np.testing.assert_allclose(sampler.sigmas, own.sigmas, rtol=1e-5)


def last_tokens(folder: Path, t5: str) -> Tensor:
    """What the third encoder says of the texts."""
    settings = ModelSettings(pretrained=str(folder), max_sequence_length=3, t5=t5)
    pipeline = load_pipeline(settings)
    assert (pipeline.text_encoder_3 is None) == (t5 == "none")
    backbone = Backbone(pipeline, settings)
    backbone.embed(TEXTS)
    context = backbone.conditioning(TEXTS).context
    assert context[:, :-3].abs().sum() > 0
    return context[:, -3:].float()


@pytest.fixture
def talking_folder(pipeline: StableDiffusion3Pipeline, tmp_path: Path) -> Path:
    """A model whose T5 has something to say."""
    generator = torch.Generator().manual_seed(0)
    for parameter in pipeline.text_encoder_3.parameters():
        parameter.data.normal_(generator=generator)
    pipeline.save_pretrained(tmp_path / "talking")
    return tmp_path / "talking"


def test_without_t5_zeros_stand_for_it(talking_folder: Path) -> None:
    assert last_tokens(talking_folder, "none").abs().sum() == 0
    assert last_tokens(talking_folder, "full").abs().sum() > 0


def test_t5_in_8_bits_says_nearly_the_same(talking_folder: Path) -> None:
    pytest.importorskip("torchao")
    full, small = (last_tokens(talking_folder, t5) for t5 in ("full", "8bit"))
    assert not torch.equal(full, small)
    assert torch.cosine_similarity(full.flatten(), small.flatten(), dim=0) > 0.99


def test_without_torchao_8_bits_say_what_to_install_before_anything_loads(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    monkeypatch.setattr(StableDiffusion3Pipeline, "from_pretrained", None)
    with pytest.raises(BadInputError, match="pip install torchao"):
        load_pipeline(ModelSettings(pretrained=str(tiny_folder), t5="8bit"))


def test_large_images_are_decoded_a_few_at_a_time_to_the_same() -> None:
    sizes: list[int] = []

    def decode(latents: Tensor, return_dict: bool) -> tuple[Tensor]:
        sizes.append(len(latents))
        return (latents.repeat_interleave(2, 1)[:, :3],)

    config = SimpleNamespace(scaling_factor=1.0, shift_factor=0.0)
    vae = SimpleNamespace(config=config, dtype=torch.float32, decode=decode)
    backbone = Backbone(SimpleNamespace(vae=vae), ModelSettings(pretrained="x"))
    latents = torch.randn(7, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    images = backbone.decode(latents)
    assert sizes == [4, 3]
    assert torch.equal(images, (latents[:, [0, 0, 1]] / 2 + 0.5).clamp(0, 1))
    backbone.decode(torch.zeros(2, 2, 256, 256))
    backbone.decode(torch.zeros(50, 2, 16, 16))
    assert sizes[2:] == [1, 1, 50]


TRAINED = Path(__file__).parents[2] / "plugins" / "marble-reward-shapes" / "tiny-sd3"
"""With a VAE that has learned something; it makes 512 pixels of 128 places."""


def trained(*, tiled: bool) -> Backbone:
    settings = ModelSettings(pretrained=str(TRAINED), dtype="fp32", vae_tiling=tiled)
    return Backbone(load_pipeline(settings, encoders=False), settings)


def test_blended_tiles_are_near_the_image_decoded_whole_where_cut_ones_show_their_edges() -> None:
    latents = torch.randn(1, 8, 32, 384, generator=torch.Generator().manual_seed(0))
    whole, tiled = trained(tiled=False).decode(latents), trained(tiled=True).decode(latents)
    cut = torch.cat([trained(tiled=False).decode(part) for part in latents.split(128, 3)], 3)
    assert tiled.shape == whole.shape == (1, 3, 128, 1536)
    away = (tiled - whole).abs()
    assert 0 < away.mean() < 0.05 * whole.std()
    assert away.max() < (cut - whole).abs().max() / 3


def test_an_image_that_is_no_larger_than_a_tile_isnt_cut() -> None:
    latents = torch.randn(3, 8, 16, 128, generator=torch.Generator().manual_seed(0))
    whole = trained(tiled=False).decode(latents)
    torch.testing.assert_close(trained(tiled=True).decode(latents), whole, rtol=0, atol=1e-5)


def test_tiles_hold_less_the_larger_the_image(live_bytes: Any) -> None:
    peaks: dict[tuple[bool, int], int] = {}
    for tiled in (False, True):
        for width in (128, 384):
            backbone, latents = trained(tiled=tiled), torch.zeros(1, 8, 16, width)
            with type(live_bytes)() as live:
                backbone.decode(latents)
            peaks[tiled, width] = live.peak
    assert peaks[True, 128] == peaks[False, 128]
    assert peaks[False, 384] == 3 * peaks[False, 128]
    assert peaks[True, 384] < 1.2 * peaks[True, 128]


def test_with_tiling_no_more_pixels_than_a_tiles_are_decoded_at_a_time() -> None:
    sizes: list[tuple[int, int]] = []

    def decode(latents: Tensor, return_dict: bool) -> tuple[Tensor]:
        sizes.append((len(latents), latents.shape[-1]))
        return (latents,)

    config = SimpleNamespace(scaling_factor=1.0, shift_factor=0.0)
    vae = SimpleNamespace(
        config=config, dtype=torch.float32, decode=decode, enable_tiling=lambda: None
    )
    settings = ModelSettings(pretrained="x", vae_tiling=True)
    backbone = Backbone(SimpleNamespace(vae=vae, vae_scale_factor=8), settings)
    for count, side in ((5, 32), (2, 64), (2, 128)):
        backbone.decode(torch.zeros(count, 3, side, side))
    assert sizes == [(4, 32), (1, 32), (1, 64), (1, 64), (1, 128), (1, 128)]


def test_a_prompt_of_many_images_goes_to_the_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []

    def counted(tensor: Tensor, device: torch.device) -> Tensor:
        sent.append(len(tensor))
        return tensor.to(device)

    monkeypatch.setattr("marblecli.models.backbone.to_device", counted)
    backbone = Backbone(FakePipeline("cpu"), ModelSettings(pretrained="x"))
    backbone.embed(["bb", "a"])
    found = backbone.conditioning(["bb"] * 24 + ["a"] * 24)
    assert found.pooled.flatten().tolist() == [2.0] * 24 + [1.0] * 24
    assert sent == [2, 2, 48]
