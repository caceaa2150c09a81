"""The network of specs/alexnet.cnn by hand, and torchinfo's summary of it: what `cnnc shapes alexnet` is measured against."""

from __future__ import annotations

from torch import nn
from torchinfo import summary

alexnet = nn.Sequential(
    nn.Conv2d(3, 96, 11, stride=4),
    nn.ReLU(),
    nn.MaxPool2d(3, stride=2),
    nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2),
    nn.Conv2d(96, 256, 5, padding=2),
    nn.ReLU(),
    nn.MaxPool2d(3, stride=2),
    nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2),
    nn.Conv2d(256, 384, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(384, 384, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(384, 256, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(3, stride=2),
    nn.Flatten(),
    nn.Linear(9216, 4096),
    nn.ReLU(),
    nn.Dropout(),
    nn.Linear(4096, 4096),
    nn.ReLU(),
    nn.Dropout(),
    nn.Linear(4096, 1000),
    nn.Softmax(dim=1),
)

print(summary(alexnet, (1, 3, 227, 227), verbose=0))
