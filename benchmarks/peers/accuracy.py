"""Print the accuracy of a peer's model on the held-out rows: ``python accuracy.py MODEL``, .pt or .npz."""

import sys

import numpy as np
import torch
from task import Net, accuracy

path = sys.argv[1]
if path.endswith(".npz"):
    with np.load(path, allow_pickle=False) as archive:
        found = {name: torch.from_numpy(archive[name]) for name in archive.files}
else:
    found = torch.load(path, weights_only=True)
    found = {name: torch.as_tensor(value) for name, value in found.get("model", found).items()}
model = Net()
model.load_state_dict({name: found[name] for name in model.state_dict()})
print(accuracy(model, "held-out"))
