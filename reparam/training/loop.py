"""fit: the arguments, checked, and the training begun."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from reparam._checks import positive, whole
from reparam.adam import AnyOptimizer, adam_for
from reparam.batches import AnyData, ForeignBatches, batches_for
from reparam.data import Batches
from reparam.estimators import Estimator
from reparam.inspection import check_model, device_and_dtype, modes_kept, modules_of
from reparam.model import LatentVariableModel
from reparam.not_finite import NotFinite
from reparam.schedules import Schedule
from reparam.training.arguments import check_batch_norm, check_trained_by, first_step, note_steps
from reparam.training.control import Control
from reparam.training.epoch import Epoch
from reparam.training.guard import never_good
from reparam.training.keeper import Keeper
from reparam.training.place import Alone, Place, Through
from reparam.training.record import record_of
from reparam.training.run import Folder, Run
from reparam.training.session import Progress, Session
from reparam.training.settings import settings_of
from reparam.training.starting import left_as_it_was
from reparam.training.step import StepModule
from reparam.training.stop import Interrupted, Stop, stoppable
from reparam.training.trainer import Trainer
from reparam.training.validation import Validation

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def fit(
    model: LatentVariableModel,
    estimator: Estimator,
    data: AnyData,
    *,
    epochs: int,
    batch_size: int = 128,
    lr: float | Schedule | None = None,
    control_lr: float = 1e-3,
    optimizer: AnyOptimizer | None = None,
    clip: float | None = None,
    drop_last: bool = False,
    start_step: int | None = None,
    on_epoch: Callable[[Epoch], object] | None = None,
    validation: Validation | AnyData | None = None,
    run: Run | str | Path | None = None,
    compile: bool = False,
    fabric: Fabric | None = None,
) -> list[Epoch]:
    """Trains `model` in place, on the device it is on.

    The order of the examples and the latents come from torch's random numbers: `torch.manual_seed` before building the
    model makes a run repeat to the last digit on the same machine and number of threads.

    Args:
        model: an `nn.Module`, or anything with the three methods if you pass an `optimizer`. If it is in eval mode it
            is put in training mode meanwhile; parts of a training model that you froze in eval mode stay so.
        estimator: how to get the gradient; its schedules follow the step, counted from 0. One with parameters of its
            own (`NVIL`, `REBAR`, `RELAX`) is moved to the model's device and learns them meanwhile.
        data: `Data`, a tensor or an array (kept on the device, shuffled at every epoch), or an iterable of batches,
            such as a `DataLoader`, that can be gone over again (of a tuple the first element is x).
        epochs: passes over the data.
        batch_size: examples a step, over all processes; an iterable of batches brings its own, of each process.
        lr: learning rate of the default optimizer, Adam, 1e-3 if not given; or a schedule of the step, such as
            `cosine(3e-3, num_steps=4690, warmup=500)`, which a given `optimizer` follows too.
        control_lr: learning rate of the Adam that fits the estimator's own parameters by its `control_loss`.
        optimizer: instead of Adam, over the parameters you choose, with the learning rate you gave it. Pass the same
            optimizer to each of several calls to keep its averages.
        clip: largest norm of the gradient of all parameters together; None leaves it as it is.
        drop_last: leave out the last batch of an epoch if it is shorter than the others.
        start_step: the step that schedules start from, 0 if not given. Whoever calls `fit` in a loop passes
            `epochs[-1].steps` of the call before.
        on_epoch: called with an `Epoch` after each pass: the place for pictures, tests, your own schedule.
        validation: data to measure the exact bound on after each epoch, or a `Validation`, which also stops early.
        run: folder to keep the training in, or a `Run`, by which it is also resumed; `rp.load` gives the model back.
            Ctrl-C, SIGTERM and a closed terminal then end it after the step it is in, with all saved.
        compile: let torch.compile make model and estimator one kernel; the first step takes from seconds to a minute.
            Not for estimators with parameters of their own.
        fabric: a launched `lightning_fabric.Fabric` with the devices, the processes and the precision to train with.
            Its processes share each batch, follow the first one's order of the examples, and draw noise of their own.

    Returns:
        The epochs; of a resumed run all of them.

    Raises:
        TypeError, ValueError: arguments or data that cannot be trained on, such as an optimizer without a parameter of
            the model; a run that is there already or was of something else; the message says what to do.
        TrainingDiverged: the loss, a bound or a parameter became NaN or infinite; the message names the step, the term
            and what to do. The model is left with the weights at the beginning of the epoch. If the very first loss of
            that epoch was not finite, these weights are at fault, and those of the epoch before are put back. An
            `optimizer` whose averages are not finite forgets them.
        Interrupted: Ctrl-C, SIGTERM or a closed terminal, in a run.
        OSError: a run's folder cannot be written.

    Warns:
        UserWarning: schedules start again from step 0 although `fit` has trained this model before.
    """
    _check(estimator, epochs, lr, control_lr, optimizer, clip, start_step, on_epoch)
    check_model(model)
    check_trained_by(optimizer, model, lr)
    if compile:
        _check_compiled(estimator)
    place: Place = Through(fabric) if fabric is not None else Alone()
    optimizer = optimizer or _adam(model, 1e-3 if lr is None or callable(lr) else lr, place)
    step = StepModule(model)
    stepping = place.set_up(step, optimizer, compile)
    try:
        batches = batches_for(model, data, batch_size, shuffle=True, drop_last=drop_last)
    except NotFinite as error:
        raise never_good(str(error)) from error
    _check_batches(batches, model, epochs, place)
    if run is not None:
        _warn_of_repetition(batches)
    validation = validation if validation is None or isinstance(validation, Validation) else Validation(validation)
    control = Control(estimator, model, control_lr)
    place.equalise(control.state)
    resumed = isinstance(run, Run) and run.resume  # then the checkpoint says where schedules stand
    first = (start_step or 0) if resumed else first_step(model, start_step, lr, estimator)
    generators = batches.generators if isinstance(batches, ForeignBatches) else []
    session = Session(model, optimizer, control, device_and_dtype(model)[0], place, generators, Progress(step=first))
    with ExitStack() as stack:
        folder, stop = None, Stop()
        if run is not None:
            run = run if isinstance(run, Run) else Run(run)
            if place.rank == 0:
                stack.enter_context(left_as_it_was(run.path))
            settings = settings_of(
                session,
                batch_size=batches.batch_size,
                drop_last=drop_last,
                start_step=start_step,
                lr=lr,
                control_lr=control_lr,
                clip=clip,
                validation=validation,
                compile=compile,
            )
            folder = place.first(partial(_folder, run, model, estimator, data, settings))
            if folder is not None:
                stack.callback(folder.close)
            stop = stack.enter_context(stoppable())
        stack.enter_context(modes_kept(model))
        if isinstance(model, nn.Module) and not model.training:
            model.train()
        trainer = Trainer(session, step, stepping, batches, lr, clip)
        keeper = Keeper(session, trainer.guard, validation, run, folder, stop)
        try:
            finished = trainer.train(epochs, keeper, on_epoch)
            note_steps(model, session.progress.step)
            return finished
        except Interrupted:
            raise
        except BaseException:
            if folder is not None and folder.fresh and folder.writable and session.progress.step == first:
                folder.discard()  # a run that could not begin is not to stand in the way of the next one
            raise


def _folder(
    run: Run, model: LatentVariableModel, estimator: Estimator, data: AnyData, settings: dict[str, object]
) -> Folder:
    return Folder(run, record_of(model, estimator, data, settings, run.about))


def _check_compiled(estimator: Estimator) -> None:
    if any(p.requires_grad for module in modules_of(estimator) for p in module.parameters()):
        raise ValueError(
            f"compile is True, and {type(estimator).__name__} learns parameters of its own by a second backward pass, "
            "which a compiled step does not have. Leave compile out, or take RLOO."
        )


def _warn_of_repetition(batches: Batches | ForeignBatches) -> None:
    if isinstance(batches, ForeignBatches) and batches.cannot_repeat is not None:
        warnings.warn(
            f"the data loader has {batches.cannot_repeat}: once resumed, this run does not end in the same bits as "
            "without the interruption. Leave that option out where this matters.",
            stacklevel=3,
        )


def _check_batches(batches: Batches | ForeignBatches, model: LatentVariableModel, epochs: int, place: Place) -> None:
    """Refuses batches that do not last for all epochs, or that a process or batch norm cannot work with."""
    if isinstance(batches, ForeignBatches) and batches.once_only and epochs > 1:
        raise ValueError(
            f"data is an iterator, which can be gone over once, and epochs is {epochs}. Pass a list, a DataLoader, "
            "or any iterable that begins anew, or epochs=1."
        )
    _check_shares(batches, place)
    check_batch_norm(model, batches, place.world)


def _check_shares(batches: Batches | ForeignBatches, place: Place) -> None:
    """Refuses batches of which several processes cannot each take a part."""
    if place.world == 1:
        return
    if isinstance(batches, Batches):
        batches.share(place.rank, place.world)
    elif batches.sampler is None:
        raise ValueError(
            f"data is a {type(batches.source).__name__} that gives each of the {place.world} processes the same "
            "examples. Pass Data, a tensor or an array, which are shared out; or a DataLoader with "
            "sampler=torch.utils.data.DistributedSampler(dataset) and the batch size of one process."
        )


def _check(
    estimator: Estimator,
    epochs: int,
    lr: float | Schedule | None,
    control_lr: float,
    optimizer: AnyOptimizer | None,
    clip: float | None,
    start_step: int | None,
    on_epoch: Callable[[Epoch], object] | None,
) -> None:
    whole("epochs", epochs)
    if isinstance(lr, LRScheduler):
        raise TypeError(
            f"lr is torch's {type(lr).__name__}; it must be a number or a function of the step, such as "
            "rp.cosine(1e-3, num_steps=4690). A scheduler of torch is stepped by you: give its optimizer as optimizer, "
            "and on_epoch=lambda epoch: scheduler.step()."
        )
    if lr is not None and not callable(lr):
        positive("lr", lr)
    if start_step is not None:
        whole("start_step", start_step, least=0)
    positive("control_lr", control_lr)
    if clip is not None:
        positive("clip", clip, remedy="None leaves gradients as they are.")
    for name, value, kind in (("estimator", estimator, Estimator), ("optimizer", optimizer, AnyOptimizer)):
        if isinstance(value, type) or not (value is None or isinstance(value, kind)):
            raise TypeError(f"{name} is {value!r}; it must be an instance such as {_SUCH_AS[name]}.")
    if on_epoch is not None and not callable(on_epoch):
        raise TypeError(f"on_epoch is {on_epoch!r}; it must be a function of an Epoch.")


_SUCH_AS = {"estimator": "rp.Pathwise() or rp.RLOO(4)", "optimizer": "torch.optim.Adam(model.parameters())"}


def _adam(model: LatentVariableModel, lr: float, place: Place) -> AnyOptimizer:
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"the model is a {type(model).__name__}, not an nn.Module, so its parameters are not known. "
            "Make it an nn.Module, or pass optimizer=torch.optim.Adam(your_parameters)."
        )
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("the model has no parameter that requires a gradient, so there is nothing to train.")
    device = None if place.fabric is None else place.fabric.device
    return adam_for(parameters, lr, device=device, scaled=place.scaled)
