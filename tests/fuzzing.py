"""Malformed input for every command, made from a seed, and what must hold whatever the input."""

from __future__ import annotations

import json
import random
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import netCDF4
import numpy as np
from command_line import call, small_run

import theories
from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.ensembles.results_file import save_measurement
from lattice_flows.scripts.cli import main

CODES = {0, 1, 2, 3, 75}
SECONDS = 10.0  # of CPU time

# Values that no option takes, and some that a few do (a file may have any name).
NEVER = ("nan", "-inf", "1e400", "٣", "1_000", "0:1:99999999999999999999", "9" * 5000, "1:0:3")
ODD = (
    *NEVER, "", " ", "-1", "0", "99999999999999999999", "0,5", ",", ":", "::", "0:1", "1e-320",
    "1e308", "4.5", "true", "[1]", "{}", "a\nb", "\udcff", "x" * 300, "-", "é", "/dev/null",
    "/proc/x", ".", "no/such/x.nc", "0x10", "1,2,", "1e5,nan", "1:2:3:4", "--", "$\\frac{$", "inf",
    "9" * 400, "\udcff.nc", "\udcff.png", "\udcff.json",
)  # fmt: skip
JSON_VALUES: tuple[Any, ...] = (
    None, True, False, 4.5, -1, 0, 10**30, 1e308, float("nan"), float("inf"), "", "x", "nan",
    [], [1], [[1]], {}, {"a": 1}, "a\0b", "\ud800", [0.1, 0.2], ["a"], "16", 1e-320, [3, 1],
)  # fmt: skip
DEEP = ("[" * 100_000, '{"a":' * 50_000, "[" * 100_000 + "]" * 100_000)

NO_OPTIONS = (*DEEP, "", "{", "[]", "\ufeff{}", "NaN", '{"json": 1', "\0", b"\xff{}")
NO_HEADER = ("", "{", "[]", "null", "{}", 3, '{"theory": ["a"]}', "[" * 60_000)
MISTAKES = ("drop", "nan", "text", "integer", "transpose", "short", "attribute", "version")


@dataclass
class Case:
    """One call. `valid` is False where exit code 0 would be wrong."""

    family: str
    args: list[str]
    valid: bool | None = None
    config: str | bytes | None = None
    edits: list[Any] = field(default_factory=list)  # what was done to a file, for the report
    file: tuple[str, bytes] | None = None


@dataclass(frozen=True)
class Material:
    """Sound files to damage: bytes by name, and the run directory."""

    files: dict[str, bytes]
    run: dict[str, bytes]


def material(directory: Path) -> Material:
    """A run, an ensemble of it, observables, a scan, a chain ensemble, a reproduction."""
    couplings = {"m": (-1.2, -0.8), "lam": 1.0, "alpha": 0.1}
    run = small_run(directory / "run", 0.05, shape=(4,), couplings=couplings)
    for args in (
        ["sample", run.path, "--m", -1.0, "-n", 64, "-o", directory / "ensemble.nc"],
        ["scan", run.path, "--m", "-1.2,-1,-0.8", "-n", 64, "-o", directory / "scan.nc"],
        ["exact", "phi4", "--sites", 4, "-o", directory / "exact.nc"],
        ["reproduce", "teleportation", "-o", directory / "reproduction.nc"],
    ):
        done = call(*args)
        assert done.exit_code in (0, 3), (done.output, done.exception)
    theory = theories.Phi4((3, 4))
    draws = np.random.default_rng(0).normal(size=(64, 3, 4))
    torus = Ensemble(theory, theory.from_values(), draws, chains=4)
    torus.save(directory / "chains.nc")
    save_measurement(directory / "observables.nc", torus, torus.measure())
    files = {file.name: file.read_bytes() for file in directory.glob("*.nc")}
    kept = {file.name: file.read_bytes() for file in run.path.iterdir() if file.is_file()}
    return Material(files, kept)


BASES = {
    "exact": ["exact", "phi4", "--sites", "4"],
    # two mistakes, so that mending one begins no training
    "train": [
        "train",
        "new",
        "--theory",
        "phi4",
        "--sites",
        "4",
        "--lam",
        "-1",
        "--half-box",
        "3",
        "--steps",
        "1",
    ],
    "transfer": ["transfer", "run", "new", "--lam", "0"],
    "evaluate": ["evaluate", "run", "--m", "-1", "-n", "64"],
    "sample": ["sample", "run", "--m", "-1", "-n", "64", "-o", "out.nc"],
    "hmc": [
        "hmc",
        "phi4",
        "--sites",
        "4",
        "--lam",
        "-1",
        "-n",
        "8",
        "--chains",
        "4",
        "--warm-up",
        "1",
        "--every",
        "1",
        "-o",
        "out.nc",
    ],
    "measure": ["measure", "ensemble.nc"],
    "correlator": ["correlator", "ensemble.nc"],
    "scan": ["scan", "run", "--m", "-1.2,-1,-0.8", "-n", "64"],
    "plot": ["plot", "scan.nc", "-o", "out.png"],
    "reproduce": ["reproduce", "none-such"],
    "info": ["info", "ensemble.nc"],
}


