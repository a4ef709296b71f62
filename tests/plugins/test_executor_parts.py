"""What executors ask of a machine or a cluster, and which cell a process is given next: without any."""

from __future__ import annotations

import inspect
from collections import defaultdict
from types import SimpleNamespace

import pytest
from zobench_plugins.executors import local, processes
from zobench_plugins.executors.cluster import OnRay
from zobench_plugins.executors.slurm import Submitit

from zobench.contracts.executor import RunCell
from zobench.run.work import RunInProcess


def test_processes_share_the_cores(monkeypatch):
    made = []

    class Seen:
        def __init__(self, run_cell, gpus, threads):
            made.append((list(gpus), threads))

        def run(self, cells):
            return iter(cells)

    monkeypatch.setattr(processes, "Processes", Seen)
    monkeypatch.setattr(local, "cores", lambda: 9)
    executor = local.Local()
    executor.jobs = 4
    cells = list("abcde")
    assert list(executor.run(cells, SimpleNamespace(device="cpu", timeout=0, weights_bytes=1))) == cells
    assert made == [([None] * 4, 2)]


def test_as_many_processes_as_there_are_cores_and_memory_for(monkeypatch):
    monkeypatch.setattr(local, "cores", lambda: 16)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=12 * 2**30))
    assert [local.fitting(n * 2**30) for n in (1, 0, 50)] == [3, 12, 1]  # weights, two copies, and a GiB


def test_gpus_are_called_as_the_environment_calls_them(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    named = {device: local._gpus(device) for device in ("auto", "cuda", "cuda:1", "cpu")}
    assert named == {"auto": ["4", "7"], "cuda": ["4", "7"], "cuda:1": ["7"], "cpu": []}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert local._gpus("auto") == ["0", "1"]


@pytest.mark.parametrize(
    ("device", "there", "jobs"), [("mps", True, 1), ("auto", True, 1), ("auto", False, 5), ("xpu", False, 1)]
)
def test_a_gpu_of_another_kind_has_one_process(monkeypatch, device, there, jobs):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: there)
    monkeypatch.setattr(local, "fitting", lambda weights: 5)
    run_cell = SimpleNamespace(device=device, weights_bytes=1, timeout=0.0)
    every = local.Local()
    every.jobs = 0
    assert every._at_once(9, run_cell) == jobs


def test_a_process_keeps_to_its_task_and_else_takes_one_that_no_other_has():
    given = []

    def process(task, cell=None):
        return SimpleNamespace(task=task, cell=cell, pipe=object(), begin=given.append)

    def cells(*tasks):
        return [SimpleNamespace(task=task, id=f"{task}{i}") for i, task in enumerate(tasks)]

    pool = object.__new__(processes.Processes)
    pool.work = defaultdict(lambda: 1.0)
    pool.at_work = {0: process("a", SimpleNamespace(task="a"))}
    todo = cells("a", "b", "c", "b")
    pool._give(process("b"), todo)
    pool._give(process(""), todo)
    pool._give(process("z"), cells("a", "a"))
    assert [cell.task for cell in given] == ["b", "c", "a"] and [cell.task for cell in todo] == ["a", "b"]


def test_a_ray_task_asks_for_a_gpu_unless_cells_run_on_the_cpu():
    assert OnRay()._wants("cpu") == {"num_cpus": 1.0, "num_gpus": 0.0, "max_retries": 3}
    more = OnRay()
    more.gpus, more.memory_gb = 0.5, 2.0
    assert OnRay()._wants("auto")["num_gpus"] == 1.0
    assert more._wants("cuda") == {"num_cpus": 1.0, "num_gpus": 0.5, "max_retries": 3, "memory": 2**31}


def test_a_slurm_job_asks_for_what_was_set():
    asked = {}
    spread = SimpleNamespace(update_parameters=asked.update)
    submitit = SimpleNamespace(AutoExecutor=lambda **options: asked.update(options) or spread)
    executor = Submitit()
    executor.partition, executor.cpus, executor.hours, executor.jobs = "short", 6, 0.5, 7
    assert executor._executor(submitit, "folder", "cpu") is spread
    want = {"cluster": "slurm", "slurm_max_num_timeout": 20, "timeout_min": 30, "gpus_per_node": 0, "cpus_per_task": 6}
    want |= {"slurm_partition": "short", "slurm_signal_delay_s": 90, "slurm_array_parallelism": 7}
    assert want.items() <= asked.items() and not {"mem_gb", "slurm_account"} & set(asked)


@pytest.mark.parametrize("restarts", [0, 2])
def test_a_lost_job_is_submitted_anew_so_many_times(restarts):
    executor, tries, told = Submitit(), {"one": 0, "two": 0}, []
    executor.restarts = restarts
    run_cell = SimpleNamespace(written=lambda cell: None, lost=lambda cell, why: (cell.id, why))
    job, left = SimpleNamespace(job_id=7, state="FAILED"), [SimpleNamespace(id="one"), SimpleNamespace(id="two")]
    for turn in range(restarts + 1):
        over = executor._over(job, left, run_cell, tries)
        try:
            while True:
                told.append(next(over))
        except StopIteration as e:
            assert e.value == ([] if turn == restarts else left)
    assert told == [(name, "its job 7 ended as FAILED, with all restarts") for name in ("one", "two")]


def test_what_executors_are_given_takes_what_the_contract_says():
    asked = {name: one for name, one in vars(RunCell).items() if inspect.isfunction(one) and name[0] != "_"}
    assert set(asked) == {"work", "load", "lost", "written"}
    for name, one in (*asked.items(), ("__call__", RunCell.__call__)):
        assert inspect.signature(getattr(RunInProcess, name)) == inspect.signature(one), name
    assert inspect.signature(RunCell.lost).parameters["again"].default is True
    properties = {name for name, one in vars(RunCell).items() if isinstance(one, property)}
    assert properties == {name for name in properties if isinstance(getattr(RunInProcess, name), property)}


def test_how_a_process_died_is_told():
    full = ", as the system does where memory is full: fewer --jobs take less"
    assert processes._death(-9) == (f"its process was ended by SIGKILL{full}",)
    assert processes._death(-15) == ("its process was ended by SIGTERM",)
    assert processes._death(3) == ("its process ended with status 3",)
