"""Two processes are one: the same gradients, weights and logs under DDP and FSDP2 as without (law 6)."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from distributed_cases import CASES, HIDDEN, Outcome, make_objective, train
from distributed_worker import PROCESSES, RUNS
from small_examples import VOCABULARY

torch.set_num_threads(1)  # on tensors this small, threads only wait for each other

WORKER = Path(__file__).with_name("distributed_worker.py")
SECONDS = 900
"""Only a hang takes as long, on a loaded machine too."""
TOLERANCE = 1e-5

each_run = pytest.mark.parametrize(("wrapper", "name"), RUNS, ids=[f"{wrapper}: {name}" for wrapper, name in RUNS])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left that trained every case."""
    folder = tmp_path_factory.mktemp("two-processes")
    loopback = "lo0" if sys.platform == "darwin" else "lo"  # whatever this machine's name resolves to
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": loopback}
    processes = []
    try:
        for rank in range(PROCESSES):
            with (folder / f"rank {rank}").open("w") as said:
                command = [sys.executable, WORKER, str(rank), folder]
                processes.append(subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT))
        _wait_for(processes)
    finally:
        for process in processes:
            process.kill()  # does nothing to one that has ended
            process.wait()
    return folder


def _wait_for(processes: list[subprocess.Popen[bytes]]) -> None:
    """Until all have ended; once one has failed, the others get a moment to say what they make of it."""
    end = time.monotonic() + SECONDS
    while any(process.poll() is None for process in processes) and time.monotonic() < end:
        if any(process.returncode for process in processes):
            end = min(end, time.monotonic() + 5)
        time.sleep(0.1)


def in_two_processes(folder: Path, wrapper: str, name: str) -> Outcome:
    path = folder / f"{wrapper}: {name}"
    if path.exists():
        return pickle.loads(path.read_bytes())
    said = [(folder / f"rank {rank}").read_text() for rank in range(PROCESSES)]
    titles = [f"{wrapper}: {name}" for wrapper, name in RUNS]
    last = next((line for line in reversed(said[0].splitlines()) if line in titles), titles[0])
    if path.name != last:
        pytest.fail(f"not reached, because the processes ended in '{last}'", pytrace=False)
    pytest.fail("\n".join(f"rank {rank}: {text.rpartition(last)[2]}" for rank, text in enumerate(said)), pytrace=False)


@cache
def in_one_process(name: str) -> Outcome:
    return train(CASES[name], lambda accelerator, objective: accelerator.prepare(objective))


def assert_equal(two: Mapping[str, Tensor], one: Mapping[str, Tensor]) -> None:
    assert two.keys() == one.keys()
    differences = {name: ((two[name] - one[name]).abs().max() / one[name].abs().max()).item() for name in one}
    assert all(difference <= TOLERANCE for difference in differences.values()), differences


@each_run
def test_two_processes_train_as_one(wrapper, name, folder):
    one, two = in_one_process(name), in_two_processes(folder, wrapper, name)
    assert len(two.gradients) == len(one.gradients) == 3
    for gradients, expected in zip(two.gradients, one.gradients, strict=True):
        assert_equal(gradients, expected)
    assert_equal(two.weights, one.weights)
    assert two.lines == [pytest.approx(line, rel=TOLERANCE) for line in one.lines]
    assert two.held_out == pytest.approx(one.held_out, rel=TOLERANCE)


@pytest.mark.parametrize("name", CASES)
def test_a_case_trains_what_it_is_to_train(name):
    start, one = make_objective(CASES[name]), in_one_process(name)
    trained = {weight for weight, value in start.named_parameters() if value.requires_grad}
    assert all(("lora_" in weight) == bool(CASES[name].lora) for weight in trained)
    assert all(gradients.keys() == trained for gradients in one.gradients)
    assert all(gradient.abs().max() > 0 for gradients in one.gradients for gradient in gradients.values())
    moved = {weight for weight, value in start.state_dict().items() if (one.weights[weight] != value).any()}
    assert moved >= trained
    assert (one.rung == "one document per forward") == (CASES[name].rope is not None)


@each_run
def test_processes_differ_and_wait_where_they_are_to(wrapper, name, folder):
    two = in_two_processes(folder, wrapper, name)
    documents, targets = np.array(two.batches).transpose(2, 0, 1)  # [process, micro-batch]
    assert (documents[0] != documents[1]).any()
    assert [(of_rank == 0).any() for of_rank in targets] == [False, "a rank without targets" in name]
    assert two.unsynchronised == 3 * (CASES[name].grad_accum - 1)


@each_run
def test_the_fused_kernel_meets_a_whole_and_plain_weight(wrapper, name, folder):
    """A sharded one would be a DTensor, and only half of it there. A head with an adapter does not go that way."""
    expected = set() if "lm_head" in CASES[name].lora else {("Parameter", (VOCABULARY, HIDDEN))}
    assert in_two_processes(folder, wrapper, name).heads == expected
