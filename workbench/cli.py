"""The command line: a thin pass-through to the functions a notebook would call.

Every known mistake of the input ends in one sentence on standard error and exit code 2.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from workbench.errors import Failure, InputError
from workbench.files import plain


def main(arguments: list[str] | None = None) -> int:
    # Imports of each command stand in its function: `--help` must not wait for pandas.
    options = _parser().parse_args(arguments)
    # A name of a file may be no text, and a terminal may know few letters.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return options.run(options) or 0
    except InputError as error:
        print(f"workbench: {plain(str(error))}", file=sys.stderr)
        return 2
    except Failure as error:
        print(f"workbench: {plain(str(error))}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `workbench list | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print(
            "workbench: stopped; finished cells are kept, run the same command to go on.",
            file=sys.stderr,
        )
        return 130


def _list(options) -> None:
    # The same dictionaries as JSON and as a table.
    entries = {"generators": _generators, "datasets": _datasets, "metrics": _metrics}[
        options.what
    ]()
    if options.json:
        print(json.dumps(entries, indent=1, ensure_ascii=False))
        return
    text = lambda value: ", ".join(value) if isinstance(value, list) else str(value)  # noqa: E731
    lines = [list(entries[0])]
    for entry in entries:
        lines.append([text(value) for value in entry.values()])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )


def _generators() -> list[dict]:
    from workbench.generators import GENERATORS

    return [
        {
            "name": name,
            "family": entry.family,
            "title": entry.title,
            "source": entry.source,
            "supports": list(entry.supports),
        }
        for name, entry in GENERATORS.items()
    ]


def _datasets() -> list[dict]:
    from workbench.tables.datasets import DATASETS

    return [
        {
            "name": name,
            "target": entry.target or "",
            "sensitive": ", ".join(entry.sensitive),
            "title": entry.title,
            "source": entry.source,
        }
        for name, entry in DATASETS.items()
    ]


def _metrics() -> list[dict]:
    from workbench.metrics import METRICS

    # In words, for those who have not read the docs.
    better = {"up": "more is better", "down": "less is better", "zero": "0 is best"}
    return [
        {
            "name": name,
            "family": metric.family,
            "direction": better[metric.direction],
            "title": metric.title,
        }
        for name, metric in METRICS.items()
    ]


def _run(options) -> int:
    from workbench.batch import runner
    from workbench.batch.progress import LivePage
    from workbench.report.publish import report

    _check_trust(options.report, options.trust)
    choices = {"workers": options.workers, "scheduler": options.scheduler}
    page = Path(options.report).resolve() / "index.html"
    # The name of the page is said before anything runs: whoever waits can open it meanwhile.
    live = LivePage(options.report) if options.live else None
    when = "kept up to date from the first seed on" if live else "written when all cells have run"
    print(f"{page}: {when}", flush=True)
    summary = runner.run(
        options.report, retry_failed=options.retry_failed, wait=options.wait, live=live, **choices
    )
    page = report(options.report)
    print(f"{summary}\n{page}")
    return 0


def _publish(options) -> None:
    from workbench.batch.results import publish

    print(publish(options.report, options.out))


def _replicate(options) -> None:
    from workbench.report import replication

    done = replication.replicate(options.report)
    page = done.write(Path(options.report).resolve() / replication.PAGE)
    print(f"{done}\n{page}")


def _merge(options) -> None:
    from workbench.batch.results import merge

    print(merge(options.into, options.other, options.origin))


def _plan(options) -> None:
    from workbench.batch.expected import expected, neighbours

    _check_trust(options.report, options.trust)
    # What earlier reports beside this one took is the best guess at what its cells will take.
    earlier = [*neighbours(options.report), *options.earlier]
    print(expected(options.report, earlier, options.workers or os.cpu_count() or 1))


def _check_trust(folder: str, trust: bool) -> None:
    """Before a grid's plug-ins run or files outside its folder are read, somebody agrees to it."""
    from workbench.batch import grid
    from workbench.batch.results import Results, is_results
    from workbench.batch.trust import check

    def question(sentence: str) -> bool:
        return input(f"{sentence}\nDo you trust whoever wrote it? [y/N] ").lower() in ("y", "yes")

    # Published results hold the grids of all who added rows, and each may bring code of its own.
    folders = [folder]
    if is_results(folder):
        folders = [str(place) for place in Results(folder).grid_folders()]
    for place in folders:
        # Without a terminal nobody can answer: then only --trust, or an earlier yes, lets it run.
        check(grid.read(place), trust, question if sys.stdin.isatty() else None)


