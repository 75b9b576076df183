"""The layers of Stable Diffusion 3 as the published network (MMDiT) names them.

The names are those of ComfyUI's ``comfy/utils.py`` (``mmdit_to_diffusers``), of sd-scripts'
``library/sd3_models.py`` and of diffusers' own conversion of single files, which agree.
"""

from __future__ import annotations

from collections.abc import Iterator

from marblecli.models.configurations import Config
from marblecli.models.native import NativeLayer

_LAYERS = 18
"""What diffusers' class takes where a configuration has no ``num_layers``."""
_IMAGE = {
    "attn.to_out.0": "attn.proj",
    "ff.net.0.proj": "mlp.fc1",
    "ff.net.2": "mlp.fc2",
    "norm1.linear": "adaLN_modulation.1",
}
_NORMS = {
    "attn.norm_q": "x_block.attn.ln_q",
    "attn.norm_k": "x_block.attn.ln_k",
    "attn.norm_added_q": "context_block.attn.ln_q",
    "attn.norm_added_k": "context_block.attn.ln_k",
}
_DUAL_NORMS = {"attn2.norm_q": "x_block.attn2.ln_q", "attn2.norm_k": "x_block.attn2.ln_k"}
_TEXT = {
    "attn.to_add_out": "attn.proj",
    "ff_context.net.0.proj": "mlp.fc1",
    "ff_context.net.2": "mlp.fc2",
}
_OUTSIDE = {
    "context_embedder": NativeLayer("context_embedder"),
    "time_text_embed.timestep_embedder.linear_1": NativeLayer("t_embedder.mlp.0"),
    "time_text_embed.timestep_embedder.linear_2": NativeLayer("t_embedder.mlp.2"),
    "time_text_embed.text_embedder.linear_1": NativeLayer("y_embedder.mlp.0"),
    "time_text_embed.text_embedder.linear_2": NativeLayer("y_embedder.mlp.2"),
    "norm_out.linear": NativeLayer("final_layer.adaLN_modulation.1", swapped=True),
    "proj_out": NativeLayer("final_layer.linear"),
    "pos_embed.proj": NativeLayer("x_embedder.proj"),
}


def native_layers(config: Config) -> dict[str, NativeLayer]:
    """By the dotted names of diffusers' layers, for a transformer of that configuration.

    Every layer with parameters is there.
    """
    count = config.get("num_layers", _LAYERS)
    dual = config.get("dual_attention_layers") or ()
    found = dict(_OUTSIDE)
    for place in range(count):
        layers = [*_block(last=place == count - 1, dual=place in dual)]
        if config.get("qk_norm"):
            norms = _NORMS | (_DUAL_NORMS if place in dual else {})
            layers += [(name, NativeLayer(native)) for name, native in norms.items()]
        for name, native in layers:
            found[f"transformer_blocks.{place}.{name}"] = NativeLayer(
                f"joint_blocks.{place}.{native.name}", native.piece, native.pieces, native.swapped
            )
    return found


def _block(*, last: bool, dual: bool) -> Iterator[tuple[str, NativeLayer]]:
    """The layers of one block. The last one's text stream ends in its attention."""
    yield from _qkv("attn.to_{}", "x_block.attn.qkv")
    yield from _qkv("attn.add_{}_proj", "context_block.attn.qkv")
    if dual:
        yield from _qkv("attn2.to_{}", "x_block.attn2.qkv")
        yield "attn2.to_out.0", NativeLayer("x_block.attn2.proj")
    for name, native in _IMAGE.items():
        yield name, NativeLayer(f"x_block.{native}")
    for name, native in () if last else _TEXT.items():
        yield name, NativeLayer(f"context_block.{native}")
    yield "norm1_context.linear", NativeLayer("context_block.adaLN_modulation.1", swapped=last)


def _qkv(name: str, native: str) -> Iterator[tuple[str, NativeLayer]]:
    for piece, letter in enumerate("qkv"):
        yield name.format(letter), NativeLayer(native, piece, 3)
