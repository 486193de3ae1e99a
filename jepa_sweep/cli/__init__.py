"""The command line. Each command calls one function of the package; JAX is imported only inside a command.

Exit codes: 0 complete, 1 internal error, 2 usage or spec, 3 finished with failed points or claims, 4 stopped before
the end (resumable), 5 integrity, 6 storage, 130 interrupted. Results go to stdout, everything else to stderr; with
`--json` an error is a result, too.
"""

from jepa_sweep.cli import completion, data, export, machine, manual, pictures, repairs, runs, specs, tables, writing
from jepa_sweep.cli.shell import app, main

manual.arrange(app)
completion.offer(app)

__all__ = ["app", "data", "export", "machine", "main", "pictures", "repairs", "runs", "specs", "tables", "writing"]