def _report(options) -> None:
    from workbench.batch.folder import Folder
    from workbench.batch.results import opened
    from workbench.report import changes
    from workbench.report.publish import report

    if bool(options.report) == bool(options.compare) or (options.out and options.report):
        raise InputError(
            "workbench report takes one folder, or --compare with two and perhaps --out."
        )
    if options.report:
        # Checked once, for the sentences below and for the page.
        home = opened(Path(options.report).resolve())
        if isinstance(home, Folder):
            _say_problems(home)
        print(report(options.report, home))
        return
    found = changes.compare(*options.compare)
    page = found.write(options.out) if options.out else ""
    print(f"{found}\n{page}".rstrip())


def _say_problems(home) -> None:
    """On standard error: what is not as it was stored, of the cells, the page, the grid and what it
    names.
    """
    from workbench.report.publish import page_faults

    # The page is written all the same: a damaged cell counts as pending, and says so on it.
    problems = [*home.problems(), *home.strays().values(), *page_faults(home, rows=False)]
    problems += [f"{name} was changed since it was run" for name in home.changed_files()]
    for problem in problems:
        print(f"workbench: {plain(problem)}", file=sys.stderr)


def _index(options) -> None:
    from workbench.report import index

    print(index.index(options.folder))


def _status(options) -> None:
    from workbench.batch import progress
    from workbench.batch.folder import Folder
    from workbench.report.publish import page_faults

    status = progress.status(options.report)
    if faults := page_faults(Folder(options.report), rows=False):
        status["altered"] = [*status.get("altered", []), *faults]
    print(
        json.dumps(status, indent=1)
        if options.json
        else "\n".join(plain(f"{key:>14} {value}") for key, value in status.items())
    )


def _log(options) -> None:
    from workbench.batch import progress

    print(progress.log(options.report, options.key), end="")


def _verify(options) -> int:
    from workbench.batch.verify import faults, verify

    try:
        _check_trust(options.report, options.trust)
    except InputError:
        # What the files alone show is said all the same.
        _print_verdicts(options.report, faults(options.report))
        raise
    table = verify(
        options.report, cells=options.cells, workers=options.workers, scheduler=options.scheduler
    )
    verdicts = _print_verdicts(options.report, table)
    print(", ".join(f"{count} {verdict}" for verdict, count in Counter(verdicts).most_common()))
    return int(any(verdict in ("different", "not verified") for verdict in verdicts))


def _print_verdicts(folder: str, table) -> list[str]:
    """A line for each cell and each fault of the folder and its page; returns the verdicts."""
    from workbench.files import plain

    # Faults of the page count as well: the exit code is for scripts.
    verdicts = list(table["verdict"])
    for row in table.itertuples():
        about = f"{row.dataset} {row.label} seed {row.seed} ({row.key[:12]})"
        if not row.dataset:  # a file, or a cell that cannot be read
            about = row.key[:12] or row.label
        print(plain(f"{row.verdict:<16} {about} {row.detail}".rstrip()))
    for fault in _faults_of_page(folder):
        verdicts.append("different")
        print(plain(f"{'different':<16} {fault}"))
    return verdicts


