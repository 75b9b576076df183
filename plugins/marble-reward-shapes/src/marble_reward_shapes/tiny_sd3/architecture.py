"""The parts of a tiny Stable Diffusion 3, all real diffusers and transformers classes.

About 2.8 million parameters: 32 x 32 images, 8 x 8 x 8 latents, 16 image tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from marble_reward_shapes.glyphs import LETTERS
from marble_reward_shapes.scenes import ALL_SCENES, SIZE

MAX_TOKENS = 12
"""Length that both CLIP tokenizers pad to: the longest prompt of the grammar has 12 tokens."""

_TEXT_WIDTH = 64
_START, _END = "<|startoftext|>", "<|endoftext|>"


def build_pipeline() -> StableDiffusion3Pipeline:
    """The untrained pipeline in float32; its weights come from torch's global generator."""
    tokenizer = clip_tokenizer()
    return StableDiffusion3Pipeline(
        transformer=transformer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=vae(),
        text_encoder=clip_text_encoder(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=clip_text_encoder(tokenizer),
        tokenizer_2=tokenizer,
        text_encoder_3=silent_t5(),
        tokenizer_3=T5Tokenizer(
            vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)], extra_ids=0
        ),
    )


def transformer() -> SD3Transformer2DModel:
    """Four joint blocks of width 128 over 16 image tokens."""
    return SD3Transformer2DModel(
        sample_size=SIZE // 4,
        patch_size=2,
        in_channels=8,
        out_channels=8,
        num_layers=4,
        attention_head_dim=32,
        num_attention_heads=4,
        joint_attention_dim=2 * _TEXT_WIDTH,
        caption_projection_dim=128,
        pooled_projection_dim=2 * _TEXT_WIDTH,
        pos_embed_max_size=SIZE // 8,
        qk_norm="rms_norm",
    )


def vae() -> AutoencoderKL:
    """Four-fold downsampling into 8 channels, without the quant convolutions, as SD3 has it."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 32),
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=8,
        sample_size=SIZE,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    )


def clip_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModelWithProjection:
    """Two layers of width 64."""
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=_TEXT_WIDTH,
            projection_dim=_TEXT_WIDTH,
            intermediate_size=2 * _TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def silent_t5() -> T5EncoderModel:
    """A T5 whose last normalisation is zero, so that it says nothing: its tokens are all nulls.

    A pipeline saved without a third encoder doesn't load with a bare ``from_pretrained``.
    """
    encoder = T5EncoderModel(
        T5Config(
            vocab_size=4,
            d_model=2 * _TEXT_WIDTH,
            d_kv=8,
            d_ff=8,
            num_layers=1,
            num_heads=1,
        )
    )
    torch.nn.init.zeros_(encoder.encoder.final_layer_norm.weight)
    return encoder


def clip_tokenizer() -> CLIPTokenizer:
    """A byte-pair tokenizer in which every word of the grammar is one token.

    Quoted text has no merges of its own and falls to letters.
    """
    words = _grammar_words()
    merges = [
        (word[:cut], word[cut] + ("</w>" if cut == len(word) - 1 else ""))
        for word in words
        for cut in range(1, len(word))
    ]
    letters = [letter.lower() for letter in LETTERS]
    symbols = sorted({*"".join(words), *letters, '"'})
    tokens = [
        _START,
        _END,
        *symbols,
        *(symbol + "</w>" for symbol in symbols),
        *(left + right for left, right in merges),
    ]
    tokenizer = CLIPTokenizer(
        vocab={token: index for index, token in enumerate(dict.fromkeys(tokens))},
        merges=list(dict.fromkeys(merges)),
        model_max_length=MAX_TOKENS,
    )
    _check_one_token_each(tokenizer, words)
    return tokenizer


def _grammar_words() -> list[str]:
    """The grammar's words; those that begin like the inside of another word come last.

    Merges apply in order, so ``le`` of ``left`` must not break ``circles``.
    """
    scenes = [scene for scenes in ALL_SCENES.values() for scene in scenes]
    prompts = (scene.prompt for scene in scenes)
    words = {word for prompt in prompts for word in prompt.split() if not word.startswith('"')}
    return sorted(words, key=lambda word: (word[0] in "lr", word))


def _check_one_token_each(tokenizer: CLIPTokenizer, words: Sequence[str]) -> None:
    for word in words:
        count = len(tokenizer(word, add_special_tokens=False)["input_ids"])
        if count != 1:
            raise ValueError(f"the word {word!r} takes {count} tokens, not one")
