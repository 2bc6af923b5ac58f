"""The `m4sam` command: what a robot needs of it, and the table where the other packages' commands register."""