def _faults_of_page(folder: str) -> list[str]:
    from workbench.batch.folder import Folder
    from workbench.report.publish import page_faults

    try:
        return page_faults(Folder(folder))
    except InputError:  # the plan cannot be read, and that is said above
        return []


def _compared(options, given: dict) -> str:
    """The grid that compares generators on one table, all its train rows or some of them."""
    from workbench.batch import grid
    from workbench.batch.override import LEAST_TRAIN_ROWS

    # Said about the option, before the grid would say it about a line nobody has written.
    most = options.train_rows
    if most is not None and most < LEAST_TRAIN_ROWS:
        raise InputError(f"--train-rows is {most}; give at least {LEAST_TRAIN_ROWS}.")
    return grid.make(
        title=f"Generators compared on {Path(options.table).name}",
        table=options.table,
        **given,
        generators=_names(options.generators),
        seeds=options.seeds,
        train_rows=most,
    )


def _compare(options) -> int:
    from workbench.batch import grid
    from workbench.batch.trust import remember
    from workbench.tables import datasets

    # Reading the table first puts a mistake in it before anything is written.
    given = _declared(options)
    _say_roles(datasets.load(options.table, **given))
    folder = Path(options.out)
    _write_grid(folder, _compared(options, given))
    remember(grid.read(folder))  # the user named the table a moment ago
    code = _run(
        argparse.Namespace(
            report=folder,
            trust=False,
            retry_failed=False,
            wait=False,
            live=True,
            workers=options.workers,
            scheduler=options.scheduler,
        )
    )
    print(f"\n{plain(str(_recommendation(folder)))}")
    return code


def _recommendation(folder: Path):
    """Which generator to take, from the rows of a report folder about one table."""
    from workbench.report.batch import Batch
    from workbench.report.recommendation import recommend

    # From the rows on disk, as the page does: terminal and page say the same.
    batch = Batch.read(folder)
    finished = batch.cells[batch.cells["status"] == "ok"]
    seconds = finished.groupby("label")["fit_cpu"].mean().dropna().to_dict()
    return recommend(batch.readings, batch.generators, seconds=seconds)


def _write_grid(folder: Path, text: str) -> None:
    from workbench.files import write_text

    # A grid that asks for the same may be there: then its cells are gone on with.
    path = folder / "grid.toml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise InputError(
                f"{path} exists and asks for something else; name another --out folder, or delete"
                " that file."
            )
        write_text(path, text)
    except OSError as error:
        raise InputError(
            f"--out {folder} cannot be written ({error.strerror}); name another folder."
        ) from None


def _generate(options) -> None:
    from tqdm.auto import tqdm

    from workbench import generators
    from workbench.tables import datasets

    out = Path(options.out)
    if out.suffix not in (".csv", ".parquet"):
        raise InputError(f"--out {out} ends in neither .csv nor .parquet; choose one of them.")
    params: dict[str, Any] = dict(_parameter(text) for text in options.param)
    with tqdm(
        total=3, desc="load", bar_format="{desc}: {n}/{total} [{elapsed}]", leave=False
    ) as bar:
        data = datasets.load(options.table, **_declared(options))
        _say_roles(data)
        bar.set_description_str(options.generator)
        bar.update()
        synthetic = generators.generate(
            options.generator, data, rows=options.rows, seed=options.seed, **params
        )
        bar.set_description_str("write")
        bar.update()
        try:
            _write_table(data, synthetic, out)
        except OSError as error:
            raise InputError(
                f"--out {out} cannot be written ({error.strerror}); name another file."
            ) from None
        bar.update()
    print(
        f"{len(synthetic):,} rows by {options.generator}, fitted on {len(data.train):,} train rows:"
        f" {out}"
    )


def _write_table(data, table, out: Path) -> None:
    """The whole file or none, never through a link; values written as in the real table."""
    from workbench.files import write_bytes

    # A CSV keeps the last digit of 12.50; Parquet keeps numbers as numbers.
    is_text = out.suffix == ".csv"
    table = data.written(table, as_text=is_text)
    content = table.to_csv(index=False).encode() if is_text else table.to_parquet(index=False)
    write_bytes(out, content)