def flag_cases(rng: random.Random) -> Iterator[Case]:
    """An odd value for an option, or for an argument."""
    names = [name for name in BASES if name in main.commands]
    while True:
        name = rng.choice(names)
        options = [p for p in main.commands[name].params if isinstance(p, click.Option)]
        option, value = rng.choice(options), rng.choice(ODD)
        args = list(BASES[name])
        if rng.random() < 0.15:
            args[rng.randrange(1, len(args))] = value
            yield Case("flags", args)
            continue
        numeric = not isinstance(option.type, click.Path | click.types.StringParamType)
        args += [option.opts[0]] if option.is_flag else [option.opts[0], value]
        wrong = value in NEVER and numeric and not option.is_flag
        yield Case("flags", args, False if wrong else None)


def config_cases(rng: random.Random) -> Iterator[Case]:
    """A file of options that holds odd values, or no options at all."""
    names = [name for name in BASES if name in main.commands]
    while True:
        name = rng.choice(names)
        args = [*BASES[name], "--config", "options.json"]
        options = [p for p in main.commands[name].params if isinstance(p, click.Option)]
        if rng.random() < 0.1:
            yield Case("config", args, False, config=rng.choice(NO_OPTIONS))
            continue
        option, value = rng.choice(options), rng.choice(JSON_VALUES)
        key = rng.choice([option.opts[0].lstrip("-"), option.name or "", "frob", "config"])
        if key in ("steps",) and isinstance(value, int) and value > 0:
            continue
        yield Case("config", args, config=json.dumps({key: value}))


def run_cases(rng: random.Random, sound: Material) -> Iterator[Case]:
    """A run directory whose files were edited, cut or flipped."""
    record = json.loads(sound.run["config.json"])
    while True:
        name = rng.choice(["sample", "sample", "scan", "train", "transfer"])
        args = list(BASES[name])
        if name == "train":
            args = ["train", "run", "--resume"]
        if rng.random() < 0.55:
            edited = json.loads(json.dumps(record))
            key, value = rng.choice(list(record)), rng.choice(JSON_VALUES)
            within = edited["couplings"] if rng.random() < 0.3 else edited
            key = rng.choice(list(within)) if within is not edited else key
            if rng.random() < 0.2:
                del within[key]
                edit = ("drop", key)
            else:
                within[key] = value
                edit = ("set", key, value)
            if rng.random() < 0.1:
                edited["source"] = {"source": {"source": edited["source"]}}
            damaged = ("config.json", json.dumps(edited).encode())
        elif rng.random() < 0.15:
            file = rng.choice([f for f in sound.run if f.endswith("json")])
            damaged, edit = (file, rng.choice(DEEP).encode()), "deep"
        else:
            file = rng.choice([f for f in sound.run if f != "lock"])
            damaged, edit = (file, _damaged(rng, sound.run[file])), "bytes"
        yield Case("run", args, file=(f"run/{damaged[0]}", damaged[1]), edits=[edit])


def _damaged(rng: random.Random, content: bytes) -> bytes:
    """Bytes flipped, cut off, or put in."""
    data = bytearray(content)
    how = rng.randrange(4)
    if how == 0 or not data:
        return bytes(data[: rng.randrange(len(data) + 1)])
    if how == 1:
        place = rng.randrange(len(data))
        data[place : place + 16] = bytes(16)
    elif how == 2:
        data += rng.randbytes(64)
    else:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def netcdf_cases(rng: random.Random, sound: Material, scratch: Path) -> Iterator[Case]:
    """A netCDF file that was flipped or cut, or made by someone who has misunderstood."""
    commands = {
        "ensemble.nc": ["measure", "plot", "correlator", "info"],
        "chains.nc": ["measure", "plot", "correlator", "info"],
        "scan.nc": ["plot", "info"],
        "observables.nc": ["plot", "info"],
        "reproduction.nc": ["plot", "info"],
        "exact.nc": ["plot", "measure", "info"],
    }
    while True:
        name = rng.choice(list(commands))
        known = [command for command in commands[name] if command in main.commands]
        command = rng.choice(known)
        args = [command, name, *(["-o", "out.png"] if command == "plot" else [])]
        if rng.random() < 0.45:
            yield Case("netcdf", args, file=(name, _damaged(rng, sound.files[name])))
            continue
        edit, content = _rewritten(rng, sound.files[name], scratch)
        yield Case("netcdf", args, file=(name, content), edits=[edit])


