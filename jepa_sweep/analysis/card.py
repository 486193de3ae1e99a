"""A card of a run as a data set: README.md beside its tables, as Zenodo and hubs of data sets show it.

All that it says comes from the columns, the records and the provenance that the store keeps.
"""

import json
import re

import pandas as pd
import pyarrow as pa

import jepa_sweep
from jepa_sweep.analysis import provenance
from jepa_sweep.errors import escaped
from jepa_sweep.layout import laid_out
from jepa_sweep.physics.host import SENTENCES, Status
from jepa_sweep.store.overview import Overview, ranged
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.schema import noun_of
from jepa_sweep.systems.registry import BUILT_IN

PAPER = """@inproceedings{littwin2024jepa,
  title     = {How {JEPA} Avoids Noisy Features: The Implicit Bias of Deep Linear Self Distillation Networks},
  author    = {Littwin, Etai and Saremi, Omid and Advani, Madhu and Thilak, Vimal and Nakkiran, Preetum and Huang, Chen
               and Susskind, Joshua},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2024},
  eprint    = {2407.03475},
}"""
SOFTWARE = """@software{jepa_sweep,
  title   = {jepa_sweep: sweeps over the learning dynamics of JEPA and MAE},
  author  = {{The jepa_sweep developers}},
  version = {%s},
}"""
_DECIDES = ("system", "solver", "trajectories", "time")  # names of facts
_MADE_BY = ("software", "created", "versions", "device", "platform", "git_revision", "command")
_LISTED = 12  # values of an axis that are told one by one
_SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")  # of rows, as hubs sort data sets by


def text(store: Reader) -> str:
    """The card of a store, as Markdown after a front matter in YAML.

    Raises:
        IntegrityError: a file of the store is damaged.
    """
    held, facts = store.overview(), provenance.facts(store)
    sections = (
        _what(store, held, facts),
        _axes(store, held),
        *(_table(store, name) for name in store.tables if store.rows(name)),
        _statuses(held),
        _reading(store),
        _making(facts),
        _verifying(),
        _citing(store, facts),
    )
    return escaped("\n\n".join((_front_matter(store), *sections))) + "\n"


def _front_matter(store: Reader) -> str:
    """What hubs read: a name, a size, and which files are which table. YAML, of which JSON is a part."""
    lines = [
        "---",
        "# license: cc-by-4.0  (add the license that you choose)",
        f"pretty_name: {json.dumps(store.title)}",
        f"tags: {json.dumps(['jepa_sweep', store.frozen['system'], 'learning dynamics', 'parameter sweep'])}",
        f"size_categories: {json.dumps([_size(store.rows('points'))])}",
        "configs:",
    ]
    for name in store.tables:
        if files := _files(store, name):
            lines += [f"- config_name: {name}", f"  data_files: {json.dumps(files)}"]
            lines += ["  default: true"] if name == "points" else []
    return "\n".join([*lines, "---"])


def _size(rows: int) -> str:
    """How many rows, in the words of hubs."""
    power = sum(rows >= 1000 * 10**k for k in range(len(_SIZES)))
    if power == len(_SIZES):
        return f"n>{_SIZES[-1]}"
    return f"{_SIZES[power - 1]}<n<{_SIZES[power]}" if power else f"n<{_SIZES[0]}"


def _files(store: Reader, name: str) -> str | list[str]:
    """A pattern for the committed files of a table; all of their names where other files lie among them."""
    committed = [part.file.path for part in store.parts(name)]
    there = [f"{name}/{file}" for file in store.location.names(name, ".parquet")]
    return f"{name}/*.parquet" if committed and there == sorted(committed) else committed


# --- sections ---------------------------------------------------------------------------------------------------------


