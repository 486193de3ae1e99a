"""What `--help` says beside each command's own words: under which heading it stands, in which order, and an example."""

from typer import Typer

EXAMPLES = {  # heading -> command -> an example of it; in the order in which a newcomer meets them
    "Specs": {
        "init": "init my_sweep",
        "schema": "schema",
        "plan": "plan sweeps/quickstart.toml",
        "run": "run sweeps/quickstart.toml --out runs/quickstart",
    },
    "Results": {
        "list": "list runs",
        "status": "status runs/quickstart --watch",
        "query": "query runs/quickstart --where 'lam > 1' --columns rho,t_exact --sort -rho --limit 5",
        "compare": "compare runs/quickstart",
        "export": "export runs/quickstart --to csv",
    },
    "Figures": {
        "figure": "figure fig1 --out figures",
        "reproduce": "reproduce --out figures",
        "explore": "explore runs/quickstart",
    },
    "Your own data": {"moments": "moments pairs.npy --L 3"},
    "Repair": {
        "verify": "verify runs/quickstart",
        "repair": "repair runs/quickstart",
        "retry": "retry runs/quickstart --status max_steps --max-steps 100000",
    },
    "Machine": {"doctor": "doctor --out runs"},
}


def arrange(app: Typer) -> None:
    """Put the commands in order, under their headings, each with its example."""
    order = [name for examples in EXAMPLES.values() for name in examples]
    named = {command.name or getattr(command.callback, "__name__", ""): command for command in app.registered_commands}
    for heading, examples in EXAMPLES.items():
        for name in examples.keys() & named.keys():
            named[name].rich_help_panel = heading
            named[name].epilog = f"Example: jepa-sweep {examples[name]}"
    app.registered_commands[:] = [named[name] for name in sorted(named, key=order.index)]
