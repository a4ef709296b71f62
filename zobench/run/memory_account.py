"""What a cell will hold, by part and in bytes, from shapes alone: no weights are needed, an outline of a model will do.

The one account of memory: what `auto` becomes, where copies of the scope lie, what a dry run and a record say, and what
an out-of-memory message names are all read from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from .. import kernels
from ..directions.noise.philox import PART_OF_A_GPU
from ..engine import AUTO, choose, engine_class
from ..engine.base import DRAWN_BYTES
from ..models.graphs import MOST
from ..tasks.pack import FINE
from .cell_shapes import CellShapes, shapes_of
from .method import state_bytes, taken_bytes

if TYPE_CHECKING:
    from ..estimator.estimator import Estimator
    from ..models.load import LoadedModel
    from ..protocol.cell import Cell
    from ..protocol.protocol import Computation
    from ..scopes.scope import Scope
    from ..tasks.prepared import PreparedTask

FLOAT32 = 4
IN_HAND = 3
"""float32 tensors of the largest size that a pass over weights has in hand: the noise, its multiple, a sum."""
ONE_BLOCK = "a smaller scope"
"""The way that takes one decoder block instead of what moves."""
IDS, INT64 = 2, 8
"""Integers a token that CUDA graphs are given: its id and its place; the rest of them is of answers."""
OF_A_PART = 48
"""Bytes for each entry of a part that counter-based noise is drawn and added in where there are no kernels."""
_PARTS = {"weights": "the weights", "theta": "exact copies or masters", "state": "the method's state"}
_PARTS |= {"noise": "noise in hand", "activations": "activations and logits", "copies": "start and checkpoint"}
_PARTS |= {"graphs": "CUDA graphs"}


@dataclass(frozen=True)
class MemoryAccount:
    """What a cell will hold at most, and how it is computed so that it fits, where it can."""

    engine: str
    restore: str
    copies: Literal["device", "host"]
    """Where the scope as it was at first lies, and the best checkpoint."""
    device: dict[str, int]
    """Part -> bytes on the device, the weights included."""
    host: dict[str, int]
    room: int
    """Bytes of the device, with nothing on it."""
    speed: int = 0
    """Bytes on the device beyond the weights while the speed-up is measured."""
    ways: dict[str, int] = field(default_factory=dict)
    """Settings that would take less -> by how many bytes."""

    @property
    def peak(self) -> int:
        """Bytes on the device at most, without the baseline of the speed-up."""
        return sum(self.device.values())

    @property
    def fits(self) -> bool:
        """Whether the device has the room."""
        return self.peak <= self.room

    @property
    def speed_peak(self) -> int:
        """Bytes on the device at most while the speed-up is measured: of the baseline, which moves all weights."""
        return self.device["weights"] + self.speed

    @property
    def speed_fits(self) -> bool:
        """Whether the device has the room to measure the speed-up."""
        return self.speed_peak <= self.room

    def speed_left_out(self) -> str:
        """Why the speed-up is not measured where it does not fit."""
        needs = f"{gib(self.speed_peak)} of {gib(self.room)}"
        return f"not measured: the baseline, which moves all weights, would hold {needs}"

    def record(self) -> dict[str, int]:
        """As a record has it, under `memory`."""
        return {"planned_bytes": self.peak, "planned_host_bytes": sum(self.host.values())}

    def said(self) -> str:
        """In a line: the sum, and its parts above a hundredth of it."""
        parts = [f"{_PARTS[k]} {gib(v)}" for k, v in self.device.items() if v > self.peak / 100]
        host = f"; on the host {gib(sum(self.host.values()))}" if any(self.host.values()) else ""
        return f"{gib(self.peak)} of {gib(self.room)} ({', '.join(parts)}){host}"


def gib(size: float) -> str:
    """Bytes for people."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 / 20 else f"{size / 2**20:.1f} MiB"


def memory_of(cell: Cell, shapes: CellShapes, room: int, cls: type[Estimator], device: str = "cuda") -> MemoryAccount:
    """What a cell holds on a device of so many bytes: no weights are asked for.

    shapes: see `shapes_of`. room: bytes of the device with nothing on it. cls: the cell's estimator. device: its type.
    """
    asked = PlannedMethod(cls, cell.estimator_settings, cell.computation, shapes, device)
    out = asked.account(room)
    return replace(out, ways={way: out.peak - less for way, less in asked.ways(cell, room).items() if less < out.peak})


