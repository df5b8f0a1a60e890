"""
A network under a solved head
=============================

The weights of the last layer are the solution of a certified problem, and the network below follows the gradient of its optimal value.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

from proxmtl import Groups
from proxmtl.nn import LatentMTLHead

torch.manual_seed(0)
X = torch.randn(300, 20)
Y = torch.sign(torch.tanh(X[:, :8]) @ torch.randn(8, 6) + 0.3 * torch.randn(300, 6))
groups = Groups.from_lists([[0, 1, 2], [3, 4, 5]])
network = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
head = LatentMTLHead(16, 6, groups, group_strength=2e-3, max_passes=100)
optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)

# %%
# Solve on all samples, then take some steps of SGD with the solved weights held fixed.

objectives = []
for _ in range(15):
    with torch.no_grad():
        features = network(X)
    objectives.append(head.solve(features, Y).certificate.objective)
    for batch in torch.randperm(300).split(50):
        optimizer.zero_grad()
        head.loss(network(X[batch]), Y[batch]).backward()
        optimizer.step()

figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
axes.plot(objectives, "o-")
axes.set(xlabel="epoch", ylabel="objective of the solved head")
plt.show()
