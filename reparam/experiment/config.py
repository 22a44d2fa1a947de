"""An experiment as one tree of plain values: what a run folder keeps and the command line is made of.

Neither this file nor `presets` imports torch, so that `--help` can be shown at once. The texts among the values are
read by `reparam.expressions` when something is built.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from reparam._nearest import nearest
from reparam._shown import shown
from reparam._spelling import argument, setting
from reparam.experiment.rules import check_values, type_of

_CEILING = 2**31 - 1  # torch takes no larger sizes
_POSITIVE, _NOT_NEGATIVE = {"above": 0}, {"least": 0}
FROM_0, FROM_1 = {"least": 0, "ceiling": _CEILING}, {"least": 1, "ceiling": _CEILING}
DRAWS = {"least": 1, "ceiling": 10**6}  # all draws of a batch are in memory at once
SEED = {"least": 0, "most": 2**63 - 1}
_PROCESSES = {"least": 1, "ceiling": 2**10}  # each is started
_NEW = {"new": True}  # an option that experiments of earlier versions lack; there it has its default


@dataclass(frozen=True)
class _Options:
    """Plain values, checked when they are put together."""

    def __post_init__(self) -> None:
        check_values(self)


@dataclass(frozen=True)
class ModelOptions(_Options):
    """What the model is.

    Attributes:
        latent: Family of z, such as Bernoulli(20), Categorical(20, 10), Joint(a=Gaussian(10), b=Bernoulli(5)); or
            layers, the one next to x first, such as Hierarchy(Gaussian(50), Gaussian(20)) or Ladder(...).
        observation: Family of x; its shape is that of the data and is left out: Bernoulli, Gaussian(scale=0.1).
        network: Kind of the encoder and the decoder; conv takes images of shape (C, H, W), the others any shape.
        hidden: Widths of the encoder's hidden layers, for conv its channels; the decoder has them in reverse.
        activation: Between the layers; gated_mlp has none.
        prior: Standard member of the latent's family, a learned one, a mixture of learned ones, or a VampPrior.
        prior_components: Number of components of a mixture, of pseudo-inputs of a vamp.
        output_bias: Begin the decoder at the mean of the training data (Bernoulli observations).
        encoder_input: What the encoder reads: x, or log(1 + x), which counts need; the likelihood scores x.
    """

    latent: str = "Gaussian(20)"
    observation: str = "Bernoulli"
    network: Literal["mlp", "gated_mlp", "conv"] = "mlp"
    hidden: tuple[int, ...] = field(default=(400,), metadata=FROM_1)
    activation: Literal["relu", "tanh", "elu", "silu"] = "relu"
    prior: Literal["standard", "learned", "mixture", "vamp"] = "standard"
    prior_components: int = field(default=100, metadata=FROM_1)
    output_bias: bool = False
    encoder_input: Literal["x", "log1p"] = field(default="x", metadata=_NEW)

    @property
    def takes_images(self) -> bool:
        """Whether the data must have the shape (C, H, W); otherwise they may as well be flat."""
        return self.network == "conv"


@dataclass(frozen=True)
class DataOptions(_Options):
    """What it is trained and tested on.

    Attributes:
        data: Name of a data set, or path of a file or folder.
        protocol: How values become x. grey: pixel values as Bernoulli means; dynamic: binarized anew at each visit;
            static: already binary; threshold: 1 above 0.5; as given: unchanged.
        validation: Number of training examples, the last ones, that are kept apart and validated on; None for the
            validation part of the data, if they have one; 0 for none.
        shape: Of one example, such as 1 28 28; None for what the network takes: square grey images as rows for an mlp.
        resize: Height and width in pixels to which the images of a folder are brought; None leaves them.
        colour: Of the images in a folder: one channel or three.
        array: Name of the array to take from an .npz, .safetensors or .h5ad file that holds several.
        labels: Name of the array or column that holds the labels, or path of a file of labels; no model sees them.
    """

    data: str = "mnist"
    protocol: Literal["grey", "dynamic", "static", "threshold", "as given"] = "grey"
    validation: int | None = field(default=None, metadata=FROM_0)
    shape: tuple[int, ...] | None = field(default=None, metadata=FROM_1)
    resize: tuple[int, int] | None = field(default=None, metadata=FROM_1)
    colour: Literal["grey", "rgb"] = "grey"
    array: str | None = field(default=None, metadata=_NEW)
    labels: str | None = field(default=None, metadata=_NEW)


@dataclass(frozen=True)
class TrainingOptions(_Options):
    """How it is trained. In the texts `steps` stands for the number of optimiser steps of the whole training.

    Attributes:
        estimator: How to get the gradient, such as RLOO(4) or Relaxed(temperature=geometric(1.0, 0.2, steps)).
        epochs: Passes over the training data.
        batch_size: Examples a step, of all devices together.
        lr: Learning rate: a number, or a schedule such as cosine(5e-3, steps, warmup=500).
        optimizer: Adam, AdamW, or SGD with a momentum of 0.9.
        weight_decay: Of adamw decoupled from the gradient; of the others added to it.
        adam_eps: Added to the root of the second moment.
        clip: Largest norm of the whole gradient, a longer one is shortened to it; 0 for no limit.
        control_lr: Learning rate of the Adam that fits the estimator's own parameters, if it has any.
        seed: Of the weights, the order of the examples and the noise.
        drop_last: Leave out the last batch of an epoch if it is shorter than batch_size.
    """

    estimator: str = "Pathwise()"
    epochs: int = field(default=10, metadata=FROM_1)
    batch_size: int = field(default=128, metadata=FROM_1)
    lr: str = "0.001"
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: float = field(default=0.0, metadata=_NOT_NEGATIVE)
    adam_eps: float = field(default=1e-8, metadata=_POSITIVE)
    clip: float = field(default=0.0, metadata=_NOT_NEGATIVE)
    control_lr: float = field(default=1e-3, metadata=_POSITIVE)
    seed: int = field(default=1, metadata=SEED)
    drop_last: bool = field(default=False, metadata=_NEW)


@dataclass(frozen=True)
class EvaluationOptions(_Options):
    """What is measured and written down meanwhile, and when.

    Attributes:
        evaluate_every: Epochs between evaluations of the exact bound on the validation data; 0 for the end only.
        evaluation_samples: Draws of z for each example in these.
        validation_bound: What the best weights are chosen by: the ELBO, or the importance-weighted bound.
        patience: Evaluations without a better exact bound after which training stops; 0 goes on to the end.
        final_samples: Draws of z for each example of the test data at the end.
        checkpoint_seconds: Least seconds between two checkpoints.
        log_every: Optimiser steps between two lines of metrics.
    """

    evaluate_every: int = field(default=1, metadata=FROM_0)
    evaluation_samples: int = field(default=1, metadata=DRAWS)
    validation_bound: Literal["elbo", "iwae"] = "elbo"
    patience: int = field(default=0, metadata=FROM_0)
    final_samples: int = field(default=16, metadata=DRAWS)
    checkpoint_seconds: float = field(default=60.0, metadata=_NOT_NEGATIVE)
    log_every: int = field(default=100, metadata=FROM_1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patience and not self.evaluate_every:
            raise ValueError(
                f"{argument('patience')} is {self.patience} and {argument('evaluate_every')} is 0; patience counts "
                f"evaluations. Give {setting('evaluate_every', 1)}, or leave {argument('patience')} out."
            )


@dataclass(frozen=True)
class MachineOptions(_Options):
    """What it runs on: the choices of lightning-fabric.

    Attributes:
        accelerator: Kind of device; auto takes the best that is there.
        devices: Number of them on each machine.
        num_nodes: Number of machines.
        strategy: How they share the work: auto, or one of ddp, ddp_find_unused_parameters_true.
        precision: Of the arithmetic: single, mixed with one of the two halves, or double.
        compile: Compile the training step with torch.compile.
    """

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"] = "auto"
    devices: int = field(default=1, metadata=_PROCESSES)
    num_nodes: int = field(default=1, metadata=_PROCESSES)
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true"] = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    compile: bool = False


@dataclass(frozen=True)
class Experiment(_Options):
    """Everything that a training is made of, as plain values. No two options have the same name.

    Attributes:
        description: What it is, in a line.
        model: Options of the model.
        dataset: Options of the data.
        training: Options of the training.
        evaluation: Options of the evaluation.
        machine: Options of the machine.

    Example:
        >>> experiment = Experiment().replace(latent="Bernoulli(20)", estimator="RLOO(4)", epochs=3)
        >>> experiment.training.epochs, Experiment.from_json(experiment.to_json()) == experiment
        (3, True)
    """

    description: str = ""
    model: ModelOptions = ModelOptions()
    dataset: DataOptions = DataOptions()
    training: TrainingOptions = TrainingOptions()
    evaluation: EvaluationOptions = EvaluationOptions()
    machine: MachineOptions = MachineOptions()

    def replace(self, **options: Any) -> Experiment:
        """Another experiment with some options changed, each by its own name, wherever it stands.

        Raises:
            ValueError: an option that there is not, or a value that it cannot have.
        """
        changed: dict[str, dict[str, Any]] = {}
        for name, value in options.items():
            if name not in _sections():
                raise ValueError(f"there is no option {name}. {nearest(name, _sections())}".rstrip())
            changed.setdefault(_sections()[name], {})[name] = value
        top = changed.pop("", {})
        sections = {name: dataclasses.replace(getattr(self, name), **inner) for name, inner in changed.items()}
        return dataclasses.replace(self, **sections, **top)

    def to_values(self) -> dict[str, Any]:
        """All options as dictionaries and lists, as JSON has them."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return values

    @staticmethod
    def from_values(values: object) -> Experiment:
        """The experiment of such values.

        Raises:
            ValueError: an option that is missing, unknown, or has a value that it cannot have.
        """
        made: Experiment = _made(Experiment, values, "the experiment")
        return made

    def to_json(self) -> str:
        """All options as JSON."""
        return json.dumps(self.to_values(), indent=2) + "\n"

    @staticmethod
    def from_json(text: str) -> Experiment:
        """The experiment of such a text, which somebody may have changed by hand.

        Raises:
            ValueError: what is no JSON, and what `from_values` refuses.
        """
        try:
            values = json.loads(text, object_pairs_hook=_without_repetition)
        except json.JSONDecodeError as error:
            raise ValueError(f"this is no JSON: {error.msg} in line {error.lineno}, column {error.colno}.") from None
        except RecursionError:
            raise ValueError("this is no experiment: the JSON is nested too deep.") from None
        return Experiment.from_values(values)


