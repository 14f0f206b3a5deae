"""Going back: rules and searches over what is stored, as jobs that a process of its own works off."""