def _scenarios(options) -> None:
    from workbench.studies import edge_cases
    from workbench.tables import datasets

    data = datasets.load(options.table, **_declared(options))
    _say_roles(data)
    params = dict(map(_parameter, options.param))
    done = edge_cases.run(data, options.scenarios, options.generator, options.seed, **params)
    print(f"{done!r}\n{done.write(options.out)}")


def _audit(options) -> int:
    from workbench.auditing import audit

    settings = {
        name: getattr(options, name) for name in ("tolerances", "against", "generator", "window")
    }
    if options.out:
        given = _declared(options)
        roles = {name: given.pop(name) for name in ("target", "sensitive")}
        roles["declared"] = given or None
        done = audit.publish(
            options.out, real=options.table, synthetic=options.synthetic, **roles, **settings
        )
    else:
        from tqdm.auto import tqdm

        from workbench.tables import datasets

        data = datasets.load(options.table, **_declared(options))
        bar = partial(tqdm, desc="audit", bar_format="{desc}: {n}/{total} [{elapsed}]", leave=False)
        done = audit.audit(data, options.synthetic, **settings, progress=bar)
    print(json.dumps(done.record, indent=1, ensure_ascii=False) if options.json else repr(done))
    return done.exit_code


def _check(options) -> int:
    """Runs the named file's code: naming it is agreeing to that."""
    from workbench.generators import contract

    params: dict[str, Any] = dict(_parameter(text) for text in options.param)
    states: Counter[str] = Counter()
    for finding in contract.findings(options.generator, params):
        print(finding, flush=True)
        states[finding.state] += 1
    print(f"\n{contract.summary(states)}")
    return int(bool(states[contract.FAILS]))


def _completion(options) -> None:
    import shtab

    print(shtab.complete(_parser(), options.shell))


def _inspect(options) -> None:
    from workbench.tables.inspection import inspect

    given = _declared(options)
    names = ("target", "kinds", "missing", "formats")
    found = inspect(
        options.table,
        sensitive=given["sensitive"] or (),
        **{name: given[name] for name in names if name in given},
    )
    print(found)
    print(f"\n{found.write(options.out)} declares all of this: give it as --schema {options.out}")


def _declared(options) -> dict[str, Any]:
    """What the options say of the table's columns, in the words of `load`; nothing for what was not
    given.
    """
    given: dict[str, Any] = {
        "constraints": _constraints(getattr(options, "constraint", [])),
        "metadata": getattr(options, "metadata", None),
        "schema": options.schema,
        "kinds": dict(_pair("--kind", text, "zip=categorical") for text in options.kind),
        "formats": dict(_pair("--format", text, "born=%d/%m/%Y") for text in options.format),
        "missing": options.missing,
        "group": options.group,
        "analysis": getattr(options, "analysis", None),
        "keys": _names(getattr(options, "keys", None)),
    }
    given = {name: value for name, value in given.items() if value}
    if options.identifier is not None:
        given["identifiers"] = [name for text in options.identifier for name in _names(text)]
    return {"target": options.target, "sensitive": _names(options.sensitive), **given}


def _say_roles(data) -> None:
    """Once for a command, where a pipe does not carry it away: whom nothing is learnt of."""
    for note in data.schema.role_notes:
        print(f"workbench: {note}", file=sys.stderr)


def _pair(option: str, text: str, example: str) -> tuple[str, str]:
    """COL=VALUE; the column's name may hold an equals sign."""
    # From the right, for a column called "a=b".
    name, equals, value = text.rpartition("=")
    if not equals or not name or not value:
        raise InputError(
            f"{option} {text!r} is not COL=VALUE; write for example {option} {example}."
        )
    return name, value


