"""
What sharing gains, by the number of labels
===========================================

Digits with 21 attributes. Of the labels of 300 images some are known; with few of them, attributes learn from one another.
"""

import matplotlib.pyplot as plt
import numpy as np

from proxmtl import SharedPlusOwnClassifier, SingleTaskClassifier
from proxmtl.experiments import attribute_metrics
from proxmtl.io import load_digit_attributes

data = load_digit_attributes()
rows = np.random.default_rng(0).permutation(len(data.X))
train, test = rows[:300], rows[300:]
shares = [0.1, 0.2, 0.4, 0.8]
precision = {"alone": [], "shared": []}
for share in shares:
    hidden = np.random.default_rng(1).random((300, len(data.names))) > share
    labels = np.where(hidden, np.nan, data.Y[train])
    for name, model in {
        "alone": SingleTaskClassifier(),
        "shared": SharedPlusOwnClassifier(),
    }.items():
        scores = model.fit(data.X[train], labels).decision_function(data.X[test])
        precision[name].append(attribute_metrics(scores, data.Y[test])["ap"].mean())

# %%
# The gain is largest where labels are fewest.

figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for name, values in precision.items():
    axes.plot([300 * share for share in shares], values, "o-", label=name)
axes.set(xscale="log", xlabel="labels of an attribute", ylabel="mean average precision")
axes.legend()
plt.show()
