"""The classic script: a DataLoader that makes a tensor of one picture after another, as PyTorch's VAE example does.

torchvision's dataset and `ToTensor` are written out here with the same steps for each image, because its releases do
not fit every release of torch; on a CPU the script loads in its own process (no workers).
"""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Dataset

from sides import Case, Images, Report


def to_tensor(picture: Image.Image) -> Tensor:
    """What `torchvision.transforms.ToTensor` does with a grey picture: `[1, 28, 28]`, from 0 to 1."""
    pixels = torch.from_numpy(np.array(picture, np.uint8, copy=True))
    pixels = pixels.view(picture.size[1], picture.size[0], len(picture.getbands()))
    return pixels.permute((2, 0, 1)).contiguous().to(torch.get_default_dtype()).div(255)


class Pictures(Dataset[tuple[Tensor, int]]):
    """What `torchvision.datasets.MNIST` does for an index."""

    def __init__(self, images: Images) -> None:
        self.data = torch.from_numpy(images).view(-1, 28, 28)
        self.targets = torch.zeros(len(images), dtype=torch.long)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, target = self.data[index], int(self.targets[index])
        return to_tensor(Image.fromarray(image.numpy())), target


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(784, 400)
        self.loc, self.log_variance = nn.Linear(400, 20), nn.Linear(400, 20)
        self.decoder = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784), nn.Sigmoid())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = F.relu(self.hidden(x.view(-1, 784)))
        loc, log_variance = self.loc(hidden), self.log_variance(hidden)
        scale = torch.exp(0.5 * log_variance)
        return self.decoder(loc + torch.randn_like(scale) * scale), loc, log_variance


def train(case: Case, _variant: str, images: Images, epochs: int, report: Report) -> None:
    torch.manual_seed(0)
    loader = DataLoader(Pictures(images), batch_size=case.batch_size, shuffle=True)
    model = VAE()
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        total = 0.0
        for x, _target in loader:
            optimizer.zero_grad()
            means, loc, log_variance = model(x)
            likelihood = F.binary_cross_entropy(means, x.view(-1, 784), reduction="sum")
            loss = likelihood - 0.5 * torch.sum(1 + log_variance - loc.pow(2) - log_variance.exp())
            loss.backward()
            total += loss.item()
            optimizer.step()
        report(total / len(images))
