"""The program around the core: command line, configuration files, signals, worker processes and logs."""
