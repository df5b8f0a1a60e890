"""
Latent tasks that groups of attributes share
============================================

Two groups of attributes depend on latent tasks of their own. The paper's model ``W = L S`` finds them: groups of attributes choose which
latent tasks they use, and all other entries of ``S`` are exactly zero.
"""

import matplotlib.pyplot as plt
import numpy as np

from proxmtl import LatentMTLClassifier
from proxmtl.report import plot_latents

rng = np.random.default_rng(0)
groups = {"colors": list(range(6)), "patterns": list(range(6, 12))}
names = [f"color {i}" for i in range(6)] + [f"pattern {i}" for i in range(6)]

# two latent tasks of the first group, one of the second
directions = rng.standard_normal((40, 3))
combination = np.zeros((3, 12))
combination[:2, :6] = rng.standard_normal((2, 6))
combination[2, 6:] = rng.standard_normal(6)
X = rng.standard_normal((300, 40))
Y = X @ directions @ combination + 2 * rng.standard_normal((300, 12)) > 0

# %%
# Parts of each attribute's own are left out by a large ``own_strength``, so that all goes through the latent tasks.

model = LatentMTLClassifier(groups=groups, label_names=names, own_strength=1e3, shared_strength=0.2)
model.fit(X, Y)
print(model.result_)

# %%
# Each group uses latent tasks of its own, as in the data.

figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
plot_latents(model.S_, groups, names, title="S of W = L S", ax=axes)
plt.show()

# %%
# What the groups use is what the data have: no latent task serves both.

used = {
    group: np.flatnonzero(model.S_[:, columns].any(axis=1)) for group, columns in groups.items()
}
print(used)
