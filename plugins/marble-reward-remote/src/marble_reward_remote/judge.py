"""A vision-language model as a judge: one image, one question, one mark.

The set-up is DiffusionNFT's with UnifiedReward (Wang et al., 2025): 512 x 512 PNG, temperature 0,
"Final Score: X" from 1 to 5, divided by 5. Unlike there, an answer without a mark isn't a 0.
"""

from __future__ import annotations

import base64
import re
from concurrent.futures import wait
from io import BytesIO
from typing import Any

import numpy as np
import openai
from numpy.typing import NDArray
from PIL import Image

from marble_reward_remote.options import JudgeOptions
from marblecli.rewards import DaemonExecutor, RewardBatch

_MARK = re.compile(
    r"""final\s+score   # in any case
        (?:\s+is)?
        [\s:=*_`"'(\[<]*
        (-?\d+(?:\.\d+)?)""",
    re.IGNORECASE | re.VERBOSE,
)
_LOWEST, _HIGHEST = 1.0, 5.0


class Judge:
    """Asks about the images of a batch side by side."""

    def __init__(self, options: JudgeOptions) -> None:
        self._options = options
        self._client = openai.OpenAI(
            base_url=options.base_url,
            # Servers on one's own machine want none, but the client insists.
            api_key=options.api_key() or "none",
            timeout=options.request_timeout,
            max_retries=options.retries,
        )
        self._threads = DaemonExecutor("vlm-judge", options.concurrency)

    def __call__(self, batch: RewardBatch) -> np.ma.MaskedArray[Any, Any]:
        """[B] in [0.2, 1]; images whose answer holds no mark are masked.

        Raises ValueError if more than half of the answers hold none: then it isn't the image but
        the model or the question. Raises openai.OpenAIError if a request fails for good.
        """
        pairs = zip(batch.images, batch.prompts, strict=True)
        waiting = [self._threads.submit(self._ask, image, prompt) for image, prompt in pairs]
        wait(waiting)
        answers = [future.result() for future in waiting]
        marks = [parse_mark(answer) for answer in answers]
        silent = [answer for answer, mark in zip(answers, marks, strict=True) if mark is None]
        if len(silent) > len(answers) / 2:
            raise ValueError(
                f"{len(silent)} of {len(answers)} answers hold no 'Final Score: X' from 1 to 5; "
                f"the first: {silent[0][:80]!r}"
            )
        values = np.array([np.nan if mark is None else mark for mark in marks]) / _HIGHEST
        return np.ma.masked_invalid(values)

    def _ask(self, image: NDArray[np.uint8], prompt: str) -> str:
        question = self._options.question.replace("{prompt}", prompt)
        address = data_url(image, self._options.image_size)
        answer = self._client.chat.completions.create(
            model=self._options.model,
            temperature=0.0,
            max_tokens=self._options.max_tokens,
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": address}},
                        {"type": "text", "text": question},
                    ],
                }
            ],
        )
        return answer.choices[0].message.content or ""


def parse_mark(answer: str) -> float | None:
    """The last "Final Score: X", in whatever dress, if X is from 1 to 5; None if there is none."""
    found = _MARK.findall(answer)
    mark = float(found[-1]) if found else None
    return mark if mark is not None and _LOWEST <= mark <= _HIGHEST else None


def data_url(image: NDArray[np.uint8], size: int) -> str:
    """uint8 [H, W, 3] -> a PNG of size x size pixels as a data URL."""
    picture = Image.fromarray(image)
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BICUBIC)
    buffer = BytesIO()
    picture.save(buffer, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getbuffer()).decode("ascii")