@functools.cache
def _sections() -> dict[str, str]:
    """Where each option stands; an empty name is the top."""
    found: dict[str, str] = {}
    for each in dataclasses.fields(Experiment):
        inner = type_of(Experiment, each.name)
        names = [option.name for option in dataclasses.fields(inner)] if dataclasses.is_dataclass(inner) else []
        found |= dict.fromkeys(names, each.name) | {each.name: ""}
    return found


def _made(kind: Any, values: object, where: str) -> Any:
    """Options of one kind; `where` is what the message calls them."""
    fields = {each.name: each for each in dataclasses.fields(kind)}
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} is {shown(values)}; it must be an object with {', '.join(fields)}.")
    for name in values:
        if name not in fields:
            raise ValueError(f"{where} has no option {shown(name)}. {nearest(str(name), fields)}".rstrip())
    found: dict[str, Any] = {}
    for name, each in fields.items():
        inner: Any = type_of(kind, name)
        nested = dataclasses.is_dataclass(inner)
        if name not in values and "new" in each.metadata:
            found[name] = each.default
            continue
        if name not in values:
            default = "{...}" if nested else json.dumps(each.default)
            raise ValueError(f'{where} lacks the option {name}; add it, such as "{name}": {default}.')
        value = tuple(values[name]) if isinstance(values[name], list) else values[name]
        found[name] = _made(inner, value, name) if nested else value
    return kind(**found)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, of whose names each stands once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for index, (name, _) in enumerate(pairs) if name in dict(pairs[:index]))
        raise ValueError(f"the option {shown(twice)} is given twice.")
    return found
