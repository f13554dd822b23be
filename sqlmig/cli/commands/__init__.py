"""The commands, one in each file. The group finds them by their names."""
