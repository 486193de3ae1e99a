"""`python -m jepa_sweep.cli`: the command line, where its script is not on the path."""

from jepa_sweep.cli import main

if __name__ == "__main__":
    main()
