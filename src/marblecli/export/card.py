"""The model card beside an export: what it is, what it was trained on, and how to load it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from marblecli.export.subject import Subject
from marblecli.models.configurations import INDEX
from marblecli.types import RewardChange

_TITLES = {
    "train": "Training prompts, new noise",
    "held-out": "Held-out prompts",
}
_GUIDANCE = (
    "Trained and evaluated **without guidance**: use `guidance_scale=1.0`. Other scales work, but "
    "weren't evaluated. The scores are of images by DPM-Solver++ (2M) in {steps} steps; the "
    "pipeline's own scheduler takes another path from the same noise."
)


@dataclass(frozen=True)
class CardFacts:
    """What a card says besides what its subject knows."""

    weights: str
    """``average`` or ``trained``."""
    step: int
    recipe: str
    """As TOML."""
    rewards: Sequence[str]
    evaluation_steps: int
    resolution: int
    files: Mapping[str, str]
    """Format -> file or folder within the export."""
    changes: Mapping[str, Sequence[RewardChange]]
    """By split, if these weights were evaluated."""
    pictures: Sequence[str] = ()
    """Image files within the export."""
    repository: str | None = None
    """OWNER/NAME, if it is uploaded."""


def model_card(subject: Subject, facts: CardFacts) -> str:
    """The whole ``README.md``, with the hub's metadata at its top."""
    licence = subject.family.licence(subject.model.pretrained)
    data = ModelCardData(
        base_model=subject.model.pretrained if _on_hub(subject) else None,
        library_name="diffusers",
        pipeline_tag="text-to-image",
        license="other",
        license_name=licence.name,
        license_link=licence.link,
        tags=["text-to-image", "marble", *([] if subject.full else ["lora"])],
    )
    parts = [
        f"# {subject.name}",
        _description(subject, facts),
        "## Use",
        *_use(subject, facts),
        _GUIDANCE.format(steps=facts.evaluation_steps),
        "## Results",
        *_results(facts),
        *(f"![images of the evaluation]({picture})" for picture in facts.pictures),
        "## Licence",
        licence.notice,
        "## Recipe",
        f"```toml\n{facts.recipe.strip()}\n```",
    ]
    text = "\n\n".join(parts)
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}\n"))


def _on_hub(subject: Subject) -> bool:
    return not Path(subject.model.pretrained).is_absolute()


def _base(subject: Subject) -> str:
    """The base model as others can find it: no folder of this machine."""
    return subject.model.pretrained if _on_hub(subject) else Path(subject.model.pretrained).name


def _description(subject: Subject, facts: CardFacts) -> str:
    lora = subject.model.lora
    kind = f"{'DoRA' if lora.dora else 'LoRA'} of rank {lora.rank}, alpha {lora.alpha:g}"
    what = "All weights" if subject.full else kind
    which = "moving average of the weights" if facts.weights == "average" else "last weights"
    return (
        f"{what} of `{_base(subject)}`, fine-tuned by `marble` on several rewards at once "
        f"({', '.join(facts.rewards)}). This is the {which} after {facts.step} steps."
    )


def _use(subject: Subject, facts: CardFacts) -> list[str]:
    found = []
    if code := _python(subject, facts):
        side = facts.resolution
        call = (
            f'image = pipe("a prompt", guidance_scale=1.0, num_inference_steps='
            f"{facts.evaluation_steps}, height={side}, width={side}).images[0]"
        )
        found.append(f"```python\n{code}\n{call}\n```")
    if file := facts.files.get("comfyui"):
        found.append(
            f"**ComfyUI**: put `{file}` into `models/loras` and load it with *LoraLoaderModelOnly* "
            "at strength 1."
        )
    if file := facts.files.get("kohya"):
        found.append(f"**sd-scripts and Forge**: `{file}`, at weight 1.")
    return found


def _python(subject: Subject, facts: CardFacts) -> str:
    """How to make ``pipe`` in plain diffusers, by the best file that there is."""
    classes = subject.family.spec.classes
    pipeline, here = classes[INDEX], facts.repository or "this folder"
    base = f'{pipeline}.from_pretrained("{_base(subject)}"'
    if "diffusers" in facts.files and not subject.full:
        weights = facts.files["diffusers"]
        return (
            f"from diffusers import {pipeline}\n\npipe = {base})\n"
            f'pipe.load_lora_weights("{here}", weight_name="{weights}")'
        )
    if "diffusers" in facts.files:
        network = classes["transformer"]
        return (
            f"from diffusers import {network}, {pipeline}\n\n"
            f'transformer = {network}.from_pretrained("{here}", subfolder="transformer")\n'
            f"pipe = {base}, transformer=transformer)"
        )
    if "merged" in facts.files and facts.repository is None:
        return f'from diffusers import {pipeline}\n\npipe = {pipeline}.from_pretrained("merged")'
    if "merged" in facts.files:
        # diffusers loads no pipeline from a folder within a repository.
        return (
            f"from diffusers import {pipeline}\nfrom huggingface_hub import snapshot_download\n\n"
            f'folder = snapshot_download("{here}", allow_patterns="merged/*")\n'
            f'pipe = {pipeline}.from_pretrained(folder + "/merged")'
        )
    return ""


def _results(facts: CardFacts) -> list[str]:
    if not any(facts.changes.values()):
        return ["These weights weren't evaluated."]
    found = [
        "Mean scores of the base model and of these weights, on the same prompts from the same "
        "noise, with the 95 % bootstrap interval of the paired change. An interval that contains "
        "zero is not significant."
    ]
    for split, changes in facts.changes.items():
        rows = ["| reward | base | trained | change | 95 % interval | images |", "| --- " * 6 + "|"]
        rows += [_row(change) for change in changes]
        found.append(f"### {_TITLES.get(split, split)}\n\n" + "\n".join(rows))
    return found


def _row(change: RewardChange) -> str:
    interval = f"{change.low:+.3f} … {change.high:+.3f}" if isfinite(change.low) else ""
    moved = change.end - change.start
    return (
        f"| {change.reward} | {change.start:.3f} | {change.end:.3f} | {moved:+.3f} | {interval} | "
        f"{change.images or ''} |"
    )
