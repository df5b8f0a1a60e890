"""
A path of certified solutions
=============================

A sparse logistic model from the strength at which it is zero downwards. Each point of the path starts at the last one, and has a duality gap:
an upper bound on what a better solver could gain.
"""

import matplotlib.pyplot as plt
import torch

from proxmtl import L21, Logistic, Problem, RelativeGap, solve_path

generator = torch.Generator().manual_seed(0)
X = torch.randn(300, 60, generator=generator, dtype=torch.float64)
W = torch.zeros(60, 5, dtype=torch.float64)
W[:6] = torch.randn(6, 5, generator=generator, dtype=torch.float64)
Y = torch.sign(X @ W + torch.randn(300, 5, generator=generator, dtype=torch.float64))

problem = Problem.of(X, Y, L21(1.0), loss=Logistic())
path = solve_path(problem, n=15, ratio=0.02, stop=RelativeGap(1e-6))

# %%
# Rows of W enter one after another, for all tasks at once; six of them carry the signal.

strengths = [point.strength for point in path.points]
norms = torch.stack([solution[:-1].norm(dim=1) for solution in path.solutions])
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
left.plot(strengths, norms[:, 6:], color="0.8")
left.plot(strengths, norms[:, :6])
left.set(xscale="log", xlabel="strength", ylabel="norm of a row of W")
right.plot(strengths, [point.certificate.relative_gap for point in path.points], "o")
right.set(xscale="log", yscale="log", xlabel="strength", ylabel="relative duality gap")
plt.show()
