"""An interpreter of PTX, which the fake driver runs in place of a GPU.

It supports the instructions that our kernels use, and raises :class:`PtxError` for any other. All threads
of a launch are lanes of numpy arrays. The lanes with the lowest program counter step together, so
branches may diverge. What a GPU would do wrong silently is an error: a register that is read before it
is written, division by zero, two threads that store to one address, or a load after a store (their order
between threads is undefined).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, Any]

TYPES = {
    "pred": np.dtype(np.bool_), "b16": np.dtype(np.uint16), "b32": np.dtype(np.uint32),
    "u32": np.dtype(np.uint32), "s64": np.dtype(np.int64), "u64": np.dtype(np.uint64),
}  # fmt: skip
COMPARISONS: dict[str, Callable[[Array, Array], Array]] = {"lt": operator.lt, "ge": operator.ge}
ARITHMETIC: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add, "mul.lo": np.multiply, "div": np.floor_divide, "rem": np.remainder,
}  # fmt: skip


class PtxError(Exception):
    """A text that this interpreter does not support, or that no GPU would run reliably."""


class Memory(Protocol):
    """The device's memory: one value per address; raises for addresses that a GPU may not touch."""

    def load(self, addresses: Array, dtype: np.dtype[Any]) -> Array: ...
    def store(self, addresses: Array, values: Array) -> None: ...


