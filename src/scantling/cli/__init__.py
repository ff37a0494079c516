"""The commands: one dataclass a verb, no logic, and nothing heavy imported before a verb runs."""
