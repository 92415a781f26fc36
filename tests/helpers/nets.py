"""Networks of a few layers."""

from torch import nn


class Net(nn.Module):
    """Network of two layers and an auxiliary classifier."""

    def __init__(self, twice=False):
        super().__init__()
        self.body, self.out = nn.Linear(4, 5), nn.Linear(5, 3)
        self.aux = nn.Linear(5, 3)
        self.twice = twice

    def forward(self, x, mode="tensor"):
        y = self.out(self.body(x).relu())
        aux = self.aux(self.body(x))
        return (y, aux) if self.twice else y
