"""Trainings that are asked to stop, in a process group of their own with the workers of a DataLoader in it."""

import os
import signal
import time

import torch
import torch._dynamo  # imported by the first optimiser; here once, for all processes that are forked from this one
from helpers import small_vae, weights
from torch.utils.data import DataLoader, Dataset

import reparam as rp

SIGNALS = [signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
EXAMPLES, BATCH = 160, 8  # 20 steps an epoch: more than the loader fetches ahead


def signal_group(number):
    """Sends a signal to this process and its workers, as a terminal or a scheduler does: from outside."""
    group, sender = os.getpgid(0), os.fork()
    if sender == 0:
        os.setsid()
        os.killpg(group, number)
        os._exit(0)
    os.waitpid(sender, 0)


class Examples(Dataset):
    """Numbers between 0 and 1; `act` is called in a worker before it gives the example `at`, if no file `done` is there."""

    def __init__(self, at=None, act=None, done=None, number=EXAMPLES):
        self.x = torch.rand(number, 6, generator=torch.Generator().manual_seed(0))
        self.at, self.act, self.done = at, act, done

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        if index == self.at and not self.done.exists():
            self.done.write_text("done")
            self.act()
            time.sleep(0.5)  # the example is not there before the signal has arrived
        return self.x[index]


class Pausing:
    """The pathwise estimator, which calls `act` in one step, and goes on a little later."""

    def __init__(self, step, act):
        self.left, self.act = step, act

    def at(self, step):
        return self

    def __call__(self, model, x):
        if self.left == 0:
            self.act()
            end = time.monotonic() + 0.3
            while time.monotonic() < end:  # the handlers of signals run between these
                time.sleep(0.01)
        self.left -= 1
        return rp.Pathwise()(model, x)


def dies_of_ctrl_c(worker):
    """What a worker does that was not forked."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def loader(data, **options):
    return DataLoader(
        data, BATCH, num_workers=2, worker_init_fn=dies_of_ctrl_c, multiprocessing_context="fork", **options
    )


def train(folder, estimator=None, data=None, validation=None, **options):
    torch.set_num_threads(1)
    torch.manual_seed(1)
    model = small_vae(rp.Gaussian(2))
    run = rp.Run(folder, resume=True, pictures=False, checkpoint_seconds=1e9, log_every=5)
    validation = None if validation is None else rp.Validation(loader(validation), num_samples=2)
    data = loader(data or Examples(), shuffle=True)
    rp.fit(model, estimator or Pausing(-1, None), data, epochs=2, run=run, validation=validation, **options)
    return weights(model)


def in_a_group(outcome, function, *arguments):
    """Runs `function` in a group of its own and writes down how it ended."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        function(*arguments)
        text = "done"
    except BaseException as error:
        text = f"{type(error).__name__}: {error}"
    outcome.write_text(text)


def signalled_in_step(folder, step, number):
    train(folder, Pausing(step, lambda: signal_group(number)))


def signalled_while_loading(folder, number):
    train(folder, data=Examples(EXAMPLES - 1, lambda: os.killpg(0, number), folder.with_suffix(".sent")))


def signalled_while_validating(folder, number):
    apart = Examples(60, lambda: os.killpg(0, number), folder.with_suffix(".sent"), number=80)
    train(folder, validation=apart)


def worker_first(folder):
    """A worker gets SIGTERM a moment before the main process does."""
    main = os.getpid()

    def act():
        if os.fork() == 0:
            time.sleep(0.2)
            os.kill(main, signal.SIGTERM)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGTERM)

    train(folder, data=Examples(EXAMPLES - 1, act, folder.with_suffix(".sent")))


def worker_alone(folder):
    """A worker is killed, as by a system that runs out of memory."""
    data = Examples(EXAMPLES - 1, lambda: os.kill(os.getpid(), signal.SIGKILL), folder.with_suffix(".sent"))
    train(folder, data=data)
