"""One module for each kind of experiment; `jepa_sweep.view.catalog` lists the figures by name."""
