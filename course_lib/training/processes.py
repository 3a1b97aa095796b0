"""One process or many: what a launcher such as torchrun or ``accelerate launch`` started, and which process writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from course_lib.errors import CourseError

REMEDY = "torchrun --standalone --nproc_per_node {} -m course_lib train ..."


def world_size() -> int:
    """Processes that train together, as the launcher says; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process is the one that writes folders, logs and bars."""
    return int(os.environ.get("RANK", "0")) == 0


def is_sharded() -> bool:
    """Whether accelerate's config asks for FSDP, which holds a part of the model in each process."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true", "yes")


def per_process(batch_size: int) -> int:
    """This process's part of a batch, which is always that of all processes together: one config, one result, on any number of them.

    Raises:
        CourseError: the batch can't be shared out evenly.
    """
    if batch_size % world_size():
        raise CourseError(
            f"batch_size {batch_size} is that of all processes together and can't be shared out over {world_size()}: "
            "choose a multiple of it"
        )
    return batch_size // world_size()


def check_launch() -> None:
    """Refuse a launch that would silently become something else, and on GPUs take this process's own.

    Raises:
        CourseError: more processes were asked for than were started, or the model is to be sharded where that isn't done.
    """
    import torch

    gpus = torch.cuda.is_available()
    wanted = _asked_of_accelerate(_parents_command())
    if wanted > 1 and "RANK" not in os.environ:
        raise CourseError(
            f"accelerate was asked for {wanted} processes and started one, which is what --cpu does: start them with "
            f"{REMEDY.format(wanted)} or give accelerate a config file with distributed_type: MULTI_GPU and use_cpu: true"
        )
    sharded = is_sharded()
    if sharded and os.environ.get("FSDP_VERSION", "1") != "2":
        raise CourseError(
            "FSDP of version 1 saves adapters without their weights: write fsdp_version: 2 into accelerate's config file"
        )
    if sharded and not gpus:
        raise CourseError(
            "without GPUs FSDP would silently keep a whole model in every process: start on a machine with GPUs, or without "
            f"FSDP: {REMEDY.format(max(2, world_size()))}"
        )
    if gpus and "LOCAL_RANK" in os.environ:
        own = int(os.environ["LOCAL_RANK"])
        if own >= torch.cuda.device_count():
            raise CourseError(
                f"{os.environ.get('LOCAL_WORLD_SIZE', own + 1)} processes were started here and there are "
                f"{torch.cuda.device_count()} GPUs: start one process a GPU"
            )
        torch.cuda.set_device(own)


@contextmanager
def main_first() -> Iterator[None]:
    """Let the main process run the block before the others: a mistake is then said once, and a download happens once."""
    if world_size() == 1:
        yield
        return
    import torch
    from accelerate import PartialState

    with PartialState(cpu=not torch.cuda.is_available()).main_process_first():
        yield


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if world_size() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def any_of(flag: bool) -> bool:
    """Whether ``flag`` is set in any of the processes; every one of them must ask."""
    if world_size() == 1:
        return flag
    import torch
    import torch.distributed
    from accelerate import PartialState

    told = torch.tensor(float(flag), device=PartialState().device)
    torch.distributed.all_reduce(told, op=torch.distributed.ReduceOp.MAX)
    return bool(told)


def _parents_command() -> list[str]:
    try:
        parent = psutil.Process().parent()
        return parent.cmdline() if parent else []
    except psutil.Error:  # another user's process, or one that has just ended
        return []


def _asked_of_accelerate(command: list[str]) -> int:
    """How many processes a command line asks of ``accelerate launch``; 1 if it is another command."""
    words = [part.removesuffix(".py").replace("/", ".") for part in command]
    as_module = any(word.endswith("accelerate.commands.launch") for word in words[:3])
    if not as_module and not (
        "launch" in words and any(word.endswith(".accelerate") or word == "accelerate" for word in words[:2])
    ):
        return 1
    for flag, value in zip(command, [*command[1:], ""], strict=True):
        name, equals, same = flag.partition("=")
        if name.replace("-", "_") == "__num_processes":
            number = same if equals else value
            return int(number) if number.isdigit() else 1
    return 1