@dataclass(frozen=True, slots=True)
class Instruction:
    """``opcode`` ('ld.global.u64') with its operands, and the predicate that guards it."""

    opcode: str
    operands: tuple[str, ...]
    guard: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A kernel: parameter and register types by name, instructions, labels."""

    parameters: dict[str, str]
    registers: dict[str, str]
    instructions: list[Instruction]
    labels: dict[str, int]


@dataclass(frozen=True, slots=True)
class Module:
    """A PTX text; ``target`` is the compute capability that it needs, 75 for sm_75."""

    target: int
    entries: dict[str, Entry]


def parse(text: str) -> Module:
    """Read a module; raises PtxError for anything unknown."""
    text = re.sub(r"//[^\n]*", "", text)
    head = re.match(
        r"\s*\.version\s+(\d+)\.\d+\s+\.target\s+sm_(\d+)\s+\.address_size\s+64\s", text
    )
    if not head:
        raise PtxError("no .version, .target and .address_size 64")
    entries, rest = {}, text[head.end() :]
    pattern = re.compile(r"\s*\.visible\s+\.entry\s+(\w+)\s*\(([^)]*)\)\s*\{([^}]*)\}\s*")
    while rest:
        found = pattern.match(rest)
        if not found:
            raise PtxError(f"not an entry: {rest[:40]!r}")
        name, parameters, body = found.groups()
        entries[name] = _entry(parameters, body)
        rest = rest[found.end() :]
    return Module(int(head[2]), entries)


def _entry(parameters: str, body: str) -> Entry:
    declared = {}
    for one in filter(None, map(str.strip, parameters.split(","))):
        found = re.fullmatch(r"\.param\s+\.(\w+)\s+(\w+)", one)
        if not found or found[1] not in TYPES:
            raise PtxError(f"not a parameter: {one!r}")
        declared[found[2]] = found[1]
    made = Entry(declared, {}, [], {})
    *statements, last = body.split(";")
    if last.strip():
        raise PtxError(f"no ; after {last.strip()!r}")
    for statement in map(str.strip, statements):
        while label := re.match(r"(\w+):\s*", statement):
            made.labels[label[1]] = len(made.instructions)
            statement = statement[label.end() :]
        if register := re.fullmatch(r"\.reg\s+\.(\w+)\s+(%\w+(?:\s*,\s*%\w+)*)", statement):
            made.registers.update(dict.fromkeys(re.split(r"\s*,\s*", register[2]), register[1]))
            continue
        found = re.fullmatch(r"(?:@(%\w+)\s+)?([a-z][\w.]*)(?:\s+(.*))?", statement)
        if not found:
            raise PtxError(f"not an instruction: {statement!r}")
        operands = re.split(r"\s*,\s*", found[3]) if found[3] else []
        made.instructions.append(Instruction(found[2], tuple(operands), found[1]))
    return made


class Launch:
    """One run of an entry; ``grid`` and ``block`` are (x, y, z), ``arguments`` are by parameter."""

    def __init__(
        self, entry: Entry, grid: tuple[int, ...], block: tuple[int, ...],
        arguments: Mapping[str, int], memory: Memory,
    ) -> None:  # fmt: skip
        self._entry, self._arguments, self._memory = entry, arguments, memory
        sizes = (*grid[::-1], *block[::-1])
        self._lanes = int(np.prod(sizes))
        indices = np.indices(sizes).reshape(6, -1)[::-1].astype(np.uint32)
        self._special = {}
        for axis, name in enumerate("xyz"):
            self._special[f"%tid.{name}"] = indices[axis]
            self._special[f"%ctaid.{name}"] = indices[3 + axis]
            self._special[f"%ntid.{name}"] = np.full(self._lanes, block[axis], np.uint32)
        self._registers = {
            name: np.zeros(self._lanes, TYPES[kind]) for name, kind in entry.registers.items()
        }
        self._written = {name: np.zeros(self._lanes, bool) for name in entry.registers}
        self._stored: list[Array] = []

    def run(self) -> None:
        """Run every thread to its end."""
        end = len(self._entry.instructions)
        counters = np.zeros(self._lanes, np.int64)
        while (counters < end).any():
            now = int(counters.min())
            lanes = np.flatnonzero(counters == now)
            instruction = self._entry.instructions[now]
            counters[lanes] = now + 1
            if instruction.guard:
                lanes = lanes[self._read(instruction.guard, "pred", lanes)]
            if instruction.opcode == "bra":
                counters[lanes] = self._entry.labels[instruction.operands[0]]
            elif instruction.opcode == "ret":
                counters[lanes] = end
            elif len(lanes):
                self._step(instruction, lanes)
        places = np.concatenate([*self._stored, np.zeros(0, np.uint64)])
        if len(np.unique(places)) != len(places):
            raise PtxError("two threads store to one address")

    def _step(self, instruction: Instruction, lanes: Array) -> None:
        parts, (target, *sources) = instruction.opcode.split("."), instruction.operands
        kind = parts[-1]
        if kind not in TYPES:
            raise PtxError(f"unknown instruction {instruction.opcode}")

        def read(index: int, of: str = kind) -> Array:
            return self._read(sources[index], of, lanes)

        match parts:
            case ["mov", _] | ["cvta", "to", "global", "u64"]:
                self._write(target, kind, lanes, read(0))
            case ["ld", "param", _]:
                name = sources[0].strip("[]")
                if self._entry.parameters[name] != kind:
                    raise PtxError(f"{name} is {self._entry.parameters[name]}, not {kind}")
                value = np.full(len(lanes), self._arguments[name], TYPES[kind])
                self._write(target, kind, lanes, value)
            case ["ld", "global", _]:
                if self._stored:
                    raise PtxError("a load after a store")
                found = self._memory.load(self._address(sources[0], lanes), TYPES[kind])
                self._write(target, kind, lanes, found)
            case ["st", "global", _]:
                places = self._address(target, lanes)
                self._memory.store(places, read(0))
                self._stored.append(places)
            case ["setp", comparison, _] if comparison in COMPARISONS:
                self._write(target, "pred", lanes, COMPARISONS[comparison](read(0), read(1)))
            case ["mul", "wide", "u32"]:
                product = read(0).astype(np.uint64) * read(1).astype(np.uint64)
                self._write(target, "u64", lanes, product)
            case ["mad", "lo", "u32"]:
                self._write(target, kind, lanes, read(0) * read(1) + read(2))
            case ["cvt", to, _] if to in TYPES:
                self._write(target, to, lanes, read(0).astype(TYPES[to]))
            case _ if ".".join(parts[:-1]) in ARITHMETIC:
                if parts[0] in ("div", "rem") and not read(1).all():
                    raise PtxError("division by zero")
                done = ARITHMETIC[".".join(parts[:-1])](read(0), read(1))
                self._write(target, kind, lanes, done)
            case _:
                raise PtxError(f"unknown instruction {instruction.opcode}")

    def _read(self, name: str, kind: str, lanes: Array) -> Array:
        if re.fullmatch(r"\d+", name):
            return np.full(len(lanes), int(name), TYPES[kind])
        if name in self._special:
            return self._special[name][lanes]
        self._check(name, kind)
        if not self._written[name][lanes].all():
            raise PtxError(f"{name} is read before it was written")
        return self._registers[name][lanes]

    def _write(self, name: str, kind: str, lanes: Array, values: Array) -> None:
        self._check(name, kind)
        self._registers[name][lanes] = values
        self._written[name][lanes] = True

    def _check(self, name: str, kind: str) -> None:
        if self._entry.registers.get(name) != kind:
            raise PtxError(f"{name} is {self._entry.registers.get(name)}, not {kind}")

    def _address(self, operand: str, lanes: Array) -> Array:
        found = re.fullmatch(r"\[(%\w+)(?:\+(\d+))?\]", operand)
        if not found:
            raise PtxError(f"not an address: {operand!r}")
        return self._read(found[1], "u64", lanes) + np.uint64(found[2] or 0)
