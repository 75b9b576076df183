"""The checks of the contract, one function each; a check that fails raises BrokenContractError."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from marblecli.errors import one_of
from marblecli.plugins import one_line
from marblecli.rewards.host import check_spec
from marblecli.rewards.kit import global_state
from marblecli.rewards.kit.recording import may_read
from marblecli.rewards.kit.registration import register_alone
from marblecli.rewards.kit.samples import make_samples
from marblecli.rewards.kit.trial import (
    Limits,
    Trial,
    as_scores,
    call,
    differences,
    make_batch,
)
from marblecli.rewards.spec import RewardSpec
from marblecli.types import Prompt

_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_SIZES = ((64, 64), (48, 80), (96, 32))
"""Heights and widths; some aren't multiples of usual patch sizes."""


class BrokenContractError(Exception):
    """One line that says why a check fails."""


def declaration(spec: RewardSpec, options: Any, prompts: Sequence[Prompt]) -> str:
    """Check that the spec is sound, and applies to its examples and not without its metadata.

    ``prompts`` are the prompts that the reward is tried on.
    """
    check_spec(spec)
    if not prompts:
        needs = one_of(spec.metadata) if spec.metadata else "its condition"
        raise BrokenContractError(
            f"no prompt to try it on: give its RewardSpec examples=(Prompt(...), ...) with {needs}"
        )
    for prompt in prompts:
        if not spec.applies(prompt, None):
            raise BrokenContractError(f"it doesn't apply to its own example {prompt.text!r}")
    if spec.metadata and spec.applies(Prompt(prompts[0].text, "kit"), None):
        raise BrokenContractError("it applies to a prompt without metadata")
    for files in spec.files(options):
        _check_files(files.repo, files.revision, files.patterns)
    return f"{len(prompts)} prompts"


def _check_files(repo: str, revision: str, patterns: Sequence[str]) -> None:
    if not _REPOSITORY.fullmatch(repo):
        raise BrokenContractError(f"files: {repo!r} is no OWNER/NAME of the hub")
    if not _COMMIT.fullmatch(revision):
        raise BrokenContractError(
            f"files: {repo} is pinned to {revision!r}, which is no commit hash"
        )
    if not patterns:
        raise BrokenContractError(f"files: {repo} has no patterns")


def registration(module: str, limits: Limits) -> tuple[str, float]:
    """Check that importing the plugin is quick, and loads neither weights nor heavy libraries.

    Returns the time as a text and in seconds.
    """
    found = register_alone(module)
    if found.heavy:
        raise BrokenContractError(f"importing {module} imports {one_of(found.heavy)}")
    if found.weights:
        raise BrokenContractError(f"importing {module} opens {one_of(found.weights)}")
    if found.hosts:
        raise BrokenContractError(f"importing {module} connects to {one_of(found.hosts)}")
    took = f"{found.seconds:.3f} s"
    if found.seconds > limits.registration_seconds:
        raise BrokenContractError(
            f"importing {module} takes {took}, more than {limits.registration_seconds:g} s"
        )
    return took, found.seconds


def shape(trial: Trial) -> str:
    """Check that there is one number for each image."""
    wanted, scores = len(trial.samples.prompts), trial.scores
    if scores.shape != (wanted,):
        raise BrokenContractError(f"expected {wanted} values, got an array of shape {scores.shape}")
    return f"{wanted} values for {wanted} images"


def finite(trial: Trial) -> str:
    """Check that no value is NaN or infinite, and that some images have a score."""
    scored = trial.scores.compressed()
    bad = int((~np.isfinite(scored)).sum())
    if bad:
        raise BrokenContractError(f"{bad} of {len(trial.scores)} values aren't finite")
    if not len(scored):
        raise BrokenContractError("all values are masked: nothing was scored")
    left_out = len(trial.scores) - len(scored)
    return f"{len(scored)} values" + (f", {left_out} masked" if left_out else "")


def declared_range(trial: Trial) -> str:
    """Check that all values are in the declared range."""
    low, high = trial.spec.range
    scored = trial.scores.compressed()
    # By float32 rounding, a value may be slightly outside.
    slack = 1e-6 * max(1.0, *(abs(bound) for bound in (low, high) if np.isfinite(bound)), 1.0)
    outside = scored[(scored < low - slack) | (scored > high + slack)]
    if len(outside):
        raise BrokenContractError(f"{outside[0]:g} is outside of the range {low:g} to {high:g}")
    return f"{scored.min():g} to {scored.max():g} in {low:g} to {high:g}" if len(scored) else ""


def deterministic(trial: Trial) -> str:
    """Check that the same call gives the same values; on the CPU, to the bit."""
    apart = differences(trial.scores, trial.score(trial.rows())).max()
    allowed = 0.0 if trial.exact else trial.tolerance
    if apart > allowed:
        raise BrokenContractError(f"the same call gives values {apart:.2g} apart")
    return f"{apart:.2g} apart"


def order(trial: Trial) -> str:
    """Check that a permutation of the images permutes the values."""
    rows = trial.rows()
    shuffled = np.random.default_rng(0).permutation(len(rows)).tolist()
    return _compare(trial, [rows[::-1], shuffled], "in another order")


