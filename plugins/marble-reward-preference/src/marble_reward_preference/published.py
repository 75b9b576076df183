"""What is published and where: repositories of the hub, each pinned to a commit."""

from __future__ import annotations

from marblecli.rewards import HubFiles

_CLIP_TOKENIZER = ("tokenizer*.json", "vocab.json", "merges.txt", "special_tokens_map.json")

AESTHETIC_HEAD = HubFiles(
    "trl-lib/ddpo-aesthetic-predictor",
    "cf4bd10345610935a80a5d3be9a3133c50f121e4",
    ("aesthetic-model.pth",),
)
BERT_TOKENIZER = HubFiles(
    "google-bert/bert-base-uncased",
    "86b5e0934494bd15c9632b12f734a8a67f723594",
    ("tokenizer*.json", "vocab.txt"),
)
CLIP_H_PROCESSOR = HubFiles(
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    "1c2b8495b28150b8a4922ee1c8edee224c284c0c",
    ("preprocessor_config.json", *_CLIP_TOKENIZER),
)
CLIP_L = HubFiles(
    "openai/clip-vit-large-patch14",
    "32bd64288804d66eefd0ccbe215aa642df71cc41",
    ("config.json", "model.safetensors", "preprocessor_config.json", *_CLIP_TOKENIZER),
)
HPS = HubFiles(
    "xswu/HPSv2", "697403c78157020a1ae59d23f111aa58ced35b0a", ("HPS_v2.1_compressed.pt",)
)
IMAGEREWARD = HubFiles(
    "THUDM/ImageReward", "5736be03b2652728fb87788c9797b0570450ab72", ("ImageReward.pt",)
)
PICKSCORE = HubFiles(
    "yuvalkirstain/PickScore_v1",
    "a4e4367c6dfa7288a00c550414478f865b875800",
    ("config.json", "model.safetensors"),
)
