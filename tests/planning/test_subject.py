from __future__ import annotations

import torch

from marblecli.models.architectures import SHIPPED, shipped_architecture
from marblecli.planning.subject import Subject
from marblecli.planning.weights import weights_of
from support.planning import SMALL, model_of, small_subject


def test_the_published_transformers_have_their_published_sizes() -> None:
    """Published as 2, 2.5 and 8.1 billion, the latter two with their positional embeddings."""
    sizes = []
    for hub_id in SHIPPED:
        found = weights_of(Subject(shipped_architecture(hub_id)).network())
        both = (found.parameters, found.parameters + found.buffers)
        sizes.append(tuple(round(each / 1e9, 2) for each in both))
    assert sizes == [(2.03, 2.08), (2.24, 2.47), (8.06, 8.15)]


def test_its_sizes_in_words() -> None:
    medium = Subject(shipped_architecture("stabilityai/stable-diffusion-3.5-medium"))
    assert medium.describe() == "24 layers of width 1536, 13 with a second attention"
    assert small_subject().describe() == "6 layers of width 128"


def test_inputs_are_those_of_the_model() -> None:
    subject, model = small_subject(), model_of()
    assert subject.latent_shape(48) == (8, 12, 12)
    # Twelve places of the tiny CLIP encoder and eight tokens of T5.
    assert subject.conditioning_shapes(model) == {"context": (20, 128), "pooled": (128,)}
    made = subject.conditioning(model, 3, torch.bfloat16)
    assert (made.context.shape, made.pooled.shape) == ((3, 20, 128), (3, 128))
    encoded = subject.frozen({"vae": subject.vae, **subject.encoders(model)}, model).encode(
        ["a", "b"]
    )
    assert encoded.context.shape[1:] == (20, 128)


def test_text_encoders_are_those_that_a_run_uses() -> None:
    subject = small_subject()
    assert set(subject.encoders(model_of())) > set(subject.encoders(model_of(t5="none")))
    assert subject.in_8_bits(model_of(t5="8bit")) == {"text_encoder_3"}
    assert not subject.in_8_bits(model_of())
    (clip, *_) = subject.encoders(model_of()).values()
    assert all(parameter.is_meta for parameter in clip.parameters())


def test_blocks_stand_in_the_order_in_which_they_run() -> None:
    network = small_subject().network()
    blocks = small_subject().blocks(network)
    assert len(blocks) == SMALL["num_layers"]
    assert blocks[0] is network.get_submodule("transformer_blocks.0")
