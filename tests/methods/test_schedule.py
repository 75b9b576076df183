from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grams import FAMILIES, high_dimensional
from marblecli.errors import BadInputError, MarbleError
from marblecli.methods.checks import check_available
from marblecli.methods.schedule import MethodSchedule, MethodState
from marblecli.settings import BalanceSettings
from marblecli.types import GradientStats
from support.methods import METHODS, choose, different_norms, stats_of

METHODS = [name for name in METHODS if name not in ("sequential", "raw-sum", "gdpo")]
"""Of one batch, ``sequential`` is ``single``."""
NONNEGATIVE = [name for name in METHODS if name not in ("torchjd:imtl-g", "torchjd:aligned-mtl")]
ORDERLESS = [name for name in METHODS if "pcgrad" not in name]
"""PCGrad projects in an order that it draws."""


def test_marble_worked_by_hand():
    """Orthogonal, norms 1 and 3: s = 2, so 2 (1/2)/1 and 2 (1/2)/3."""
    found = choose("marble", stats_of([[1.0, 0.0], [0.0, 3.0]]), np.ones(2))
    assert found.simplex_weights == pytest.approx([0.5, 0.5])
    assert found.coefficients == pytest.approx([1.0, 1 / 3])


def test_equal_worked_by_hand():
    """Norms 1 and 3 and any angle between them."""
    found = choose("equal", stats_of([[1.0, 0.0], [3.0, 0.0]]), np.ones(2))
    assert found.simplex_weights == pytest.approx([0.5, 0.5])
    assert found.coefficients == pytest.approx([1.0, 1 / 3])


def test_weighted_sum_worked_by_hand():
    """Weights 1 and 3 of the losses, norms 2 and 1: unit gradients weigh as 2 to 3."""
    found = choose("weighted-sum", stats_of([[2.0, 0.0], [0.0, 1.0]]), np.array([1.0, 3.0]))
    assert found.coefficients == pytest.approx([0.25, 0.75])
    assert found.simplex_weights == pytest.approx([0.4, 0.6])


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 8), seed=st.integers(0, 2**32 - 1))
def test_marble_is_a_common_descent_direction_whatever_the_norms(count, seed):
    gradients = different_norms(seed, count)
    found = choose("marble", stats_of(gradients), np.ones(count))
    direction = found.coefficients @ gradients
    norms = np.linalg.norm(gradients, axis=1)
    cosines = gradients @ direction / (norms * np.linalg.norm(direction))
    unit_norm = np.linalg.norm(direction) / norms.mean()
    assert cosines.min() == pytest.approx(unit_norm, rel=1e-6)
    assert found.kkt_residual <= 1e-12


@settings(max_examples=60, deadline=None)
@given(
    family=st.sampled_from(sorted(FAMILIES)),
    count=st.integers(1, 16),
    seed=st.integers(0, 2**32 - 1),
)
def test_marble_conflicts_with_no_reward_on_adversarial_gradients(family, count, seed):
    """<ĝ_k, d̂> >= ||d̂||² for every k, to rounding."""
    rng = np.random.default_rng(seed)
    points = FAMILIES[family](rng, count)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    gradients = unit * 10.0 ** rng.uniform(-6.0, 6.0, size=(count, 1))
    found = choose("marble", stats_of(gradients), np.ones(count))
    direction = found.simplex_weights @ unit
    assert (unit @ direction >= direction @ direction - 1e-12).all()
    assert found.kkt_residual <= 1e-12


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=15, deadline=None)
@given(count=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_weights_and_coefficients_are_the_same_direction(method, count, seed):
    gradients = different_norms(seed, count)
    found = choose(method, stats_of(gradients), np.arange(1.0, count + 1.0))
    assert np.abs(found.simplex_weights).sum() == pytest.approx(1.0)
    if method in NONNEGATIVE:
        assert found.simplex_weights.min() >= 0.0
    by_weights = found.simplex_weights / np.linalg.norm(gradients, axis=1)
    ratio = np.abs(found.coefficients).sum() / np.abs(by_weights).sum()
    assert found.coefficients == pytest.approx(ratio * by_weights)


UNIT_FREE = [name for name in METHODS if name not in ("weighted-sum", "marble-published")]


@pytest.mark.parametrize("method", UNIT_FREE)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_unit_of_a_reward_does_not_turn_the_direction(method, seed):
    gradients = different_norms(seed, 4)
    units = np.array([1.0, 30.0, 0.01, 7.0])
    plain = choose(method, stats_of(gradients))
    scaled = choose(method, stats_of(gradients * units[:, None]))
    assert scaled.simplex_weights == pytest.approx(plain.simplex_weights, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e12])
