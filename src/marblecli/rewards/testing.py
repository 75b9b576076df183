"""The contract kit: it checks that a reward keeps the contract of :mod:`marblecli.rewards.spec`.

In a plugin's tests, ::

    from marblecli.rewards.testing import check_reward

    def test_it_keeps_the_contract():
        check_reward("brightness").raise_if_failed()

or one test for each check, ::

    @pytest.fixture(scope="module")
    def report():
        return check_reward("brightness", options={"gain": 0.5})

    @pytest.mark.parametrize("check", CHECKS)
    def test_contract(report, check):
        report[check].raise_if_failed()

``marble rewards check NAME`` does the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marblecli.rewards.host import discover
from marblecli.rewards.kit.examination import CHECKS, Examination, Subject
from marblecli.rewards.kit.report import Report
from marblecli.rewards.kit.samples import PLAIN_PROMPTS, Samples, make_samples
from marblecli.rewards.kit.trial import Limits
from marblecli.rewards.spec import RewardSpec

__all__ = ["CHECKS", "Limits", "Report", "Samples", "check_reward", "make_samples"]


def check_reward(
    reward: str | RewardSpec,
    *,
    options: Mapping[str, Any] | None = None,
    samples: Samples | None = None,
    device: str = "cpu",
    tolerance: float = 1e-4,
    limits: Limits | None = None,
) -> Report:
    """Build a reward and check it.

    ``reward`` is the name of an installed reward; or a spec, which is checked without the check
    ``registration``. ``samples`` are images, and prompts that the reward applies to; by default,
    images are drawn for the spec's examples. Values may change by ``tolerance`` times
    max(1, abs(value)) with the order and the number of images. On the CPU, the same call must give
    the same bits.

    Raises BadInputError for an unknown reward or wrong options; other failures are in the report.
    """
    if isinstance(reward, str):
        catalog = discover()
        found = catalog.get(reward)
        spec, module = found.spec, found.module
        validated: Any = catalog.validate(reward, options or {})
    else:
        spec, module = reward, ""
        validated = spec.options.model_validate(dict(options or {}))
    subject = Subject(
        spec=spec,
        options=validated,
        samples=samples or _samples(spec),
        device=device,
        tolerance=tolerance,
        limits=limits or Limits(),
    )
    return Examination(subject, module).report()


def _samples(spec: RewardSpec) -> Samples:
    """Images drawn for the spec's examples; without examples, for plain prompts it applies to."""
    plain = [prompt for prompt in PLAIN_PROMPTS if spec.applies(prompt, None)]
    prompts = spec.examples or plain
    return make_samples(prompts, max(8, len(prompts)) if prompts else 0)
