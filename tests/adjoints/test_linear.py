"""The linear solvers against a direct one."""

import torch

from proxmtl.adjoints import conjugate_gradients, gmres, neumann


def test_linear_solvers():
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(12, 12, generator=generator).double()
    b = torch.randn(12, generator=generator).double()
    found = gmres(lambda x: A @ x, b, tolerance=1e-12, limit=100)
    torch.testing.assert_close(found.x, torch.linalg.solve(A, b))
    restarted = gmres(lambda x: A @ x + 20 * x, b, tolerance=1e-12, limit=100, restart=4)
    torch.testing.assert_close(restarted.x, torch.linalg.solve(A + 20 * torch.eye(12), b))
    assert restarted.residual <= 1e-12
    assert gmres(lambda x: A @ x, b, tolerance=1e-12, limit=3).residual > 1e-6
    assert gmres(lambda x: x, 0 * b, tolerance=1e-12, limit=3).products == 0
    B = 0.9 * A / torch.linalg.matrix_norm(A, 2)
    series = neumann(lambda x: B @ x, b, tolerance=1e-13, limit=1000)
    torch.testing.assert_close(series.x, torch.linalg.solve(torch.eye(12).double() - B, b))
    symmetric = A @ A.T
    cg = conjugate_gradients(lambda x: symmetric @ x, b, tolerance=1e-12, limit=100)
    torch.testing.assert_close(cg.x, torch.linalg.solve(symmetric, b), rtol=1e-6, atol=1e-6)


def test_a_start_that_is_the_solution_takes_the_product_that_says_so():
    b = torch.tensor([1.0, -2.0], dtype=torch.float64)
    found = conjugate_gradients(lambda x: 1.0 * x, b, b.clone(), tolerance=0.0, limit=9)
    assert (found.products, found.residual) == (1, 0.0)
    assert torch.equal(found.x, b)


def test_a_singular_system_shows_in_the_residual():
    singular = torch.diag(torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64))
    q = torch.ones(3, dtype=torch.float64)
    for solver in (conjugate_gradients, gmres):
        found = solver(lambda x: singular @ x, q, tolerance=1e-10, limit=50)
        assert found.residual > 0.1
        assert bool(torch.isfinite(found.x).all())
        assert found.products < 50
