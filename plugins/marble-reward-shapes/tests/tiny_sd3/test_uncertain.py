from __future__ import annotations

import json

from diffusers import StableDiffusion3Pipeline

from marble_reward_shapes.scenes import ALL_SCENES
from marble_reward_shapes.tiny_sd3.uncertain import _spread
from marble_reward_shapes.write_prompts import UNCERTAIN


def test_shipped_prompts_are_of_the_grammar_and_vary_more_than_others(
    shipped: StableDiffusion3Pipeline,
) -> None:
    found = json.loads(UNCERTAIN.read_text("utf-8"))
    by_prompt = {scene.prompt: scene for scene in ALL_SCENES["position"]}
    chosen = [by_prompt[prompt] for prompt in found["position"][:20]]
    others = [scene for prompt, scene in by_prompt.items() if prompt not in found["position"]]
    assert _spread(shipped, chosen).mean() > 1.2 * _spread(shipped, others[::60]).mean()
    for kind, prompts in found.items():
        assert len(set(prompts)) == 60
        assert set(prompts) <= {scene.prompt for scene in ALL_SCENES[kind]}
