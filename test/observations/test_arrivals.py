"""When observations arrive, and the moment at which those of all robots are youngest."""

import numpy as np
import pytest

from latent_policy_ros.observations.arrivals import GAIN, OVERDUE, RETRY, STAMPS, Arrivals, best_moment

INTERVAL, DELAY = 1 / 30, 0.004


def camera(phase, now=10.0, interval=INTERVAL, waits=(0.0, 0.007, 0.013)):
    """Arrivals of a camera whose images have arrived at ``phase``, one interval later, and so on, until ``now``."""
    arrivals = Arrivals()
    for k, arrival in enumerate(np.arange(phase, now + 1e-9, interval)):
        arrivals.add(arrival - DELAY, arrival + waits[k % len(waits)])
    return arrivals


def test_arrivals_are_extrapolated():
    arrivals = camera(9.0, 10.0 + 1e-6)  # the newest at 10.0
    assert arrivals.newest == pytest.approx(10.0)
    assert arrivals.next_after(10.0) == pytest.approx(10.0 + INTERVAL)
    late = 10.0 + INTERVAL + 0.5 * OVERDUE
    assert arrivals.next_after(late) == pytest.approx(late + RETRY)
    assert arrivals.next_after(10.0 + INTERVAL + 1.1 * OVERDUE) == np.inf


def test_nothing_is_known_at_first_and_after_a_clock_was_set_back():
    arrivals = Arrivals()
    assert arrivals.newest == -np.inf and best_moment([arrivals], 1.0, 0.04) == 1.0
    for k in range(STAMPS):
        assert arrivals.next_after(k * INTERVAL) == np.inf
        arrivals.add(k * INTERVAL, k * INTERVAL)
    assert arrivals.next_after(STAMPS * INTERVAL) < np.inf
    arrivals.add(0.0, STAMPS * INTERVAL)
    assert arrivals.next_after(STAMPS * INTERVAL) == np.inf


def test_one_robot_waits_for_its_next_observation():
    for age in (0.006, 0.015, 0.03):
        assert best_moment([camera(9.0 - age)], 10.0, 0.04) == pytest.approx(10.0 + INTERVAL - age)
    assert best_moment([camera(9.0 - 0.5 * GAIN)], 10.0, 0.04) == 10.0, "the newest observation has just arrived"
    assert best_moment([camera(9.0 - 0.015)], 10.0, 0.01) == 10.0, "the next one arrives too late"


def test_many_robots_are_served_when_their_observations_are_youngest_on_average():
    ages = lambda moment, phases: np.mean([(moment - phase) % INTERVAL for phase in phases])
    rng = np.random.default_rng(0)
    for count in (2, 3, 5):
        for _ in range(20):
            phases = 9.0 - rng.uniform(0, INTERVAL, count)
            moment = best_moment([camera(phase) for phase in phases], 10.0, INTERVAL)
            best = min(ages(10.0 + wait, phases) for wait in np.arange(1e-4, INTERVAL, 1e-4))
            assert ages(moment + 1e-6, phases) <= best + GAIN + RETRY
    even = [camera(9.0 - k * INTERVAL / 16) for k in range(16)]
    assert best_moment(even, 10.0, 0.04) == 10.0, "no moment is better than another"
