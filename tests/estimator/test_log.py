"""The replay log, the state, and going on from either: bit for bit on every engine."""

import hashlib
import io
import struct
import zlib

import pytest
import torch
from kits.matrix import covering
from kits.toy_runs import MODES, Adaptive, MeZO, Run, same

from zobench import Estimator, ZobenchError
from zobench.estimator.log import MAGIC, LogWriter, StepLog, load_log, pack, read_log

CASES = [(e, r, p) for e, r in MODES for p in ("native", "float32") if p == "native" or "official" not in e]


def build(method, engine, restore, precision, **kw):
    dtype = torch.bfloat16 if precision == "float32" else torch.float32
    return Run(method, dtype=dtype, engine=engine, restore=restore, precision=precision, lr=1e-2, **kw)


@pytest.mark.parametrize(("mode", "method"), covering(CASES, [MeZO, Adaptive]))
def test_replay_rebuilds_weights_and_state_without_a_forward(mode, method, tmp_path):
    run = build(method, *mode)
    run.go(4)
    run.weights()  # an evaluation: where a deferring engine settles is part of the log
    run.go(3)
    want, state = run.weights(), run.state()
    with LogWriter(tmp_path / "log") as w:
        w.write(run.opt.log[:5])
        w.write(run.opt.log[5:])
    again = build(method, *mode)
    again.opt.replay(read_log(tmp_path / "log"))
    assert same(again.weights(), want)
    assert equal(again.state(), {**state, "forwards": {}})


