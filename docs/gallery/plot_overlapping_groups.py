"""
Two norms for groups that overlap
=================================

Windows of five features, each shifted by one. Coefficients are a block of eight. One norm sets windows to zero, the other one keeps
windows; a plain L1 norm knows nothing of windows.
"""

import matplotlib.pyplot as plt
import torch

from proxmtl import L1, Groups, LatentOverlapGroupL2, OverlappingGroupL2, Problem, Squared, minimize

generator = torch.Generator().manual_seed(0)
X = torch.randn(60, 40, generator=generator, dtype=torch.float64)
truth = torch.zeros(40, 1, dtype=torch.float64)
truth[15:23] = 1.0
Y = X @ truth + 2 * torch.randn(60, 1, generator=generator, dtype=torch.float64)
windows = Groups.from_lists([list(range(i, i + 5)) for i in range(36)])

penalties = {
    "L1": L1(1.0),
    "OverlappingGroupL2": OverlappingGroupL2(windows, 1.0, axis=0),
    "LatentOverlapGroupL2": LatentOverlapGroupL2(windows, 1.0, axis=0),
}
figure, panels = plt.subplots(1, 3, figsize=(9, 2.8), sharey=True, layout="constrained")
for axes, (name, penalty) in zip(panels, penalties.items(), strict=True):
    critical = Problem.of(X, Y, penalty, loss=Squared()).critical_strength()
    problem = Problem.of(X, Y, penalty.with_strength(0.2 * critical), loss=Squared())
    result = minimize(problem, tol=1e-6)
    print(name, result)
    axes.stem(result.coef[:, 0], basefmt="C7-")
    axes.axvspan(14.5, 22.5, color="0.9", zorder=0)
    axes.set_title(name, fontsize=9)
plt.show()
