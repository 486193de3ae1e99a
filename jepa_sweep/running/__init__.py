"""From a spec to a finished store: planning, computing, committing, recovering, many machines."""
