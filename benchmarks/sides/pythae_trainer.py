"""pythae: its BaseTrainer and its VAE around the same networks, on images in memory, without evaluation data."""

import tempfile
from typing import Any

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import Tensor

from sides import Case, Images, Report
from sides.by_hand import mlp


class Encoder(BaseEncoder):
    def __init__(self, case: Case) -> None:
        super().__init__()
        self.layers = mlp(case.encoder_widths, case.activation)

    def forward(self, x: Tensor) -> Any:
        loc, log_variance = self.layers(x).chunk(2, -1)
        return ModelOutput(embedding=loc, log_covariance=log_variance)


class Decoder(BaseDecoder):
    def __init__(self, case: Case) -> None:
        super().__init__()
        self.layers = mlp(case.decoder_widths, case.activation)

    def forward(self, z: Tensor) -> Any:
        return ModelOutput(reconstruction=self.layers(z).sigmoid())


class Reporting(TrainingCallback):
    def __init__(self, report: Report) -> None:
        self.report = report

    def on_log(self, training_config: Any, logs: dict[str, float], **_: Any) -> None:
        self.report(logs["train_epoch_loss"])


def train(case: Case, _variant: str, images: Images, epochs: int, report: Report) -> None:
    data = torch.from_numpy(images).float() / 255
    model = VAE(
        VAEConfig(input_dim=(784,), latent_dim=case.num_features, reconstruction_loss="bce"),
        Encoder(case),
        Decoder(case),
    )
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=epochs,
            learning_rate=1e-3,
            per_device_train_batch_size=case.batch_size,
            no_cuda=True,
        )
        BaseTrainer(model, BaseDataset(data, torch.zeros(len(data))), None, config, [Reporting(report)]).train()
