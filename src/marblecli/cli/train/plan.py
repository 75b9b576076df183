"""The plan of a run, for ``--dry-run``."""

from __future__ import annotations

from rich.table import Table

from marblecli.cli.setup import Plan, also_trained, also_trained_line
from marblecli.cli.train.memory import show_memory, simulation_of
from marblecli.cli.train.time import show_time
from marblecli.models.architectures import UnreadableConfigError
from marblecli.planning.plan import images_of_a_step, micro_batch_images, trained_rows
from marblecli.report.render import out


def show_plan(
    plan: Plan, memory: float | None = None, processes: int = 1, speed: float | None = None
) -> None:
    """Print the batch geometry, the prompts, which reward applies to how many, the time and memory.

    ``memory`` is the device's in GiB, ``speed`` its 10^12 operations a second; where both are
    absent, they are this machine's. ``processes`` are those that divide the weights where the
    recipe says so. Raises BadInputError if the memory isn't enough.
    """
    recipe = plan.recipe
    sampling, training = recipe.sampling, recipe.training
    images = images_of_a_step(recipe)
    rows = trained_rows(recipe, images)
    size = images if training.micro_batch_size == "auto" else micro_batch_images(recipe)
    whole = rows == images * training.noise_levels
    micro_steps = -(-images // size) * training.noise_levels if whole else -(-rows // size)
    table = Table(title=f"plan of {recipe.run.name}", show_header=False)
    for key, value in (
        ("model", f"{recipe.model.pretrained}, {recipe.model.mode}, {recipe.model.dtype}"),
        ("weights", "random" if recipe.model.random_weights else "pretrained"),
        ("architecture", _architecture(plan)),
        (
            "images a step",
            f"{sampling.prompts_per_step} prompts x {sampling.group_size} = {images}",
        ),
        ("sampling", f"{sampling.steps} solver steps at {sampling.resolution} px"),
        ("training", f"{training.steps} steps of {rows} rows ({training.noise_levels} levels)"),
        ("micro-batches a step", f"{micro_steps} of at most {size} images"),
        ("balance", f"{recipe.balance.method}, refreshed every {recipe.balance.refresh_every}"),
    ):
        table.add_row(key, value)
    held_out = {part[0].source: len(part) for part in plan.held_out_prompts if part}
    for source, prompts in zip(recipe.prompts, plan.train_prompts, strict=True):
        counts = f"{len(prompts)} for training, {held_out.get(source, 0)} held out"
        table.add_row(f"prompts.{source}", counts)
    for name in recipe.rewards:
        table.add_row(f"rewards.{name}", f"applies to {_applicability(plan, name)}")
    for name in recipe.eval.rewards:
        table.add_row(f"eval.rewards.{name}", "scored in evaluations, not trained")
    out.print(table)
    held_out_prompts = [prompt for part in plan.held_out_prompts for prompt in part]
    if both := also_trained(plan, held_out_prompts):
        line = also_trained_line(both, len(held_out_prompts))
        out.print(f"note: {line}", soft_wrap=True, markup=False)
    show_time(plan, speed, processes, here=memory is None)
    show_memory(plan, memory, processes)
    out.print("the recipe is valid; nothing was loaded")


def _architecture(plan: Plan) -> str:
    if isinstance(plan.architecture, UnreadableConfigError):
        return "unknown: its configuration couldn't be read"
    simulation = simulation_of(plan.family, plan.architecture)
    size = f"{simulation.network.parameters / 1e9:.3g} billion parameters"
    return f"{simulation.subject.describe()}: {size}"


def _applicability(plan: Plan, name: str) -> str:
    """How many training prompts of each source the reward applies to."""
    entry = plan.recipe.rewards[name]
    spec = plan.catalog.get(name).spec
    found = []
    for source, prompts in zip(plan.recipe.prompts, plan.train_prompts, strict=True):
        count = sum(spec.applies(prompt, entry.sources) for prompt in prompts)
        if count:
            found.append(f"{source} ({'all' if count == len(prompts) else count})")
    return ", ".join(found)