def _what(store: Reader, held: Overview, facts: dict[str, str]) -> str:
    counts = ", ".join(f"{count:,} {noun_of(name)}" for name, count in held.rows.items() if count)
    decides = "\n".join(f"- {name}: `{facts[name]}`" for name in _DECIDES if name in facts)
    return f"# {store.title}\n\nA sweep over learning dynamics: {counts}. What decides the numbers:\n\n{decides}"


def _axes(store: Reader, held: Overview) -> str:
    described = store.schema("failures")  # which has every axis
    rows = [
        [
            f"`{name}`",
            ranged(values, _LISTED),
            _note(described.field(name), "unit"),
            _note(described.field(name), "meaning"),
        ]
        for name, values in held.axes.items()
    ]
    return "## Axes\n\n" + laid_out(pd.DataFrame(rows, columns=["axis", "values", "unit", "meaning"]), "markdown")


def _table(store: Reader, name: str) -> str:
    rows = [
        [f"`{f.name}`", str(f.type), *(_note(f, key) for key in ("unit", "meaning")), _code(_note(f, "equation"))]
        for f in store.schema(name)
    ]
    told = f"## Table `{name}`: {store.rows(name):,} rows\n\n"
    if name == "failures" and store.rows(name) != sum(part.file.rows for part in store.parts(name)):
        told += (
            "Its files keep earlier attempts at points, too: of each point the row with the largest `try` counts.\n\n"
        )
    return told + laid_out(pd.DataFrame(rows, columns=["column", "type", "unit", "meaning", "equation"]), "markdown")


def _statuses(held: Overview) -> str:
    sentences = {status.label: SENTENCES[status] for status in Status}
    rows = [[f"`{word}`", f"{count:,}", sentences.get(word, "")] for word, count in held.statuses.items()]
    return "## How points ended\n\n" + laid_out(pd.DataFrame(rows, columns=["status", "points", "meaning"]), "markdown")


def _reading(store: Reader) -> str:
    names = "\n".join(f'{name} = pd.read_parquet("{name}")' for name in store.tables if store.rows(name))
    return f"""## Reading it

The tables are Parquet. In this folder, with pandas, DuckDB or Polars:

```python
import pandas as pd

{names}
```

```sql
select * from 'points/*.parquet';
```

```python
import polars as pl

points = pl.read_parquet("points/*.parquet")
```

With `import jepa_sweep as js`, `js.Store(".")` has the same tables, and `js.Store(".").to_xarray()` has them as arrays.
A value that does not exist is null, and `status` says why."""


def _making(facts: dict[str, str]) -> str:
    told = "\n".join(f"- {name}: {_code(facts[name])}" for name in _MADE_BY if name in facts)
    specs = [_fenced("toml", text) for name, text in facts.items() if re.fullmatch(r"spec(_\d+)?", name)]
    parts = [told, f"`jepa-sweep run` on {'this spec' if len(specs) == 1 else 'each of these specs'}:", *specs]
    if "system_file" in facts:
        parts += ["The system stands in this file:", _fenced("python", facts["system_file"])]
    return "\n\n".join(["## How it was made", *parts])


def _verifying() -> str:
    return (
        "## Verifying it\n\n`jepa-sweep verify .` reads every file back. Without it: each record in `commits/` lists "
        "its files with bytes, rows and SHA-256, and a file that no record lists is no part of the data."
    )


def _citing(store: Reader, facts: dict[str, str]) -> str:
    paper = ["The dynamics:", _fenced("bibtex", PAPER)] if store.frozen["system"] in BUILT_IN else []
    version = facts.get("software", jepa_sweep.__version__).replace("jepa_sweep ", "")
    return "\n\n".join(["## Citing it", *paper, "The software:", _fenced("bibtex", SOFTWARE % version)])


# --- Markdown ---------------------------------------------------------------------------------------------------------


def _note(field: pa.Field, key: str) -> str:
    return (field.metadata or {}).get(key.encode(), b"").decode()


def _fenced(language: str, text: str) -> str:
    """A block of code, between more backticks than it has itself."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""
