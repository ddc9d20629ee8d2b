"""Commands: one module for each, with `run(options) -> exit code`."""