def _names(text: str | None) -> list[str] | None:
    """A comma-separated list, in which a name that holds a comma stands in double quotes; None
    where the option was not given.
    """
    if text is None:
        return None
    # The rules of CSV, which people know: a comma inside quotes divides nothing.
    names = next(csv.reader([text], skipinitialspace=True), [])
    return [name.strip() for name in names if name.strip()]


def _constraints(texts: list[str]) -> list[str | list[str]]:
    """Inequalities and formulas as they are written; what holds no sign is a list of label columns."""
    return [text if "<" in text or "=" in text else _names(text) for text in texts]


def _parameter(text: str) -> tuple[str, object]:
    """NAME=VALUE, the value read as JSON where it is JSON and as text where it is not."""
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(
            f"--param {text!r} is not NAME=VALUE; write for example --param epochs=100."
        )
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _parser() -> argparse.ArgumentParser:
    """The whole command line; its commands in the order of a first reading."""
    parser = argparse.ArgumentParser(
        prog="workbench", description="Compare generators of synthetic tables on real data."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run, summary: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=summary, description=summary)
        sub.set_defaults(run=run)
        return sub

    _add_list(command)
    _add_batch_commands(command)
    _add_table_commands(command)
    _add_audit(command)
    _add_check(command)
    _add_completion(command)
    return parser


Command = Callable[[str, Callable, str], argparse.ArgumentParser]


def _add_list(command: Command) -> None:
    sub = command("list", _list, "List what can be named in a grid.")
    sub.epilog = (
        "A generator supports seconds (a budget), epsilon (differential privacy), or conditions: it"
        " meets some where={...} by itself. All others meet conditions by rejection, and all keep"
        " declared constraints."
    )
    sub.add_argument("what", choices=["generators", "datasets", "metrics"])
    sub.add_argument("--json", action="store_true", help="as JSON")


def _add_batch_commands(command: Command) -> None:
    """What is done with a report folder."""
    sub = command("run", _run, "Run a report's unfinished cells, then write its page.")
    sub.add_argument("report", metavar="reports/NAME", help="a folder that holds a grid.toml")
    sub.add_argument(
        "--retry-failed", action="store_true", help="run failed and skipped cells again too"
    )
    sub.add_argument(
        "--wait", action="store_true", help="wait for another run of this folder to end"
    )
    sub.add_argument(
        "--live", action="store_true", help="write the page after one seed, and again as cells end"
    )
    _add_trust(sub)
    _add_workers(sub)

    sub = command(
        "report",
        _report,
        "Write a report's page again without running, or tell what changed between two runs.",
    )
    sub.add_argument("report", metavar="reports/NAME", nargs="?")
    sub.add_argument(
        "--compare", nargs=2, metavar=("A", "B"), help="two report folders, the earlier run first"
    )
    sub.add_argument(
        "--out", metavar="PAGE.html", help="with --compare: write what changed as a page too"
    )

    sub = command("index", _index, "Write FOLDER/index.html over all report folders in it.")
    sub.add_argument(
        "folder", metavar="FOLDER", nargs="?", default="reports", help="default: reports"
    )

    sub = command("status", _status, "Count a report's cells by their state.")
    sub.add_argument("report", metavar="reports/NAME")
    sub.add_argument("--json", action="store_true", help="as JSON")

    sub = command("log", _log, "Print what a cell wrote: its log and traceback.")
    sub.add_argument("report", metavar="reports/NAME")
    sub.add_argument("key", metavar="KEY", help="a cell's key, or its first characters")

    sub = command(
        "verify",
        _verify,
        "Re-run finished cells and compare every byte: exit code 0 where all match, 1 otherwise.",
    )
    sub.add_argument("report", metavar="reports/NAME", help="a report's folder, or results/NAME")
    sub.add_argument("--cells", type=_count, metavar="K", help="how many of them (default: all)")
    _add_trust(sub)
    _add_workers(sub)
    _add_results_commands(command)


