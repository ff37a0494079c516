"""The commands: one dataclass a command, no logic, and nothing heavy imported before a command runs."""
