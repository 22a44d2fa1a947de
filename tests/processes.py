"""Two processes on this machine, forked from one that has imported everything."""

import multiprocessing
import os
import socket
from contextlib import contextmanager
from multiprocessing.connection import wait

import lightning_fabric
import torch

PROCESSES = multiprocessing.get_context("forkserver")  # forks of one process that has imported everything once
PROCESSES.set_forkserver_preload(["ranks"])
SECONDS = 120  # after which a test gives up


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _rank(world, settings, function, arguments, pipe):
    os.environ.update(settings)
    torch.set_num_threads(1)
    fabric = lightning_fabric.Fabric(accelerator="cpu", devices=world, strategy="ddp")
    fabric.launch()
    try:
        answer = function(fabric, *arguments)
    except (ValueError, ArithmeticError, KeyboardInterrupt) as error:
        answer = f"{type(error).__name__}: {error}"
    pipe.send(answer)
    fabric.barrier()


@contextmanager
def started(world, function, *arguments, slurm=False):
    """The processes, each with the end of a pipe on which its answer will come; none of them outlives the block."""
    running = []
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    try:
        for rank in range(world):
            mine, its = PROCESSES.Pipe()
            settings = {**common, **(_by_slurm(rank, world) if slurm else _by_fabric(rank, world))}
            arguments_too = (world, settings, function, arguments, its)
            process = PROCESSES.Process(target=_rank, args=arguments_too)
            process.start()
            running.append((process, mine))
            its.close()
        yield running
    finally:
        for process, _ in running:
            process.kill()


def _by_fabric(rank, world):
    return {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": str(world)}


def _by_slurm(rank, world):
    """What srun sets, as far as Fabric reads it."""
    own = {"JOB_NAME": "train", "JOB_ID": "7", "NTASKS": world, "NTASKS_PER_NODE": world, "NNODES": 1}
    own |= {"PROCID": rank, "LOCALID": rank, "NODEID": 0}
    return {f"SLURM_{name}": str(value) for name, value in own.items()}


def ranks(world, function, *arguments, **options):
    """What each returned, or the text of what it raised."""
    with started(world, function, *arguments, **options) as running:
        found = []
        for process, pipe in running:
            assert wait([pipe], SECONDS), "no answer: the processes wait for each other"
            found.append(pipe.recv())
            process.join(SECONDS)
            assert process.exitcode == 0
        return found