def _add_results_commands(command: Command) -> None:
    """What is done with the numbers of a report once they are there, and before."""
    sub = command("plan", _plan, "Count a grid's cells and the CPU hours that they will take.")
    sub.add_argument("report", metavar="reports/NAME", help="a folder that holds a grid.toml")
    summary = "a report or results whose cells say how long one takes; repeatable. Those beside the"
    summary += " report are looked at anyhow"
    sub.add_argument("--earlier", action="append", default=[], metavar="FOLDER", help=summary)
    summary = "cells at a time (default: the cores)"
    sub.add_argument("--workers", type=_count, metavar="N", help=summary)
    _add_trust(sub)

    sub = command("publish", _publish, "Write a report's numbers to results/NAME, as a data set.")
    sub.add_argument("report", metavar="reports/NAME")
    sub.add_argument("--out", metavar="DIR", help="default: results/NAME")

    summary = "Hold what a paper printed (published.toml) against a report's readings."
    sub = command("replicate", _replicate, summary)
    sub.add_argument("report", metavar="reports/NAME", help="a report's folder, or results/NAME")

    sub = command("merge", _merge, "Add to results the rows that somebody else ran.")
    sub.add_argument("into", metavar="results/NAME")
    sub.add_argument("other", metavar="OTHER", help="other results, of the same version")
    sub.add_argument("--origin", metavar="WHO", help="who ran them (default: the folder's name)")


def _add_table_commands(command: Command) -> None:
    """What is done with one table."""
    sub = command(
        "inspect", _inspect, "Say what a table seems to be, what looks wrong and what to do."
    )
    _add_roles(sub)
    summary = "where to write what --schema takes (default: schema.json)"
    sub.add_argument("--out", metavar="FILE", default="schema.json", help=summary)

    sub = command("compare", _compare, "Make a grid and a report from one table.")
    _add_roles(sub)
    _add_constraints(sub)
    summary = "the regression held against the real one (default: the target on all features)"
    sub.add_argument("--analysis", metavar="'Y ~ A + B'", help=summary)
    summary = "columns that somebody might know of a person: what they disclose is measured"
    sub.add_argument("--keys", metavar="A,B", help=summary)
    sub.add_argument("--generators", metavar="A,B", help="default: all of them")
    sub.add_argument(
        "--seeds", type=_count, default=3, metavar="N", help="seeds 0 to N-1 (default: 3)"
    )
    summary = "learn from at most N train rows, drawn once (default: all); for large or wide tables"
    sub.add_argument("--train-rows", type=_count, metavar="N", help=summary)
    sub.add_argument("--out", required=True, metavar="DIR", help="the report's folder")
    _add_workers(sub)

    sub = command(
        "generate",
        _generate,
        "Fit one generator on the train part of a table and write synthetic rows.",
    )
    _add_roles(sub)
    _add_constraints(sub)
    sub.add_argument("--generator", required=True, metavar="G")
    sub.add_argument(
        "--rows", type=_count, metavar="N", help="default: as many as it was fitted on"
    )
    sub.add_argument("--seed", type=_seed, default=0, metavar="S")
    _add_params(sub)
    sub.add_argument("--out", required=True, metavar="FILE", help="a .csv or .parquet file")

    sub = command(
        "scenarios", _scenarios, "Generate the edge cases of a TOML file, and test a model on them."
    )
    _add_roles(sub)
    sub.add_argument(
        "scenarios", metavar="SCENARIOS.toml", help="what to ask for: see docs/edge-cases.md"
    )
    _add_constraints(sub)
    sub.add_argument("--generator", required=True, metavar="G")
    sub.add_argument("--seed", type=_seed, default=0, metavar="S")
    _add_params(sub)
    sub.add_argument(
        "--out", required=True, metavar="DIR", help="where to write NAME.csv and scenarios.json"
    )