def _rewritten(rng: random.Random, content: bytes, scratch: Path) -> tuple[Any, bytes]:
    """The file written anew by plain netCDF4, with one mistake; checks and digests left out."""
    source: Any = netCDF4.Dataset("x.nc", "r", memory=content)
    source.set_auto_maskandscale(False)
    path = scratch / "rewritten.nc"
    path.unlink(missing_ok=True)
    target: Any = netCDF4.Dataset(path, "w", format="NETCDF4")
    chosen = rng.choice(list(source.variables))
    how = rng.choice(MISTAKES)
    attributes = {k: source.getncattr(k) for k in source.ncattrs() if "digest" not in k}
    if how == "attribute":
        chosen = rng.choice(list(attributes))
        attributes[chosen] = rng.choice(NO_HEADER)
    if how == "version":
        attributes["lf_format_version"] = rng.choice([1, 99, "one", -1, 1.5])
    elif attributes.get("lf_format_version") == 2:
        attributes["lf_format_version"] = 1  # as files without checks were
    for key, value in attributes.items():
        target.setncattr(key, value)
    for name, dimension in source.dimensions.items():
        target.createDimension(name, len(dimension))
    target.createDimension("odd", 3)
    for name, variable in source.variables.items():
        data, dimensions = np.asarray(variable[...]), variable.dimensions
        if name == chosen:
            if how == "drop":
                continue
            if how == "nan" and data.dtype.kind == "f":
                data = np.array(data)
                data.flat[rng.randrange(data.size)] = rng.choice([np.nan, np.inf, -1e300])
            if how == "text":
                data = np.full(data.shape, "text", dtype=object)
            if how == "integer" and data.dtype.kind == "f":
                data = np.nan_to_num(data).astype(np.int32)
            if how == "transpose":
                data, dimensions = data.T, dimensions[::-1]
            if how == "short":
                data, dimensions = np.zeros(3), ("odd",)
        kind = str if data.dtype.kind in "OU" else data.dtype
        stored = target.createVariable(name, kind, dimensions)
        for key in variable.ncattrs():
            stored.setncattr(key, variable.getncattr(key))
        stored[...] = data
    target.close()
    source.close()
    return (how, chosen), path.read_bytes()


def run_case(
    case: Case, sound: Material, directory: Path, again: bool = True
) -> tuple[str | None, int | None]:
    """What is wrong with how a command took the case (None if nothing is), and its exit code."""
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "run").mkdir(parents=True)
    for name, content in sound.files.items():
        (directory / name).write_bytes(content)
    for name, content in sound.run.items():
        (directory / "run" / name).write_bytes(content)
    if case.config is not None:
        text = case.config
        content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        (directory / "options.json").write_bytes(content)
    if case.file is not None:
        (directory / case.file[0]).write_bytes(case.file[1])
    before = {f: f.read_bytes() for f in directory.rglob("*") if f.is_file()}
    start = time.process_time()
    result = call(*case.args)
    spent = time.process_time() - start
    code = result.exit_code
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return f"{type(result.exception).__name__}: {result.exception}", code
    if spent > SECONDS and again:  # it has compiled a program: once for all
        return run_case(case, sound, directory, again=False)
    if spent > SECONDS:
        return f"{spent:.0f} s", code
    if code not in CODES:
        return f"exit code {code}", code
    errors = re.findall(r"^Error: .*$", result.stderr, re.MULTILINE)
    if code != 0 and (len(errors) != 1 or not result.stderr.endswith(errors[0] + "\n")):
        return f"stderr {result.stderr[:300]!r}", code
    if code == 0 and case.valid is False:
        return "exit code 0", code
    if "Traceback" in result.output:
        return "a traceback", code
    if torn := [f.name for f in directory.rglob("*.part*")]:
        return f"left {torn}", code
    for file, content in before.items():
        if case.args[0] == "train" and file.parent.name == "run":
            continue  # it may be carried on
        if not file.exists() or file.read_bytes() != content:
            return f"changed {file.name}", code
    return None, code