@dataclass(frozen=True)
class PlannedMethod:
    """A method on shapes, before it is known how it is computed."""

    cls: type[Estimator]
    settings: Mapping[str, Any]
    computation: Computation
    shapes: CellShapes
    device: str

    @property
    def full(self) -> bool:
        """Whether weights themselves move."""
        wish = self.computation.parameterisation
        return (self.cls.parameterisation if wish == "estimator" else wish) == "full"

    def account(self, room: int) -> MemoryAccount:
        """The parts, by the engine, the restore and the place of copies that fit."""
        shapes = self.shapes if self.full else replace(self.shapes, scope=())
        wish = self.computation
        state = state_bytes(self.cls, self.settings, shapes.scope)
        taken = taken_bytes(self.cls, self.settings, shapes.scope)
        free = max(0, room - shapes.weights)
        engine, restore = wish.engine, str(wish.restore)
        if AUTO in (engine, restore):
            choice = choose(
                shapes.numel,
                shapes.parameters,
                free,
                layer_numel=shapes.block,
                itemsize=shapes.itemsize,
                master=wish.precision == "float32",
                state=taken,
            )
            engine = choice.engine if engine == AUTO else engine
            restore = choice.restore if restore == AUTO else restore
        restore = engine_class(engine).restored(restore)
        device = {
            "weights": shapes.weights,
            "theta": self._theta(shapes, engine, restore),
            "state": state,
            "noise": max(self._noise(shapes, engine), taken - state),
            "activations": self._activations(shapes, engine),
            "graphs": self._graphs(shapes, engine),
        }
        kept = 2 * shapes.size  # as it was at first, and the best checkpoint
        beside = kept <= room - sum(device.values())
        return MemoryAccount(
            engine=engine,
            restore=restore,
            copies="device" if beside else "host",
            device=device | {"copies": kept if beside else 0},
            host={"copies": 0 if beside else kept},
            room=room,
            speed=self._speed(room),
        )

    def _theta(self, shapes: CellShapes, engine: str, restore: str) -> int:
        """Bytes of theta held beside the parameters, or of the weights at points."""
        wide = self.computation.precision == "float32" and shapes.itemsize < FLOAT32
        masters = FLOAT32 * shapes.numel if wide else 0
        if engine_class(engine).together:
            looks = min(16, self.cls.forwards_per_step or 2)
            at_once = shapes.size if engine_class(engine).one_order else shapes.largest * shapes.itemsize
            return masters + looks * at_once
        if restore != "exact":
            return 0
        return masters or shapes.size

    def _noise(self, shapes: CellShapes, engine: str) -> int:
        """Bytes of noise, and of what is made of it, of one tensor at a time; kernels keep it in registers."""
        if self.computation.noise == "philox" and not engine.startswith("official"):
            if kernels.usable(self.device):
                return 0
            if self.device != "cpu":
                return min(OF_A_PART * PART_OF_A_GPU, (OF_A_PART + IN_HAND * FLOAT32) * shapes.largest)
        kept = FLOAT32 * shapes.numel
        keeps = self.device == "cpu" and engine != "official" and kept <= DRAWN_BYTES
        return IN_HAND * FLOAT32 * shapes.largest + (kept if keeps else 0)

    def _activations(self, shapes: CellShapes, engine: str) -> int:
        looks = 2 if engine_class(engine).together else 1
        return looks * activations(shapes, shapes.tokens, shapes.answers)

    def _graphs(self, shapes: CellShapes, engine: str) -> int:
        """Bytes of CUDA graphs beside weights at points: a pool with the activations of the largest, which other
        forwards cannot take, and for each what is copied to it: ids, masks, and what enters the lowest block.
        """
        if self.computation.cuda_graphs == "off":
            return 0
        tokens = shapes.tokens * (1 + 1 / FINE)  # at the most padding
        copied = tokens * (IDS * INT64 + shapes.longest + shapes.width * shapes.itemsize)
        return int((1 + 1 / FINE) * self._activations(shapes, engine) + MOST * copied)

    def _speed(self, room: int) -> int:
        """Of the baseline, which moves all weights: what its largest tensor takes, its rows, and a copy if it fits."""
        if not self.computation.speed_steps:
            return 0
        largest = self.shapes.largest if self.shapes.numel >= self.shapes.parameters else self.shapes.vocabulary
        largest = max(largest, self.shapes.vocabulary * self.shapes.width)
        tokens = self.shapes.replicated
        beside = IN_HAND * FLOAT32 * largest + activations(self.shapes, tokens, tokens)
        copy = self.shapes.weights
        return beside + (copy if self.shapes.weights + beside + copy <= room else 0)

    def ways(self, cell: Cell, room: int) -> dict[str, int]:
        """Settings that may take less -> bytes on the device at most with them."""
        wish, shapes = self.computation, self.shapes
        out = {}
        if wish.restore != "arithmetic" and "arithmetic" in engine_class("flat").restores:
            lean = replace(wish, engine="flat", restore="arithmetic", precision="native")
            out["engine=flat with restore=arithmetic"] = replace(self, computation=lean).account(room).peak
        if shapes.itemsize > 2:
            half = replace(shapes, itemsize=2, weights=shapes.weights // 2)
            out["--dtype bfloat16"] = replace(self, shapes=half).account(room).peak
        if cell.protocol.batch_size > 1:
            some = replace(shapes, tokens=shapes.tokens // 2, answers=shapes.answers // 2)
            out[f"batch_size={cell.protocol.batch_size // 2} (another protocol)"] = (
                replace(self, shapes=some).account(room).peak
            )
        if shapes.block and shapes.numel > 2 * shapes.block:
            one = replace(shapes, scope=((shapes.block,),))
            out[ONE_BLOCK] = replace(self, shapes=one).account(room).peak
        return out


def activations(shapes: CellShapes, tokens: int, answers: int) -> int:
    """Bytes of a forward over so many tokens: a block's streams, and logits with their float32 copies."""
    block = tokens * (6 * shapes.width + 3 * shapes.inner) * shapes.itemsize
    return block + answers * shapes.vocabulary * (shapes.itemsize + 2 * FLOAT32)


def planned(
    cell: Cell, loaded: LoadedModel, scope: Scope, prepared: PreparedTask, cls: type[Estimator], free: int
) -> MemoryAccount:
    """The account of a cell of a loaded model, before anything of it is taken; `free`: bytes that it may take."""
    shapes = shapes_of(loaded, scope, prepared, cell.protocol)
    return memory_of(cell, shapes, free + shapes.weights, cls, loaded.device.type)
