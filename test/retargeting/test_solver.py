"""Bounded least-squares solver: closed-form solutions of prismatic trees, optimality conditions, monotonic cost."""

import numpy as np

from latent_policy_ros.embodiments.kinematics.hinge_tree import HingeTree
from latent_policy_ros.embodiments.model.schema import Hinge
from latent_policy_ros.retargeting.solver import keyvectors, minimise_batch

STARTS, ENDS = [-1, 0, 1, 2, -1, 3], [0, 1, 2, 3, 3, 0]
PRIOR = 1e-3


def slides(rng, bound, kind="prismatic"):
    """A branching tree of five hinges with four points."""
    parents = [None, "0", "1", "0", "3"]
    hinges = []
    for i, parent in enumerate(parents):
        axis = rng.normal(size=3)
        hinges.append(Hinge(str(i), parent, axis / np.linalg.norm(axis), rng.normal(size=3), -bound, bound, kind))
    return HingeTree(hinges, ["2", "1", "4", None], rng.normal(size=(4, 3)))


def problem(seed=0, bound=10.0, kind="prismatic", batch=7, by_length=0.0):
    rng = np.random.default_rng(seed)
    tree = slides(rng, bound, kind)
    vectors = keyvectors(tree, STARTS, ENDS)
    targets, weights, prior = rng.normal(size=(batch, 6, 3)), rng.uniform(0.1, 3.0, (batch, 6)), rng.normal(size=(batch, 5))
    length_weights = np.full((batch, 6), by_length)

    def solve(start, iterations, rows=slice(None)):
        q, cost = start.copy(), np.empty(len(start))
        limit = np.full(5, bound)
        given = prior[rows], np.full(5, PRIOR), targets[rows], weights[rows], length_weights[rows]
        minimise_batch(vectors, -limit, limit, q, *given, iterations, 1e-12, cost)
        return q, cost

    def residuals(q):
        """(B, 6 * 4 + 5), their derivatives (B, 29, 5): the cost is the sum of their squares."""
        places, jacobian = tree.points_and_jacobian(q)
        padded = np.concatenate((places, np.zeros((len(q), 1, 3))), axis=1)  # index -1: the origin
        moved = np.concatenate((jacobian, np.zeros((len(q), 1, 3, 5))), axis=1)
        root = np.sqrt(weights)[..., None]
        reach, slope = padded[:, ENDS] - padded[:, STARTS], moved[:, ENDS] - moved[:, STARTS]
        length, root_length = np.linalg.norm(reach, axis=-1, keepdims=True), np.sqrt(length_weights)
        longer = root_length * (length[..., 0] - np.linalg.norm(targets, axis=-1))
        along = root_length[..., None] * np.einsum("bkc,bkcj->bkj", reach / length, slope)
        parts = np.hstack(((root * (reach - targets)).reshape(len(q), -1), longer))
        slopes = np.concatenate(((root[..., None] * slope).reshape(len(q), -1, 5), along), axis=1)
        held = np.broadcast_to(np.sqrt(PRIOR) * np.eye(5), (len(q), 5, 5))
        return np.hstack((parts, np.sqrt(PRIOR) * (q - prior))), np.concatenate((slopes, held), axis=1)

    return solve, residuals, rng


def test_linear_problem_has_the_closed_form_solution():
    solve, residuals, _ = problem()
    q, cost = solve(np.zeros((7, 5)), 60)
    r, A = residuals(np.zeros((7, 5)))
    for b in range(7):
        answer, *_ = np.linalg.lstsq(A[b], -r[b], rcond=None)
        assert np.allclose(q[b], answer, atol=1e-6)
    assert np.allclose(cost, np.square(residuals(q)[0]).sum(axis=1))


def test_solution_satisfies_karush_kuhn_tucker():
    """The gradient of free joints is zero; that of joints at a limit points out of the range."""
    for kind, by_length in (("prismatic", 0.0), ("revolute", 0.0), ("revolute", 2.0)):
        solve, residuals, _ = problem(bound=0.3, kind=kind, by_length=by_length)
        q, cost = solve(np.zeros((7, 5)), 200)
        r, A = residuals(q)
        gradient = np.einsum("bri,br->bi", A, r)
        low, high = q <= -0.3 + 1e-9, q >= 0.3 - 1e-9
        assert np.allclose(np.square(r).sum(axis=1), cost) and np.abs(q).max() <= 0.3
        assert (low | high).any() and (~low & ~high).any()
        assert np.abs(gradient[~low & ~high]).max() < 1e-5
        assert (gradient[low] >= -1e-9).all() and (gradient[high] <= 1e-9).all()


def test_cost_never_increases_and_rows_are_independent():
    solve, _, rng = problem(seed=3, kind="revolute", by_length=1.0)
    start = rng.uniform(-10, 10, (7, 5))
    costs = [solve(start, steps)[1] for steps in range(8)]
    assert (np.diff(costs, axis=0) <= 0).all() and (costs[-1] < costs[0]).all()
    alone, _ = solve(start[2:3], 5, rows=slice(2, 3))
    assert (solve(start, 5)[0][2] == alone[0]).all()
