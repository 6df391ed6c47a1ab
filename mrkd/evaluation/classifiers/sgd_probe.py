"""The SGD probe, which trains all candidate learning rates at once. Axes: n images, D width, L rates, C classes."""

import torch
import torch.nn.functional as F
from torch import Tensor


def fit_probes(
    features: Tensor,
    labels: Tensor,
    *,
    classes: int,
    learning_rates: tuple[float, ...],
    epochs: int,
    batch: int,
    seed: int,
) -> Tensor:
    """Weights (L, D + 1, C) of one linear classifier per learning rate; SGD, momentum 0.9, cosine to zero.

    Args:
        features: (n, D), standardised.
        labels: (n,) int64.
        classes: C.
        learning_rates: L values, at batch 256, scaled with the batch.
        epochs: passes over the features.
        batch: images per step.
        seed: of the data order.
    """
    generator = torch.Generator().manual_seed(seed)
    rates = torch.tensor(learning_rates, device=features.device).view(-1, 1, 1) * batch / 256
    inputs = F.pad(features, (0, 1), value=1.0)
    weights = torch.zeros(len(learning_rates), inputs.shape[1], classes, device=features.device)
    velocity = torch.zeros_like(weights)
    batches = -(-len(features) // batch)
    for epoch in range(epochs):
        order = torch.randperm(len(features), generator=generator).to(features.device)
        for step, index in enumerate(order.split(batch)):
            progress = (epoch * batches + step) / (epochs * batches)
            factor = 0.5 * (1.0 + torch.cos(torch.tensor(torch.pi * progress)).item())
            probs = (inputs[index] @ weights).softmax(dim=-1)  # (L, B, C)
            one_hot = F.one_hot(labels[index], classes)
            gradient = inputs[index].T @ (probs - one_hot) / len(index)
            velocity = 0.9 * velocity + gradient
            weights -= factor * rates * velocity
    return weights
