"""The bounded least-squares solver, on problems whose answer is known."""

import numpy as np

from latent_policy_ros.retargeting.solver import KeyvectorProblem


def linear(matrix):
    """Points (B, P, 3) that are a linear function of q, and their derivatives."""

    def evaluate(q):
        return np.einsum("pkn,bn->bpk", matrix, q), np.broadcast_to(matrix, (len(q), *matrix.shape))

    return evaluate


def problem(seed=0, n=5, points=4, bound=10.0, prior=1e-3):
    rng = np.random.default_rng(seed)
    matrix, vectors = rng.normal(size=(points, 3, n)), rng.normal(size=(6, points))
    solver = KeyvectorProblem(linear(matrix), vectors, np.full(n, -bound), np.full(n, bound), np.full(n, prior))
    return solver, matrix, vectors, rng


def test_a_linear_problem_has_its_closed_answer():
    solver, matrix, vectors, rng = problem()
    targets, weights, prior = rng.normal(size=(7, 6, 3)), rng.uniform(0.1, 3.0, (7, 6)), rng.normal(size=(7, 5))
    q, _ = solver.solve(np.zeros((7, 5)), prior, targets, weights, 30)
    rows = np.einsum("kp,pin->kin", vectors, matrix)
    for b in range(7):
        root = np.sqrt(weights[b])[:, None]
        A = np.vstack(((root[:, :, None] * rows).reshape(-1, 5), np.sqrt(1e-3) * np.eye(5)))
        y = np.r_[(root * targets[b]).ravel(), np.sqrt(1e-3) * prior[b]]
        assert np.allclose(q[b], np.linalg.lstsq(A, y, rcond=None)[0], atol=1e-6)


def test_at_the_answer_only_limits_stand_in_the_way():
    """Karush-Kuhn-Tucker: no gradient along free joints; pressed joints would leave their limits."""
    solver, _, _, rng = problem(bound=0.1)
    targets, weights, prior = rng.normal(size=(9, 6, 3)), np.ones((9, 6)), np.zeros((9, 5))
    q, cost = solver.solve(np.zeros((9, 5)), prior, targets, weights, 60)
    value, gradient, _ = solver._model(q, prior, targets, weights)
    assert np.allclose(value, cost) and np.abs(q).max() <= 0.1
    low, high = q <= -0.1 + 1e-9, q >= 0.1 - 1e-9
    assert (low | high).any() and (~low & ~high).any()
    assert np.abs(gradient[~low & ~high]).max() < 1e-6
    assert (gradient[low] >= -1e-9).all() and (gradient[high] <= 1e-9).all()


def test_no_step_makes_it_worse_and_rows_do_not_meet():
    solver, _, _, rng = problem(seed=3)
    targets, weights, prior = rng.normal(size=(4, 6, 3)), np.ones((4, 6)), np.zeros((4, 5))
    start = rng.uniform(-10, 10, (4, 5))
    costs = [solver.solve(start, prior, targets, weights, steps)[1] for steps in range(6)]
    assert (np.diff(costs, axis=0) <= 0).all()
    alone, _ = solver.solve(start[2:3], prior[2:3], targets[2:3], weights[2:3], 5)
    assert np.allclose(solver.solve(start, prior, targets, weights, 5)[0][2], alone[0], atol=1e-12)
