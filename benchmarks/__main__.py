"""`python -m benchmarks [NAME…] [--quick] [--out FILE]`: runs the parts, writes results.json, prints a table."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.entries import Entry, entry

TOP = Path(__file__).resolve().parents[1]
PARTS = tuple(
    sorted(
        path.stem for path in Path(__file__).parent.glob("*.py") if "\ndef run(quick: bool" in path.read_text("utf-8")
    )
)
"""Every module with `run(quick) -> rows`. Each runs in a process of its own, so that its peak memory is its own."""
_EMPTY = "import numpy, pyarrow, duckdb"


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; 1 when a part failed, whose name is printed and whose rows are missing."""
    options = _options(arguments)
    if options.part:
        rows = importlib.import_module(f"benchmarks.{options.part}").run(options.quick)
        Path(options.rows).write_text(json.dumps(rows), "utf-8")
        return 0
    results, failed = _all(options.names or list(PARTS), options.quick)
    options.out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(table(results))
    print(f"written: {options.out}", file=sys.stderr)
    for name in failed:
        print(f"failed: {name}", file=sys.stderr)
    return 1 if failed else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"parts to run, all by default: {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: to see that it runs, not to quote")
    parser.add_argument("--out", type=Path, default=TOP / "benchmarks" / "results.json", help="where the rows go")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--rows", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in PARTS]:
        parser.error(f"unknown part '{unknown[0]}'; one of {', '.join(PARTS)}")
    return options


def _all(names: list[str], quick: bool) -> tuple[list[Entry], list[str]]:
    _, empty = _peak([sys.executable, "-c", _EMPTY])
    results: list[Entry] = []
    failed = []
    scratch = Path(os.environ.get("TMPDIR", "/tmp")) / f"soc-bench-{os.getpid()}.json"
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "benchmarks", "--part", name, "--rows", str(scratch)]
        code, peak = _peak(command + (["--quick"] if quick else []))
        if code:
            failed.append(name)
            continue
        results += json.loads(scratch.read_text("utf-8"))
        words = "a process that imports numpy, pyarrow and duckdb"
        results.append(entry(f"memory.{name}", peak, "MiB at most", words, empty, less_is_better=True))
    scratch.unlink(missing_ok=True)
    return results, failed


def _peak(command: list[str]) -> tuple[int, float]:
    """Exit code and peak resident MiB of a process, or of the largest process it waited for."""
    process = subprocess.Popen(command, cwd=TOP, env=installed(os.environ))
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss / 1024


def installed(environment: Mapping[str, str]) -> dict[str, str]:
    """What a part and its children run in: as an installed program, which keeps its bytecode."""
    return {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}


def table(results: list[Entry]) -> str:
    """The rows for people."""
    lines = [f"{'name':32} {'value':>12}  {'unit':26} {'ratio':>8}  reference"]
    for row in results:
        reference = f"{row['reference_value']:,} {row['reference']}" if row["reference"] else ""
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        lines.append(f"{row['name']:32} {row['value']:>12,}  {row['unit']:26} {ratio:>8}  {reference}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
