"""The solver on problems whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from omote.capture.solver import System, boxed_step, minimise

Array = NDArray[np.float64]


def quadratic(rows: Array, right: Array, at: Array) -> System[Array]:
    """|rows x - right|^2 / 2 at x."""
    residual = rows @ at - right
    return System(at, 0.5 * float(residual @ residual), rows.T @ residual, rows.T @ rows, at)


@pytest.mark.parametrize("seed", range(8))
def test_box_constrained_least_squares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, right = rng.normal(size=(30, 12)), rng.normal(0, 3, 30)
    low, high = np.full(12, -0.3), rng.uniform(0.0, 0.4, 12)
    found = minimise(
        lambda x: quadratic(rows, right, x),
        lambda x, step: x + step,
        np.zeros(12),
        low,
        high,
        iterations=200,
        tolerance=0.0,
    )
    best = lsq_linear(rows, right, (low, high), tol=1e-13)
    assert found.state == pytest.approx(best.x, abs=1e-5)
    assert found.cost == pytest.approx(best.cost, rel=1e-9)
    assert np.all((found.state >= low) & (found.state <= high))
    assert np.sum((found.state == low) | (found.state == high)) >= 2  # the box matters


@pytest.mark.parametrize("seed", range(5))
def test_a_step_stays_in_the_box_and_goes_down(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, right = rng.normal(size=(20, 9)), rng.normal(0, 5, 20)
    low, high = np.full(9, -0.5), np.full(9, 0.5)
    at = rng.uniform(-0.5, 0.5, 9)
    at[:3] = [-0.5, 0.5, 0.5]
    system = quadratic(rows, right, at)
    step = boxed_step(system, low, high, 1e-4)
    assert np.all((at + step >= low) & (at + step <= high))
    assert quadratic(rows, right, at + step).cost < system.cost


def test_a_variable_at_its_bound_is_held() -> None:
    """The gradient pushes the first one out of the box; the second one must not suffer for it."""
    rows, right = np.array([[1.0, 0.5], [0.0, 1.0]]), np.array([5.0, 0.2])
    system = quadratic(rows, right, np.array([1.0, 0.0]))
    step = boxed_step(system, np.array([-1.0, -10.0]), np.array([1.0, 10.0]), 0.0)
    assert step[0] == 0
    assert step[1] == pytest.approx((0.5 * 4 + 0.2) / 1.25)  # the best second one, given the first


def test_without_bounds_one_step_is_newtons() -> None:
    rows, right = np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([1.0, 6.0])
    step = boxed_step(quadratic(rows, right, np.zeros(2)), np.full(2, -np.inf), np.full(2, np.inf), 0.0)
    assert step == pytest.approx(np.linalg.solve(rows, right), abs=1e-6)


def test_a_curved_valley() -> None:
    """Rosenbrock's function as residuals; the minimum is outside of the box, the best inside is on its edge."""

    def build(x: Array) -> System[Array]:
        residual = np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])
        slope = np.array([[-20 * x[0], 10.0], [-1.0, 0.0]])
        return System(x, 0.5 * float(residual @ residual), slope.T @ residual, slope.T @ slope, x)

    def solve(high: float) -> Array:
        found = minimise(
            build,
            lambda x, step: x + step,
            np.array([-1.2, 1.0]),
            np.full(2, -2.0),
            np.array([high, 4.0]),
            iterations=300,
            tolerance=0.0,
        )
        return found.state

    assert solve(3.0) == pytest.approx([1, 1], abs=1e-4)
    assert solve(0.5) == pytest.approx([0.5, 0.25], abs=1e-4)


def test_it_never_gets_worse() -> None:
    costs = []

    def build(x: Array) -> System[Array]:
        system = System(
            x, float(np.cosh(3 * x).sum()), 3 * np.sinh(3 * x), np.eye(2), x
        )  # a matrix too small
        costs.append(system.cost)
        return system

    found = minimise(
        build,
        lambda x, step: x + step,
        np.array([1.0, -0.7]),
        np.full(2, -2.0),
        np.full(2, 2.0),
        iterations=200,
        tolerance=0,
    )
    assert found.cost == min(costs)
    assert found.cost < 2.01


def test_rounding_may_leave_the_matrix_indefinite() -> None:
    """As single precision does to two variables that are nearly one."""
    matrix = 1e8 * np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1e-8]])
    matrix[0, 0] -= 20.0
    assert np.linalg.eigvalsh(matrix)[0] < 0
    gradient = np.array([1e8, 1e8, -1.0])
    system = System(np.zeros(3), 1.0, gradient, matrix, np.zeros(3))
    step = boxed_step(system, np.full(3, -np.inf), np.full(3, np.inf), 0.0)
    assert step[0] + step[1] == pytest.approx(-1, abs=1e-3)
    assert abs(step[0] - step[1]) < 0.3
    assert step[2] == pytest.approx(1, abs=1e-3)
    hopeless = System(np.zeros(3), 1.0, gradient, -np.eye(3), np.zeros(3))
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        boxed_step(hopeless, np.full(3, -np.inf), np.full(3, np.inf), 0.0)
