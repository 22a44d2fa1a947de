"""Where an experiment trains: one device, or several processes through lightning-fabric."""

from __future__ import annotations

import atexit
import os
from typing import TYPE_CHECKING

import torch

from reparam._checks import usable_device
from reparam._spelling import argument, setting
from reparam.experiment import Experiment

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def device_of(experiment: Experiment) -> torch.device:
    """Where one process trains: the accelerator that is there, unless another device is asked for."""
    name = experiment.machine.accelerator
    if name == "auto":
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return found or torch.device("cpu")
    return usable_device("cuda" if name == "gpu" else name, "accelerator")


def launch_of(experiment: Experiment) -> Fabric | None:
    """The `Fabric` of several processes or of mixed precision, launched; None where nothing of it is needed.

    It starts the other processes on this machine, by the command that this one was started by, unless torchrun or SLURM
    has: so call it before anything that is to be done once, and in a script under `if __name__ == "__main__"`.

    Raises:
        ValueError: devices that are not there, a precision that they do not have, a strategy that there is not.
    """
    machine = experiment.machine
    processes = machine.devices * machine.num_nodes
    started = int(os.environ["WORLD_SIZE"]) if torch.distributed.is_torchelastic_launched() else processes
    if started != processes:
        raise ValueError(
            f"torchrun started {started} processes, and {argument('devices')} is {machine.devices} on each of "
            f"{machine.num_nodes} machines. Give {argument('devices')} as many as --nproc-per-node of torchrun, and "
            f"{argument('num_nodes')} as many as its --nnodes."
        )
    device = torch.device("xla") if machine.accelerator == "tpu" else device_of(experiment)
    if machine.precision == "16-mixed" and device.type == "cpu":
        raise ValueError(
            f"{argument('precision')} is 16-mixed and the device a CPU, which does not have that. Take bf16-mixed."
        )
    if processes == 1 and machine.strategy == "auto" and machine.precision == "32-true" and device.type != "xla":
        return None
    from lightning_fabric import Fabric
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    try:
        fabric = Fabric(
            accelerator=machine.accelerator,
            devices=machine.devices,
            num_nodes=machine.num_nodes,
            strategy=machine.strategy,
            precision=machine.precision,
        )
    except MisconfigurationException as error:
        asked = ", ".join(setting(name, getattr(machine, name)) for name in ("accelerator", "devices", "strategy"))
        raise ValueError(f"this machine does not have {asked}: {error}") from error
    fabric.launch()
    atexit.register(_leave)
    return fabric


def _leave() -> None:
    """Ends the processes' group with the process: gloo's threads would otherwise abort it now and then."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