def test_scaling_all_gradients_scales_the_direction(method, scale):
    """TorchJD would take small Grams for zero, if it saw them."""
    gradients = different_norms(3, 5)
    plain, scaled = choose(method, stats_of(gradients)), choose(method, stats_of(scale * gradients))
    assert scaled.coefficients == pytest.approx(plain.coefficients, rel=1e-5)


@pytest.mark.parametrize("method", ORDERLESS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_the_rewards_does_not_matter(method, seed):
    gradients = different_norms(seed, 5)
    order = np.random.default_rng(seed).permutation(5)
    reward = f"reward-{list(order).index(0)}"
    plain = choose(method, stats_of(gradients))
    permuted = choose(method, stats_of(gradients[order]), reward=reward)
    assert permuted.simplex_weights == pytest.approx(plain.simplex_weights[order], abs=1e-4)


@pytest.mark.parametrize("method", ORDERLESS)
def test_duplicates_share(method):
    """Of gradients a, a, b, the two alike get the same, where the method has no reason to choose.

    Not ``single``, which was told, nor the Frank-Wolfe steps of MGDA, which end in between.
    """
    if method in ("single", "torchjd:mgda"):
        return
    first, second = different_norms(5, 2)
    found = choose(method, stats_of([first, first, second]))
    assert found.simplex_weights[0] == pytest.approx(found.simplex_weights[1], abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fault", ["unusable", "zero", np.nan, np.inf])
def test_unusable_rewards_are_left_out_as_if_absent(method, fault):
    gradients = different_norms(1, 4)
    kept = np.array([True, False, True, True])
    weights = np.array([1.0, 5.0, 2.0, 3.0])
    stats = stats_of(gradients, kept if fault == "unusable" else None)
    if fault != "unusable":
        stats.gram[1, :] = stats.gram[:, 1] = 0.0 if fault == "zero" else fault
    found = choose(method, stats, weights)
    alone = choose(method, stats_of(gradients[kept]), weights[kept])
    assert found.simplex_weights[1] == 0.0
    assert found.coefficients[1] == 0.0
    assert found.simplex_weights[kept] == pytest.approx(alone.simplex_weights)
    assert found.coefficients[kept] == pytest.approx(alone.coefficients)


def test_solvers_agree():
    stats = stats_of(different_norms(4, 5))
    wolfe, cvxpy = (choose("marble", stats, solver=name) for name in ("wolfe", "cvxpy"))
    assert cvxpy.simplex_weights == pytest.approx(wolfe.simplex_weights, abs=1e-4)


def test_floors_bind_and_those_of_unusable_rewards_are_dropped():
    stats = stats_of(np.eye(3), [True, True, False])
    found = choose("marble", stats, np.ones(3), floors=np.array([0.7, 0.0, 0.2]))
    assert found.simplex_weights == pytest.approx([0.7, 0.3, 0.0])


@settings(max_examples=40, deadline=None)
@given(count=st.integers(2, 8), factor=st.floats(1.0, 20.0), seed=st.integers(0, 2**32 - 1))
def test_a_priority_turns_the_direction_towards_its_reward(count, factor, seed):
    gradients = high_dimensional(np.random.default_rng(seed), count)
    stats = stats_of(gradients)
    priorities = np.where(np.arange(count) == 0, factor, 1.0)
    plain = choose("marble", stats, np.ones(count))
    turned = choose("marble", stats, np.ones(count), priorities=priorities)

    def cosine(found):
        direction = found.coefficients @ gradients
        return gradients[0] @ direction / np.linalg.norm(gradients[0]) / np.linalg.norm(direction)

    assert cosine(turned) >= cosine(plain) - 1e-9
    # It may already be served better than asked for; else it takes weight.
    assert turned.simplex_weights[0] >= plain.simplex_weights[0] - 1e-9


def test_priorities_worked_by_hand_and_those_of_unusable_rewards_are_dropped():
    """Orthogonal, norms 1 and 3, cosines 1 to 2: weights 1/3 and 2/3, s = 2."""
    stats = stats_of([[1.0, 0, 0], [0, 3.0, 0], [0, 0, 1.0]], [True, True, False])
    priorities = np.array([1.0, 2.0, 100.0])
    found = choose("marble", stats, np.ones(3), priorities=priorities)
    assert found.simplex_weights == pytest.approx([1 / 3, 2 / 3, 0.0])
    assert found.coefficients == pytest.approx([2 / 3, 4 / 9, 0.0])


def test_single_follows_one_loss_as_it_is():
    found = choose("single", stats_of(different_norms(0, 3)), np.ones(3), reward="reward-1")
    assert found.coefficients.tolist() == [0.0, 1.0, 0.0]


def test_the_published_coefficients_weigh_raw_losses():
    """Orthogonal, norms 1 and 3: halves of the losses, so that the second is three quarters."""
    found = choose("marble-published", stats_of([[1.0, 0.0], [0.0, 3.0]]), np.ones(2))
    assert found.coefficients == pytest.approx([0.5, 0.5])
    assert found.simplex_weights == pytest.approx([0.25, 0.75])
    assert found.kkt_residual == pytest.approx(0.0, abs=1e-9)


def test_the_published_coefficients_can_conflict_with_a_reward_that_marble_serves():
    """Cosine -0.9 and norms 1 and 5: d = g_1 / 2 + g_2 / 2."""
    gradients = np.array([[1.0, 0.0], [-4.5, 5.0 * np.sqrt(1 - 0.81)]])
    stats = stats_of(gradients)
    published = choose("marble-published", stats, np.ones(2)).coefficients @ gradients
    ours = choose("marble", stats, np.ones(2)).coefficients @ gradients
    assert gradients[0] @ published < 0.0
    assert (gradients @ ours > 0.0).all()


def test_upgrad_and_pcgrad_are_short_for_torchjd_s():
    stats = stats_of(different_norms(2, 4))
    for name in ("pcgrad", "upgrad"):
        short, whole = choose(name, stats), choose(f"torchjd:{name}", stats)
        assert short.coefficients.tolist() == whole.coefficients.tolist()


def test_a_method_is_found_without_loading_a_library():
    code = (
        "import sys; from marblecli.methods.host import find_method; "
        "assert find_method('upgrad').name == 'torchjd:upgrad'; print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert not {"torch", "torchjd", "cvxpy", "scipy"} & set(loaded.stdout.split())


def test_nothing_usable_is_an_error_that_names_the_rewards():
    with pytest.raises(MarbleError, match="in this batch: reward-0, reward-1"):
        choose("marble", stats_of(np.eye(2), [False, False]), np.ones(2))


def test_weighted_sum_needs_a_weight_on_a_usable_reward():
    with pytest.raises(MarbleError, match="weight above 0"):
        choose("weighted-sum", stats_of(np.eye(2), [True, False]), np.array([0.0, 1.0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"method": "marbel"},
            "'marbel' .did you mean 'marble'..; there are: equal, gdpo, marble, m",
        ),
        ({"method": "marble", "solver": "wolf"}, "solver: must be 'wolfe', 'cvxpy' or"),
        ({"method": "marble", "priorities": np.zeros(2)}, "reward-0: must be above 0"),
        ({"method": "marble", "floors": {"reward-7": 0.5}}, "unknown reward 'reward-7'"),
        ({"method": "single", "reward": 3}, "the method single: reward: expected text, got 3"),
        ({"method": "single", "reward": "reward-2"}, "unknown reward 'reward-2' .did you mean"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(BadInputError, match=message):
        choose(options.pop("method"), stats_of(np.eye(2)), **options)


def test_single_stops_where_its_reward_has_no_gradient():
    with pytest.raises(MarbleError, match="reward-1 has no usable gradient in this batch"):
        choose("single", stats_of(np.eye(2), [True, False]), np.ones(2), reward="reward-1")


# What a recipe says, step by step.


def of_recipe(**table):
    return BalanceSettings.model_validate(table)


def steps_of(settings, batches, start=1, state=None):
    """The balances of successive steps, the state passed on through JSON."""
    schedule, state, chosen = MethodSchedule.of(settings), state or MethodState(), []
    for step, gradients in enumerate(batches, start=start):
        stats = gradients if isinstance(gradients, GradientStats) else stats_of(gradients)
        found, state = schedule.next(stats, np.ones(len(stats.names)), step, state)
        stored = json.loads(json.dumps(state.to_json(), allow_nan=False))
        state = MethodState.from_json(stored, stats.names)
        chosen.append(found)
    return chosen, state


@pytest.mark.parametrize("method", [name for name in ORDERLESS if name != "single"])
def test_without_memory_a_step_is_the_batch_s_own_balance(method):
    batches = [different_norms(seed, 4) for seed in (1, 2)]
    chosen, _ = steps_of(of_recipe(method=method), batches[:1])
    expected = choose(method, stats_of(batches[0]))
    assert chosen[0].coefficients.tolist() == expected.coefficients.tolist()
    assert chosen[0].kkt_residual == expected.kkt_residual


def test_phases_come_before_the_method():
    settings = of_recipe(
        method="equal",
        phases=[{"method": "weighted-sum", "until": 2}, {"method": "marble", "until": 800}],
    )
    schedule = MethodSchedule.of(settings)
    at = {step: schedule.at(step).spec.name for step in (1, 2, 3, 800, 801)}
    assert at == {1: "weighted-sum", 2: "weighted-sum", 3: "marble", 800: "marble", 801: "equal"}
    batch = different_norms(0, 3)
    for step, method in at.items():
        chosen, _ = steps_of(settings, [batch], start=step)
        assert chosen[0].coefficients == pytest.approx(choose(method, stats_of(batch)).coefficients)


def test_sequential_takes_turns_also_past_an_unusable_reward():
    settings = of_recipe(method="sequential", stage_steps=2)
    chosen, _ = steps_of(settings, [different_norms(0, 3)] * 8)
    assert [found.coefficients.argmax() for found in chosen] == [0, 0, 1, 1, 2, 2, 0, 0]
    missing = stats_of(different_norms(0, 3), [False, True, True])
    chosen, _ = steps_of(settings, [missing] * 2, start=3)
    assert [found.coefficients.argmax() for found in chosen] == [1, 1]
    with pytest.raises(MarbleError, match="reward-0 has no usable gradient"):
        steps_of(settings, [missing])


def test_floors_and_priorities_are_by_reward_and_for_marble_s_phase_only():
    settings = of_recipe(
        phases=[{"method": "equal", "until": 1}],
        floors={"reward-2": 0.5},
        priorities={"reward-0": 1.5},
    )
    stats = stats_of(np.eye(3))
    chosen, _ = steps_of(settings, [stats, stats])
    assert chosen[0].simplex_weights == pytest.approx([1 / 3] * 3)
    expected = choose(
        "marble",
        stats,
        floors=np.array([0.0, 0.0, 0.5]),
        priorities=np.array([1.5, 1.0, 1.0]),
    )
    assert chosen[1].simplex_weights == pytest.approx(expected.simplex_weights)
    # The least of (a² + b² + 1/4) / (3a/2 + b + 1/2)² with a + b = 1/2.
    assert chosen[1].simplex_weights == pytest.approx([1 / 3, 1 / 6, 1 / 2])


def test_the_published_average_goes_on_from_step_to_step():
    first, second = np.array([[1.0, 0.0], [1.0, 1.0]]), np.eye(2)
    chosen, state = steps_of(of_recipe(method="marble-published"), [first, second])
    assert chosen[0].coefficients == pytest.approx([0.0, 1.0], abs=0.51)
    expected = 0.7 * chosen[0].coefficients + 0.3 * np.array([0.5, 0.5])
    assert chosen[1].coefficients == pytest.approx(expected)
    assert list(state.inner["average"].values()) == pytest.approx(expected)


def test_the_published_average_survives_a_missing_reward():
    batch = different_norms(0, 3)
    missing = stats_of(batch, [True, True, False])
    chosen, _ = steps_of(of_recipe(method="marble-published"), [batch, missing, batch])
    assert chosen[1].coefficients[2] == 0.0
    assert chosen[2].coefficients[2] > 0.0
    assert [found.coefficients.sum() for found in chosen] == pytest.approx([1.0] * 3)


def test_memory_solves_the_averaged_gram_with_averaged_norms():
    """Cosines 0.5 and -0.5 average to 0.1 with 0.6 and 0.4 of 1.5: norms alike."""
    batches = [[[1.0, 0.0], [0.5, 0.75**0.5]], [[2.0, 0.0], [-1.5, 3 * 0.75**0.5]]]
    chosen, state = steps_of(of_recipe(memory=0.5), batches)
    gram = np.array([[1.0, -1 / 6], [-1 / 6, 1.0]])
    norms = np.array([5 / 3, 7 / 3])
    expected = choose(
        "marble",
        GradientStats(("a", "b"), gram * np.outer(norms, norms), np.array([True, True])),
    )
    assert chosen[1].coefficients == pytest.approx(expected.coefficients)
    assert state.inner is None


def test_memory_makes_noisy_weights_steadier():
    rng = np.random.default_rng(0)
    true = different_norms(0, 4)
    batches = [true + 3.0 * rng.normal(size=true.shape) for _ in range(60)]

    def spread(memory):
        chosen, _ = steps_of(of_recipe(memory=memory), batches)
        return np.std([found.simplex_weights for found in chosen[20:]], axis=0).mean()

    assert spread(0.9) < 0.5 * spread(0.0)


def test_full_shrinkage_is_equal_and_half_is_between():
    batch = different_norms(4, 4)
    (none,), (half,), (full,) = (
        steps_of(of_recipe(shrinkage=shrinkage), [batch])[0] for shrinkage in (0.0, 0.5, 1.0)
    )
    assert full.simplex_weights == pytest.approx([0.25] * 4)
    assert full.coefficients == pytest.approx(choose("equal", stats_of(batch)).coefficients)
    distance = [np.abs(found.simplex_weights - 0.25).max() for found in (none, half)]
    assert 0.0 < distance[1] < distance[0]


@pytest.mark.parametrize("table", [{"memory": 0.8}, {"method": "marble-published"}])
def test_a_state_that_went_through_json_goes_on_to_the_same_bits(table):
    settings = of_recipe(**table)
    batches = [different_norms(seed, 3) for seed in range(4)]
    straight, state, schedule = [], MethodState(), MethodSchedule.of(settings)
    for step, batch in enumerate(batches, start=1):
        found, state = schedule.next(stats_of(batch), np.ones(3), step, state)
        straight.append(found.coefficients.tolist())
    stored, _ = steps_of(settings, batches)
    assert [found.coefficients.tolist() for found in stored] == straight


def test_an_empty_state_is_json():
    assert MethodState().to_json() == {"memory": None, "method": "", "inner": None}


def test_the_state_of_an_older_checkpoint_goes_on():
    """Then, the published method's average was a list in the order of the rewards."""
    batch = different_norms(0, 2)
    schedule = MethodSchedule.of(of_recipe(method="marble-published"))
    old = {"memory": None, "published": [0.25, 0.75]}
    state = MethodState.from_json(old, ("reward-0", "reward-1"))
    found, _ = schedule.next(stats_of(batch), np.ones(2), 5, state)
    alone, _ = schedule.next(stats_of(batch), np.ones(2), 5, MethodState())
    expected = 0.7 * np.array([0.25, 0.75]) + 0.3 * alone.coefficients
    assert found.coefficients == pytest.approx(expected)


def test_a_method_starts_with_nothing_after_another():
    """The published average is that of the phase, not of what was averaged before another one."""
    batch = different_norms(0, 3)
    phases = [{"method": "marble-published", "until": 1}, {"method": "equal", "until": 2}]
    settings = of_recipe(method="marble-published", phases=phases)
    chosen, _ = steps_of(settings, [batch, batch, batch])
    fresh, _ = steps_of(of_recipe(method="marble-published"), [batch])
    assert chosen[2].coefficients.tolist() == fresh[0].coefficients.tolist()


def test_a_memory_of_other_rewards_is_refused():
    settings = of_recipe(memory=0.5)
    _, state = steps_of(settings, [different_norms(0, 3)])
    with pytest.raises(BadInputError, match="state is of 3 rewards, and there are 2"):
        steps_of(settings, [different_norms(0, 2)], state=state)


@pytest.mark.parametrize("key", ["floors", "priorities"])
def test_a_reward_that_the_run_lacks_is_named(key):
    with pytest.raises(BadInputError, match=rf"reward 'reward-7' .did you mean.* in balance.{key}"):
        steps_of(of_recipe(**{key: {"reward-7": 0.5}}), [different_norms(0, 3)])


def test_what_is_not_installed_is_told_before_the_run(monkeypatch):
    check_available(of_recipe(phases=[{"method": "upgrad", "until": 3}], solver="cvxpy:OSQP"))
    with pytest.raises(BadInputError, match="method: unknown solver 'cvxpy:none'"):
        check_available(of_recipe(solver="cvxpy:none"))
    monkeypatch.setitem(sys.modules, "torchjd", None)
    check_available(of_recipe())
    for method in ("pcgrad", "torchjd:imtl-g"):
        with pytest.raises(BadInputError, match="pip install"):
            check_available(of_recipe(phases=[{"method": method, "until": 3}]))
