import pytest

pytest.importorskip("mujoco")
from latent_policy_ros.sim.evaluate import wilson_interval  # noqa: E402


def test_known_values():
    # Newcombe 1998, table I, method 3: 81 of 263 -> 0.2553 .. 0.3662; 0 of 20 -> 0 .. 0.1611
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (3, 2), (-1, 5)])
def test_impossible_counts_are_refused(successes, trials):
    with pytest.raises(ValueError, match=f"got {successes} of {trials}"):
        wilson_interval(successes, trials)