def batch_size(trial: Trial) -> str:
    """Check that an image has the same score alone, in half of the batch and in all of it."""
    rows = trial.rows()
    half = len(rows) // 2
    batches = [[row] for row in rows] + [rows[:half], rows[half:]]
    return _compare(trial, [batch for batch in batches if batch], "in a batch of another size")


def _compare(trial: Trial, batches: Sequence[Sequence[int]], where: str) -> str:
    worst = 0.0
    for rows in batches:
        apart = differences(trial.scores[list(rows)], trial.score(rows)).max()
        if apart > trial.tolerance:
            raise BrokenContractError(
                f"{where} values are {apart:.2g} apart, more than {trial.tolerance:g}"
            )
        worst = max(worst, float(apart))
    return f"{worst:.2g} apart, of {trial.tolerance:g}"


def no_grad(trial: Trial) -> str:
    """Check that the values carry no graph of gradients."""
    given = trial.first
    parts = given if isinstance(given, list | tuple) else [given]
    if any(getattr(part, "requires_grad", False) for part in parts):
        raise BrokenContractError("the values require gradients, so they keep a graph in memory")
    return "no graph"


def images_untouched(trial: Trial) -> str:
    """Check that a call doesn't change the images of its batch."""
    batch, same = trial.batch(trial.rows()), trial.batch(trial.rows())
    call(trial.scorer, batch)
    pairs = zip(batch.images, same.images, strict=True)
    if any(not np.array_equal(np.asarray(one), np.asarray(two)) for one, two in pairs):
        raise BrokenContractError("it changes the images that it is given")
    return "as they were"


def layout(trial: Trial) -> str:
    """Check that images of several sizes can be scored in the declared layout."""
    prompts = trial.samples.prompts[:2]
    for height, width in _SIZES:
        samples = make_samples(prompts, len(prompts), height, width)
        batch = make_batch(trial.spec, samples, range(len(prompts)), trial.reads)
        try:
            scores = as_scores(call(trial.scorer, batch))
        # A stranger's code may raise anything, and that is what is asked.
        except Exception as error:
            size = f"{trial.spec.images} images of {height} x {width}"
            raise BrokenContractError(f"{size}: {one_line(error)}") from error
        if scores.shape != (len(prompts),):
            raise BrokenContractError(f"{height} x {width}: got an array of shape {scores.shape}")
    return f"{trial.spec.images} images of " + ", ".join(f"{h} x {w}" for h, w in _SIZES)


def metadata(trial: Trial) -> str:
    """Check that only declared fields are read, in all calls so far: run this check last."""
    undeclared = {key for key in trial.reads if not may_read(trial.spec, key)}
    if undeclared:
        raise BrokenContractError(
            f"it reads {one_of(undeclared)}: declare it in metadata or optional_metadata"
        )
    unread = set(trial.spec.metadata) - trial.reads
    return f"never read: {one_of(unread)}" if unread else f"reads {one_of(trial.reads)}"


def state_kept(trial: Trial) -> str:
    """Check that neither the first call nor a later one changes the state of the process."""
    # A scorer that sets the same seed in every call changes the state only in its first one.
    unchanged(trial.first_changed, "a call")
    batch, before = trial.batch(trial.rows()), global_state.take_state()
    call(trial.scorer, batch)
    return unchanged(global_state.changes(before, global_state.take_state()), "a call")


def unchanged(changed: Sequence[str], what: str) -> str:
    """Raise BrokenContractError if there are names of changed state."""
    if changed:
        raise BrokenContractError(f"{what} changes {', '.join(changed)}")
    return "as it was"


def seconds_per_image(trial: Trial) -> tuple[str, float]:
    """Check the time of a call with all samples, which isn't the first call.

    Returns the time for each image as a text and in seconds.
    """
    batch = trial.batch(trial.rows())
    started = time.perf_counter()
    call(trial.scorer, batch)
    seconds = (time.perf_counter() - started) / len(batch.prompts)
    limit = trial.limits.seconds_per_image
    if seconds > limit:
        raise BrokenContractError(f"{seconds:.3g} s an image, more than {limit:g} s")
    return f"{1000 * seconds:.3g} ms an image", seconds


def memory(used: tuple[float, float], limits: Limits) -> tuple[str, float]:
    """Check that the peak of the process's memory is within the limit.

    ``used`` is what :class:`PeakMemory` measured. Returns it as a text, and the process's peak in
    10^6 bytes.
    """
    process, device = used
    text = f"{process:.0f} MB" + (f" and {device:.0f} MB on the device" if device else "")
    if process > limits.memory_mb:
        raise BrokenContractError(f"{text}, more than {limits.memory_mb:g} MB")
    return text, process


ON_TRIAL: dict[str, Callable[[Trial], str]] = {
    "shape": shape,
    "finite": finite,
    "range": declared_range,
    "deterministic": deterministic,
    "order": order,
    "batch-size": batch_size,
    "layout": layout,
    "no-grad": no_grad,
    "images-untouched": images_untouched,
    "global-state": state_kept,
    "metadata": metadata,
}
"""By name, in the order in which they are run."""
