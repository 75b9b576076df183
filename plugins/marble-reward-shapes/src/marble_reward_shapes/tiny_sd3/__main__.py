"""Make the tiny Stable Diffusion 3: ``python -m marble_reward_shapes.tiny_sd3 OUT``.

Draws all of its training data; needs no download. On one core the published weights took about
ten minutes for the VAE and seventy-five for the rest.
"""

from __future__ import annotations

import argparse
import copy
import logging
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusion3Pipeline

from marble_reward_shapes.scenes import KINDS
from marble_reward_shapes.tiny_sd3 import architecture
from marble_reward_shapes.tiny_sd3.autoencoder import KIND_SHARES, train_autoencoder
from marble_reward_shapes.tiny_sd3.flow import FlowSettings, train_flow

_log = logging.getLogger("marble_reward_shapes.tiny_sd3")


def main() -> None:
    """Parse the command line, train, save."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    options = _parse()
    pipeline = _new_pipeline(options) if options.start is None else _load(options.start)
    pipeline.vae.eval().requires_grad_(False)

    def snapshot(step: int) -> None:
        if options.snapshots is not None:
            save(pipeline, options.snapshots / f"step-{step:06d}")

    settings = FlowSettings(
        steps=options.steps,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        kind_shares=tuple(options.kind_shares),
        stray_captions=options.stray_captions,
    )
    train_flow(pipeline, settings, options.seed, _log.info, snapshot)
    save(pipeline, options.out)


def _new_pipeline(options: argparse.Namespace) -> StableDiffusion3Pipeline:
    torch.manual_seed(options.seed)
    if options.vae is None:
        vae = architecture.vae()
        train_autoencoder(vae, options.vae_steps, options.seed, _log.info)
    else:
        vae = AutoencoderKL.from_pretrained(options.vae, dtype=torch.float32)
    torch.manual_seed(options.seed + 1)
    pipeline = architecture.build_pipeline()
    pipeline.register_modules(vae=vae)
    return pipeline


def _load(folder: Path) -> StableDiffusion3Pipeline:
    """A new pipeline with the weights of ``folder``, so that nothing else of it is saved again."""
    loaded = StableDiffusion3Pipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline = architecture.build_pipeline()
    vae, config = architecture.vae(), loaded.vae.config
    vae.register_to_config(shift_factor=config.shift_factor, scaling_factor=config.scaling_factor)
    pipeline.register_modules(vae=vae)
    for name in ("vae", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3"):
        getattr(pipeline, name).load_state_dict(getattr(loaded, name).state_dict())
    return pipeline


def save(pipeline: StableDiffusion3Pipeline, folder: Path) -> None:
    """Save the pipeline, transformer and VAE in half precision.

    The text encoders stay in float32: transformers loads them as they are stored, diffusers loads
    its own models in float32, and a bare ``from_pretrained`` must give parts that fit together.
    """
    shutil.rmtree(folder, ignore_errors=True)
    pipeline.save_pretrained(folder)
    for name in ("transformer", "vae"):
        # Not from_config: it would put defaults back where a value was set later.
        copy.deepcopy(getattr(pipeline, name)).half().save_pretrained(folder / name)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m marble_reward_shapes.tiny_sd3",
        description="Make the tiny Stable Diffusion 3 that the quickstart fine-tunes.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("out", type=Path, help="folder to write the pipeline to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vae", type=Path, help="folder of a VAE made before, to skip its part")
    parser.add_argument("--vae-steps", type=int, default=2000, help="batches of 32 scenes")
    parser.add_argument("--steps", type=int, default=6000, help="flow batches")
    parser.add_argument("--batch-size", type=int, default=128, help="scenes of a flow batch")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument(
        "--kind-shares",
        type=float,
        nargs=len(KINDS),
        default=KIND_SHARES,
        metavar="SHARE",
        help=f"of the scenes: {', '.join(KINDS)}",
    )
    parser.add_argument(
        "--stray-captions",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="of the scenes that get the caption of another scene",
    )
    parser.add_argument("--start", type=Path, help="go on from this pipeline, with its VAE")
    parser.add_argument("--snapshots", type=Path, help="folder for a pipeline every 1000 steps")
    return parser.parse_args()


if __name__ == "__main__":
    main()