def _add_audit(command: Command) -> None:
    sub = command(
        "audit",
        _audit,
        "Audit a synthetic table against real rows: exit code 0 is PASS, 1 ALERT, 2 FAIL, 3 NOT"
        " MEASURED.",
    )
    _add_roles(sub)
    sub.add_argument("synthetic", metavar="SYNTHETIC", help="a CSV or Parquet file")
    sub.add_argument(
        "--tolerances", metavar="FILE", help="a TOML file (default: the built-in tolerances)"
    )
    sub.add_argument("--against", metavar="PREVIOUS.json", help="the previous audit's audit.json")
    sub.add_argument(
        "--generator", default="", metavar="LABEL", help="what made the table, for the record"
    )
    sub.add_argument(
        "--window", default="", metavar="LABEL", help="the time window of the table, for the record"
    )
    sub.add_argument("--out", metavar="DIR", help="where to write audit.json and audit.html")
    sub.add_argument("--json", action="store_true", help="print the record as JSON")


def _add_check(command: Command) -> None:
    summary = "Run the contract of generators on one, and print what fails: exit code 1 for any."
    sub = command("check", _check, summary)
    summary = "a plug-in, ./my_generator.py:MyGenerator, whose code is run, or a registered name"
    sub.add_argument("generator", metavar="GENERATOR", help=summary)
    _add_params(sub)


def _add_completion(command: Command) -> None:
    sub = command(
        "completion", _completion, "Print a script for a shell that completes this command."
    )
    sub.add_argument("shell", choices=["bash", "zsh", "tcsh"])


def _add_roles(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "table", metavar="FILE_OR_NAME", help="a CSV or Parquet file, or a dataset's name"
    )
    sub.add_argument("--target", metavar="COL", help="the column to predict")
    sub.add_argument(
        "--sensitive",
        metavar="COL[,COL]",
        help="columns whose groups are compared; a name with a comma stands in double quotes",
    )
    declare = partial(sub.add_argument, action="append")
    sub.add_argument("--schema", metavar="FILE", help="the file that workbench inspect writes")
    summary = "numeric, integer, categorical, boolean or datetime; repeatable"
    declare("--kind", default=[], metavar="COL=KIND", help=summary)
    summary = "a mark of missing values, such as '?'; repeatable"
    declare("--missing", default=[], metavar="TEXT", help=summary)
    summary = "how dates are written, such as born=%%d/%%m/%%Y; repeatable"
    declare("--format", default=[], metavar="COL=FORMAT", help=summary)
    summary = (
        "columns that name a row: never learnt, scored or copied ('' for none); default: those that"
        " look so"
    )
    declare("--identifier", metavar="COL[,COL]", help=summary)
    summary = "a column whose equal values mark rows of one person, kept on one side of the split"
    sub.add_argument("--group", metavar="COL", help=summary)


def _add_constraints(sub: argparse.ArgumentParser) -> None:
    summary = "'LOW <= HIGH', 'LOW < HIGH', 'TOTAL = A + B', 'TOTAL = A * B', or COL,COL for the "
    summary += "combinations of labels seen in train; repeatable"
    sub.add_argument("--constraint", action="append", default=[], metavar="TEXT", help=summary)
    sub.add_argument("--metadata", metavar="FILE", help="SDV's metadata of the table, as JSON")


def _add_workers(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--workers", type=_count, metavar="N", help="cells at a time (default: the cores)"
    )
    sub.add_argument(
        "--scheduler", metavar="tcp://HOST:PORT", help="a Dask cluster to run the cells on"
    )


def _add_trust(sub: argparse.ArgumentParser) -> None:
    summary = "agree to the plug-ins and to the files outside the folder that its grid names"
    sub.add_argument("--trust", action="store_true", help=summary)


def _add_params(sub: argparse.ArgumentParser) -> None:
    summary = "a hyper-parameter; repeatable"
    sub.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help=summary)


def _seed(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must be at least 0")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
