"""Images and requests -> scores: detect, name colours where they are asked for, apply the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from marble_reward_geneval.colours import ColourClassifier, cut_out
from marble_reward_geneval.detector import Detector
from marble_reward_geneval.instances import Instance
from marble_reward_geneval.request import Request, parse_request
from marble_reward_geneval.rules import MAX_OBJECTS, Found, Objects
from marblecli.rewards import RewardBatch

Detections = Mapping[str, Sequence[Instance]]
"""Of one image, by class, most confident first."""
_Spot = tuple[int, str, int]
"""Row of the batch, class, and place among its objects."""


@dataclass(frozen=True)
class Rules:
    """How detections are judged."""

    score: Callable[[Request, Objects, float], float]
    threshold: float
    """Least confidence of an object."""
    counting_threshold: float
    """The same where the tag is ``counting``."""
    margin: float
    """Of positions, as a share of the objects' extents."""


class GenEvalScorer:
    """Judges images by the metadata of their prompts."""

    def __init__(self, detector: Detector, colours: ColourClassifier, rules: Rules) -> None:
        self._detector = detector
        self._colours = colours
        self._rules = rules
        self._kind = "cpu"

    def to(self, device: str, /) -> None:
        """Move the weights to ``device``; the next call scores there."""
        self._detector.to(device)
        self._colours.to(device)
        self._kind = torch.device(device).type

    def __call__(self, batch: RewardBatch) -> NDArray[np.float64]:
        """uint8 [B, H, W, 3] -> [B]. Raises ValueError for metadata that aren't GenEval's."""
        requests = [parse_request(fields) for fields in batch.metadata]
        # A caller's autocast would change the scores.
        with torch.autocast("cpu", enabled=False), torch.autocast(self._kind, enabled=False):
            found = self.detect(batch.images, requests)
            colours = self._name_colours(batch.images, requests, found)
        scores = [
            self._rules.score(request, _objects(row, one, colours), self._rules.margin)
            for row, (request, one) in enumerate(zip(requests, found, strict=True))
        ]
        return np.array(scores, dtype=np.float64)

    def detect(self, images: NDArray[np.uint8], requests: Sequence[Request]) -> list[Detections]:
        """What is in each image, of the classes that its request names."""
        thresholds = [self._threshold(request) for request in requests]
        found = self._detector.detect(images, thresholds, [one.classes for one in requests])
        return [{name: many[:MAX_OBJECTS] for name, many in one.items()} for one in found]

    def _threshold(self, request: Request) -> float:
        counting = request.tag == "counting"
        return self._rules.counting_threshold if counting else self._rules.threshold

    def _name_colours(
        self,
        images: NDArray[np.uint8],
        requests: Sequence[Request],
        found: Sequence[Detections],
    ) -> dict[_Spot, str]:
        spots = list(
            dict.fromkeys(
                spot
                for row, pair in enumerate(zip(requests, found, strict=True))
                for spot in _coloured_spots(row, *pair)
            )
        )
        cuttings = [cut_out(images[row], found[row][name][place]) for row, name, place in spots]
        names = [name for _, name, _ in spots]
        return dict(zip(spots, self._colours.classify(cuttings, names), strict=True))


def _coloured_spots(row: int, request: Request, found: Detections) -> Iterator[_Spot]:
    """The objects whose colour a rule may ask for: none if there are too few to meet the clause."""
    for clause in request.include:
        if clause.color and len(found.get(clause.name, ())) >= clause.count:
            yield from ((row, clause.name, place) for place in range(clause.count))


def _objects(row: int, found: Detections, colours: Mapping[_Spot, str]) -> Objects:
    return {
        name: [
            Found(instance.box, colours.get((row, name, place)))
            for place, instance in enumerate(many)
        ]
        for name, many in found.items()
    }