def equal(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize(("mode", "method", "noise"), covering(CASES, [MeZO, Adaptive], ["per_tensor", "official"]))
def test_a_run_goes_on_bit_for_bit_from_its_saved_state(mode, method, noise):
    run = build(method, *mode, noise=noise)
    run.go(4)
    file = io.BytesIO()
    torch.save({"weights": run.weights(), "state": run.opt.state_dict()}, file)
    run.go(3)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = build(method, *mode, noise=noise, seed=5)
    other.model.load_state_dict(saved["weights"])
    other.opt.load_state_dict(saved["state"])
    other.go(3)
    assert same(other.weights(), run.weights())
    assert equal(other.state(), run.state())
    assert other.opt.forwards["train"] == 7 * (2 if method is MeZO else 3)


def test_replay_goes_on_from_a_snapshot_and_then_trains():
    run = build(MeZO, "deferred", "exact", "native", noise="official")
    run.go(3)
    weights, state = run.weights(), run.state()
    run.go(4)
    tail = run.opt.log[3:]
    run.go(2)
    other = build(MeZO, "deferred", "exact", "native", noise="official")
    other.model.load_state_dict(weights)
    other.opt.load_state_dict(state)
    other.opt.replay(tail)
    run.weights()
    other.go(2)
    assert same(other.weights(), run.weights())


def test_replay_refuses_what_is_not_its_log():
    run = Run()
    run.go(2)
    with pytest.raises(ZobenchError, match="the log goes on with step 1, the estimator stands at step 0"):
        Run().opt.replay(run.opt.log[1:])
    with pytest.raises(ZobenchError, match="not its log"):
        Run(seed=1).opt.replay(run.opt.log)
    with pytest.raises(ZobenchError, match="asks for more losses than its log holds"):
        Run(Adaptive).opt.replay(run.opt.log)

    class Wide(Estimator):
        def iterate(self, losses):
            loss, g = losses.gradient()
            self.descend(g)
            return loss

    run = Run(Wide)
    run.go(1)
    with pytest.raises(ZobenchError, match="step 0 saw more than scalars: replay from a snapshot"):
        Run(Wide).opt.replay(run.opt.log)


def test_state_of_another_estimator_is_refused():
    state = Run().state()
    for other, says in (
        (Run(Adaptive), "estimator 'MeZO', this estimator 'Adaptive'"),
        (Run(noise="official"), "noise 'per_tensor'"),
    ):
        with pytest.raises(ZobenchError, match=says):
            other.opt.load_state_dict(state)
    run = Run(Adaptive)
    run.go(1)
    state = run.state()
    state["buffers"]["m"]["elsewhere"] = torch.zeros(1)
    with pytest.raises(ZobenchError, match="'elsewhere', which is not in the scope"):
        Run(Adaptive).opt.load_state_dict(state)


def test_state_of_buffers_declared_late_is_claimed():
    class Late(Estimator):
        def iterate(self, losses):
            n = self.buffer("n", shape=lambda p: ())
            n.assign(n + 1)
            losses.base()

    run, other = Run(Late), Run(Late)
    run.go(3)
    other.opt.load_state_dict(run.state())
    other.go(1)
    assert all(float(v) == 4 for v in other.opt.buffers["n"].store.values())


def steps(n, first=0, lr=(1e-3,)):
    return [
        StepLog(
            first + i,
            (1 << 62) + i,
            lr,
            [torch.tensor(0.5 + i, dtype=torch.float32), torch.tensor(-1.25, dtype=torch.bfloat16)],
            settled=i == 1,
            wide=i == 2,
        )
        for i in range(n)
    ]


def test_log_file_holds_what_was_seen(tmp_path):
    values = [torch.tensor(0.1, dtype=d) for d in (torch.float16, torch.bfloat16, torch.float32, torch.float64)]
    log = [*steps(3), StepLog(3, 7, (1e-3, 2e-3), values), StepLog(4, 0, (1e-3, 2e-3))]
    with LogWriter(tmp_path / "log") as w:
        w.write(log)
        w.write([])
    assert read_log(tmp_path / "log") == log
    assert [v.dtype for v in read_log(tmp_path / "log")[3].seen] == [v.dtype for v in values]


def test_log_file_is_small(tmp_path):
    run = Run(dtype=torch.float32)
    run.go(100)
    with LogWriter(tmp_path / "log") as w:
        w.write(run.opt.log)
    assert (tmp_path / "log").stat().st_size < 22 * 100 + 40


def test_a_truncated_tail_ends_the_log_and_is_overwritten(tmp_path):
    path = tmp_path / "log"
    with LogWriter(path, facts={"lr": 0.1}) as w:
        w.write(steps(4))
        w.write(steps(4, first=4))
    whole, end = path.read_bytes(), 4 + 8 + 32
    assert read_log(path) == steps(4) + steps(4, first=4)
    for cut in (1, 10, 60, 100):
        path.write_bytes(whole[: -end - cut])
        assert read_log(path, whole=False) == steps(4), cut
    path.write_bytes(whole[: -end - 3] + b"\0\0\0")
    assert read_log(path, whole=False) == steps(4)
    with LogWriter(path, append=True) as w:
        w.write(steps(2, first=4))
    assert read_log(path) == steps(4) + steps(2, first=4)
    assert load_log(path).facts == {"lr": 0.1}
    with LogWriter(path, append=True) as w:  # after a whole file, whose end is taken off
        w.write(steps(1, first=6))
    assert read_log(path) == steps(4) + steps(2, first=4) + steps(1, first=6)


def of_the_first_version(log):
    """As it was written: no facts, no end, and a crc of the payload alone."""
    payload = pack(log)
    block = struct.pack("<IIII", len(payload), zlib.crc32(payload), log[0].step, len(log))
    return b"ZOLOG\x00\x00\x01" + block + payload


def of_now(log):
    buffer = io.BytesIO()
    buffer.close = lambda: None
    writer = LogWriter.__new__(LogWriter)
    writer._file, writer._steps, writer._hash = buffer, 0, hashlib.sha256()
    writer._append(MAGIC + struct.pack("<II", 2, zlib.crc32(b"{}")) + b"{}")
    for part in (log[:2], log[2:]):
        writer.write(part)
    writer.close()
    return buffer.getvalue()


@pytest.mark.parametrize("made", [of_the_first_version, of_now])
def test_a_log_that_is_not_whole_is_refused(made, tmp_path):
    """Each cut, each bit, and bytes too many; a block too few is refused where its length is known (replay)."""
    path, data = tmp_path / "log", made(steps(3))
    path.write_bytes(data)
    assert read_log(path) == steps(3)
    damaged = [data[:n] for n in range(len(data))] + [data + b"\0", data + data[8:]]
    for i in range(len(data)):
        for bit in range(8):
            damaged.append(data[:i] + bytes([data[i] ^ 1 << bit]) + data[i + 1 :])
    first = struct.Struct("<I").pack(0)
    for one in damaged:
        path.write_bytes(one)
        try:
            log = read_log(path)
        except ZobenchError as e:
            assert str(path) in str(e) and "\n" not in str(e)
        else:  # the first version does not vouch for the number of its first step: a replay compares it
            assert made is of_the_first_version and one[16:20] != first and log[0].step != 0


def test_a_run_that_was_stopped_leaves_a_log_that_is_not_whole(tmp_path):
    path = tmp_path / "log"
    with pytest.raises(KeyboardInterrupt), LogWriter(path) as w:
        w.write(steps(4))
        raise KeyboardInterrupt
    with pytest.raises(ZobenchError, match="not a whole replay log: after 4 steps it is cut short"):
        read_log(path)
    with pytest.raises(ZobenchError, match="not a whole replay log: after 4 steps it is cut short"):
        load_log(path)
    assert read_log(path, whole=False) == steps(4)


def test_what_was_written_is_in_the_file_at_once(tmp_path):
    """A process may be killed at any time."""
    writer = LogWriter(tmp_path / "log", facts={"a": 1})
    assert load_log(tmp_path / "log", whole=False).facts == {"a": 1}
    for n in (2, 4):
        writer.write(steps(n)[n - 2 :])
        assert read_log(tmp_path / "log", whole=False) == steps(n)
    writer.close()


def test_nothing_is_added_to_a_log_of_the_first_version(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(of_the_first_version(steps(2)))
    with pytest.raises(ZobenchError, match="an earlier version"):
        LogWriter(path, append=True)


def test_what_is_no_log_is_refused(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(struct.pack("<Q", 7) * 4)
    with pytest.raises(ZobenchError, match="is no replay log"):
        read_log(path)
    with pytest.raises(ZobenchError, match="is no replay log"):
        LogWriter(path, append=True)
    with LogWriter(tmp_path / "new", append=True) as w, pytest.raises(ValueError, match="follow each other: 5 after 0"):
        w.write([*steps(1), *steps(1, first=5)])
