import pytest

pytest.importorskip("mujoco")
from latent_policy_ros.sim.evaluation import paired_interval, wilson_interval  # noqa: E402


def test_wilson_interval_agrees_with_published_values():
    # Newcombe 1998, table I, method 3: 81 of 263 -> 0.2553 .. 0.3662; 0 of 20 -> 0 .. 0.1611
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (3, 2), (-1, 5)])
def test_impossible_counts_are_refused(successes, trials):
    with pytest.raises(ValueError, match=f"got {successes} of {trials}"):
        wilson_interval(successes, trials)


def test_paired_interval_agrees_with_manual_calculation():
    before, after = [True] * 65 + [False] * 35, [True] * 60 + [False] * 5 + [True] * 15 + [False] * 20  # 15 won, 5 lost
    assert paired_interval(before, after) == pytest.approx((0.10, 0.0121, 0.1840), abs=1e-4)
    difference, low, high = paired_interval([True] * 30, [True] * 30)
    assert difference == 0.0 and low == -high < 0.0  # no difference was seen, which does not prove equality


@pytest.mark.parametrize("before, after", [([], []), ([True], [True, False])])
def test_paired_interval_refuses_different_trials(before, after):
    with pytest.raises(ValueError, match="same trials"):
        paired_interval(before, after)
